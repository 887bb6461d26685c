//! The first stage of a load: from a file to a [`Description`], before any of its code runs.

use std::{
    fs::File,
    io::{self, Read},
    os::{fd::OwnedFd, unix::fs::FileExt},
    path::{Path, PathBuf},
};

use gristmill_abi::{ABI_MAJOR, ABI_MINOR};
use rustix::fs::{FileType, Mode, OFlags, fstat, open};

use super::{
    descriptor::{self, AbiFault, Description, Fault},
    elf,
    error::LoadError,
    fault::RecordFault,
    ownership,
};

/// Whether it matters who could write to a file and its directories.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ownership {
    /// Only root and the host's own user may; the latter not in a privileged process.
    #[default]
    Checked,
    /// Anyone may: for tests that run from a build directory.
    Unchecked,
}

/// What a plugin's file is trusted with.
#[derive(Clone, Copy, Debug)]
pub struct Trust {
    /// Whether its owner and modes are checked.
    pub ownership: Ownership,
    /// Whether a panic in it may end the host.
    pub allow_panic_abort: bool,
    /// Most bytes it may have.
    pub bytes_max: u64,
}

impl Trust {
    /// 256 MiB: a plugin with all its debug information has a tenth of it.
    pub const BYTES_MAX: u64 = 256 << 20;
}

impl Default for Trust {
    fn default() -> Self {
        Self { ownership: Ownership::Checked, allow_panic_abort: false, bytes_max: Self::BYTES_MAX }
    }
}

/// A file's bytes, checked.
#[derive(Debug)]
pub struct Inspected {
    path: PathBuf,
    bytes: Vec<u8>,
    description: Description,
    loads: usize,
}

impl Inspected {
    /// Where the bytes were read; only for messages.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The bytes that were checked and will be mapped.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// What the plugin says of itself.
    pub fn description(&self) -> &Description {
        &self.description
    }

    /// Mappings it will add to the process: its segments, and one for zeroed memory.
    pub(super) fn mappings(&self) -> usize {
        self.loads + 1
    }
}

/// Reads and checks the plugin in `file`, or at `path` if no file was opened for us.
///
/// Cost: reads the file once, up to [`Trust::bytes_max`]. Context: `main` or a thread of its own.
///
/// # Errors
/// Everything that can be known to be wrong without running any of its code.
pub fn inspect(
    path: &Path,
    file: Option<OwnedFd>,
    options: &Trust,
) -> Result<Inspected, LoadError> {
    let failed = |cause: io::Error| LoadError::Read { path: path.to_path_buf(), cause };
    let file = match file {
        Some(file) => file,
        // Without NONBLOCK, opening a pipe would wait for its writer.
        None => open(
            path,
            OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY,
            Mode::empty(),
        )
        .map_err(|cause| failed(cause.into()))?,
    };
    let stat = fstat(&file).map_err(|cause| failed(cause.into()))?;
    let found = match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => None,
        FileType::Directory => Some("a directory"),
        FileType::Fifo => Some("a pipe"),
        FileType::Socket => Some("a socket"),
        _ => Some("a device"),
    };
    if let Some(found) = found {
        return Err(LoadError::NotAFile { path: path.to_path_buf(), found });
    }
    if options.ownership == Ownership::Checked {
        ownership::check_file(&file, &stat)
            .map_err(|fault| LoadError::Ownership { path: path.to_path_buf(), fault })?;
    }
    let file = File::from(file);
    let bytes = read(&file, options.bytes_max).map_err(failed)?;
    inspect_bytes(path, bytes, options)
}

/// Checks bytes that were read before; `path` is for messages.
///
/// # Errors
/// As [`inspect`], but for the file itself.
pub fn inspect_bytes(path: &Path, bytes: Vec<u8>, options: &Trust) -> Result<Inspected, LoadError> {
    let path = path.to_path_buf();
    if bytes.len() as u64 > options.bytes_max {
        return Err(LoadError::TooLarge { path, limit: options.bytes_max });
    }
    let object = match elf::check(&bytes) {
        Ok(object) => object,
        Err(fault) => return Err(LoadError::Elf { path, fault }),
    };
    let Some(section) = object.records else {
        return Err(LoadError::Record { path, fault: RecordFault::NoSection });
    };
    let description = match descriptor::read(section) {
        Ok(description) => description,
        Err(Fault::Record(fault)) => return Err(LoadError::Record { path, fault }),
        Err(Fault::Abi(fault)) => return Err(abi_error(path, fault)),
    };
    if !description.panics_unwind && !options.allow_panic_abort {
        return Err(LoadError::PanicAbort { path });
    }
    if !object.exports_root {
        return Err(LoadError::NoRoot { path });
    }
    let loads = object.loads;
    Ok(Inspected { path, bytes, description, loads })
}

fn abi_error(path: PathBuf, fault: AbiFault) -> LoadError {
    match fault {
        AbiFault::Major { found } => LoadError::AbiMajor { path, found, host: ABI_MAJOR },
        AbiFault::Minor { found, lacking } => {
            LoadError::AbiMinor { path, major: ABI_MAJOR, found, host: ABI_MINOR, lacking }
        }
        AbiFault::Layout { found, host } => LoadError::Layout { path, found, host },
    }
}

/// Reads at most one byte more than `limit`.
fn read(file: &File, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    FromStart { file, at: 0 }.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// A file from its first byte, wherever the descriptor's own position is.
struct FromStart<'a> {
    file: &'a File,
    at: u64,
}

impl Read for FromStart<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(buffer, self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}

#[cfg(test)]
mod tests;
