//! Program headers: what the dynamic linker maps, and from where.

use object::{
    Endianness,
    elf::{
        PF_W, PF_X, PT_DYNAMIC, PT_GNU_EH_FRAME, PT_GNU_PROPERTY, PT_GNU_RELRO, PT_GNU_STACK,
        PT_INTERP, PT_LOAD, PT_NOTE, PT_NULL, PT_PHDR, PT_TLS, ProgramHeader64,
    },
    read::elf::{FileHeader, ProgramHeader},
};

use super::{
    elf::{ENDIAN, Header, in_file},
    fault::ElfFault,
};

type Segment = ProgramHeader64<Endianness>;

/// Smallest page of the machines we run on.
const PAGE: u64 = 4096;
/// End of the addresses a process may have.
const ADDRESS_END: u64 = 1 << 46;
/// Most thread-local storage; the linker ends the process when it cannot allocate it.
const TLS_MAX: u64 = 1 << 20;

/// A piece of the file and where it will be, relative to the image's base.
#[derive(Clone, Copy, Debug)]
pub(super) struct Load {
    address: u64,
    memory: u64,
    offset: u64,
    file: u64,
}

impl Load {
    fn of(segment: &Segment) -> Self {
        Self {
            address: segment.p_vaddr(ENDIAN),
            memory: segment.p_memsz(ENDIAN),
            offset: segment.p_offset(ENDIAN),
            file: segment.p_filesz(ENDIAN),
        }
    }
}

/// Checked segments.
#[derive(Debug)]
pub(super) struct Segments<'a> {
    bytes: &'a [u8],
    /// In ascending order of addresses, without overlap.
    pub(super) loads: Vec<Load>,
    /// The dynamic section's address and size; inside a load.
    pub(super) dynamic: (u64, u64),
    /// Whether it names a program interpreter, as executables do.
    pub(super) has_interpreter: bool,
}

impl<'a> Segments<'a> {
    /// Whether `size` bytes at `address` will be mapped.
    pub(super) fn covers(&self, address: u64, size: u64) -> bool {
        covers(&self.loads, address, size)
    }

    /// The bytes that will be mapped at `address`; `None` unless all of them are in the file.
    pub(super) fn mapped(&self, address: u64, size: u64) -> Option<&'a [u8]> {
        let end = address.checked_add(size)?;
        let load = self
            .loads
            .iter()
            .find(|load| load.address <= address && end <= load.address + load.file)?;
        let start = usize::try_from(load.offset + (address - load.address)).ok()?;
        self.bytes.get(start..start.checked_add(usize::try_from(size).ok()?)?)
    }
}

fn covers(loads: &[Load], address: u64, size: u64) -> bool {
    address.checked_add(size).is_some_and(|end| {
        loads.iter().any(|load| load.address <= address && end <= load.address + load.memory)
    })
}

/// Checks the program headers against the file and against each other.
pub(super) fn check<'a>(header: &Header, bytes: &'a [u8]) -> Result<Segments<'a>, ElfFault> {
    let segments = table(header, bytes)?;
    let mut loads = Vec::new();
    for segment in segments {
        if segment.p_type(ENDIAN) != PT_NULL {
            in_file(bytes, "a segment", segment.p_offset(ENDIAN), segment.p_filesz(ENDIAN))?;
        }
        if segment.p_type(ENDIAN) == PT_LOAD {
            check_load(segment, loads.last())?;
            loads.push(Load::of(segment));
        }
    }
    if loads.is_empty() {
        return Err(ElfFault::Damaged { what: "it has no segment to load" });
    }
    check_stack(segments)?;
    for segment in segments {
        check_inner(segment, &loads)?;
    }
    let mut dynamic = segments.iter().filter(|segment| segment.p_type(ENDIAN) == PT_DYNAMIC);
    let (Some(only), None) = (dynamic.next(), dynamic.next()) else {
        return Err(ElfFault::Damaged { what: "it does not have exactly one dynamic segment" });
    };
    let dynamic = (only.p_vaddr(ENDIAN), only.p_filesz(ENDIAN));
    let has_interpreter = segments.iter().any(|segment| segment.p_type(ENDIAN) == PT_INTERP);
    Ok(Segments { bytes, loads, dynamic, has_interpreter })
}

fn table<'a>(header: &Header, bytes: &'a [u8]) -> Result<&'a [Segment], ElfFault> {
    let (offset, count) = (header.e_phoff(ENDIAN), header.e_phnum(ENDIAN));
    if offset == 0 || count == 0 {
        return Err(ElfFault::Damaged { what: "it has no program headers" });
    }
    let size = u64::from(count) * size_of::<Segment>() as u64;
    in_file(bytes, "its table of program headers", offset, size)?;
    header
        .program_headers(ENDIAN, bytes)
        .map_err(|_| ElfFault::Damaged { what: "its program headers have an odd size" })
}

fn check_load(segment: &Segment, before: Option<&Load>) -> Result<(), ElfFault> {
    let flags = segment.p_flags(ENDIAN);
    if flags.contains(PF_W) && flags.contains(PF_X) {
        return Err(ElfFault::WritableCode);
    }
    let load = Load::of(segment);
    let align = segment.p_align(ENDIAN);
    if load.file > load.memory {
        return Err(ElfFault::Damaged { what: "a segment is larger in the file than in memory" });
    }
    if load.address.checked_add(load.memory).is_none_or(|end| end > ADDRESS_END) {
        return Err(ElfFault::Damaged { what: "a segment ends beyond all addresses" });
    }
    let aligned = align.is_power_of_two()
        && align >= PAGE
        && load.address & (align - 1) == load.offset & (align - 1);
    if !aligned {
        return Err(ElfFault::Damaged { what: "a segment is not aligned to pages" });
    }
    let first_page = load.address & !(PAGE - 1);
    let taken = before.map_or(0, |before| (before.address + before.memory).next_multiple_of(PAGE));
    if first_page < taken {
        return Err(ElfFault::Damaged { what: "its segments overlap or are out of order" });
    }
    Ok(())
}

/// A missing header means an executable stack to the linker.
fn check_stack(segments: &[Segment]) -> Result<(), ElfFault> {
    let mut stacks = segments.iter().filter(|segment| segment.p_type(ENDIAN) == PT_GNU_STACK);
    let executable = |stack: &Segment| stack.p_flags(ENDIAN).contains(PF_X);
    match stacks.next() {
        Some(first) if !executable(first) && !stacks.any(executable) => Ok(()),
        _ => Err(ElfFault::ExecutableStack),
    }
}

/// Segments the linker reads or protects in memory lie inside those it maps.
fn check_inner(segment: &Segment, loads: &[Load]) -> Result<(), ElfFault> {
    let (address, memory) = (segment.p_vaddr(ENDIAN), segment.p_memsz(ENDIAN));
    match segment.p_type(ENDIAN) {
        PT_DYNAMIC | PT_NOTE | PT_GNU_PROPERTY | PT_GNU_EH_FRAME | PT_PHDR if memory > 0 => {
            let (offset, file) = (segment.p_offset(ENDIAN), segment.p_filesz(ENDIAN));
            let mapped = file == memory
                && loads.iter().any(|load| {
                    load.address <= address
                        && address.saturating_add(file) <= load.address + load.file
                        && offset.checked_sub(load.offset) == Some(address - load.address)
                });
            if !mapped {
                return Err(ElfFault::Damaged { what: "a segment it needs is not loaded" });
            }
        }
        PT_TLS => {
            let align = segment.p_align(ENDIAN);
            let small =
                memory <= TLS_MAX && align <= PAGE && (align == 0 || align.is_power_of_two());
            let file = segment.p_filesz(ENDIAN);
            if !small || file > memory || (file > 0 && !covers(loads, address, file)) {
                return Err(ElfFault::Damaged { what: "its thread-local storage is impossible" });
            }
        }
        PT_GNU_RELRO => {
            let inside = loads.iter().any(|load| {
                let end = (load.address + load.memory).next_multiple_of(PAGE);
                load.address & !(PAGE - 1) <= address && address.saturating_add(memory) <= end
            });
            if !inside {
                return Err(ElfFault::Damaged { what: "it protects memory it does not load" });
            }
        }
        _ => {}
    }
    Ok(())
}
