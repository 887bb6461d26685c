//! Where the host listens for commands.
//!
//! `plugin load` is code execution, so the socket is 0660 in a directory of 0750, never in one
//! where strangers may write, and its peers are checked besides ([`super::peer`]). A socket that a
//! dead host left behind is replaced; a live host's never is.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, FlockOperation, Gid, Mode, OFlags, Stat};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

/// The directory's mode.
const DIRECTORY_MODE: u32 = 0o750;
/// The socket's mode.
const SOCKET_MODE: u32 = 0o660;
/// Connections that wait to be accepted.
const BACKLOG: i32 = 16;

/// Why the host does not listen.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BindError {
    /// Another host does.
    #[error("another host listens on {}", .0.display())]
    Taken(PathBuf),
    /// Another host is about to.
    #[error("another host starts in {}", .0.display())]
    Busy(PathBuf),
    /// Something else has the name.
    #[error("{} is there and is no socket: remove it or choose another path", .0.display())]
    Occupied(PathBuf),
    /// Strangers could put their own socket there.
    #[error("others may write to {}: choose a directory of your own", .0.display())]
    Shared(PathBuf),
    /// The system says no.
    #[error("cannot {action} {}", path.display())]
    System {
        /// What was tried.
        action: &'static str,
        /// With what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// None of the usual places serves.
    #[error("no place for the control socket: {}", listed(.0))]
    Nowhere(Vec<BindError>),
}

/// The failures, each with its cause.
fn listed(failures: &[BindError]) -> String {
    let text = |failure: &BindError| match std::error::Error::source(failure) {
        Some(cause) => format!("{failure}: {cause}"),
        None => failure.to_string(),
    };
    failures.iter().map(text).collect::<Vec<_>>().join("; ")
}

/// A listening socket; its file goes when it is dropped.
#[derive(Debug)]
pub struct Listener {
    socket: OwnedFd,
    path: PathBuf,
    place: Place,
    /// The device and the inode of the socket's file.
    identity: (u64, u64),
}

impl Listener {
    /// Listens at `path`, or at the first of the usual places that serves.
    ///
    /// `group` gets the socket, and the directory if it is made here.
    ///
    /// # Errors
    /// [`BindError`]; then nothing is left behind but perhaps an empty directory.
    pub fn bind(path: Option<&Path>, group: Option<u32>) -> Result<Self, BindError> {
        match path {
            Some(path) => Self::bind_at(path, group, false),
            None => Self::bind_first(&millctl::place::default_places(), group),
        }
    }

    /// Listens at the first of `places` that serves. A live host there ends the search: a second
    /// one elsewhere would never be found.
    fn bind_first(places: &[PathBuf], group: Option<u32>) -> Result<Self, BindError> {
        let mut failures = Vec::new();
        for path in places {
            match Self::bind_at(path, group, true) {
                Err(error @ BindError::Taken(_)) => return Err(error),
                Err(error) => failures.push(error),
                Ok(listener) => return Ok(listener),
            }
        }
        Err(BindError::Nowhere(failures))
    }

    fn bind_at(path: &Path, group: Option<u32>, own: bool) -> Result<Self, BindError> {
        let place = Place::prepare(path, group, own)?;
        let path = place.path();
        place.lock()?;
        place.clear(&path)?;
        let failed = |action| {
            let path = path.clone();
            move |error: Errno| BindError::System { action, path, source: error.into() }
        };
        let address = SocketAddrUnix::new(&path).map_err(failed("listen on"))?;
        let socket = stream_socket().map_err(failed("listen on"))?;
        // The file takes its mode from the socket, so it is never open to more, not for a moment.
        let mode = Mode::from_raw_mode(SOCKET_MODE);
        rustix::fs::fchmod(&socket, mode).map_err(failed("restrict"))?;
        rustix::net::bind(&socket, &address).map_err(failed("listen on"))?;
        let listening = place.finish(group, mode).and_then(|stat| {
            rustix::net::listen(&socket, BACKLOG)?;
            Ok(identity(&stat))
        });
        match listening {
            Ok(identity) => {
                place.unlock();
                Ok(Self { socket, path, place, identity })
            }
            Err(error) => {
                place.unlink();
                Err(failed("listen on")(error))
            }
        }
    }

    /// The socket's path.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        // A host that starts at this moment holds the lock and will remove the file itself.
        if self.place.lock().is_ok() {
            if self.place.stat().is_ok_and(|stat| identity(&stat) == self.identity) {
                self.place.unlink();
            }
            self.place.unlock();
        }
    }
}

/// A file name in a directory that was checked.
#[derive(Debug)]
struct Place {
    directory: OwnedFd,
    directory_path: PathBuf,
    name: PathBuf,
}

impl Place {
    /// Makes the directory if it is not there, and checks it. One of our own (`own`) gets its
    /// mode and group also if it is.
    fn prepare(path: &Path, group: Option<u32>, own: bool) -> Result<Self, BindError> {
        let failed = |action, path: &Path, error: io::Error| BindError::System {
            action,
            path: path.to_owned(),
            source: error,
        };
        let name = path.file_name().ok_or_else(|| {
            failed("listen on", path, io::Error::from(io::ErrorKind::InvalidFilename))
        })?;
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let parent = parent.unwrap_or_else(|| Path::new("."));
        let mode = Mode::from_raw_mode(DIRECTORY_MODE);
        let made = match rustix::fs::mkdir(parent, mode) {
            Ok(()) => true,
            Err(Errno::EXIST) => false,
            Err(error) => return Err(failed("make", parent, error.into())),
        };
        let directory_path =
            parent.canonicalize().map_err(|error| failed("open", parent, error))?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let directory = rustix::fs::open(&directory_path, flags, Mode::empty())
            .map_err(|error| failed("open", parent, error.into()))?;
        let stat =
            rustix::fs::fstat(&directory).map_err(|error| failed("open", parent, error.into()))?;
        let user = rustix::process::geteuid().as_raw();
        if made || (own && stat.st_uid == user) {
            rustix::fs::fchown(&directory, None, group.map(Gid::from_raw))
                .and_then(|()| rustix::fs::fchmod(&directory, mode))
                .map_err(|error| failed("restrict", parent, error.into()))?;
        }
        let stat =
            rustix::fs::fstat(&directory).map_err(|error| failed("open", parent, error.into()))?;
        let ours = [Some(rustix::process::getegid().as_raw()), group];
        let group_writes = stat.st_mode & 0o020 != 0 && !ours.contains(&Some(stat.st_gid));
        let owner_is_stranger = stat.st_uid != user && stat.st_uid != 0;
        if stat.st_mode & 0o002 != 0 || group_writes || owner_is_stranger {
            return Err(BindError::Shared(directory_path));
        }
        Ok(Self { directory, directory_path, name: PathBuf::from(name) })
    }

    fn path(&self) -> PathBuf {
        self.directory_path.join(&self.name)
    }

    /// Keeps other hosts from starting in this directory meanwhile.
    fn lock(&self) -> Result<(), BindError> {
        rustix::fs::flock(&self.directory, FlockOperation::NonBlockingLockExclusive)
            .map_err(|_| BindError::Busy(self.directory_path.clone()))
    }

    fn unlock(&self) {
        // It goes with the descriptor at the latest.
        let _ = rustix::fs::flock(&self.directory, FlockOperation::Unlock);
    }

    fn stat(&self) -> Result<Stat, Errno> {
        rustix::fs::statat(&self.directory, &self.name, AtFlags::SYMLINK_NOFOLLOW)
    }

    fn unlink(&self) {
        // What cannot be removed is a stale socket, which the next host looks at.
        let _ = rustix::fs::unlinkat(&self.directory, &self.name, AtFlags::empty());
    }

    /// Removes a socket that nobody listens on.
    fn clear(&self, path: &Path) -> Result<(), BindError> {
        let failed = |action| {
            move |error: Errno| BindError::System {
                action,
                path: path.to_owned(),
                source: error.into(),
            }
        };
        match self.stat() {
            Err(Errno::NOENT) => return Ok(()),
            Err(error) => return Err(failed("look at")(error)),
            Ok(stat) if FileType::from_raw_mode(stat.st_mode) != FileType::Socket => {
                return Err(BindError::Occupied(path.to_owned()));
            }
            Ok(_) => {}
        }
        let address = SocketAddrUnix::new(path).map_err(failed("listen on"))?;
        let probe = stream_socket().map_err(failed("look at"))?;
        match rustix::net::connect(&probe, &address) {
            // With a full backlog it is alive all the same.
            Ok(()) | Err(Errno::AGAIN) => Err(BindError::Taken(path.to_owned())),
            Err(Errno::CONNREFUSED) => {
                rustix::fs::unlinkat(&self.directory, &self.name, AtFlags::empty())
                    .map_err(failed("remove the dead socket"))
            }
            Err(error) => Err(failed("look at")(error)),
        }
    }

    /// Gives the socket's file its mode and group.
    fn finish(&self, group: Option<u32>, mode: Mode) -> Result<Stat, Errno> {
        let group = group.map(Gid::from_raw);
        rustix::fs::chownat(&self.directory, &self.name, None, group, AtFlags::SYMLINK_NOFOLLOW)?;
        rustix::fs::chmodat(&self.directory, &self.name, mode, AtFlags::empty())?;
        self.stat()
    }
}

fn identity(stat: &Stat) -> (u64, u64) {
    (stat.st_dev, stat.st_ino)
}

fn stream_socket() -> Result<OwnedFd, Errno> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    use std::os::unix::net::{UnixListener, UnixStream};

    use super::*;

    fn directory() -> tempfile::TempDir {
        tempfile::tempdir().unwrap()
    }

    fn bind(path: &Path) -> Result<Listener, BindError> {
        Listener::bind(Some(path), None)
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o7777
    }

    #[test]
    fn the_socket_is_0660_in_a_directory_of_0750_and_goes_with_its_host() {
        let directory = directory();
        let path = directory.path().join("mill/cli.sock");
        let listener = bind(&path).unwrap();
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o660, 0o750));
        UnixStream::connect(&path).unwrap();
        drop(listener);
        assert!(!path.exists());
    }

    #[test]
    fn a_live_host_s_socket_is_never_taken() {
        let directory = directory();
        let path = directory.path().join("cli.sock");
        let listener = bind(&path).unwrap();
        assert!(matches!(bind(&path), Err(BindError::Taken(_))));
        // Not even when nobody accepts and the backlog is full.
        let address = SocketAddrUnix::new(&path).unwrap();
        let mut waiting = vec![stream_socket().unwrap()];
        while rustix::net::connect(waiting.last().unwrap(), &address) != Err(Errno::AGAIN) {
            waiting.push(stream_socket().unwrap());
        }
        assert!(matches!(bind(&path), Err(BindError::Taken(_))));
        drop(listener);
        bind(&path).unwrap();
    }

    #[test]
    fn a_dead_host_s_socket_is_replaced_and_anything_else_is_left_alone() {
        let directory = directory();
        let path = directory.path().join("cli.sock");
        drop(UnixListener::bind(&path).unwrap());
        assert!(path.exists(), "a plain listener leaves its file behind");
        drop(bind(&path).unwrap());

        fs::write(&path, "precious").unwrap();
        assert!(matches!(bind(&path), Err(BindError::Occupied(_))));
        assert_eq!(fs::read(&path).unwrap(), b"precious");
    }

    #[test]
    fn a_socket_put_in_the_place_of_ours_is_not_removed() {
        let directory = directory();
        let path = directory.path().join("cli.sock");
        let listener = bind(&path).unwrap();
        fs::remove_file(&path).unwrap();
        let other = UnixListener::bind(&path).unwrap();
        drop(listener);
        assert!(path.exists());
        drop(other);
    }

    #[test]
    fn a_directory_where_others_may_write_is_refused() {
        let directory = directory();
        fs::set_permissions(directory.path(), Permissions::from_mode(0o1777)).unwrap();
        let path = directory.path().join("cli.sock");
        assert!(matches!(bind(&path), Err(BindError::Shared(_))));
        assert!(!path.exists());
        assert!(matches!(bind(Path::new("/tmp/gristmill-cli.sock")), Err(BindError::Shared(_))));
    }

    #[test]
    fn two_hosts_do_not_start_in_one_directory_at_once() {
        let directory = directory();
        let path = directory.path().join("cli.sock");
        let place = Place::prepare(&path, None, false).unwrap();
        place.lock().unwrap();
        assert!(matches!(bind(&path), Err(BindError::Busy(_))));
        place.unlock();
        bind(&path).unwrap();
    }

    #[test]
    fn the_next_place_is_used_unless_a_live_host_has_the_first() {
        let directory = directory();
        let places = ["none/mill/cli.sock", "mill/cli.sock"].map(|at| directory.path().join(at));
        let listener = Listener::bind_first(&places, None).unwrap();
        assert!(listener.path().ends_with("mill/cli.sock"));
        let reversed = [places[1].clone(), directory.path().join("other/cli.sock")];
        assert!(matches!(Listener::bind_first(&reversed, None), Err(BindError::Taken(_))));
        let error = Listener::bind_first(&places[..1], None).unwrap_err().to_string();
        assert!(error.contains("cannot make"), "{error}");
    }

    #[test]
    fn a_path_that_no_socket_can_have_is_refused() {
        let directory = directory();
        assert!(bind(&directory.path().join("x".repeat(120))).is_err());
        assert!(bind(Path::new("/")).is_err());
        assert!(bind(Path::new("")).is_err());
    }
}
