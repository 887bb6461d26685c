//! Work in another network namespace.

use std::{
    fs::File,
    io,
    os::{fd::AsFd, unix::fs::MetadataExt},
    path::{Path, PathBuf},
    thread,
};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// Where `ip netns` keeps the namespaces it made.
const NAMED: &str = "/run/netns";

/// Whose the calling thread's network is.
const OWN: &str = "/proc/thread-self/ns/net";

/// A network namespace.
#[derive(Debug)]
pub(crate) struct Namespace {
    file: File,
    own: bool,
}

impl Namespace {
    /// The one called `name`: as `ip netns` names it, or a path.
    pub(crate) fn open(name: &str) -> io::Result<Self> {
        let path =
            if name.contains('/') { PathBuf::from(name) } else { Path::new(NAMED).join(name) };
        let file = File::open(path)?;
        let (theirs, ours) = (file.metadata()?, Path::new(OWN).metadata()?);
        let own = (theirs.dev(), theirs.ino()) == (ours.dev(), ours.ino());
        Ok(Self { file, own })
    }

    /// Whether it is the one the host runs in.
    pub(crate) fn is_own(&self) -> bool {
        self.own
    }

    /// Runs `work` in it: on a thread of its own, because a thread that could not come back would
    /// take the whole host along.
    pub(crate) fn run<R: Send>(&self, work: impl FnOnce() -> R + Send) -> io::Result<R> {
        thread::scope(|scope| {
            let worker = thread::Builder::new().name("tap-netns".into()).spawn_scoped(
                scope,
                || -> io::Result<R> {
                    let network = Some(LinkNameSpaceType::Network);
                    move_into_link_name_space(self.file.as_fd(), network)?;
                    Ok(work())
                },
            )?;
            worker.join().unwrap_or_else(|_| Err(io::Error::other("the thread panicked")))
        })
    }
}
