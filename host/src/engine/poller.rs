//! A thread's descriptors: epoll, with a doorbell that any thread may ring.

use std::{
    fmt,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::Arc,
    time::Duration,
};

use rustix::{
    event::{
        Timespec,
        epoll::{self, CreateFlags, Event, EventData, EventFlags},
    },
    io::Errno,
};

/// Names a descriptor in what [`Poller::wait`] reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Token(pub u64);

impl Token {
    /// The doorbell; never reported.
    const DOORBELL: Self = Self(u64::MAX);
    /// A receive queue: that it woke the thread is all there is to it.
    pub const RX: Self = Self(u64::MAX - 1);
}

/// What a descriptor is watched for; errors and a closed end are always reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interest {
    /// Bytes to read.
    pub read: bool,
    /// Room to write.
    pub write: bool,
}

impl Interest {
    /// Bytes to read.
    pub const READ: Self = Self { read: true, write: false };

    fn flags(self) -> EventFlags {
        let mut flags = EventFlags::empty();
        flags.set(EventFlags::IN, self.read);
        flags.set(EventFlags::OUT, self.write);
        flags
    }
}

/// A descriptor that is ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ready {
    /// Which.
    pub token: Token,
    /// Reading will not block; also at end of file and on errors.
    pub readable: bool,
    /// Writing will not block.
    pub writable: bool,
}

/// The handle by which the main thread changes what another thread watches.
#[derive(Clone, Debug)]
pub struct Watch(Arc<OwnedFd>);

impl Watch {
    /// Watches a descriptor.
    ///
    /// # Errors
    /// What the system says.
    pub fn add(&self, fd: BorrowedFd<'_>, token: Token, interest: Interest) -> Result<(), Errno> {
        epoll::add(&*self.0, fd, EventData::new_u64(token.0), interest.flags())
    }

    /// Watches a descriptor for something else.
    ///
    /// # Errors
    /// What the system says.
    pub fn modify(
        &self,
        fd: BorrowedFd<'_>,
        token: Token,
        interest: Interest,
    ) -> Result<(), Errno> {
        epoll::modify(&*self.0, fd, EventData::new_u64(token.0), interest.flags())
    }

    /// Watches it no more.
    ///
    /// # Errors
    /// What the system says.
    pub fn remove(&self, fd: BorrowedFd<'_>) -> Result<(), Errno> {
        epoll::delete(&*self.0, fd)
    }
}

/// What a thread waits for.
pub struct Poller {
    epoll: Arc<OwnedFd>,
    doorbell: Arc<OwnedFd>,
    events: Vec<Event>,
}

impl fmt::Debug for Poller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Poller").field("epoll", &self.epoll).finish_non_exhaustive()
    }
}

/// Events taken at once.
const EVENTS: usize = 64;

impl Poller {
    /// A poller that `doorbell` ends the sleep of.
    ///
    /// # Errors
    /// If the system has no descriptor left.
    pub fn new(doorbell: Arc<OwnedFd>) -> Result<Self, Errno> {
        let epoll = Arc::new(epoll::create(CreateFlags::CLOEXEC)?);
        let poller = Self { epoll, doorbell, events: Vec::with_capacity(EVENTS) };
        poller.watch().add(poller.doorbell.as_fd(), Token::DOORBELL, Interest::READ)?;
        Ok(poller)
    }

    /// The handle to change what is watched, from any thread.
    pub fn watch(&self) -> Watch {
        Watch(Arc::clone(&self.epoll))
    }

    /// Waits until something is ready, but no longer than `timeout` (for ever if `None`), and
    /// appends what is, without the doorbell and receive queues.
    ///
    /// # Errors
    /// What the system says; a signal is no error.
    pub fn wait(&mut self, timeout: Option<Duration>, ready: &mut Vec<Ready>) -> Result<(), Errno> {
        let timeout = timeout.map(|timeout| Timespec {
            tv_sec: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: timeout.subsec_nanos().into(),
        });
        self.events.clear();
        let spare = rustix::buffer::spare_capacity(&mut self.events);
        match epoll::wait(&*self.epoll, spare, timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
        for event in &self.events {
            match Token(event.data.u64()) {
                Token::DOORBELL => {
                    let _ = rustix::io::read(&self.doorbell, &mut [0; 8]); // Empty is silent too.
                }
                Token::RX => {}
                token => {
                    let flags = event.flags;
                    let broken = EventFlags::ERR | EventFlags::HUP | EventFlags::RDHUP;
                    ready.push(Ready {
                        token,
                        readable: flags.intersects(EventFlags::IN | broken),
                        writable: flags.intersects(EventFlags::OUT),
                    });
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::thread::ThreadShared;

    #[test]
    fn a_ring_ends_the_sleep_once() {
        let shared = ThreadShared::new(1).unwrap();
        let mut poller = Poller::new(Arc::clone(shared.doorbell())).unwrap();
        let mut ready = Vec::new();
        shared.ring_anyway();
        poller.wait(None, &mut ready).unwrap();
        assert_eq!(ready, []);
        poller.wait(Some(Duration::ZERO), &mut ready).unwrap();
        assert!(poller.events.is_empty(), "the doorbell is quiet again");
    }

    #[test]
    fn a_descriptor_is_reported_under_its_token_and_a_closed_end_as_readable() {
        let shared = ThreadShared::new(1).unwrap();
        let mut poller = Poller::new(Arc::clone(shared.doorbell())).unwrap();
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        poller.watch().add(ours.as_fd(), Token(7), Interest::READ).unwrap();
        let mut ready = Vec::new();
        poller.wait(Some(Duration::ZERO), &mut ready).unwrap();
        assert_eq!(ready, []);
        drop(theirs);
        poller.wait(Some(Duration::from_secs(1)), &mut ready).unwrap();
        assert_eq!(ready, [Ready { token: Token(7), readable: true, writable: false }]);
    }
}
