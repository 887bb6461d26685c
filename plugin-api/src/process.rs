//! Processes: code of a plugin's that waits, on a stack of its own, run by main between the packets.
//!
//! A process is usually an endless loop: wait for an event or a time, take what has come, handle it.
//! While it runs, main forwards nothing; so it waits often, and a long job asks now and then whether
//! its slice is over ([`Process::yield_if_due`]).
//!
//! ```
//! use std::time::Duration;
//! use plugin_api::{Error, Host, LogLevel, ProcessHandle, ProcessOptions, Sender, event};
//!
//! struct LinkChange { interface: u32, up: bool }
//!
//! /// To be called by `Plugin::start`; what it returns is kept by the plugin.
//! fn start(host: Host) -> Result<(ProcessHandle, Sender<LinkChange>), Error> {
//!     let (sender, mut changes) = event::<LinkChange>();
//!     let process = host.spawn(ProcessOptions::new("acme-links"), move |process| {
//!         process.listen("link-change", &mut changes)?;
//!         loop {
//!             let left = process.wait_for_event_or_clock(Duration::from_secs(10))?;
//!             if left.is_none() {
//!                 host.log(LogLevel::Debug, "ten quiet seconds");
//!             }
//!             for change in changes.take(process) {
//!                 let way = if change.up { "up" } else { "down" };
//!                 host.log(LogLevel::Notice, &format!("interface {} is {way}", change.interface));
//!             }
//!         }
//!     })?;
//!     Ok((process, sender))
//! }
//! ```
//!
//! *Events* are typed, and a type of event belongs to one process. Whoever has a [`Sender`] signals:
//! any thread, a node, a timer, a device, another process. What is signalled before the process waits
//! ends its wait at once; nothing is lost or doubled. *Order*: a process begins in main's next turn,
//! after those that were made before it; of those that are woken, the first woken runs first.
//!
//! *The end.* When the plugin is unloaded, every wait fails with [`Cancelled`]; a `?` hands that on.
//! A process that waits once more is unwound from there. A process that panics is contained; what
//! follows is its [`Restart`].

use core::{ffi::c_void, fmt, marker::PhantomData, time::Duration};
use std::{cell::Cell, panic::resume_unwind, rc::Rc, thread};

use gristmill_abi::{
    ErrorText, Head, Status,
    process::{EVENTS, ProcessService, WAIT_CLOCK, WAIT_END, WAIT_EVENT, Wait},
};

use crate::{Error, Host, InterfaceIndex, InterfaceInfo};

mod events;
mod future;
mod handle;
mod options;
mod spawn;

pub use events::{Batch, Delayed, Ended, Events, OneTime, Sender, event};
pub use future::{AsyncProcess, NextEvent, Sleep};
pub use handle::ProcessHandle;
pub(crate) use handle::Reference;
pub use options::{ProcessOptions, Restart};
use spawn::Unwind;

/// The process is to end: its plugin is being unloaded, or it was cancelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cancelled;

/// Why a process's body returns before its time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stop {
    /// It was told to.
    Cancelled,
    /// It failed.
    Failed(Error),
}

impl fmt::Display for Cancelled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the process is to end")
    }
}

impl std::error::Error for Cancelled {}

impl From<Cancelled> for Stop {
    fn from(_: Cancelled) -> Self {
        Self::Cancelled
    }
}

impl<E: Into<Error>> From<E> for Stop {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

/// The host's service, as a process or a sender uses it.
#[derive(Clone, Copy)]
pub(crate) struct Service {
    pub(crate) table: &'static ProcessService,
    pub(crate) context: *mut c_void,
}

// SAFETY: the context is the host's, for any thread; what is for main alone is so by its callers.
unsafe impl Send for Service {}
// SAFETY: as above.
unsafe impl Sync for Service {}

/// A process, from within: what its body is given.
///
/// It stays on main, and nothing that it lends can be kept across a wait:
///
/// ```compile_fail
/// fn rename(process: &mut plugin_api::Process) -> Result<(), plugin_api::Stop> {
///     for interface in process.interfaces() {
///         process.yield_now()?; // By now it may be gone.
///     }
///     Ok(())
/// }
/// ```
/// ```compile_fail
/// fn later(process: &mut plugin_api::Process, changes: &mut plugin_api::Events<u32>)
///     -> Result<(), plugin_api::Stop> {
///     let batch = changes.take(process);
///     process.wait_for_event()?;
///     drop(batch);
///     Ok(())
/// }
/// ```
/// ```compile_fail
/// fn elsewhere<T: Send>() {}
/// elsewhere::<plugin_api::Process>();
/// ```
pub struct Process {
    host: Host,
    pub(crate) service: Service,
    /// Events it listens for, a bit each.
    pub(crate) listening: u64,
    /// Of these, those that are over; only the process is on this thread, so that no lock is needed.
    over: Rc<Cell<u64>>,
    /// How often it has begun, with this time.
    run: u64,
    /// It knows that it is to end.
    told: bool,
}

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Process").field("listening", &self.listening).finish_non_exhaustive()
    }
}

/// A wait for nothing: a turn.
fn nothing() -> Wait {
    Wait {
        head: Head::of::<Wait>(),
        flags: 0,
        woken: 0,
        events: 0,
        timeout_ns: 0,
        process: core::ptr::null(),
    }
}

impl Service {
    pub(crate) fn should_yield(self) -> bool {
        // SAFETY: any time.
        unsafe { (self.table.should_yield)(self.context) != 0 }
    }

    /// Waits.
    ///
    /// # Panics
    /// Where the process cannot be suspended: inside a function that the host calls for another
    /// reason than to run the process.
    #[inline]
    pub(crate) fn wait(self, wait: &mut Wait) -> Result<(), Cancelled> {
        if thread::panicking() {
            return Err(Cancelled); // Something waits in its drop, while it is unwound.
        }
        // SAFETY: the request is good for the call, in which others may run; no text is asked for.
        match unsafe { (self.table.wait)(self.context, wait, core::ptr::null_mut()) } {
            Status::OK => Ok(()),
            Status::CANCELLED => Err(Cancelled),
            _ => self.refused(wait),
        }
    }

    /// Asks once more, for the reason: a text is long, and a wait that works needs none.
    #[cold]
    fn refused(self, wait: &mut Wait) -> Result<(), Cancelled> {
        let mut error = ErrorText::new();
        // SAFETY: both are good for the call.
        match unsafe { (self.table.wait)(self.context, wait, &raw mut error) } {
            Status::OK => Ok(()),
            Status::CANCELLED => Err(Cancelled),
            _ => panic!("{}", error.as_str()),
        }
    }
}

impl Process {
    /// The host, as the plugin sees it.
    pub fn host(&self) -> Host {
        self.host
    }

    /// Waits for any event that the process listens for.
    ///
    /// # Errors
    /// [`Cancelled`], and as of every wait.
    pub fn wait_for_event(&mut self) -> Result<(), Cancelled> {
        self.wait(Wait { flags: WAIT_EVENT, events: self.listening, ..nothing() }).map(drop)
    }

    /// Waits for any event that the process listens for, no longer than `timeout`: what is left of
    /// it, `None` if it has passed.
    ///
    /// # Errors
    /// [`Cancelled`].
    pub fn wait_for_event_or_clock(
        &mut self,
        timeout: Duration,
    ) -> Result<Option<Duration>, Cancelled> {
        let events = self.listening;
        self.wait_within(Wait { flags: WAIT_EVENT, events, ..nothing() }, timeout)
    }

    /// Waits for events of one type.
    ///
    /// # Errors
    /// [`Cancelled`].
    ///
    /// # Panics
    /// If the process does not listen for them.
    pub fn wait_for<T>(&mut self, events: &Events<T>) -> Result<(), Cancelled> {
        let events = events.bit();
        self.wait(Wait { flags: WAIT_EVENT, events, ..nothing() }).map(drop)
    }

    /// Waits for events of one type, no longer than `timeout`: what is left of it, `None` if it
    /// has passed.
    ///
    /// # Errors
    /// [`Cancelled`].
    ///
    /// # Panics
    /// If the process does not listen for them.
    pub fn wait_for_or_clock<T>(
        &mut self,
        events: &Events<T>,
        timeout: Duration,
    ) -> Result<Option<Duration>, Cancelled> {
        let events = events.bit();
        self.wait_within(Wait { flags: WAIT_EVENT, events, ..nothing() }, timeout)
    }

    /// Suspends the process for a time, to the next 10 us.
    ///
    /// # Errors
    /// [`Cancelled`].
    pub fn wait_for_clock(&mut self, time: Duration) -> Result<(), Cancelled> {
        self.wait_within(nothing(), time).map(drop)
    }

    /// Waits for the end of another process; returns at once if it has ended.
    ///
    /// # Errors
    /// [`Cancelled`].
    pub fn join(&mut self, other: &ProcessHandle) -> Result<(), Cancelled> {
        self.wait(Wait { flags: WAIT_END, process: other.0.process, ..nothing() }).map(drop)
    }

    /// Lets everything else run once: packets, and the processes that are ready.
    ///
    /// # Errors
    /// [`Cancelled`].
    pub fn yield_now(&mut self) -> Result<(), Cancelled> {
        self.wait(nothing()).map(drop)
    }

    /// Whether the process has had its slice, 100 us, or is to end; a long job then yields.
    pub fn should_yield(&self) -> bool {
        self.service.should_yield()
    }

    /// Yields if the slice is over.
    ///
    /// # Errors
    /// [`Cancelled`].
    pub fn yield_if_due(&mut self) -> Result<(), Cancelled> {
        if self.should_yield() { self.yield_now() } else { Ok(()) }
    }

    /// The interfaces there are, until the next wait.
    pub fn interfaces(&self) -> Interfaces<'_> {
        let all = self.host.interface_indices().into_iter();
        Interfaces { host: self.host, all, process: PhantomData }
    }

    fn wait_within(
        &mut self,
        mut wait: Wait,
        timeout: Duration,
    ) -> Result<Option<Duration>, Cancelled> {
        wait.flags |= WAIT_CLOCK;
        wait.timeout_ns = u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX);
        let came = self.wait(wait)?;
        let left = Duration::from_nanos(came.timeout_ns);
        Ok((came.woken & WAIT_CLOCK == 0).then_some(left))
    }

    #[inline]
    pub(crate) fn wait(&mut self, mut wait: Wait) -> Result<Wait, Cancelled> {
        match self.service.wait(&mut wait) {
            Ok(()) => Ok(wait),
            Err(Cancelled) => {
                // The first time it is told so, the second time it is unwound from here.
                if self.told && cfg!(panic = "unwind") && !thread::panicking() {
                    resume_unwind(Box::new(Unwind));
                }
                self.told = true;
                Err(Cancelled)
            }
        }
    }

    /// A number for a type of event: `wanted` if that is free.
    pub(crate) fn event_number(&mut self, wanted: Option<u32>) -> Result<u32, Error> {
        self.listening &= !self.over.take();
        let free = (0..EVENTS - RESERVED).find(|bit| self.listening >> bit & 1 == 0);
        let wanted = wanted.filter(|bit| self.listening >> bit & 1 == 0);
        let bit = wanted.or(free).ok_or("a process listens for at most 63 types of events")?;
        self.listening |= 1 << bit;
        Ok(bit)
    }

    /// The process that runs, as one more reference.
    pub(crate) fn reference(&self) -> Reference {
        // SAFETY: a process runs, for this is it.
        let process = unsafe { (self.service.table.current)(self.service.context) };
        Reference { service: self.service, process }
    }
}

/// Numbers of events that are not for types.
const RESERVED: u32 = 1;
/// The event of a waker.
const WAKE: u64 = 1 << 63;

/// Interfaces, borrowed from a process so that they are not kept across a wait.
#[derive(Debug)]
pub struct Interfaces<'a> {
    host: Host,
    all: std::vec::IntoIter<InterfaceIndex>,
    process: PhantomData<&'a Process>,
}

impl Iterator for Interfaces<'_> {
    type Item = InterfaceInfo;

    fn next(&mut self) -> Option<InterfaceInfo> {
        self.all.find_map(|index| self.host.interface(index))
    }
}
