//! Tasklets: run once for each scheduling, never on two threads at once; on the softirqs HI and
//! TASKLET.
#![expect(unsafe_code, reason = "plugins' functions, run on a thread that is given by address")]

pub mod list;
pub mod state;

use std::{ffi::c_void, ptr};

use gristmill_abi::deferred::DeferredFn;
use parking_lot::Mutex;

use self::{
    list::{Linked, List},
    state::{Begun, Scheduled, State},
};
use super::{
    PATIENCE, WaitError,
    softirq::On,
    thread::{here, number_of},
};
use crate::{
    engine::{
        Thread, ThreadShared, gate,
        watchdog::{self, Job},
    },
    graph::Owner,
    host::Host,
    sync::{Arc, AtomicPtr, AtomicU32, AtomicU64, Ordering},
};

/// Tasklets that wait on one thread.
pub(super) type Tasklets = List<Tasklet>;

/// What a tasklet is made of.
#[derive(Clone, Debug)]
pub struct TaskletSpec {
    /// Its name.
    pub name: String,
    /// The generation it belongs to.
    pub owner: Owner,
    /// The plugin.
    pub plugin: String,
    /// It runs before softirqs of lower priority, and before other tasklets.
    pub high: bool,
    /// What it runs.
    pub function: DeferredFn,
    /// First argument of the function.
    pub data: *mut c_void,
}

/// A tasklet.
#[derive(Debug)]
pub struct Tasklet {
    /// What it is made of.
    pub spec: TaskletSpec,
    state: State,
    link: AtomicPtr<Self>,
    /// The thread it was last scheduled on.
    thread: AtomicU32,
    /// Written by whoever schedules it.
    scheduled: AtomicU64,
    /// Written by whoever runs it, as the next.
    runs: AtomicU64,
    panics: AtomicU64,
}

// SAFETY: the function is called on one thread at a time, and the SDK's data is `Send`; a plugin in C
// promises the same.
unsafe impl Send for Tasklet {}
// SAFETY: as above.
unsafe impl Sync for Tasklet {}

impl Linked for Tasklet {
    fn link(&self) -> &AtomicPtr<Self> {
        &self.link
    }
}

/// A tasklet as `show tasklets` has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskletReport {
    /// Its name.
    pub name: String,
    /// The plugin.
    pub plugin: String,
    /// Its priority is the higher one.
    pub high: bool,
    /// It is to run.
    pub is_scheduled: bool,
    /// It runs.
    pub is_running: bool,
    /// How often it is disabled.
    pub disabled: u64,
    /// The thread it was last scheduled on.
    pub thread: u32,
    /// How often it was scheduled.
    pub scheduled: u64,
    /// How often it ran.
    pub runs: u64,
    /// How often it panicked.
    pub panics: u64,
}

impl Tasklet {
    fn report(&self) -> TaskletReport {
        TaskletReport {
            name: self.spec.name.clone(),
            plugin: self.spec.plugin.clone(),
            high: self.spec.high,
            is_scheduled: self.state.is_scheduled(),
            is_running: self.state.is_running(),
            disabled: self.state.disabled(),
            thread: self.thread.load(Ordering::Relaxed),
            scheduled: self.scheduled.load(Ordering::Relaxed),
            runs: self.runs.load(Ordering::Relaxed),
            panics: self.panics.load(Ordering::Relaxed),
        }
    }

    /// Whether it is to run and has not begun.
    pub fn is_scheduled(&self) -> bool {
        self.state.is_scheduled()
    }

    /// Disables it, once more. It may be running still.
    pub fn disable(&self) {
        self.state.disable();
    }

    /// Calls its function, alone.
    ///
    /// # Safety
    /// The caller began the run, and `thread` is its own.
    unsafe fn run(&self, thread: *mut Thread, host: &Host) {
        let TaskletSpec { name, owner, plugin, function, data, .. } = &self.spec;
        let job = Job { what: "tasklet", name, owner: *owner, longest: None };
        // SAFETY: it is killed, and waited for, before its data ends; the context is the first field
        // of the thread.
        let status = watchdog::job(&job, || unsafe { function(*data, thread.cast()) });
        add_one(&self.runs);
        if !status.is_ok() {
            add_one(&self.panics);
            host.log.error("tasklet", format!("tasklet {name} of {plugin} panicked"));
        }
    }
}

/// Adds one to a counter that one thread at a time writes.
fn add_one(counter: &AtomicU64) {
    counter.store(counter.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
}

/// All tasklets.
#[derive(Debug, Default)]
pub struct AllTasklets(Mutex<Vec<Arc<Tasklet>>>);

impl AllTasklets {
    /// Makes a tasklet, enabled and not scheduled.
    pub fn create(&self, spec: TaskletSpec) -> Arc<Tasklet> {
        let tasklet = Arc::new(Tasklet {
            spec,
            state: State::new(),
            link: AtomicPtr::new(ptr::null_mut()),
            thread: AtomicU32::new(0),
            scheduled: AtomicU64::new(0),
            runs: AtomicU64::new(0),
            panics: AtomicU64::new(0),
        });
        self.0.lock().push(Arc::clone(&tasklet));
        tasklet
    }

    /// Forgets a tasklet that was killed.
    pub fn forget(&self, tasklet: &Arc<Tasklet>) {
        self.0.lock().retain(|other| !Arc::ptr_eq(other, tasklet));
    }

    /// All of them.
    pub fn report(&self) -> Vec<TaskletReport> {
        self.0.lock().iter().map(|tasklet| tasklet.report()).collect()
    }

    /// Those of an owner.
    pub fn of(&self, owner: Owner) -> Vec<Arc<Tasklet>> {
        let all = self.0.lock();
        all.iter().filter(|tasklet| tasklet.spec.owner == owner).cloned().collect()
    }
}

impl Host {
    /// Schedules a tasklet: it runs once at the end of the thread's turn, or once it is enabled.
    /// `None` if there is no such thread. Any thread.
    pub fn schedule(&self, tasklet: &Arc<Tasklet>, on: On) -> Option<Scheduled> {
        let put = |thread: &ThreadShared, own: bool| {
            // Before, so that who enables it meanwhile knows where it was to run.
            tasklet.thread.store(thread.index, Ordering::Relaxed);
            let scheduled = tasklet.state.schedule();
            if matches!(scheduled, Scheduled::List | Scheduled::Held) {
                add_one(&tasklet.scheduled);
            }
            if scheduled == Scheduled::List {
                put_in_list(tasklet, thread, own);
            }
            scheduled
        };
        let index = match on {
            On::Here | On::All => match here(|own| put(own, true)) {
                Some(scheduled) => return Some(scheduled),
                None => 0,
            },
            On::Thread(index) => index,
        };
        self.with_thread(index, |thread| put(thread, false))
    }

    /// Takes one disabling of a tasklet back; false if there is none.
    pub fn enable(&self, tasklet: &Arc<Tasklet>) -> bool {
        let Some(list) = tasklet.state.enable() else { return false };
        if list {
            let put = |thread: &ThreadShared| put_in_list(tasklet, thread, false);
            let thread = tasklet.thread.load(Ordering::Relaxed);
            // Main is there as long as there are threads; without any it never runs.
            let _ = self.with_thread(thread, put).or_else(|| self.with_thread(0, put));
        }
        true
    }

    /// Waits until a tasklet does not run.
    ///
    /// # Errors
    /// [`WaitError`].
    pub fn await_end(&self, tasklet: &Tasklet) -> Result<(), WaitError> {
        if !tasklet.state.is_running() {
            return Ok(());
        }
        self.may_wait_for_deferred()?;
        let (began, mut spins) = (self.now(), 0);
        while tasklet.state.is_running() {
            gate::spin(&mut spins);
            if self.now().since(began) > PATIENCE {
                let TaskletSpec { name, plugin, .. } = &tasklet.spec;
                let thread = tasklet.thread.load(Ordering::Relaxed);
                let what = format!("tasklet {name} of {plugin} on thread {thread}");
                return Err(WaitError::Late { what });
            }
        }
        Ok(())
    }

    /// Ends all tasklets of an owner for good, and waits until none runs.
    ///
    /// # Errors
    /// [`WaitError`] for the last that may be running still.
    pub fn revoke_tasklets(&self, owner: Owner) -> Result<(), WaitError> {
        let mut ended = Ok(());
        for tasklet in self.tasklets.of(owner) {
            match self.kill(&tasklet) {
                Ok(()) => self.tasklets.forget(&tasklet),
                Err(error) => {
                    self.grace.keep(owner); // What it has stays.
                    ended = Err(error);
                }
            }
        }
        ended
    }

    /// Ends a tasklet for good, and waits until it does not run.
    ///
    /// # Errors
    /// [`WaitError`]; it will not run again, but may be running still.
    pub fn kill(&self, tasklet: &Tasklet) -> Result<(), WaitError> {
        tasklet.state.kill();
        self.await_end(tasklet)
    }
}

/// Puts a tasklet, whose state says that it is in one, in a thread's list.
fn put_in_list(tasklet: &Arc<Tasklet>, thread: &ThreadShared, own: bool) {
    let (high, bits) = (tasklet.spec.high, 1 << number_of(tasklet.spec.high));
    let list = thread.deferred.tasklets(high);
    if own {
        list.push_own(Arc::clone(tasklet));
        thread.deferred.pending().raise_own(bits);
    } else {
        list.push(Arc::clone(tasklet));
        thread.raise(bits);
    }
}

/// The softirq HI.
///
/// # Safety
/// As of [`run_pending`](super::run_pending).
pub(super) unsafe fn run_high(thread: *mut Thread, host: &Host) {
    // SAFETY: by the caller's promise.
    unsafe { run_list(true, thread, host) }
}

/// The softirq TASKLET.
///
/// # Safety
/// As of [`run_pending`](super::run_pending).
pub(super) unsafe fn run_normal(thread: *mut Thread, host: &Host) {
    // SAFETY: by the caller's promise.
    unsafe { run_list(false, thread, host) }
}

/// Runs the tasklets that wait on a thread, each once; those that run elsewhere wait on.
///
/// # Safety
/// As of [`run_pending`](super::run_pending).
unsafe fn run_list(high: bool, thread: *mut Thread, host: &Host) {
    // SAFETY: by the caller's promise; the borrow ends here.
    let shared = Arc::clone(unsafe { &(*thread).shared });
    for tasklet in shared.deferred.tasklets(high).take() {
        match tasklet.state.begin() {
            Begun::Run => {
                // SAFETY: begun just now; the thread is the caller's.
                unsafe { tasklet.run(thread, host) };
                tasklet.state.end();
            }
            Begun::Busy => put_in_list(&tasklet, &shared, true),
            Begun::Nothing => {}
        }
    }
}

#[cfg(test)]
mod tests;
