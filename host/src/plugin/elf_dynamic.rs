//! The dynamic section: what the linker will do with the image.

use object::{
    Endianness,
    elf::{
        DF_1_PIE, DF_TEXTREL, DT_AUDIT, DT_AUXILIARY, DT_CONFIG, DT_DEPAUDIT, DT_FILTER, DT_FINI,
        DT_FINI_ARRAY, DT_FINI_ARRAYSZ, DT_FLAGS, DT_FLAGS_1, DT_GNU_HASH, DT_HASH, DT_INIT,
        DT_INIT_ARRAY, DT_INIT_ARRAYSZ, DT_JMPREL, DT_NEEDED, DT_NULL, DT_PLTRELSZ,
        DT_PREINIT_ARRAY, DT_REL, DT_RELA, DT_RELASZ, DT_RELR, DT_RELRSZ, DT_RELSZ, DT_RPATH,
        DT_RUNPATH, DT_SONAME, DT_STRSZ, DT_STRTAB, DT_SYMTAB, DT_TEXTREL, DT_VERDEF, DT_VERNEED,
        DT_VERSYM, Dyn64, DynamicTag,
    },
    pod::slice_from_all_bytes,
    read::elf::Dyn,
};

use super::{elf::ENDIAN, elf_segments::Segments, fault::ElfFault};

/// Libraries a plugin may need: those every host has in memory anyway.
const ALLOWED: [&str; 8] = [
    "libc.so.6",
    "libm.so.6",
    "libgcc_s.so.1",
    "ld-linux-x86-64.so.2",
    "ld-linux-aarch64.so.1",
    // Empty shells since glibc 2.34, but old toolchains still name them.
    "libdl.so.2",
    "libpthread.so.0",
    "librt.so.1",
];

/// Tags that make the linker load or call what nobody has checked.
const FORBIDDEN: [(DynamicTag, &str); 5] = [
    (DT_AUXILIARY, "DT_AUXILIARY"),
    (DT_FILTER, "DT_FILTER"),
    (DT_AUDIT, "DT_AUDIT"),
    (DT_DEPAUDIT, "DT_DEPAUDIT"),
    (DT_CONFIG, "DT_CONFIG"),
];

/// Tables the linker reads through their address, with the tag of their size or the least size.
const TABLES: [(DynamicTag, Result<DynamicTag, u64>); 15] = [
    (DT_STRTAB, Ok(DT_STRSZ)),
    (DT_SYMTAB, Err(24)),
    (DT_HASH, Err(8)),
    (DT_GNU_HASH, Err(16)),
    (DT_RELA, Ok(DT_RELASZ)),
    (DT_REL, Ok(DT_RELSZ)),
    (DT_RELR, Ok(DT_RELRSZ)),
    (DT_JMPREL, Ok(DT_PLTRELSZ)),
    (DT_INIT_ARRAY, Ok(DT_INIT_ARRAYSZ)),
    (DT_FINI_ARRAY, Ok(DT_FINI_ARRAYSZ)),
    (DT_INIT, Err(1)),
    (DT_FINI, Err(1)),
    (DT_VERSYM, Err(2)),
    (DT_VERNEED, Err(16)),
    (DT_VERDEF, Err(20)),
];

/// Checks the dynamic section.
pub(super) fn check(segments: &Segments<'_>) -> Result<(), ElfFault> {
    let dynamic = Dynamic::read(segments)?;
    for (tag, name) in FORBIDDEN {
        if dynamic.value(tag).is_some() {
            return Err(ElfFault::Tag { tag: name });
        }
    }
    if dynamic.value(DT_FLAGS_1).is_some_and(|flags| flags & DF_1_PIE.0 != 0)
        || dynamic.value(DT_PREINIT_ARRAY).is_some()
    {
        return Err(ElfFault::Executable);
    }
    if dynamic.value(DT_TEXTREL).is_some()
        || dynamic.value(DT_FLAGS).is_some_and(|flags| flags & DF_TEXTREL.0 != 0)
    {
        return Err(ElfFault::TextRelocations);
    }
    dynamic.check_tables(segments)?;
    let strings = dynamic.strings(segments)?;
    for (tag, name) in [(DT_RPATH, "RPATH"), (DT_RUNPATH, "RUNPATH")] {
        if let Some(value) = dynamic.value(tag) {
            return Err(ElfFault::RunPath { tag: name, value: text(strings, value)? });
        }
    }
    for needed in dynamic.values(DT_NEEDED) {
        let library = text(strings, needed)?;
        if !ALLOWED.contains(&library.as_str()) {
            return Err(ElfFault::Needed { library });
        }
    }
    if let Some(soname) = dynamic.value(DT_SONAME) {
        let soname = text(strings, soname)?;
        if ALLOWED.contains(&soname.as_str()) || soname.contains('/') {
            return Err(ElfFault::SystemName { soname });
        }
    }
    Ok(())
}

struct Dynamic(Vec<(DynamicTag, u64)>);

impl Dynamic {
    /// Reads the entries up to the terminator, which must be there: the linker relies on it.
    fn read(segments: &Segments<'_>) -> Result<Self, ElfFault> {
        let (address, size) = segments.dynamic;
        let entries = segments
            .mapped(address, size)
            .and_then(|bytes| slice_from_all_bytes::<Dyn64<Endianness>>(bytes).ok())
            .ok_or(ElfFault::Damaged { what: "its dynamic section is not loaded" })?;
        let end = entries
            .iter()
            .position(|entry| entry.tag(ENDIAN) == DT_NULL)
            .ok_or(ElfFault::Damaged { what: "its dynamic section has no end" })?;
        let entries: Vec<_> =
            entries[..end].iter().map(|entry| (entry.tag(ENDIAN), entry.val(ENDIAN))).collect();
        Ok(Self(entries))
    }

    fn values(&self, tag: DynamicTag) -> impl Iterator<Item = u64> + '_ {
        self.0.iter().filter(move |(found, _)| *found == tag).map(|(_, value)| *value)
    }

    /// The last value of a tag, as the linker takes it.
    fn value(&self, tag: DynamicTag) -> Option<u64> {
        self.values(tag).last()
    }

    fn check_tables(&self, segments: &Segments<'_>) -> Result<(), ElfFault> {
        for (tag, size) in TABLES {
            let Some(address) = self.value(tag) else { continue };
            let size = match size {
                Ok(size) => self.value(size).unwrap_or_default(),
                Err(least) => least,
            };
            if !segments.covers(address, size) {
                return Err(ElfFault::Damaged { what: "a dynamic table is not loaded" });
            }
        }
        for (needed, what) in
            [(DT_STRTAB, "it has no dynamic strings"), (DT_SYMTAB, "it has no dynamic symbols")]
        {
            if self.value(needed).is_none() {
                return Err(ElfFault::Damaged { what });
            }
        }
        Ok(())
    }

    fn strings<'a>(&self, segments: &Segments<'a>) -> Result<&'a [u8], ElfFault> {
        let address = self.value(DT_STRTAB).unwrap_or_default();
        let size = self.value(DT_STRSZ).unwrap_or_default();
        segments
            .mapped(address, size)
            .ok_or(ElfFault::Damaged { what: "its dynamic strings are not loaded" })
    }
}

/// The string at `offset`, as far as it can be shown.
fn text(strings: &[u8], offset: u64) -> Result<String, ElfFault> {
    usize::try_from(offset)
        .ok()
        .and_then(|offset| strings.get(offset..))
        .and_then(|tail| {
            tail.split(|&byte| byte == 0).next().filter(|text| text.len() < tail.len())
        })
        .map(|text| String::from_utf8_lossy(text).into_owned())
        .ok_or(ElfFault::Damaged { what: "a dynamic string is not in its table" })
}
