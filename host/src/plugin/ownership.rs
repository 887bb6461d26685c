//! Who could change a file behind the host's back.
//!
//! Loading a plugin runs its code with the host's rights, so nobody who has fewer may be able to
//! write to its file, or to put another in its place.

use std::{
    os::fd::{AsFd, AsRawFd, BorrowedFd},
    path::{Component, Path, PathBuf},
};

use rustix::{
    fs::{AtFlags, CWD, Mode, OFlags, Stat, fstat, openat, readlink, statat},
    process::geteuid,
};

use super::{error::OwnershipFault, search::privileged};

/// Bits that let a group or anyone write; with an access list, the group's bit is its mask.
const WRITABLE: u32 = 0o022;
/// In a sticky directory only a file's owner can rename or remove it.
const STICKY: u32 = 0o1000;

/// Whether sticky directories, such as the temporary ones, may be on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sticky {
    /// Not: a plugin is not loaded out of a directory that anyone drops files into.
    Refused,
    /// For our own directories: theirs stay where they are.
    Allowed,
}

/// Checks an opened file and every directory that leads to it.
pub(super) fn check_file(file: impl AsFd, stat: &Stat) -> Result<(), OwnershipFault> {
    let path = path_of(file.as_fd())?;
    check_one(&path, stat, Sticky::Refused)?;
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(OwnershipFault::Moved);
    };
    let parent = check_directories(parent, Sticky::Refused)?;
    let entry = statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW);
    match entry {
        Ok(entry) if (entry.st_dev, entry.st_ino) == (stat.st_dev, stat.st_ino) => Ok(()),
        _ => Err(OwnershipFault::Moved),
    }
}

/// Checks an opened directory and every directory that leads to it.
pub(super) fn check_directory(directory: impl AsFd) -> Result<(), OwnershipFault> {
    let path = path_of(directory.as_fd())?;
    let last = check_directories(&path, Sticky::Allowed)?;
    let at = |cause: rustix::io::Errno| OwnershipFault::Unknown {
        at: path.clone(),
        cause: cause.into(),
    };
    let stat = fstat(&last).map_err(at)?;
    let opened = fstat(directory.as_fd()).map_err(at)?;
    if (stat.st_dev, stat.st_ino) != (opened.st_dev, opened.st_ino) {
        return Err(OwnershipFault::Moved);
    }
    check_one(&path, &stat, Sticky::Refused)
}

/// The path an opened file has now.
fn path_of(file: BorrowedFd<'_>) -> Result<PathBuf, OwnershipFault> {
    use std::os::unix::ffi::OsStringExt;
    let link = format!("/proc/self/fd/{}", file.as_raw_fd());
    let path = readlink(&link, Vec::new()).map_err(|cause| OwnershipFault::Unknown {
        at: PathBuf::from(&link),
        cause: cause.into(),
    })?;
    let path = PathBuf::from(std::ffi::OsString::from_vec(path.into_bytes()));
    if path.is_absolute() { Ok(path) } else { Err(OwnershipFault::Moved) }
}

/// Checks each directory from the root to `path`, through descriptors, so that none can be
/// exchanged between its check and the next; returns the last.
fn check_directories(path: &Path, sticky: Sticky) -> Result<std::os::fd::OwnedFd, OwnershipFault> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut so_far = PathBuf::from("/");
    let unknown = |at: &Path, cause: rustix::io::Errno| OwnershipFault::Unknown {
        at: at.to_path_buf(),
        cause: cause.into(),
    };
    let mut directory =
        openat(CWD, "/", flags, Mode::empty()).map_err(|cause| unknown(&so_far, cause))?;
    let stat = fstat(&directory).map_err(|cause| unknown(&so_far, cause))?;
    check_one(&so_far, &stat, sticky)?;
    for component in path.components() {
        let Component::Normal(name) = component else { continue };
        so_far.push(name);
        directory = openat(&directory, name, flags, Mode::empty())
            .map_err(|cause| unknown(&so_far, cause))?;
        let stat = fstat(&directory).map_err(|cause| unknown(&so_far, cause))?;
        check_one(&so_far, &stat, sticky)?;
    }
    Ok(directory)
}

fn check_one(at: &Path, stat: &Stat, sticky: Sticky) -> Result<(), OwnershipFault> {
    let own = !privileged() && stat.st_uid == geteuid().as_raw();
    if stat.st_uid != 0 && !own {
        return Err(OwnershipFault::Owner { at: at.to_path_buf(), owner: stat.st_uid });
    }
    let held = sticky == Sticky::Allowed && stat.st_mode & STICKY != 0;
    if stat.st_mode & WRITABLE != 0 && !held {
        return Err(OwnershipFault::Writable { at: at.to_path_buf() });
    }
    Ok(())
}

#[cfg(test)]
mod tests;
