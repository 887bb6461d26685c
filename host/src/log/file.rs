//! The file that the log goes to as well.

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
};

use rustix::fs::{Mode, OFlags};

use super::output::Output;
use crate::deferred::work::WorkError;

/// Why the log does not go to a file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LogFileError {
    /// The system does not open it.
    #[error("cannot open the log file {}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A directory, a device, a pipe.
    #[error("the log file {} is not a regular file", .0.display())]
    Kind(PathBuf),
    /// Nobody would write it.
    #[error("the log file {} cannot be written", path.display())]
    Work {
        /// The file.
        path: PathBuf,
        /// Why.
        source: WorkError,
    },
}

/// An output that is a file.
pub(super) struct LogFile {
    pub(super) path: PathBuf,
    pub(super) output: Output,
}

/// Opens a file to append to it, or makes it, for its owner and to be read by its group. Waits for
/// nobody.
pub(super) fn open(path: &Path) -> Result<File, LogFileError> {
    let flags = OFlags::WRONLY
        | OFlags::CREATE
        | OFlags::APPEND
        | OFlags::CLOEXEC
        | OFlags::NONBLOCK
        | OFlags::NOCTTY;
    let failed = |source| LogFileError::Open { path: path.to_path_buf(), source };
    let opened = rustix::fs::open(path, flags, Mode::RUSR | Mode::WUSR | Mode::RGRP);
    let file = File::from(opened.map_err(|error| failed(error.into()))?);
    if !file.metadata().map_err(failed)?.is_file() {
        return Err(LogFileError::Kind(path.to_path_buf()));
    }
    Ok(file)
}
