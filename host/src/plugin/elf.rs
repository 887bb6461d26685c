//! Checks a shared object's bytes as far as the dynamic linker will trust them.
//!
//! `dlopen` maps what the headers say and dies of SIGBUS if the file ends earlier; an executable
//! stack in one file makes every stack of the process executable. So all that is refused here, on
//! the bytes, before the linker sees them. What cannot be seen here is damage inside code or
//! relocations: that takes a checksum.

use abi_stable::library::LibHeader;
use gristmill_abi::{
    descriptor::SECTION,
    grow::Grows,
    root::{ENTRY_SYMBOL, Entry, ROOT_SYMBOL},
};
use object::{
    Endianness,
    elf::{
        self, EM_AARCH64, EM_X86_64, ET_DYN, ET_EXEC, FileHeader64, Machine, PN_XNUM, SHN_UNDEF,
        SHT_DYNSYM, SHT_NOBITS, SectionHeader64,
    },
    read::elf::{FileHeader, SectionHeader, Sym},
};

use super::{elf_dynamic, elf_segments, fault::ElfFault};

pub(super) type Header = FileHeader64<Endianness>;
type Section = SectionHeader64<Endianness>;

/// The byte order of this host, the only one a plugin may have.
pub(super) const ENDIAN: Endianness =
    if cfg!(target_endian = "little") { Endianness::Little } else { Endianness::Big };

const HOST_MACHINE: (Machine, &str) =
    if cfg!(target_arch = "aarch64") { (EM_AARCH64, "aarch64") } else { (EM_X86_64, "x86-64") };

/// What was found in a shared object that is safe to map.
#[derive(Debug)]
pub(super) struct SharedObject<'a> {
    /// The section `.gristmill`.
    pub(super) records: Option<&'a [u8]>,
    /// Whether the symbol of a root module or of an entry in C is there, with room for what it
    /// stands for.
    pub(super) exports_root: bool,
    /// Segments the linker will map.
    pub(super) loads: usize,
}

/// Checks `bytes` as a shared object for this machine. Cost: O(headers, symbols).
pub(super) fn check(bytes: &[u8]) -> Result<SharedObject<'_>, ElfFault> {
    let header = header(bytes)?;
    let segments = elf_segments::check(header, bytes)?;
    if segments.has_interpreter {
        return Err(ElfFault::Executable);
    }
    elf_dynamic::check(&segments)?;
    let sections = sections(header, bytes)?;
    let records = records(header, sections, bytes)?;
    let [module, entry] = [ROOT_SYMBOL, ENTRY_SYMBOL].map(|name| symbol(header, bytes, name));
    let has_room = |address: Option<u64>, size: usize, align: usize| {
        address.is_some_and(|address| {
            segments.covers(address, size as u64) && address.is_multiple_of(align as u64)
        })
    };
    let exports_root = match module? {
        // The host looks for the module first.
        Some(address) => has_room(Some(address), size_of::<LibHeader>(), align_of::<LibHeader>()),
        None => has_room(entry?, Entry::FIRST_SIZE, align_of::<Entry>()),
    };
    Ok(SharedObject { records, exports_root, loads: segments.loads.len() })
}

/// Checks that `size` bytes at `offset` are in the file.
pub(super) fn in_file(
    bytes: &[u8],
    what: &'static str,
    offset: u64,
    size: u64,
) -> Result<(), ElfFault> {
    let len = bytes.len() as u64;
    match offset.checked_add(size) {
        Some(end) if end <= len => Ok(()),
        Some(end) => Err(ElfFault::CutOff { what, end, len }),
        None => Err(ElfFault::Damaged { what: "an offset in it is beyond any file" }),
    }
}

fn header(bytes: &[u8]) -> Result<&Header, ElfFault> {
    if bytes.is_empty() {
        return Err(ElfFault::Empty);
    }
    if !bytes.starts_with(&elf::ELFMAG) {
        return Err(ElfFault::NotElf);
    }
    in_file(bytes, "its ELF header", 0, size_of::<Header>() as u64)?;
    let host = HOST_MACHINE.1;
    let Ok(header) = Header::parse(bytes) else {
        return Err(ElfFault::Machine { found: "another kind of machine".to_owned(), host });
    };
    if header.endian() != Ok(ENDIAN) {
        return Err(ElfFault::Machine { found: "another byte order".to_owned(), host });
    }
    let machine = header.e_machine(ENDIAN);
    if machine != HOST_MACHINE.0 {
        let found = match machine {
            EM_X86_64 => "x86-64".to_owned(),
            EM_AARCH64 => "aarch64".to_owned(),
            other => format!("ELF machine {}", other.0),
        };
        return Err(ElfFault::Machine { found, host });
    }
    match header.e_type(ENDIAN) {
        ET_DYN => {}
        ET_EXEC => return Err(ElfFault::Executable),
        other => return Err(ElfFault::Type { found: other.0 }),
    }
    if header.e_version(ENDIAN) != u32::from(elf::EV_CURRENT.0) {
        return Err(ElfFault::Damaged { what: "its ELF version is unknown" });
    }
    if header.e_phnum(ENDIAN) == PN_XNUM {
        return Err(ElfFault::Damaged { what: "it has too many program headers" });
    }
    Ok(header)
}

/// The section headers, each inside the file.
fn sections<'a>(header: &Header, bytes: &'a [u8]) -> Result<&'a [Section], ElfFault> {
    let offset = header.e_shoff(ENDIAN);
    if offset == 0 {
        return Err(ElfFault::NoSections);
    }
    if usize::from(header.e_shentsize(ENDIAN)) != size_of::<Section>() {
        return Err(ElfFault::Damaged { what: "its section headers have an odd size" });
    }
    // The first header may hold the number of them.
    in_file(bytes, "its table of section headers", offset, size_of::<Section>() as u64)?;
    let damaged = |_| ElfFault::Damaged { what: "its section headers contradict each other" };
    let count = header.shnum(ENDIAN, bytes).map_err(damaged)?;
    if count == 0 {
        return Err(ElfFault::NoSections);
    }
    let size = u64::from(count) * size_of::<Section>() as u64;
    in_file(bytes, "its table of section headers", offset, size)?;
    let sections = header.section_headers(ENDIAN, bytes).map_err(damaged)?;
    for section in sections {
        if let Some((offset, size)) = section.file_range(ENDIAN) {
            in_file(bytes, "a section", offset, size)?;
        }
    }
    Ok(sections)
}

/// The one section that holds the descriptor.
fn records<'a>(
    header: &Header,
    sections: &[Section],
    bytes: &'a [u8],
) -> Result<Option<&'a [u8]>, ElfFault> {
    let names = header
        .section_strings(ENDIAN, bytes, sections)
        .map_err(|_| ElfFault::Damaged { what: "its section names cannot be found" })?;
    let mut found = None;
    for section in sections {
        if section.name(ENDIAN, names) != Ok(SECTION.as_bytes()) {
            continue;
        }
        if section.sh_type(ENDIAN) == SHT_NOBITS {
            return Err(ElfFault::Damaged { what: "its section .gristmill is not in the file" });
        }
        let data = section
            .data(ENDIAN, bytes)
            .map_err(|_| ElfFault::Damaged { what: "its section .gristmill cannot be read" })?;
        if found.replace(data).is_some() {
            return Err(ElfFault::Damaged { what: "it has two sections .gristmill" });
        }
    }
    Ok(found)
}

/// Address of a dynamic symbol, if it is defined.
fn symbol(header: &Header, bytes: &[u8], name: &str) -> Result<Option<u64>, ElfFault> {
    let damaged = |_| ElfFault::Damaged { what: "its dynamic symbols cannot be read" };
    let sections = header.sections(ENDIAN, bytes).map_err(damaged)?;
    let symbols = sections.symbols(ENDIAN, bytes, SHT_DYNSYM).map_err(damaged)?;
    let found = symbols.iter().find(|symbol| {
        symbol.st_shndx(ENDIAN) != SHN_UNDEF
            && symbol.name(ENDIAN, symbols.strings()) == Ok(name.as_bytes())
    });
    Ok(found.map(|symbol| symbol.st_value(ENDIAN)))
}
