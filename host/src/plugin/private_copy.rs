//! One content's private copy: what was checked is what is loaded, whatever happens to the file.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::{
        fd::{AsRawFd, IntoRawFd, OwnedFd},
        unix::fs::OpenOptionsExt,
    },
    path::{Path, PathBuf},
    process,
};

use rustix::{
    fs::{MemfdFlags, OFlags, SealFlags, fcntl_add_seals, memfd_create},
    io::Errno,
};

use super::place::Place;

/// A copy that goes when its generation retires; what is mapped of it stays.
#[derive(Debug)]
pub(super) struct PrivateCopy {
    path: PathBuf,
    is_file: bool,
    /// Of a copy in memory that the linker was not told of.
    memory: Option<OwnedFd>,
}

impl PrivateCopy {
    /// Writes `bytes` under a name never used before: the dynamic linker knows images by name and
    /// would answer with older code.
    pub(super) fn write(place: &Place, name: &str, number: u64, bytes: &[u8]) -> io::Result<Self> {
        match place {
            Place::Directory { path, .. } => {
                Self::in_file(path.join(format!("{number}-{name}.so")), bytes)
            }
            Place::Memory => Self::in_memory(name, bytes),
        }
    }

    /// What the dynamic linker opens.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The same, for the linker to open.
    pub(super) fn for_linker(&mut self) -> &Path {
        if let Some(memory) = self.memory.take() {
            // Open for ever: were the number used again, its path would name the older image.
            let _ = memory.into_raw_fd();
        }
        &self.path
    }

    fn in_file(path: PathBuf, bytes: &[u8]) -> io::Result<Self> {
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o400)
            .custom_flags((OFlags::NOFOLLOW | OFlags::CLOEXEC).bits().cast_signed())
            .open(&path)?;
        // From here on a failure removes the file.
        let copy = Self { path, is_file: true, memory: None };
        file.write_all(bytes)?;
        Ok(copy)
    }

    fn in_memory(name: &str, bytes: &[u8]) -> io::Result<Self> {
        let mut file = File::from(executable_memory(name)?);
        file.write_all(bytes)?;
        fcntl_add_seals(
            &file,
            SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL,
        )?;
        // The process's number, not `self`, so that a debugger opens this file and not one of its own.
        let path = PathBuf::from(format!("/proc/{}/fd/{}", process::id(), file.as_raw_fd()));
        Ok(Self { path, is_file: false, memory: Some(file.into()) })
    }
}

impl Drop for PrivateCopy {
    fn drop(&mut self) {
        if self.is_file {
            // Already gone with its directory, or left to the next start.
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn executable_memory(name: &str) -> io::Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    match memfd_create(name, flags | MemfdFlags::EXEC) {
        // Kernels before 6.3 do not know the flag, and need none.
        Err(Errno::INVAL) => Ok(memfd_create(name, flags)?),
        other => Ok(other?),
    }
}
