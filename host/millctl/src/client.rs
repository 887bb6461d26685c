//! A connection to the host, as the client sees it.

use std::fs::File;
use std::io::{self, IoSlice, Read};
use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};

use crate::protocol::{self, FILES_MAX, LENGTH_BYTES, ProtocolError, REPLY_MAX, REQUEST_MAX};
use crate::protocol::{Reply, Request};

/// Why the host gave no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// Nobody listens at any of the places.
    #[error("no host: {}", tried(.0))]
    NoHost(Vec<(PathBuf, io::Error)>),
    /// The connection broke.
    #[error("the host went away")]
    Gone(#[source] io::Error),
    /// The request cannot be sent, or the answer is not one.
    #[error("the host and this client do not understand each other")]
    Protocol(#[from] ProtocolError),
}

/// The places that were tried, each with its failure.
fn tried(places: &[(PathBuf, io::Error)]) -> String {
    let each = places.iter().map(|(path, error)| format!("{}: {error}", path.display()));
    each.collect::<Vec<_>>().join("; ")
}

/// A connection.
#[derive(Debug)]
pub struct Client(UnixStream);

impl Client {
    /// Connects to the first of `places` where a host listens.
    ///
    /// # Errors
    /// [`ClientError::NoHost`] if none does.
    pub fn connect(places: &[PathBuf]) -> Result<Self, ClientError> {
        let mut failures = Vec::new();
        for path in places {
            match UnixStream::connect(path) {
                Ok(stream) => return Ok(Self(stream)),
                Err(error) => failures.push((path.clone(), error)),
            }
        }
        Err(ClientError::NoHost(failures))
    }

    /// Runs a command on the host and waits for its answer.
    ///
    /// Each word that names a regular file the caller may read goes along as a descriptor, at
    /// most [`FILES_MAX`] of them: the host reads it with the caller's rights, not its own.
    ///
    /// # Errors
    /// [`ClientError`] if there is no answer.
    pub fn run(&mut self, argv: Vec<String>, json: bool) -> Result<Reply, ClientError> {
        let named = argv.iter().enumerate();
        let readable = named.filter_map(|(place, word)| Some((place, readable_file(word)?)));
        let (places, files): (Vec<usize>, Vec<File>) = readable.take(FILES_MAX).unzip();
        let bytes = protocol::encode(&Request { argv, json, files: places }, REQUEST_MAX)?;
        match self.send(&bytes, &files) {
            // A host that refuses this client says so before it reads anything.
            Ok(()) | Err(Errno::PIPE | Errno::CONNRESET) => self.receive(),
            Err(error) => Err(ClientError::Gone(error.into())),
        }
    }

    /// Sends `bytes`, the descriptors with the first of them.
    fn send(&self, mut bytes: &[u8], files: &[File]) -> Result<(), Errno> {
        let descriptors: Vec<_> = files.iter().map(AsFd::as_fd).collect();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FILES_MAX))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        if !descriptors.is_empty() {
            let pushed = ancillary.push(SendAncillaryMessage::ScmRights(&descriptors));
            assert!(pushed, "the space is for {FILES_MAX} descriptors, not {}", descriptors.len());
        }
        while !bytes.is_empty() {
            let part = [IoSlice::new(bytes)];
            match rustix::net::sendmsg(&self.0, &part, &mut ancillary, SendFlags::NOSIGNAL) {
                Ok(sent) => {
                    bytes = &bytes[sent..];
                    ancillary.clear();
                }
                Err(Errno::INTR) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Waits for the next reply, after one that says that [more](Reply::more) follow.
    ///
    /// # Errors
    /// [`ClientError`] if there is none.
    pub fn next_reply(&mut self) -> Result<Reply, ClientError> {
        self.receive()
    }

    /// Waits for the answer.
    fn receive(&mut self) -> Result<Reply, ClientError> {
        let mut header = [0; LENGTH_BYTES];
        self.0.read_exact(&mut header).map_err(ClientError::Gone)?;
        let length = protocol::announced(header, REPLY_MAX)?;
        let mut body = Vec::new();
        let wanted = u64::try_from(length).unwrap_or(u64::MAX);
        (&self.0).take(wanted).read_to_end(&mut body).map_err(ClientError::Gone)?;
        if body.len() < length {
            return Err(ClientError::Gone(io::ErrorKind::UnexpectedEof.into()));
        }
        Ok(serde_json::from_slice(&body).map_err(ProtocolError::from)?)
    }
}

/// Opens the regular file that `word` names, if it is one and the caller may read it.
fn readable_file(word: &str) -> Option<File> {
    // Without O_NONBLOCK a pipe of that name would hold the client until someone writes to it.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = File::from(rustix::fs::open(Path::new(word), flags, Mode::empty()).ok()?);
    file.metadata().ok()?.is_file().then_some(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_regular_file_goes_along() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("script");
        std::fs::write(&file, "quit").unwrap();
        assert!(readable_file(file.to_str().unwrap()).is_some());
        assert!(readable_file(directory.path().to_str().unwrap()).is_none());
        assert!(readable_file("/dev/null").is_none());
        assert!(readable_file("").is_none());
    }

    #[test]
    fn where_nobody_listens_every_place_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let places = [directory.path().join("a"), directory.path().join("b")];
        let error = Client::connect(&places).unwrap_err().to_string();
        assert!(error.starts_with("no host: "), "{error}");
        assert!(places.iter().all(|place| error.contains(place.to_str().unwrap())), "{error}");
    }
}
