//! One control connection.
//!
//! ```text
//! reading --request whole--> answering --reply written--> reading
//!    |                           |  (writing: waits for room, reads nothing)
//!    +--broken framing---> last reply --written--> closed
//! ```
//!
//! No more than one request is read ahead: what a client sends meanwhile stays in the kernel, and
//! a client that does not read its replies is not read from. So a session holds at most one
//! request and one reply.

use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use millctl::protocol::{self, FILES_MAX, LENGTH_BYTES, ProtocolError, REPLY_MAX, REQUEST_MAX};
use millctl::protocol::{Reply, Request};
use plugin_api::Interest;
use rustix::io::Errno;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendFlags};
use serde_json::value::{RawValue, to_raw_value};

use super::command::{Caller, CommandError};
use super::execute::{Flow, Lend, Live, execute};
use super::table::Answer;
use crate::time::IntervalTimer;

/// Bytes read at once.
const READ_BYTES: usize = 8 * 1024;

/// Why a request is not run, and the session ends.
#[derive(Debug, thiserror::Error)]
enum RequestError {
    #[error("bad request")]
    Protocol(#[from] ProtocolError),
    #[error("more than {FILES_MAX} descriptors beside a request")]
    TooManyFiles,
    #[error("the request names {named} files and {passed} came along")]
    Files { named: usize, passed: usize },
}

/// What came of reading.
enum Received {
    /// Nothing more for now.
    Nothing,
    /// The client has left.
    End,
    /// A whole request, without its length.
    Request(Vec<u8>),
    /// Something that is none.
    Bad(RequestError),
}

/// What a session does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// It waits for its socket, or for the time of its live view.
    Wait(Interest),
    /// It has run a command; perhaps another one is there already.
    More,
    /// It ends.
    End,
}

/// What a session does over and over.
#[derive(Debug)]
struct Repeated {
    live: Live,
    json: bool,
    timer: IntervalTimer,
}

/// A connection.
#[derive(Debug)]
pub struct Session {
    socket: OwnedFd,
    caller: Caller,
    /// What there is of the request that is being read, its length first.
    input: Vec<u8>,
    /// The descriptors that came with it; at most [`FILES_MAX`].
    files: Vec<OwnedFd>,
    /// What there is left to write of the reply.
    output: Vec<u8>,
    /// How much of `output` is written.
    written: usize,
    /// Whether the session ends once the reply is written.
    ending: bool,
    repeated: Option<Repeated>,
    /// Live views that it has been.
    views: u64,
    /// Counted as one of the server's as long as it lives.
    _ticket: Arc<()>,
}

impl Session {
    /// A session on a non-blocking socket.
    pub(super) fn new(socket: OwnedFd, caller: Caller, ticket: Arc<()>) -> Self {
        Self {
            socket,
            caller,
            input: Vec::new(),
            files: Vec::new(),
            output: Vec::new(),
            written: 0,
            ending: false,
            repeated: None,
            views: 0,
            _ticket: ticket,
        }
    }

    /// The timer of a live view, if it is one, and which of the session's views that is: readable
    /// when it is time for the next reply.
    pub(super) fn timer(&self) -> Option<(u64, &IntervalTimer)> {
        self.repeated.as_ref().map(|repeated| (self.views, &repeated.timer))
    }

    /// Goes on as far as it can without waiting and says what to wait for.
    ///
    /// At most one command is run.
    pub(super) fn ready(&mut self, lender: &mut impl Lend) -> Next {
        if let Some(next) = self.flush() {
            return next;
        }
        let reply = match self.receive() {
            Received::Nothing => match self.repeat(lender) {
                Some(reply) => reply,
                None => return Next::Wait(Interest::READ),
            },
            Received::End => return Next::End,
            Received::Bad(error) => self.refuse(error),
            Received::Request(body) => {
                self.repeated = None;
                match self.request(&body) {
                    Ok(request) => self.run(lender, &request),
                    Err(error) => self.refuse(error),
                }
            }
        };
        self.ending |= reply.end;
        self.output = encode(&reply);
        self.flush().unwrap_or(Next::More)
    }

    /// Runs the command of a live view, if its time has come.
    fn repeat(&mut self, lender: &mut impl Lend) -> Option<Reply> {
        let mut repeated = self.repeated.take()?;
        if repeated.timer.expirations() == 0 {
            self.repeated = Some(repeated);
            return None;
        }
        let (words, json) = (&repeated.live.words, repeated.json);
        let mut reply = self.run_words(lender, words, json, Vec::new());
        if let Some(times) = &mut repeated.live.times {
            *times -= 1;
        }
        if reply.ok && !reply.end && !reply.more && repeated.live.times != Some(0) {
            reply.more = true;
            self.repeated = Some(repeated);
        }
        Some(reply)
    }

    /// Writes what there is; `Some` if the session cannot go on reading now, or ends.
    fn flush(&mut self) -> Option<Next> {
        while self.written < self.output.len() {
            let left = &self.output[self.written..];
            match rustix::net::send(&self.socket, left, SendFlags::NOSIGNAL | SendFlags::DONTWAIT) {
                Ok(sent) => self.written += sent,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Some(Next::Wait(Interest::WRITE)),
                Err(_) => return Some(Next::End),
            }
        }
        self.output = Vec::new();
        self.written = 0;
        self.ending.then_some(Next::End)
    }

    /// Reads up to the end of the request at hand, and not a byte further.
    fn receive(&mut self) -> Received {
        loop {
            let wanted = match self.input.first_chunk::<LENGTH_BYTES>() {
                None => LENGTH_BYTES - self.input.len(),
                Some(header) => match protocol::announced(*header, REQUEST_MAX) {
                    Ok(length) => LENGTH_BYTES + length - self.input.len(),
                    Err(error) => return Received::Bad(error.into()),
                },
            };
            if wanted == 0 {
                return Received::Request(std::mem::take(&mut self.input).split_off(LENGTH_BYTES));
            }
            match self.receive_bytes(wanted.min(READ_BYTES)) {
                Ok(Some(0)) | Err(Errno::CONNRESET) => return Received::End,
                Ok(Some(_)) | Err(Errno::INTR) => {}
                Ok(None) => return Received::Bad(RequestError::TooManyFiles),
                Err(Errno::AGAIN) => return Received::Nothing,
                Err(_) => return Received::End,
            }
        }
    }

    /// Reads at most `most` bytes and keeps the descriptors beside them; `None` if these are more
    /// than a request may have.
    fn receive_bytes(&mut self, most: usize) -> Result<Option<usize>, Errno> {
        let mut bytes = [0; READ_BYTES];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FILES_MAX))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
        let mut parts = [IoSliceMut::new(&mut bytes[..most])];
        let received = rustix::net::recvmsg(&self.socket, &mut parts, &mut ancillary, flags)?;
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(files) = message {
                self.files.extend(files);
            }
        }
        let cut = received.flags.contains(ReturnFlags::CTRUNC);
        if cut || self.files.len() > FILES_MAX {
            self.files.clear();
            return Ok(None);
        }
        self.input.extend_from_slice(&bytes[..received.bytes]);
        Ok(Some(received.bytes))
    }

    /// Reads a request's body.
    fn request(&self, body: &[u8]) -> Result<Request, RequestError> {
        let request: Request = serde_json::from_slice(body).map_err(ProtocolError::from)?;
        if request.files.len() != self.files.len() {
            let (named, passed) = (request.files.len(), self.files.len());
            return Err(RequestError::Files { named, passed });
        }
        Ok(request)
    }

    /// The last reply of a session whose client does not speak the protocol.
    fn refuse(&mut self, error: RequestError) -> Reply {
        self.files.clear();
        let end = true;
        Reply { end, ..Reply::refused(CommandError::failed(error).report()) }
    }

    /// Runs a request's command.
    fn run(&mut self, lender: &mut impl Lend, request: &Request) -> Reply {
        let files = request.files.iter().copied().zip(self.files.drain(..)).collect();
        self.run_words(lender, &request.argv, request.json, files)
    }

    fn run_words(
        &mut self,
        lender: &mut impl Lend,
        words: &[String],
        json: bool,
        files: Vec<(usize, OwnedFd)>,
    ) -> Reply {
        let mut answer = Answer::default();
        let mut ran = execute(lender, words, &self.caller, files, &mut answer);
        let mut more = false;
        if let Ok(Flow::Repeat(live)) = &ran {
            match Repeated::start(live, json) {
                Ok(repeated) => {
                    self.repeated = Some(repeated);
                    self.views += 1;
                    more = true;
                }
                Err(error) => ran = Err(CommandError::failed(error)),
            }
        }
        Reply {
            ok: ran.is_ok(),
            output: if more { None } else { output(&answer, json, ran.is_ok()) },
            end: matches!(ran, Ok(Flow::End)),
            error: ran.err().map(|error| error.report()),
            more,
        }
    }
}

impl Repeated {
    fn start(live: &Live, json: bool) -> Result<Self, std::io::Error> {
        let timer = IntervalTimer::new()?;
        timer.start(Duration::ZERO, Some(live.interval))?;
        Ok(Self { live: live.clone(), json, timer })
    }
}

impl AsFd for Session {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// The answer as the request wants it; a program gets one also if it is empty, unless it failed.
fn output(answer: &Answer, json: bool, ok: bool) -> Option<Box<RawValue>> {
    if answer.is_empty() && !(json && ok) {
        return None;
    }
    let output = if json { to_raw_value(answer) } else { to_raw_value(&answer.render()) };
    Some(output.expect("an answer has string keys only and no failing values"))
}

/// The bytes of a reply; if it is too long, of one that says so.
pub(super) fn encode(reply: &Reply) -> Vec<u8> {
    protocol::encode(reply, REPLY_MAX).unwrap_or_else(|error| {
        let refusal = Reply { end: reply.end, ..Reply::refused(format!("the answer is {error}")) };
        protocol::encode(&refusal, REPLY_MAX).expect("a line of text is short enough")
    })
}
