//! Service `work`: work queues of plugins, whose items may block.

use core::ffi::c_void;

use crate::{ErrorText, Head, Status, Str, declaration::PluginHandle};

/// A queue, as the host names it to its maker.
pub type WorkQueueHandle = *const c_void;

/// An item, as the host names it to its maker.
pub type WorkItemHandle = *const c_void;

/// What an item runs; never on two threads at once. Context: a work thread; it may block.
pub type WorkFn = unsafe extern "C" fn(data: *mut c_void) -> Status;

/// [`WorkQueueSpec::kind`]: items run on any work thread.
pub const WORK_UNBOUND: u32 = 0;
/// [`WorkQueueSpec::kind`]: one item at a time, in the order of queueing.
pub const WORK_ORDERED: u32 = 1;
/// [`WorkQueueSpec::kind`]: each item names the forwarding thread on whose CPU it runs.
pub const WORK_BOUND: u32 = 2;

/// [`WorkItemSpec::thread`]: none, as the queue is not bound.
pub const WORK_ANY_THREAD: u32 = u32::MAX;

/// [`WorkService::enqueue`] and the like: the item was pending, and nothing happens.
pub const WORK_PENDING: Status = Status(16);
/// [`WorkService::enqueue`] and the like: the item or its queue is cancelled, or gone.
pub const WORK_CLOSED: Status = Status(17);
/// [`WorkService::enqueue`] and the like: the queue is drained, and takes work of its own items only.
pub const WORK_DRAINING: Status = Status(18);

/// A new queue.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct WorkQueueSpec<'a> {
    /// Size and version.
    pub head: Head,
    /// Name, for `show workqueues`.
    pub name: Str<'a>,
    /// `WORK_UNBOUND` and the like.
    pub kind: u32,
    /// Items of it in execution at once; 0 for the host's default.
    pub max_active: u32,
}

/// A new item, or a call of a function that runs once.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct WorkItemSpec<'a> {
    /// Size and version.
    pub head: Head,
    /// Name, for `show workqueues`.
    pub name: Str<'a>,
    /// What it runs.
    pub run: WorkFn,
    /// First argument of the two functions.
    pub data: *mut c_void,
    /// Called once, when `run` will not be called any more. Any thread.
    pub drop: WorkFn,
    /// The forwarding thread, of a bound queue's; else [`WORK_ANY_THREAD`].
    pub thread: u32,
    /// Reserved, 0.
    pub reserved: u32,
}

/// Service `work`, version 1. Any thread, a node's too, unless said otherwise.
///
/// What *waits* is for work threads, processes (main goes on meanwhile), main outside of nodes (for
/// some seconds at most) and threads of the plugin's own; elsewhere, and where the wait would not
/// end, it fails.
#[repr(C)]
#[derive(Debug)]
pub struct WorkService {
    /// Size and version.
    pub head: Head,
    /// Makes a queue. Not on a thread that forwards packets.
    pub create_queue: unsafe extern "C" fn(
        context: *mut c_void,
        plugin: PluginHandle,
        spec: *const WorkQueueSpec<'_>,
        queue: *mut WorkQueueHandle,
        error: *mut ErrorText,
    ) -> Status,
    /// Cancels what is pending on a queue, which takes nothing any more, and waits for what runs;
    /// fails where it cannot wait for that, and does all else.
    pub close_queue: unsafe extern "C" fn(
        context: *mut c_void,
        queue: WorkQueueHandle,
        error: *mut ErrorText,
    ) -> Status,
    /// The same, and forgets the queue.
    pub destroy_queue: unsafe extern "C" fn(context: *mut c_void, queue: WorkQueueHandle) -> Status,
    /// Makes an item, not pending. If this fails, `drop` is not called.
    pub create_item: unsafe extern "C" fn(
        context: *mut c_void,
        queue: WorkQueueHandle,
        spec: *const WorkItemSpec<'_>,
        item: *mut WorkItemHandle,
        error: *mut ErrorText,
    ) -> Status,
    /// Cancels an item, waits until it does not run, and forgets it; fails where it cannot wait for
    /// that, and does all else.
    pub destroy_item: unsafe extern "C" fn(context: *mut c_void, item: WorkItemHandle) -> Status,
    /// Queues an item, unless it is pending.
    pub enqueue: unsafe extern "C" fn(context: *mut c_void, item: WorkItemHandle) -> Status,
    /// Has an item be queued later, unless it is pending; it is, from now on. `file` and `line` say
    /// who asks.
    pub enqueue_delayed: unsafe extern "C" fn(
        context: *mut c_void,
        item: WorkItemHandle,
        delay_ns: u64,
        file: Str<'_>,
        line: u32,
    ) -> Status,
    /// The same whether it is pending or not; says whether it was.
    pub modify_delay: unsafe extern "C" fn(
        context: *mut c_void,
        item: WorkItemHandle,
        delay_ns: u64,
        file: Str<'_>,
        line: u32,
        was_pending: *mut u32,
    ) -> Status,
    /// Cancels an item; 1 if it was pending. It may be running all the same.
    pub cancel: unsafe extern "C" fn(context: *mut c_void, item: WorkItemHandle) -> u32,
    /// The same, and waits until it does not run; it is not queued meanwhile.
    pub cancel_and_wait: unsafe extern "C" fn(
        context: *mut c_void,
        item: WorkItemHandle,
        was_pending: *mut u32,
        error: *mut ErrorText,
    ) -> Status,
    /// Queues an item at once that waits for its delay, and waits until all that was queued of it
    /// has run.
    pub flush: unsafe extern "C" fn(
        context: *mut c_void,
        item: WorkItemHandle,
        error: *mut ErrorText,
    ) -> Status,
    /// Whether an item is pending.
    pub is_pending: unsafe extern "C" fn(context: *mut c_void, item: WorkItemHandle) -> u32,
    /// Waits for all that is queued on a queue now; for no delay.
    pub flush_queue: unsafe extern "C" fn(
        context: *mut c_void,
        queue: WorkQueueHandle,
        error: *mut ErrorText,
    ) -> Status,
    /// Waits until nothing is queued on a queue, or runs; meanwhile it takes work of its own items
    /// only.
    pub drain: unsafe extern "C" fn(
        context: *mut c_void,
        queue: WorkQueueHandle,
        error: *mut ErrorText,
    ) -> Status,
    /// Queues a function that runs once. If this fails, `drop` is not called.
    pub call: unsafe extern "C" fn(
        context: *mut c_void,
        queue: WorkQueueHandle,
        spec: *const WorkItemSpec<'_>,
        error: *mut ErrorText,
    ) -> Status,
}
