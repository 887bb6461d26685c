//! Softirqs: one vector of actions, each with its data, for all threads; which are pending is each
//! thread's own.
#![expect(unsafe_code, reason = "actions are shared by address until a grace period is over")]

use std::{
    array, fmt, ptr,
    sync::atomic::{AtomicPtr, Ordering},
};

use gristmill_abi::{
    Status,
    deferred::{DeferredFn, SOFTIRQS, softirq},
};
use parking_lot::Mutex;

use super::{WaitError, grace, thread::here};
use crate::{
    engine::{
        Thread,
        watchdog::{self, Job},
    },
    graph::Owner,
    host::Host,
};

/// Names of the numbers that have a meaning.
const MEANINGS: [&str; softirq::FIRST_FREE as usize] =
    ["HI", "TIMER", "NET_TX", "NET_RX", "BLOCK", "IRQ_POLL", "TASKLET", "SCHED", "HRTIMER", "RCU"];

/// Why a softirq was not opened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SoftirqError {
    /// There is no such number.
    #[error("there is no softirq {0}: they are numbered from 0 to 63")]
    Unknown(u32),
    /// Another has the number.
    #[error("softirq {number} is {name} of {plugin}: open another")]
    Taken {
        /// The number.
        number: u32,
        /// What it is called.
        name: String,
        /// Whose it is.
        plugin: String,
    },
    /// Another has the name.
    #[error("{plugin} has a softirq {name} already")]
    Named {
        /// The name.
        name: String,
        /// Whose it is.
        plugin: String,
    },
    /// All are taken.
    #[error("all {SOFTIRQS} softirqs are taken")]
    Full,
}

/// What a softirq is called, and whose it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SoftirqInfo {
    /// The number: lower ones run first.
    pub number: u32,
    /// The name.
    pub name: String,
    /// The generation.
    pub owner: Owner,
    /// The plugin.
    pub plugin: String,
}

/// What the host runs at the end of a turn.
pub(super) type HostAction = unsafe fn(*mut Thread, &Host);

/// One entry of the vector.
pub(super) struct Action {
    info: SoftirqInfo,
    run: Run,
}

enum Run {
    Host(HostAction),
    Plugin { function: DeferredFn, data: *mut std::ffi::c_void },
}

/// The vector.
pub struct Softirqs {
    actions: [AtomicPtr<Action>; SOFTIRQS as usize],
    /// Those that are open, and those that are being closed: their numbers are not given away.
    table: Mutex<[Option<SoftirqInfo>; SOFTIRQS as usize]>,
}

impl fmt::Debug for Softirqs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.open_ones()).finish()
    }
}

impl Drop for Softirqs {
    fn drop(&mut self) {
        for action in &mut self.actions {
            let action = std::mem::replace(action.get_mut(), ptr::null_mut());
            if !action.is_null() {
                // SAFETY: made by `set`, and nobody looks at it any more.
                drop(unsafe { Box::from_raw(action) });
            }
        }
    }
}

impl Default for Softirqs {
    /// With the host's own.
    fn default() -> Self {
        let softirqs = Self {
            actions: array::from_fn(|_| AtomicPtr::new(ptr::null_mut())),
            table: Mutex::new(array::from_fn(|_| None)),
        };
        let own: [(u32, HostAction); 4] = [
            (softirq::HI, super::tasklet::run_high),
            (softirq::TIMER, crate::engine::worker_loop::run_timers),
            (softirq::TASKLET, super::tasklet::run_normal),
            (softirq::RCU, grace::run),
        ];
        for (number, action) in own {
            let name = MEANINGS[number as usize].to_owned();
            let plugin = "host".to_owned();
            let info = SoftirqInfo { number, name, owner: Owner::HOST, plugin };
            softirqs.table.lock()[number as usize] = Some(info.clone());
            softirqs.set(info, Run::Host(action));
        }
        softirqs
    }
}

impl Softirqs {
    fn set(&self, info: SoftirqInfo, run: Run) {
        let slot = &self.actions[info.number as usize];
        slot.store(Box::into_raw(Box::new(Action { info, run })), Ordering::Release);
    }

    /// Opens a softirq: `number` if that is one with a meaning, or the lowest that has none.
    ///
    /// # Errors
    /// [`SoftirqError`].
    pub fn open(
        &self,
        (owner, plugin): (Owner, &str),
        name: &str,
        number: Option<u32>,
        (function, data): (DeferredFn, *mut std::ffi::c_void),
    ) -> Result<u32, SoftirqError> {
        let mut table = self.table.lock();
        if let Some(number) = number.filter(|&number| number >= softirq::FIRST_FREE) {
            return Err(SoftirqError::Unknown(number));
        }
        if let Some(other) = table.iter().flatten().find(|other| other.name == name) {
            let (name, plugin) = (name.to_owned(), other.plugin.clone());
            return Err(SoftirqError::Named { name, plugin });
        }
        let free = || {
            let free = (softirq::FIRST_FREE..SOFTIRQS).find(|&at| table[at as usize].is_none());
            free.ok_or(SoftirqError::Full)
        };
        let number = number.map_or_else(free, Ok)?;
        if let Some(SoftirqInfo { name, plugin, .. }) = table[number as usize].clone() {
            return Err(SoftirqError::Taken { number, name, plugin });
        }
        let info = SoftirqInfo { number, name: name.into(), owner, plugin: plugin.into() };
        table[number as usize] = Some(info.clone());
        self.set(info, Run::Plugin { function, data });
        Ok(number)
    }

    /// Takes an action out of the vector; it may be running still.
    fn take(&self, number: u32, owner: Owner) -> Option<Retired> {
        let table = self.table.lock();
        table.get(number as usize)?.as_ref().filter(|info| info.owner == owner)?;
        let action = self.actions[number as usize].swap(ptr::null_mut(), Ordering::AcqRel);
        (!action.is_null()).then_some(Retired(action))
    }

    /// Gives a number away again.
    fn release(&self, number: u32) {
        self.table.lock()[number as usize] = None;
    }

    /// All that are open, lowest number first.
    pub fn open_ones(&self) -> Vec<SoftirqInfo> {
        self.table.lock().iter().flatten().cloned().collect()
    }

    /// Runs one. A number without an action is let be: it was closed after it was raised.
    ///
    /// # Safety
    /// As of [`run_pending`](super::run_pending).
    pub(super) unsafe fn run(&self, number: u32, thread: *mut Thread, host: &Host) {
        let action = self.actions[number as usize].load(Ordering::Acquire);
        // SAFETY: it is freed only after this thread has begun another turn.
        let Some(action) = (unsafe { action.as_ref() }) else { return };
        match action.run {
            // SAFETY: by the caller's promise.
            Run::Host(run) => unsafe { run(thread, host) },
            Run::Plugin { function, data } => {
                let SoftirqInfo { name, owner, plugin, .. } = &action.info;
                let job = Job { what: "softirq", name, owner: *owner, longest: None };
                // SAFETY: the plugin closes it, or it is revoked, before its data ends; the context
                // is the first field of the thread.
                let status = watchdog::job(&job, || unsafe { function(data, thread.cast()) });
                if !status.is_ok() {
                    let how = if status == Status::PANICKED { "panicked" } else { "failed" };
                    host.log.error("softirq", format!("softirq {name} of {plugin} {how}"));
                }
            }
        }
    }
}

/// An action that was taken out of the vector.
struct Retired(*mut Action);

// SAFETY: nobody but whoever runs it still looks at it, and nobody writes.
unsafe impl Send for Retired {}

impl Retired {
    /// # Safety
    /// Every thread has begun another turn since it was taken out.
    unsafe fn free(self) {
        // SAFETY: made by `Softirqs::set`, taken out once; by the caller's promise nobody runs it.
        drop(unsafe { Box::from_raw(self.0) });
    }
}

/// Where something is raised or scheduled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum On {
    /// The calling thread, or main if that forwards nothing.
    Here,
    /// A thread.
    Thread(u32),
    /// Every thread.
    All,
}

impl Host {
    /// Raises a softirq: it runs at the end of the thread's turn, of its next one if it is at the
    /// end of one. False if there is no such thread. Any thread.
    ///
    /// Cost: on the calling thread a store; on another a lock that is only read, and a system call
    /// if it sleeps.
    #[inline]
    pub fn raise(&self, number: u32, on: On) -> bool {
        let bits = 1 << (number % SOFTIRQS);
        match on {
            On::Here => {
                here(|own| own.deferred.pending().raise_own(bits)).is_some()
                    || self.raise_on(0, bits)
            }
            On::Thread(index) => self.raise_on(index, bits),
            On::All => {
                self.for_each_thread(|thread| thread.raise(bits));
                true
            }
        }
    }

    fn raise_on(&self, index: u32, bits: u64) -> bool {
        self.with_thread(index, |thread| thread.raise(bits)).is_some()
    }

    /// Closes a softirq of `owner` and waits until it does not run.
    ///
    /// # Errors
    /// [`WaitError`]: it is closed, but may be running still, until a grace period is over.
    pub fn close_softirq(&self, number: u32, owner: Owner) -> Result<(), WaitError> {
        let Some(retired) = self.softirqs.take(number, owner) else { return Ok(()) };
        let end = move |host: &Self| {
            // SAFETY: every thread has begun another turn since it was taken.
            unsafe { retired.free() };
            host.for_each_thread(|thread| thread.deferred.forget_runs(number));
            host.softirqs.release(number);
        };
        let waited = self.may_wait_for_deferred().and_then(|()| {
            self.grace.wait(self, grace::Of::Turns).map_err(|thread| {
                self.grace.keep(owner); // What it has stays.
                WaitError::Late { what: format!("softirq {number}, or a node, on thread {thread}") }
            })
        });
        match waited {
            Ok(()) => end(self),
            Err(_) => self.grace.after_grace(self, Owner::HOST, end),
        }
        waited
    }

    /// Whether the caller may wait for what runs at the end of a turn.
    pub(super) fn may_wait_for_deferred(&self) -> Result<(), WaitError> {
        let may = !super::is_inside() && (self.may_control() || self.may_wait());
        if may { Ok(()) } else { Err(WaitError::NotHere) }
    }
}
