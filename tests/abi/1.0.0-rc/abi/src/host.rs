//! What a plugin may ask of the host.
//!
//! The table holds what every plugin needs; the rest are services, looked up by name and version:
//! `interface`, `graph`, `batch`, `buffer`, `timer`, `rpc`, `interrupt`, [`file`](crate::file),
//! [`handoff`](crate::handoff), [`process`](crate::process), [`work`](crate::work), `softirq` and
//! `tasklet` ([`deferred`](crate::deferred)).

use core::ffi::c_void;

use crate::{
    ErrorText, Head, Status, Str,
    declaration::{PluginHandle, ServiceRef},
    device::{InterfaceInfo, InterfaceSpec},
    frame::{NodeRuntime, ThreadCtx},
};

/// [`HostTable::log`].
pub mod log_level {
    /// Something failed.
    pub const ERROR: u32 = 0;
    /// Something is odd.
    pub const WARN: u32 = 1;
    /// Worth knowing.
    pub const NOTICE: u32 = 2;
    /// For the curious.
    pub const DEBUG: u32 = 3;
}

/// The host's table. Every function catches its own panics.
#[repr(C)]
#[derive(Debug)]
pub struct HostTable {
    /// Size and version.
    pub head: Head,
    /// The host's own.
    pub shared: *const c_void,
    /// Writes a line to the log. Any thread.
    pub log: unsafe extern "C" fn(
        host: *const HostTable,
        plugin: PluginHandle,
        level: u32,
        text: Str<'_>,
    ),
    /// Finds a service of the host or of another plugin. Main thread.
    pub service: unsafe extern "C" fn(
        host: *const HostTable,
        plugin: PluginHandle,
        name: Str<'_>,
        range: Str<'_>,
        found: *mut ServiceRef,
        error: *mut ErrorText,
    ) -> Status,
    /// Allocates up to `n` buffers; returns how many. Their line 0 is reset.
    pub buffer_alloc: unsafe extern "C" fn(ctx: *mut ThreadCtx, indices: *mut u32, n: u32) -> u32,
    /// Frees `n` packets with their chains.
    pub buffer_free: unsafe extern "C" fn(ctx: *mut ThreadCtx, indices: *const u32, n: u32),
    /// Frees one packet with its chain. Any thread; slow.
    pub buffer_release: unsafe extern "C" fn(host: *const HostTable, index: u32),
    /// Enqueues packets that are not of the node's frame to one of its nexts.
    pub enqueue: unsafe extern "C" fn(
        ctx: *mut ThreadCtx,
        node: *mut NodeRuntime,
        next: u32,
        indices: *const u32,
        n: u32,
    ),
    /// Nanoseconds since the host started. Any thread.
    pub now: unsafe extern "C" fn(host: *const HostTable) -> u64,
    /// Reserved, null.
    pub reserved: [*const c_void; 2],
}

// SAFETY: immutable; its functions are safe on the threads their descriptions name.
unsafe impl Sync for HostTable {}
// SAFETY: as above.
unsafe impl Send for HostTable {}

/// Service `interface`, version 1. Main thread.
#[repr(C)]
#[derive(Debug)]
pub struct InterfaceService {
    /// Size and version.
    pub head: Head,
    /// Creates an interface with its input and output nodes, down.
    pub create: unsafe extern "C" fn(
        context: *mut c_void,
        plugin: PluginHandle,
        spec: *const InterfaceSpec<'_>,
        index: *mut u32,
        error: *mut ErrorText,
    ) -> Status,
    /// Deletes an interface of this plugin.
    pub delete: unsafe extern "C" fn(
        context: *mut c_void,
        plugin: PluginHandle,
        index: u32,
        error: *mut ErrorText,
    ) -> Status,
    /// Fills in what is known of interface `index`.
    pub info:
        unsafe extern "C" fn(context: *mut c_void, index: u32, info: *mut InterfaceInfo) -> Status,
    /// Finds an interface by name.
    pub find: unsafe extern "C" fn(context: *mut c_void, name: Str<'_>, index: *mut u32) -> Status,
    /// The first index at or after `from` that is in use.
    pub next: unsafe extern "C" fn(context: *mut c_void, from: u32, index: *mut u32) -> Status,
    /// Takes an interface up (1) or down (0).
    pub set_admin: unsafe extern "C" fn(
        context: *mut c_void,
        plugin: PluginHandle,
        index: u32,
        up: u32,
        error: *mut ErrorText,
    ) -> Status,
    /// Tells the host that the link of an interface of this plugin went up (1) or down (0).
    pub set_link: unsafe extern "C" fn(
        context: *mut c_void,
        plugin: PluginHandle,
        index: u32,
        up: u32,
    ) -> Status,
}

/// Every interface, in [`GraphService::set_feature`].
pub const ALL_INTERFACES: u32 = u32::MAX;

/// Service `graph`, version 1. Main thread.
#[repr(C)]
#[derive(Debug)]
pub struct GraphService {
    /// Size and version.
    pub head: Head,
    /// The next number of `node` that leads to `target`, added if there is none. Called while the
    /// plugin is being created, it takes effect with the plugin's own splice; later, at once.
    pub add_next: unsafe extern "C" fn(
        context: *mut c_void,
        plugin: PluginHandle,
        node: Str<'_>,
        target: Str<'_>,
        next: *mut u32,
        error: *mut ErrorText,
    ) -> Status,
    /// Puts feature `node` on its arc, or takes it off, for one interface or
    /// [`ALL_INTERFACES`].
    pub set_feature: unsafe extern "C" fn(
        context: *mut c_void,
        plugin: PluginHandle,
        arc: Str<'_>,
        node: Str<'_>,
        interface: u32,
        on: u32,
        error: *mut ErrorText,
    ) -> Status,
}

/// Service `batch`, version 1: many changes of the graph in one stop of the workers. Main thread.
#[repr(C)]
#[derive(Debug)]
pub struct BatchService {
    /// Size and version.
    pub head: Head,
    /// Calls `changes` with `data` and puts all that it changed in force at once; nothing of it if
    /// it answers other than [`Status::OK`].
    pub make: unsafe extern "C" fn(
        context: *mut c_void,
        plugin: PluginHandle,
        changes: unsafe extern "C" fn(data: *mut c_void) -> Status,
        data: *mut c_void,
        error: *mut ErrorText,
    ) -> Status,
}

/// Service `buffer`, version 1. Main thread.
#[repr(C)]
#[derive(Debug)]
pub struct BufferService {
    /// Size and version.
    pub head: Head,
    /// Reserves `size` bytes of every buffer's slot line, aligned to `align`, until the plugin's
    /// generation ends; `offset` counts from the start of the buffer.
    pub slot: unsafe extern "C" fn(
        context: *mut c_void,
        plugin: PluginHandle,
        name: Str<'_>,
        size: u32,
        align: u32,
        offset: *mut u32,
        error: *mut ErrorText,
    ) -> Status,
}

/// A timer's function; `now_ns` is the time of this turn of the loop.
pub type TimerFn = unsafe extern "C" fn(data: *mut c_void, now_ns: u64) -> Status;

/// [`TimerSpec::flags`]: an idle thread does not wake up for it.
pub const TIMER_DEFERRABLE: u32 = 1;
/// [`TimerSpec::flags`]: it stays on the thread that starts it, even if that is idle.
pub const TIMER_PINNED: u32 = 2;

/// A new timer.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct TimerSpec<'a> {
    /// Size and version.
    pub head: Head,
    /// Name, for `show timers`.
    pub name: Str<'a>,
    /// What it runs.
    pub function: TimerFn,
    /// First argument of the function.
    pub data: *mut c_void,
    /// `TIMER_*`.
    pub flags: u32,
    /// Reserved, 0.
    pub reserved: u32,
}

/// A timer, as the host names it to its maker.
pub type TimerHandle = *const c_void;

/// Service `timer`, version 1: dynamic timers with Linux's contract, ticks of 1 ms. Any thread.
#[repr(C)]
#[derive(Debug)]
pub struct TimerService {
    /// Size and version.
    pub head: Head,
    /// Makes a timer, not pending.
    pub create: unsafe extern "C" fn(
        context: *mut c_void,
        plugin: PluginHandle,
        spec: *const TimerSpec<'_>,
        timer: *mut TimerHandle,
        error: *mut ErrorText,
    ) -> Status,
    /// Deletes a timer, waits until its function does not run, and forgets it. Fails, and does
    /// nothing, where the wait would not end.
    pub destroy: unsafe extern "C" fn(context: *mut c_void, timer: TimerHandle) -> Status,
    /// Starts a timer; fails if it is pending. `file` and `line` say who starts it.
    pub add: unsafe extern "C" fn(
        context: *mut c_void,
        timer: TimerHandle,
        expires_ns: u64,
        file: Str<'_>,
        line: u32,
    ) -> Status,
    /// Moves a timer, or starts it; says whether it was pending.
    pub modify: unsafe extern "C" fn(
        context: *mut c_void,
        timer: TimerHandle,
        expires_ns: u64,
        file: Str<'_>,
        line: u32,
        was_pending: *mut u32,
    ) -> Status,
    /// Deletes a timer; says whether it was pending. Its function may be running all the same.
    pub delete: unsafe extern "C" fn(
        context: *mut c_void,
        timer: TimerHandle,
        was_pending: *mut u32,
    ) -> Status,
    /// As `delete`, and waits until its function does not run. Fails where that would not end.
    pub delete_and_wait: unsafe extern "C" fn(
        context: *mut c_void,
        timer: TimerHandle,
        was_pending: *mut u32,
        error: *mut ErrorText,
    ) -> Status,
    /// Whether a timer is pending.
    pub is_pending: unsafe extern "C" fn(context: *mut c_void, timer: TimerHandle) -> u32,
}

/// [`CallSpec::size`] at most.
pub const CALL_ARGUMENTS: usize = 64;
/// What the arguments are aligned to when the function gets them.
pub const CALL_ALIGN: usize = 16;

/// Second argument of a [`CallFn`]: do what was asked for. Main thread, outside of nodes.
pub const CALL_RUN: u32 = 0;
/// Second argument of a [`CallFn`]: the plugin is unloaded, or the host ends; drop the arguments.
pub const CALL_CANCELLED: u32 = 1;
/// Second argument of a [`CallFn`]: a worker did not come to the barrier; drop the arguments.
pub const CALL_LATE: u32 = 2;

/// What a call to main runs, once, with its arguments, which it consumes: `what` is a `CALL_*`; one
/// that is not known is as [`CALL_CANCELLED`].
pub type CallFn = unsafe extern "C" fn(arguments: *mut c_void, what: u32) -> Status;

/// [`CallSpec::flags`]: it runs with the workers at the barrier.
pub const CALL_AT_BARRIER: u32 = 1;
/// [`CallSpec::flags`]: on a thread that forwards nothing, wait while the queue is full.
pub const CALL_WAIT_FOR_ROOM: u32 = 2;
/// [`CallSpec::flags`]: the caller waits for what comes of it. Refused where that would not end.
pub const CALL_WAIT_FOR_REPLY: u32 = 4;

/// [`RpcService::call`]: the queue is full.
pub const CALL_FULL: Status = Status(16);
/// [`RpcService::call`]: the plugin is unloaded, or the host ends.
pub const CALL_CLOSED: Status = Status(17);
/// [`RpcService::call`]: this thread forwards packets and must not wait.
pub const CALL_MUST_NOT_WAIT: Status = Status(18);

/// A call to main.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct CallSpec {
    /// Size and version.
    pub head: Head,
    /// What it runs.
    pub function: CallFn,
    /// The arguments, copied byte by byte.
    pub arguments: *const c_void,
    /// Bytes of them, at most [`CALL_ARGUMENTS`].
    pub size: u32,
    /// `CALL_AT_BARRIER` and the like.
    pub flags: u32,
}

/// Service `rpc`, version 1: calls to main, in the order in which each thread sends them. Any
/// thread.
#[repr(C)]
#[derive(Debug)]
pub struct RpcService {
    /// Size and version.
    pub head: Head,
    /// Sends a call; on main, outside of nodes, runs it. If the status is OK, the function has run
    /// or will be called once; else the arguments are still the caller's.
    pub call: unsafe extern "C" fn(
        context: *mut c_void,
        plugin: PluginHandle,
        call: *const CallSpec,
        error: *mut ErrorText,
    ) -> Status,
    /// 1 if this thread may wait for main: it forwards nothing.
    pub may_wait: unsafe extern "C" fn(context: *mut c_void) -> u32,
}

/// Every thread, in [`InterruptService::mark`].
pub const ALL_THREADS: u32 = u32::MAX;

/// Service `interrupt`, version 1: nodes that are dispatched when they are marked.
#[repr(C)]
#[derive(Debug)]
pub struct InterruptService {
    /// Size and version.
    pub head: Head,
    /// The index of a node of this plugin that is in the graph and can be marked: a *sched* node,
    /// or an input with [`ON_INTERRUPT`](crate::declaration::node_flag::ON_INTERRUPT). It is the
    /// node's as long as the plugin is loaded. Main thread.
    pub node: unsafe extern "C" fn(
        context: *mut c_void,
        plugin: PluginHandle,
        name: Str<'_>,
        node: *mut u32,
        error: *mut ErrorText,
    ) -> Status,
    /// Has a thread, or [`ALL_THREADS`], dispatch a node in its next turn, once however often it
    /// was marked by then. Fails if there is no such thread. Any thread.
    pub mark: unsafe extern "C" fn(context: *mut c_void, node: u32, thread: u32) -> Status,
}
