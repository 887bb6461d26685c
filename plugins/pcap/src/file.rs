//! The files: which are taken, and how they are opened.

use std::{
    fs::{File, TryLockError},
    io::{self, Read},
    os::{
        fd::AsFd,
        unix::fs::{FileExt as _, MetadataExt as _},
    },
    path::{Path, PathBuf},
    sync::Arc,
};

use rustix::{
    fs::{self, CWD, Mode, OFlags, ResolveFlags},
    io::Errno,
};

/// Why a file is not taken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum FileError {
    #[error("cannot open {}", path.display())]
    Open { path: PathBuf, source: io::Error },
    #[error("{} is not a regular file", .0.display())]
    Kind(PathBuf),
    #[error("{} is read or written by {user}: choose another file", path.display())]
    InUse { path: PathBuf, user: String },
    #[error("{} is not in {}, where captures are written", path.display(), directory.display())]
    Outside { path: PathBuf, directory: PathBuf },
    #[error("{} is being written by another", .0.display())]
    Locked(PathBuf),
}

/// Which file it is, whatever the path says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FileId {
    device: u64,
    inode: u64,
}

/// Which file `file` is, if it is a regular one: reading anything else could wait for ever.
pub(crate) fn identify(file: &File, path: &Path) -> Result<FileId, FileError> {
    let failed = |source| FileError::Open { path: path.to_owned(), source };
    let metadata = file.metadata().map_err(failed)?;
    if !metadata.is_file() {
        return Err(FileError::Kind(path.to_owned()));
    }
    Ok(FileId { device: metadata.dev(), inode: metadata.ino() })
}

/// Opens or makes the file at `path`, not following a symbolic link, locks it, and empties it.
///
/// With a `directory` it must be in there, and relative paths begin there. `user` tells whose it
/// is already, if anyone's.
pub(crate) fn create(
    path: &Path,
    directory: Option<&Path>,
    user: impl FnOnce(FileId) -> Option<String>,
) -> Result<(File, FileId), FileError> {
    let failed = |source| FileError::Open { path: path.to_owned(), source };
    let file = match directory {
        None => open(CWD, path, ResolveFlags::empty()).map_err(|error| failed(error.into()))?,
        Some(directory) => open_inside(path, directory)?,
    };
    let id = identify(&file, path)?;
    if let Some(user) = user(id) {
        return Err(FileError::InUse { path: path.to_owned(), user });
    }
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(FileError::Locked(path.to_owned())),
        Err(TryLockError::Error(source)) => return Err(failed(source)),
    }
    file.set_len(0).map_err(failed)?; // Not before it is known what it is.
    Ok((file, id))
}

fn open_inside(path: &Path, directory: &Path) -> Result<File, FileError> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let opened = fs::open(directory, flags, Mode::empty())
        .map_err(|error| FileError::Open { path: directory.to_owned(), source: error.into() })?;
    let relative = path.strip_prefix(directory).unwrap_or(path);
    open(opened, relative, ResolveFlags::BENEATH).map_err(|error| match error {
        Errno::XDEV => {
            FileError::Outside { path: path.to_owned(), directory: directory.to_owned() }
        }
        error => FileError::Open { path: path.to_owned(), source: error.into() },
    })
}

/// Opens a file to be written, without waiting for anyone; what is made the host may write, and
/// its group may read.
fn open(directory: impl AsFd, path: &Path, resolve: ResolveFlags) -> Result<File, Errno> {
    let flags = OFlags::WRONLY
        | OFlags::CREATE
        | OFlags::NOFOLLOW
        | OFlags::CLOEXEC
        | OFlags::NONBLOCK
        | OFlags::NOCTTY;
    let mode = Mode::RUSR | Mode::WUSR | Mode::RGRP;
    let opened = if resolve.is_empty() {
        fs::openat(directory, path, flags, mode)
    } else {
        fs::openat2(directory, path, flags, mode, resolve)
    };
    opened.map(File::from)
}

/// Reads a file from its beginning, wherever other holders of the descriptor stand in it.
#[derive(Debug)]
pub(crate) struct FromStart {
    file: Arc<File>,
    offset: u64,
}

impl FromStart {
    pub(crate) fn new(file: &Arc<File>) -> Self {
        Self { file: Arc::clone(file), offset: 0 }
    }
}

impl Read for FromStart {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let n = self.file.read_at(bytes, self.offset)?;
        self.offset += n as u64;
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        os::unix::{fs::symlink, net::UnixListener},
    };

    use super::*;

    #[test]
    fn a_file_is_made_for_the_host_and_its_group_and_one_that_is_there_is_emptied() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("out.pcap");
        let (_, made) = create(&path, None, |_| None).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o027, 0);
        fs::write(&path, "old").unwrap();
        assert_eq!(create(&path, None, |_| None).unwrap().1, made);
        assert_eq!(fs::read(&path).unwrap(), b"");
    }

    #[test]
    fn links_and_what_is_no_regular_file_are_refused_and_a_file_in_use_is_kept() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        fs::write(&file, "kept").unwrap();
        let link = directory.path().join("link");
        symlink(&file, &link).unwrap();
        assert!(matches!(create(&link, None, |_| None), Err(FileError::Open { .. })));
        assert!(matches!(create(directory.path(), None, |_| None), Err(FileError::Open { .. })));
        assert!(matches!(create(Path::new("/dev/null"), None, |_| None), Err(FileError::Kind(_))));
        let socket = directory.path().join("socket");
        let _listener = UnixListener::bind(&socket).unwrap();
        assert!(matches!(create(&socket, None, |_| None), Err(FileError::Open { .. })));

        let id = identify(&File::open(&file).unwrap(), &file).unwrap();
        let locked = create(&file, None, |_| None).unwrap();
        assert!(matches!(create(&file, None, |_| None), Err(FileError::Locked(_))));
        drop(locked);
        fs::write(&file, "kept").unwrap();
        let refused = create(&file, None, |opened| (opened == id).then(|| "pcap0".into()));
        assert!(
            refused
                .unwrap_err()
                .to_string()
                .ends_with("read or written by pcap0: choose another file")
        );
        assert_eq!(fs::read(&file).unwrap(), b"kept");
    }
    #[test]
    fn where_there_is_a_directory_for_captures_nothing_is_written_elsewhere() {
        let directory = tempfile::tempdir().unwrap();
        let inside = directory.path().join("captures");
        fs::create_dir(&inside).unwrap();
        symlink("..", inside.join("up")).unwrap();
        let create = |path: &Path| create(path, Some(&inside), |_| None);
        create(Path::new("relative.pcap")).unwrap();
        create(&inside.join("absolute.pcap")).unwrap();
        assert!(inside.join("relative.pcap").exists() && inside.join("absolute.pcap").exists());
        let outside = directory.path().join("x.pcap");
        let ways =
            [outside.clone(), "../x.pcap".into(), "up/x.pcap".into(), inside.join("../x.pcap")];
        for way in ways {
            assert!(matches!(create(&way), Err(FileError::Outside { .. })), "{}", way.display());
        }
        assert!(!outside.exists());
    }
}
