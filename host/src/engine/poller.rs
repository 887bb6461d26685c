//! A thread's descriptors: epoll, with a doorbell that any thread may ring.
//!
//! A sleep ends to the microsecond: `epoll_pwait2` takes its length in nanoseconds. Where that call
//! does not exist (Linux before 5.11) or is not allowed (a sandbox), a timerfd among the watched
//! descriptors ends the sleep instead.
#![expect(unsafe_code, reason = "no safe face of `epoll_pwait2` keeps nanoseconds")]

use std::{
    fmt,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    ptr,
    sync::Arc,
    time::Duration,
};

use plugin_api::Interest;
use rustix::{
    event::epoll::{self, CreateFlags, EventData, EventFlags},
    io::Errno,
};

use super::mark::Mark;
use crate::time::IntervalTimer;

/// Names a descriptor in what [`Poller::wait`] reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Token(pub u64);

impl Token {
    /// The doorbell; never reported.
    const DOORBELL: Self = Self(u64::MAX);
    /// Ends a sleep where the system cannot; never reported.
    const ALARM: Self = Self(u64::MAX - 1);
}

fn flags(interest: Interest) -> EventFlags {
    let mut flags = EventFlags::empty();
    flags.set(EventFlags::IN | EventFlags::RDHUP, interest.read);
    flags.set(EventFlags::OUT, interest.write);
    flags.set(EventFlags::ET, interest.edge);
    flags
}

/// A descriptor that is ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ready {
    /// Which.
    pub token: Token,
    /// Reading will not block; also at the end of a file, on a closed end and on errors.
    pub readable: bool,
    /// Writing will not block.
    pub writable: bool,
    /// The descriptor is in error.
    pub error: bool,
    /// The other end is closed.
    pub hangup: bool,
}

/// The handle by which any thread changes what this one watches.
#[derive(Clone, Debug)]
pub struct Watch(Arc<OwnedFd>);

impl Watch {
    /// Watches a descriptor.
    ///
    /// # Errors
    /// What the system says.
    pub fn add(&self, fd: BorrowedFd<'_>, token: Token, interest: Interest) -> Result<(), Errno> {
        epoll::add(&*self.0, fd, EventData::new_u64(token.0), flags(interest))
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
        epoll::modify(&*self.0, fd, EventData::new_u64(token.0), flags(interest))
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
    /// Ends the sleeps, once the system is known to lack `epoll_pwait2`.
    alarm: Option<IntervalTimer>,
    events: Vec<libc::epoll_event>,
    /// What the last waits found and nobody took yet.
    pub ready: Vec<Ready>,
    /// The receive queues that they found readable.
    pub marks: Vec<Mark>,
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
        let events = Vec::with_capacity(EVENTS);
        let poller =
            Self { epoll, doorbell, alarm: None, events, ready: Vec::new(), marks: Vec::new() };
        poller.watch().add(poller.doorbell.as_fd(), Token::DOORBELL, Interest::READ)?;
        Ok(poller)
    }

    /// The handle to change what is watched, from any thread.
    pub fn watch(&self) -> Watch {
        Watch(Arc::clone(&self.epoll))
    }

    /// Waits until something is ready, but no longer than `timeout` (for ever if `None`), and
    /// appends what is to [`ready`](Self::ready), and receive queues to [`marks`](Self::marks).
    ///
    /// # Errors
    /// What the system says; a signal is no error, and ends the wait.
    pub fn wait(&mut self, timeout: Option<Duration>) -> Result<(), Errno> {
        let waited = match &self.alarm {
            None => pwait2(&self.epoll, &mut self.events, timeout),
            Some(alarm) => wait_with(alarm, &self.epoll, &mut self.events, timeout),
        };
        match waited {
            Ok(()) => {}
            Err(Errno::INTR) => self.events.clear(),
            Err(Errno::NOSYS | Errno::PERM) if self.alarm.is_none() => {
                self.make_alarm()?;
                return self.wait(timeout);
            }
            Err(error) => return Err(error),
        }
        for event in &self.events {
            match Token(event.u64) {
                Token::DOORBELL => {
                    let _ = rustix::io::read(&self.doorbell, &mut [0; 8]); // Empty is silent too.
                }
                Token::ALARM => {
                    let _ = self.alarm.as_ref().map(IntervalTimer::expirations); // As above.
                }
                token => match Mark::of(token) {
                    Some(mark) => self.marks.push(mark),
                    None => self.ready.push(ready(token, event.events)),
                },
            }
        }
        Ok(())
    }

    fn make_alarm(&mut self) -> Result<(), Errno> {
        let alarm = IntervalTimer::new()?;
        self.watch().add(alarm.as_fd(), Token::ALARM, Interest::READ)?;
        self.alarm = Some(alarm);
        Ok(())
    }
}

fn ready(token: Token, bits: u32) -> Ready {
    let flags = EventFlags::from_bits_retain(bits);
    let readable = EventFlags::IN | EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR;
    Ready {
        token,
        readable: flags.intersects(readable),
        writable: flags.intersects(EventFlags::OUT),
        error: flags.intersects(EventFlags::ERR),
        hangup: flags.intersects(EventFlags::HUP),
    }
}

/// Waits with a time-out in nanoseconds.
fn pwait2(
    epoll: &OwnedFd,
    events: &mut Vec<libc::epoll_event>,
    timeout: Option<Duration>,
) -> Result<(), Errno> {
    let timeout = timeout.map(|timeout| libc::timespec {
        tv_sec: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: timeout.subsec_nanos().into(),
    });
    let timeout = timeout.as_ref().map_or(ptr::null(), ptr::from_ref);
    events.clear();
    let room = events.as_mut_ptr();
    // SAFETY: `room` has place for `EVENTS` events, and the time-out outlives the call.
    let got = unsafe {
        libc::syscall(
            libc::SYS_epoll_pwait2,
            epoll.as_raw_fd(),
            room,
            EVENTS,
            timeout,
            ptr::null::<libc::sigset_t>(),
            0_usize,
        )
    };
    take(events, got)
}

/// Waits without end but for `alarm`, which is set to the time-out.
fn wait_with(
    alarm: &IntervalTimer,
    epoll: &OwnedFd,
    events: &mut Vec<libc::epoll_event>,
    timeout: Option<Duration>,
) -> Result<(), Errno> {
    let now = timeout == Some(Duration::ZERO);
    match timeout {
        Some(timeout) if !now => alarm.start(timeout, None)?,
        _ => alarm.stop()?,
    }
    events.clear();
    let (room, most) = (events.as_mut_ptr(), i32::try_from(EVENTS).unwrap_or(i32::MAX));
    let timeout = if now { 0 } else { -1 };
    // SAFETY: `room` has place for `EVENTS` events.
    let got = unsafe { libc::epoll_wait(epoll.as_raw_fd(), room, most, timeout) };
    take(events, got.into())
}

/// Takes what a wait wrote into the room of `events`, or its error.
fn take(events: &mut Vec<libc::epoll_event>, got: i64) -> Result<(), Errno> {
    let Ok(got) = usize::try_from(got) else {
        let error = std::io::Error::last_os_error();
        return Err(Errno::from_io_error(&error).unwrap_or(Errno::IO));
    };
    // SAFETY: the system wrote that many, no more than there was room for.
    unsafe { events.set_len(got) };
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::thread::ThreadShared;

    fn rung() -> (Arc<ThreadShared>, Poller) {
        let shared = Arc::new(ThreadShared::new(1).unwrap());
        let poller = Poller::new(Arc::clone(shared.doorbell())).unwrap();
        (shared, poller)
    }

    /// Both ways to end a sleep.
    fn both(test: impl Fn(&ThreadShared, &mut Poller)) {
        let (shared, mut poller) = rung();
        test(&shared, &mut poller);
        assert!(poller.alarm.is_none(), "this system has epoll_pwait2");
        let (shared, mut poller) = rung();
        poller.make_alarm().unwrap();
        test(&shared, &mut poller);
    }

    #[test]
    fn a_ring_ends_the_sleep_once() {
        both(|shared, poller| {
            shared.ring_anyway();
            poller.wait(None).unwrap();
            assert_eq!(poller.ready, []);
            poller.wait(Some(Duration::ZERO)).unwrap();
            assert!(poller.events.is_empty(), "the doorbell is quiet again");
        });
    }

    #[test]
    fn a_sleep_ends_at_its_time_and_less_than_a_millisecond_is_no_poll() {
        both(|_, poller| {
            for length in [300, 2500].map(Duration::from_micros) {
                let clock = rustix::time::ClockId::Monotonic;
                let start = rustix::time::clock_gettime(clock);
                poller.wait(Some(length)).unwrap();
                let slept = rustix::time::clock_gettime(clock) - start;
                assert!(Duration::try_from(slept).unwrap() >= length, "{slept:?}");
                assert_eq!(poller.ready, []);
            }
        });
    }

    /// Has the system refuse `epoll_pwait2` to this thread, as an old kernel or a sandbox does.
    fn refuse_pwait2(error: i32) {
        let load = |code, k| libc::sock_filter { code, jt: 0, jf: 0, k };
        let call = u32::try_from(libc::SYS_epoll_pwait2).unwrap();
        let refuse = libc::SECCOMP_RET_ERRNO | error.unsigned_abs();
        let mut program = [
            load(0x20, 0), // The call's number.
            libc::sock_filter { code: 0x15, jt: 0, jf: 1, k: call },
            load(0x06, refuse),
            load(0x06, libc::SECCOMP_RET_ALLOW),
        ];
        let program = libc::sock_fprog { len: 4, filter: program.as_mut_ptr() };
        // SAFETY: only numbers are passed.
        let done = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
        assert_eq!(done, 0);
        // SAFETY: the program is good for the call.
        let done = unsafe {
            libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program)
        };
        assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
    }

    #[test]
    fn where_the_precise_wait_is_refused_a_timer_serves() {
        for error in [libc::ENOSYS, libc::EPERM] {
            let slept = std::thread::spawn(move || {
                refuse_pwait2(error);
                let (_, mut poller) = rung();
                let start = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
                poller.wait(Some(Duration::from_micros(300))).unwrap();
                assert!(poller.alarm.is_some(), "found out by the first wait");
                rustix::time::clock_gettime(rustix::time::ClockId::Monotonic) - start
            });
            let slept = Duration::try_from(slept.join().unwrap()).unwrap();
            assert!(slept >= Duration::from_micros(300), "{slept:?}");
        }
    }

    #[test]
    fn a_descriptor_is_reported_under_its_token_and_a_closed_end_as_readable() {
        both(|_, poller| {
            let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
            poller.watch().add(ours.as_fd(), Token(7), Interest::READ).unwrap();
            poller.wait(Some(Duration::ZERO)).unwrap();
            assert_eq!(poller.ready, []);
            drop(theirs);
            poller.wait(Some(Duration::from_secs(1))).unwrap();
            let token = Token(7);
            let closed =
                Ready { token, readable: true, writable: false, error: false, hangup: true };
            assert_eq!(poller.ready, [closed]);
        });
    }

    #[test]
    fn an_edge_is_reported_once() {
        both(|_, poller| {
            let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
            let interest = Interest { edge: true, ..Interest::READ };
            poller.watch().add(ours.as_fd(), Token(7), interest).unwrap();
            for _ in 0..2 {
                rustix::io::write(&theirs, b"x").unwrap();
                poller.wait(Some(Duration::ZERO)).unwrap();
                poller.wait(Some(Duration::ZERO)).unwrap();
            }
            let found: Vec<_> = poller.ready.iter().map(|ready| ready.token).collect();
            assert_eq!(found, [Token(7), Token(7)]);
        });
    }

    #[test]
    fn a_signal_may_end_the_sleep_and_is_no_error() {
        both(|_, poller| {
            use std::sync::atomic::{AtomicBool, Ordering};
            let (caught, ended) = (Arc::new(AtomicBool::new(false)), AtomicBool::new(false));
            let signal = signal_hook::consts::SIGUSR2;
            let id = signal_hook::flag::register(signal, Arc::clone(&caught)).unwrap();
            let (pid, tid) = (rustix::process::getpid(), rustix::thread::gettid());
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    // Again and again: the first may come before the sleep.
                    while !ended.load(Ordering::Relaxed) {
                        // SAFETY: only numbers are passed; the thread lives until this one ends.
                        unsafe {
                            libc::syscall(
                                libc::SYS_tgkill,
                                pid.as_raw_nonzero().get(),
                                tid.as_raw_nonzero().get(),
                                signal,
                            )
                        };
                        std::thread::yield_now();
                    }
                });
                poller.wait(Some(Duration::from_secs(3600))).unwrap();
                ended.store(true, Ordering::Relaxed);
            });
            assert!(caught.load(Ordering::Relaxed));
            signal_hook::low_level::unregister(id);
            assert_eq!(poller.ready, []);
        });
    }
}
