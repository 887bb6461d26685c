//! Services `softirq` and `tasklet`: work that is put off to the end of a thread's turn.

use core::ffi::c_void;

use crate::{ErrorText, Head, Status, Str, declaration::PluginHandle, frame::ThreadCtx};

/// Numbers of softirqs there are; the lowest that is pending runs first.
pub const SOFTIRQS: u32 = 64;

/// The numbers with a meaning, which is Linux's. Those that the host does not use itself are for the
/// first plugin that opens them.
pub mod softirq {
    /// Tasklets that do not wait for the others; the host's.
    pub const HI: u32 = 0;
    /// Dynamic timers; the host's.
    pub const TIMER: u32 = 1;
    /// What is to be sent.
    pub const NET_TX: u32 = 2;
    /// What was received.
    pub const NET_RX: u32 = 3;
    /// Storage that has answered.
    pub const BLOCK: u32 = 4;
    /// Devices that are polled after an interrupt.
    pub const IRQ_POLL: u32 = 5;
    /// Tasklets; the host's.
    pub const TASKLET: u32 = 6;
    /// Spreading of load.
    pub const SCHED: u32 = 7;
    /// Timers finer than a tick.
    pub const HRTIMER: u32 = 8;
    /// Deferred reclamation; the host's.
    pub const RCU: u32 = 9;
    /// The first that has no meaning of its own.
    pub const FIRST_FREE: u32 = 10;
}

/// [`SoftirqSpec::number`]: the lowest that is free and has no meaning.
pub const SOFTIRQ_ANY: u32 = u32::MAX;

/// In place of a thread's index: the one that calls, or main if that forwards nothing.
pub const THIS_THREAD: u32 = u32::MAX - 1;

/// What runs at the end of a turn, outside of nodes, on the thread whose context that is.
pub type DeferredFn = unsafe extern "C" fn(data: *mut c_void, ctx: *mut ThreadCtx) -> Status;

/// A new softirq.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct SoftirqSpec<'a> {
    /// Size and version.
    pub head: Head,
    /// Name, for `show softirqs`; no other has it.
    pub name: Str<'a>,
    /// What it runs, on several threads at once.
    pub function: DeferredFn,
    /// First argument of the function.
    pub data: *mut c_void,
    /// One of [`softirq`], or [`SOFTIRQ_ANY`].
    pub number: u32,
    /// Reserved, 0.
    pub reserved: u32,
}

/// What runs once nobody can see any more what was taken away before. Main, outside of nodes.
pub type GraceFn = unsafe extern "C" fn(data: *mut c_void) -> Status;

/// Service `softirq`, version 1.
#[repr(C)]
#[derive(Debug)]
pub struct SoftirqService {
    /// Size and version.
    pub head: Head,
    /// Opens a softirq. Main thread.
    pub open: unsafe extern "C" fn(
        context: *mut c_void,
        plugin: PluginHandle,
        spec: *const SoftirqSpec<'_>,
        number: *mut u32,
        error: *mut ErrorText,
    ) -> Status,
    /// Closes a softirq and waits until it does not run. Where the wait would not end (on a thread
    /// that forwards, and inside of what runs at the end of a turn) it is closed and fails: it may be
    /// running still, until a grace period is over.
    pub close:
        unsafe extern "C" fn(context: *mut c_void, plugin: PluginHandle, number: u32) -> Status,
    /// Raises a softirq on a thread, on [`THIS_THREAD`] or on
    /// [`ALL_THREADS`](crate::host::ALL_THREADS). Fails if there is no such thread or number. Any
    /// thread.
    pub raise: unsafe extern "C" fn(context: *mut c_void, number: u32, thread: u32) -> Status,
    /// Calls a function on main after every thread has begun another turn: then no node reads any
    /// more what was taken out of its sight before. It is called before the plugin's state ends.
    /// Any thread.
    pub after_grace: unsafe extern "C" fn(
        context: *mut c_void,
        plugin: PluginHandle,
        function: GraceFn,
        data: *mut c_void,
    ) -> Status,
}

/// [`TaskletSpec::flags`]: before the softirqs of lower priority, and the other tasklets.
pub const TASKLET_HI: u32 = 1;

/// A new tasklet.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct TaskletSpec<'a> {
    /// Size and version.
    pub head: Head,
    /// Name, for `show tasklets`.
    pub name: Str<'a>,
    /// What it runs, never on two threads at once.
    pub function: DeferredFn,
    /// First argument of the function.
    pub data: *mut c_void,
    /// `TASKLET_*`.
    pub flags: u32,
    /// Reserved, 0.
    pub reserved: u32,
}

/// A tasklet, as the host names it to its maker.
pub type TaskletHandle = *const c_void;

/// [`TaskletService::schedule`]: it is scheduled already.
pub const TASKLET_ALREADY: Status = Status(16);
/// [`TaskletService::schedule`]: it was killed.
pub const TASKLET_KILLED: Status = Status(17);

/// Service `tasklet`, version 1. Any thread.
#[repr(C)]
#[derive(Debug)]
pub struct TaskletService {
    /// Size and version.
    pub head: Head,
    /// Makes a tasklet, enabled and not scheduled.
    pub create: unsafe extern "C" fn(
        context: *mut c_void,
        plugin: PluginHandle,
        spec: *const TaskletSpec<'_>,
        tasklet: *mut TaskletHandle,
        error: *mut ErrorText,
    ) -> Status,
    /// Kills a tasklet and forgets it. Fails, and only kills it, where the wait would not end.
    pub destroy: unsafe extern "C" fn(context: *mut c_void, tasklet: TaskletHandle) -> Status,
    /// Schedules a tasklet on a thread, or on [`THIS_THREAD`]: it runs once at the end of the
    /// thread's turn, or once it is enabled.
    pub schedule:
        unsafe extern "C" fn(context: *mut c_void, tasklet: TaskletHandle, thread: u32) -> Status,
    /// Disables a tasklet, once more; with `wait` not 0, waits until it does not run.
    pub disable: unsafe extern "C" fn(
        context: *mut c_void,
        tasklet: TaskletHandle,
        wait: u32,
        error: *mut ErrorText,
    ) -> Status,
    /// Takes one disabling back. Fails if there is none.
    pub enable: unsafe extern "C" fn(context: *mut c_void, tasklet: TaskletHandle) -> Status,
    /// Kills a tasklet for good: it is not scheduled any more. Waits until it does not run.
    pub kill: unsafe extern "C" fn(
        context: *mut c_void,
        tasklet: TaskletHandle,
        error: *mut ErrorText,
    ) -> Status,
    /// 1 if it is scheduled and has not begun.
    pub is_scheduled: unsafe extern "C" fn(context: *mut c_void, tasklet: TaskletHandle) -> u32,
}
