//! Where the private copies of plugins are kept while they are in use.
//!
//! ```text
//! STATE-OR-CACHE/               flock held for a moment: someone makes or clears directories
//! └── run-<16 random digits>/   0700; flock held as long as its host lives
//!     ├── 1-null.so             one for each content in use, 0400
//!     └── 2-ip4.so
//! ```

use std::{
    env,
    ffi::OsStr,
    fmt, fs, io,
    os::{
        fd::OwnedFd,
        unix::fs::{DirBuilderExt, OpenOptionsExt},
    },
    path::{Path, PathBuf},
};

use rustix::{
    fs::{FlockOperation, Mode, OFlags, StatVfsMountFlags, flock, fstatvfs, mkdirat, open, openat},
    rand::{GetRandomFlags, getrandom},
};

use super::{ownership, search::privileged};

const PREFIX: &str = "run-";

/// Directories in which private copies may be kept, best first: what the service manager says,
/// the system's for root, the user's own for others.
pub fn image_directories() -> Vec<PathBuf> {
    let mut directories = Vec::new();
    let own = !privileged();
    let variable = |name: &str| {
        own.then(|| env::var_os(name))
            .flatten()
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    directories.extend(variable("STATE_DIRECTORY"));
    directories.extend(variable("CACHE_DIRECTORY"));
    if rustix::process::geteuid().is_root() {
        directories.push(PathBuf::from("/var/lib/gristmill"));
        directories.push(PathBuf::from("/var/cache/gristmill"));
        return directories;
    }
    let home = variable("HOME");
    let below = |name, usual: &str| {
        variable(name)
            .or_else(|| home.as_ref().map(|home| home.join(usual)))
            .map(|path| path.join("gristmill"))
    };
    directories.extend(below("XDG_STATE_HOME", ".local/state"));
    directories.extend(below("XDG_CACHE_HOME", ".cache"));
    directories
}

/// Where this host keeps its copies.
#[derive(Debug)]
pub(super) enum Place {
    /// Files in a directory of its own, so that debuggers and profilers find them.
    Directory {
        /// The directory; goes when the host does.
        path: PathBuf,
        /// Holds the lock that says the host lives.
        _lock: OwnedFd,
    },
    /// Anonymous memory.
    Memory,
}

impl Place {
    /// Takes the first directory that will do, and memory if none does; also returns why
    /// directories were passed over. Removes what hosts that died left there.
    pub(super) fn choose(directories: &[PathBuf]) -> (Self, Vec<String>) {
        let mut passed_over = Vec::new();
        for directory in directories {
            match Self::in_directory(directory) {
                Ok(place) => return (place, passed_over),
                Err(why) => passed_over.push(format!("{}: {why}", directory.display())),
            }
        }
        (Self::Memory, passed_over)
    }

    fn in_directory(base: &Path) -> Result<Self, Unfit> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(base)?;
        let base = fs::canonicalize(base)?;
        let base_fd = open(&base, directory_flags(), Mode::empty()).map_err(io::Error::from)?;
        ownership::check_directory(&base_fd).map_err(|fault| Unfit::Other(fault.to_string()))?;
        let mount = fstatvfs(&base_fd).map_err(io::Error::from)?;
        if mount.f_flag.contains(StatVfsMountFlags::NOEXEC) {
            return Err(Unfit::Other("is mounted noexec".to_owned()));
        }
        // Nobody makes or clears directories meanwhile: a new one is locked before others see it.
        flock(&base_fd, FlockOperation::LockExclusive).map_err(io::Error::from)?;
        remove_leftovers(&base)?;
        let name = random_name()?;
        mkdirat(&base_fd, &name, Mode::RWXU).map_err(io::Error::from)?;
        let lock = openat(&base_fd, &name, directory_flags(), Mode::empty())
            .and_then(|lock| {
                flock(&lock, FlockOperation::NonBlockingLockExclusive)?;
                Ok(lock)
            })
            .map_err(io::Error::from)?;
        let path = base.join(&name);
        let place = Self::Directory { path, _lock: lock };
        place.try_writing()?;
        Ok(place)
    }

    /// A full or read-only file system is found now, not at the first load.
    fn try_writing(&self) -> Result<(), Unfit> {
        if let Self::Directory { path, .. } = self {
            let probe = path.join("probe");
            fs::OpenOptions::new().write(true).create_new(true).mode(0o400).open(&probe)?;
            fs::remove_file(&probe)?;
        }
        Ok(())
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory { path, .. } => path.display().fmt(f),
            Self::Memory => f.write_str("memory"),
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Self::Directory { path, .. } = self {
            // What cannot be removed now is a leftover for the next start.
            let _ = fs::remove_dir_all(path);
        }
    }
}

/// Why a directory will not do.
enum Unfit {
    Io(io::Error),
    Other(String),
}

impl From<io::Error> for Unfit {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => error.fmt(f),
            Self::Other(why) => f.write_str(why),
        }
    }
}

fn directory_flags() -> OFlags {
    OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC
}

fn random_name() -> io::Result<String> {
    let mut bytes = [0; 8];
    getrandom(&mut bytes, GetRandomFlags::empty())?;
    Ok(format!("{PREFIX}{:016x}", u64::from_ne_bytes(bytes)))
}

/// Removes the directories whose host no longer holds their lock.
fn remove_leftovers(base: &Path) -> io::Result<()> {
    for entry in fs::read_dir(base)? {
        let entry = entry?;
        if !is_run_name(&entry.file_name()) {
            continue;
        }
        let path = entry.path();
        let Ok(lock) = open(&path, directory_flags(), Mode::empty()) else { continue };
        if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok() {
            // One that cannot be removed is no reason not to start.
            let _ = fs::remove_dir_all(&path);
        }
    }
    Ok(())
}

fn is_run_name(name: &OsStr) -> bool {
    name.to_str().and_then(|name| name.strip_prefix(PREFIX)).is_some_and(|digits| {
        digits.len() == 16 && digits.bytes().all(|digit| digit.is_ascii_hexdigit())
    })
}

#[cfg(test)]
mod tests;
