//! Opens the file that packets are written into.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{self, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Component, Path, PathBuf},
};

use crate::capture::Layer;

/// The mark of a pcap file with nanoseconds, in the byte order of the machine.
const MAGIC: u32 = 0xa1b2_3c4d;
/// Longest packet there may be.
const SNAPLEN: u32 = 262_144;

/// Why a capture is not written to a file.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OutputError {
    #[error("{} is not in {}, where captures are written", path.display(), directory.display())]
    Outside { path: PathBuf, directory: PathBuf },
    #[error("cannot open {}{}", path.display(), hint(source))]
    Open { path: PathBuf, source: io::Error },
    #[error("{} is not a regular file", .0.display())]
    NotRegular(PathBuf),
    #[error("{} is the input", .0.display())]
    IsInput(PathBuf),
    #[error("{} is being written by somebody else", .0.display())]
    Busy(PathBuf),
    #[error("cannot write {}", path.display())]
    Write { path: PathBuf, source: io::Error },
}

fn hint(error: &io::Error) -> &'static str {
    if error.raw_os_error() == Some(libc::ELOOP) { ", a symbolic link" } else { "" }
}

/// Opens the file, locks it, empties it and writes the header; how long that is.
///
/// Nothing is emptied but a regular file that is not a symbolic link, not `input`, and not being
/// written by another interface.
pub(crate) fn open(
    path: &Path,
    directory: Option<&Path>,
    input: Option<&File>,
    layer: Layer,
) -> Result<(File, u64), OutputError> {
    let path = &match directory {
        Some(directory) => inside(path, directory)?,
        None => path.to_owned(),
    };
    let cannot_open = |source| OutputError::Open { path: path.clone(), source };
    let cannot_write = |source| OutputError::Write { path: path.clone(), source };
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(path)
        .map_err(cannot_open)?;
    let metadata = file.metadata().map_err(cannot_open)?;
    if !metadata.is_file() {
        return Err(OutputError::NotRegular(path.clone()));
    }
    if let Some(input) = input {
        let input = input.metadata().map_err(cannot_open)?;
        if (input.dev(), input.ino()) == (metadata.dev(), metadata.ino()) {
            return Err(OutputError::IsInput(path.clone()));
        }
    }
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(OutputError::Busy(path.clone())),
        Err(TryLockError::Error(source)) => return Err(cannot_open(source)),
    }
    file.set_len(0).map_err(cannot_write)?;
    let header = header(layer);
    file.write_all(&header).map_err(cannot_write)?;
    Ok((file, header.len() as u64))
}

/// The path, which must lie in `directory`; a relative one begins there.
fn inside(path: &Path, directory: &Path) -> Result<PathBuf, OutputError> {
    let full = directory.join(path);
    let climbs = full.components().any(|part| part == Component::ParentDir);
    if climbs || !full.starts_with(directory) {
        let (path, directory) = (path.to_owned(), directory.to_owned());
        return Err(OutputError::Outside { path, directory });
    }
    Ok(full)
}

fn header(layer: Layer) -> Vec<u8> {
    let link_type: u32 = match layer {
        Layer::Ethernet => 1,
        Layer::Ip => 101,
    };
    let version = [2_u16, 4].map(u16::to_ne_bytes).concat();
    let rest = [0, 0, SNAPLEN, link_type].map(u32::to_ne_bytes).concat();
    [&MAGIC.to_ne_bytes()[..], &version, &rest].concat()
}

/// Appends a packet's header of `len` bytes, captured at `time_ns` since 1970.
pub(crate) fn record(time_ns: u64, len: u32, bytes: &mut Vec<u8>) {
    let second = 1_000_000_000;
    // The format's seconds end in 2106.
    let seconds = u32::try_from(time_ns / second).unwrap_or(u32::MAX);
    let rest = u32::try_from(time_ns % second).unwrap_or_default();
    for word in [seconds, rest, len, len] {
        bytes.extend_from_slice(&word.to_ne_bytes());
    }
}
