//! The control socket's server: driven by readiness, never waiting.
//!
//! The caller's poller is level-triggered and knows a descriptor by its token: `options.token` is
//! the listener's, the sessions' follow. It reports a token through [`Server::ready`], too often
//! rather than too rarely.

use std::io;
use std::ops::RangeInclusive;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use millctl::protocol::Reply;
use plugin_api::Interest;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{SendFlags, SocketFlags};

use super::command::Caller;
use super::execute::Context;
use super::peer::{Access, Peer};
use super::session::{Next, Session, encode};
use super::socket::{BindError, Listener};

/// Connections accepted at once; the others wait for the next time round.
const ACCEPT_MAX: usize = 16;

/// A poller that tells when descriptors are ready: level-triggered, errors and hang-ups always.
pub trait Watch {
    /// Watches a descriptor.
    ///
    /// # Errors
    /// What the system answers.
    fn watch(&mut self, fd: BorrowedFd<'_>, interest: Interest, token: u64) -> io::Result<()>;

    /// Waits for something else on a watched descriptor.
    ///
    /// # Errors
    /// What the system answers.
    fn rewatch(&mut self, fd: BorrowedFd<'_>, interest: Interest, token: u64) -> io::Result<()>;

    /// Watches a descriptor no longer; it is closed next.
    ///
    /// # Errors
    /// What the system answers.
    fn unwatch(&mut self, fd: BorrowedFd<'_>) -> io::Result<()>;

    /// Runs a session from now on; or gives it back, to be run by the server whenever its
    /// descriptor is ready.
    fn take_over(&mut self, session: Session) -> Option<Session> {
        Some(session)
    }
}

/// How to serve.
#[derive(Debug, Clone)]
pub struct Options {
    /// The socket; without one the first of the usual places that serves.
    pub path: Option<PathBuf>,
    /// Who may talk.
    pub access: Access,
    /// How many sessions there may be at once.
    pub sessions_max: usize,
    /// The listener's token; the next `sessions_max` are the sessions'.
    pub token: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self { path: None, access: Access::default(), sessions_max: 16, token: 0 }
    }
}

/// The server.
#[derive(Debug)]
pub struct Server {
    listener: Listener,
    access: Access,
    token: u64,
    /// As long as there may be sessions; a session's place gives its token.
    sessions: Vec<Option<Watched>>,
    /// Every session has one, wherever it runs.
    ticket: Arc<()>,
    /// Closed to have a descriptor for a client that must be turned away when there is no other.
    spare: Option<OwnedFd>,
}

/// A session and what is waited for.
#[derive(Debug)]
struct Watched {
    session: Session,
    interest: Interest,
}

impl Server {
    /// Listens, and has the listener watched.
    ///
    /// # Errors
    /// [`BindError`] if it cannot.
    pub fn open(options: &Options, watch: &mut impl Watch) -> Result<Self, BindError> {
        let listener = Listener::bind(options.path.as_deref(), options.access.group)?;
        watch.watch(listener.as_fd(), Interest::READ, options.token).map_err(|source| {
            BindError::System { action: "watch", path: listener.path().to_owned(), source }
        })?;
        let sessions = std::iter::repeat_with(|| None).take(options.sessions_max).collect();
        let (access, token) = (options.access, options.token);
        Ok(Self { listener, access, token, sessions, ticket: Arc::default(), spare: spare() })
    }

    /// The socket's path.
    pub fn path(&self) -> &Path {
        self.listener.path()
    }

    /// The tokens that are the server's.
    pub fn tokens(&self) -> RangeInclusive<u64> {
        self.token..=self.token + u64::try_from(self.sessions.len()).unwrap_or(u64::MAX)
    }

    /// How many sessions there are.
    pub fn session_count(&self) -> usize {
        Arc::strong_count(&self.ticket) - 1
    }

    /// Does what the readiness of `token` allows: accepts clients, or runs at most one command of
    /// a session. A token that is nobody's is ignored.
    ///
    /// Context: main.
    pub fn ready<C: Context + Watch>(&mut self, token: u64, context: &mut C) {
        let Some(place) = token.checked_sub(self.token) else { return };
        match usize::try_from(place) {
            Ok(0) => self.accept(context),
            Ok(place) => self.resume(place - 1, context),
            Err(_) => {}
        }
    }

    /// Ends all sessions and stops listening.
    pub fn close(self, watch: &mut impl Watch) {
        for watched in self.sessions.into_iter().flatten() {
            // It is closed at once, and the poller forgets it with that at the latest.
            let _ = watch.unwatch(watched.session.as_fd());
        }
        let _ = watch.unwatch(self.listener.as_fd());
    }

    /// Lets a session go on.
    fn resume<C: Context + Watch>(&mut self, place: usize, context: &mut C) {
        let Some(slot) = self.sessions.get_mut(place) else { return };
        let Some(watched) = slot else { return };
        let next = match watched.session.ready(context) {
            Next::Wait(interest) => Some(interest),
            Next::More => Some(Interest::READ), // It is ready again if there is more.
            Next::End => None,
        };
        let wanted = next.filter(|&interest| {
            let token = self.token + 1 + u64::try_from(place).unwrap_or(u64::MAX);
            let same = watched.interest == interest;
            same || context.rewatch(watched.session.as_fd(), interest, token).is_ok()
        });
        match wanted {
            Some(interest) => watched.interest = interest,
            None => {
                let _ = context.unwatch(watched.session.as_fd());
                *slot = None;
            }
        }
    }

    /// Accepts clients.
    fn accept(&mut self, watch: &mut impl Watch) {
        for _ in 0..ACCEPT_MAX {
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            match rustix::net::accept_with(&self.listener, flags) {
                Ok(socket) => self.admit(socket, watch),
                Err(Errno::INTR | Errno::CONNABORTED) => {}
                // Left alone, the client would be reported again and again.
                Err(Errno::MFILE | Errno::NFILE) if self.spare.take().is_some() => {
                    if let Ok(socket) = rustix::net::accept_with(&self.listener, flags) {
                        turn_away(&socket, "the host has no descriptor left");
                    }
                    self.spare = spare();
                }
                Err(_) => return,
            }
        }
    }

    /// Starts a client's session, or tells it why not.
    fn admit(&mut self, socket: OwnedFd, watch: &mut impl Watch) {
        let own = rustix::process::geteuid().as_raw();
        let peer = match Peer::of(&socket) {
            Ok(peer) if self.access.admits(&peer, own) => peer,
            Ok(peer) => {
                let text = format!("user {} may not give commands to this host", peer.uid);
                return turn_away(&socket, &text);
            }
            Err(error) => return turn_away(&socket, &format!("who are you? {error}")),
        };
        let free = self.sessions.iter().position(Option::is_none);
        let Some(place) = free.filter(|_| self.session_count() < self.sessions.len()) else {
            let text = format!("{} sessions are open, try again later", self.sessions.len());
            return turn_away(&socket, &text);
        };
        let caller = Caller { peer: Some(peer) };
        let session = Session::new(socket, caller, Arc::clone(&self.ticket));
        let Some(session) = watch.take_over(session) else { return };
        let token = self.token + 1 + u64::try_from(place).unwrap_or(u64::MAX);
        match watch.watch(session.as_fd(), Interest::READ, token) {
            Ok(()) => self.sessions[place] = Some(Watched { session, interest: Interest::READ }),
            Err(error) => turn_away(&session, &format!("cannot watch the session: {error}")),
        }
    }
}

/// A descriptor to give up when there is no other.
fn spare() -> Option<OwnedFd> {
    rustix::fs::open("/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()
}

/// Tells a client that it gets no session.
fn turn_away(socket: &impl AsFd, why: &str) {
    let bytes = encode(&Reply { end: true, ..Reply::refused(why) });
    // Should there be no room for it, the closed connection says enough.
    let _ = rustix::net::send(socket, &bytes, SendFlags::NOSIGNAL | SendFlags::DONTWAIT);
}

#[cfg(test)]
mod tests;
