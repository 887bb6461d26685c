//! Service `process`: coroutines of plugins on the main thread, and the events that wake them.
//!
//! The host knows of an event that it happened, by its number within the process; what comes with it
//! stays on the plugin's side.

use core::ffi::c_void;

use crate::{ErrorText, Head, Status, Str, declaration::PluginHandle};

/// A process, as the host names it: a counted reference.
pub type ProcessHandle = *const c_void;

/// A process's body. Context: main, on a stack of its own; it may wait.
pub type ProcessFn = unsafe extern "C" fn(data: *mut c_void, error: *mut ErrorText) -> Status;

/// Ends what a process, or an event that was put off, was given. Context: main.
pub type DropFn = unsafe extern "C" fn(data: *mut c_void) -> Status;

/// Numbers of events that a process can tell apart.
pub const EVENTS: u32 = 64;

/// [`ProcessSpec::restart`]: once it has ended, it stays so.
pub const RESTART_NEVER: u32 = 0;
/// [`ProcessSpec::restart`]: after a failure or a panic it begins again, later each time.
pub const RESTART_ON_FAILURE: u32 = 1;

/// A new process.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct ProcessSpec<'a> {
    /// Size and version.
    pub head: Head,
    /// Name, for `show process`.
    pub name: Str<'a>,
    /// What it runs.
    pub entry: ProcessFn,
    /// First argument of the body.
    pub data: *mut c_void,
    /// Called once, when the body will not run any more.
    pub drop: DropFn,
    /// Bytes of its stack; 0 for the host's default for plugins.
    pub stack_size: u64,
    /// `RESTART_*`.
    pub restart: u32,
    /// Reserved, 0.
    pub reserved: u32,
    /// From the first failure to the next start; doubled each time.
    pub backoff_ns: u64,
    /// The longest of these.
    pub backoff_max_ns: u64,
    /// How long it may hold main before that is reported; 0 for the host's default.
    pub watchdog_ns: u64,
}

/// [`Wait::flags`] and [`Wait::woken`]: an event of [`Wait::events`].
pub const WAIT_EVENT: u32 = 1;
/// [`Wait::flags`] and [`Wait::woken`]: [`Wait::timeout_ns`] has passed.
pub const WAIT_CLOCK: u32 = 2;
/// [`Wait::flags`] and [`Wait::woken`]: [`Wait::process`] has ended.
pub const WAIT_END: u32 = 4;

/// What a process waits for, and what came of it. With no flag it lets others run once.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Wait {
    /// Size and version.
    pub head: Head,
    /// `WAIT_*`.
    pub flags: u32,
    /// Out: which of them.
    pub woken: u32,
    /// A bit per event. Out: those that happened, and are forgotten with that.
    pub events: u64,
    /// From now on. Out: what is left of it.
    pub timeout_ns: u64,
    /// The process whose end is waited for.
    pub process: ProcessHandle,
}

/// An event that happens later.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct DelayedEvent {
    /// Size and version.
    pub head: Head,
    /// The process.
    pub process: ProcessHandle,
    /// A bit per event.
    pub events: u64,
    /// From now on.
    pub delay_ns: u64,
    /// Called when it happens, before the process is woken, or when it never will: then `happened`
    /// is 0.
    pub deliver: unsafe extern "C" fn(data: *mut c_void, token: u64, happened: u32) -> Status,
    /// First argument of it.
    pub data: *mut c_void,
    /// Second argument of it.
    pub token: u64,
}

/// Service `process`, version 1. Main thread, unless said otherwise.
#[repr(C)]
#[derive(Debug)]
pub struct ProcessService {
    /// Size and version.
    pub head: Head,
    /// Makes a process, which begins in the main loop's next turn. If this fails, `drop` is not
    /// called.
    pub create: unsafe extern "C" fn(
        context: *mut c_void,
        plugin: PluginHandle,
        spec: *const ProcessSpec<'_>,
        process: *mut ProcessHandle,
        error: *mut ErrorText,
    ) -> Status,
    /// One more reference. Any thread.
    pub retain: unsafe extern "C" fn(context: *mut c_void, process: ProcessHandle),
    /// One reference less. Any thread.
    pub release: unsafe extern "C" fn(context: *mut c_void, process: ProcessHandle),
    /// The process that runs, as one more reference; null if none does.
    pub current: unsafe extern "C" fn(context: *mut c_void) -> ProcessHandle,
    /// Suspends the process that runs. [`Status::CANCELLED`] if it is to end; then it is not
    /// suspended. Fails where no process runs, or it may not be suspended. `error` may be null.
    pub wait: unsafe extern "C" fn(
        context: *mut c_void,
        wait: *mut Wait,
        error: *mut ErrorText,
    ) -> Status,
    /// Whether the process that runs has had its slice and ought to wait; 0 where it may not.
    pub should_yield: unsafe extern "C" fn(context: *mut c_void) -> u32,
    /// Events happen to a process. Any thread. Fails if it has ended for good.
    pub signal:
        unsafe extern "C" fn(context: *mut c_void, process: ProcessHandle, events: u64) -> Status,
    /// An event that happens later; gives it a number.
    pub signal_later: unsafe extern "C" fn(
        context: *mut c_void,
        plugin: PluginHandle,
        event: *const DelayedEvent,
        id: *mut u64,
        error: *mut ErrorText,
    ) -> Status,
    /// Takes such an event back; fails if it has happened. `deliver` is called, with 0.
    pub take_back: unsafe extern "C" fn(context: *mut c_void, id: u64) -> Status,
    /// Says what an event is called in `show process`.
    pub name_event: unsafe extern "C" fn(
        context: *mut c_void,
        process: ProcessHandle,
        event: u32,
        name: Str<'_>,
    ) -> Status,
    /// Has a process end: its waits fail from now on, the one that it is in too.
    pub cancel: unsafe extern "C" fn(context: *mut c_void, process: ProcessHandle) -> Status,
    /// Begins a process again that has ended. Fails if it has not.
    pub restart: unsafe extern "C" fn(context: *mut c_void, process: ProcessHandle) -> Status,
    /// Whether a process has ended. Any thread.
    pub has_ended: unsafe extern "C" fn(context: *mut c_void, process: ProcessHandle) -> u32,
    /// The creator gives a process up: it runs on, and is forgotten when it has ended. Any thread.
    pub detach: unsafe extern "C" fn(context: *mut c_void, process: ProcessHandle),
}
