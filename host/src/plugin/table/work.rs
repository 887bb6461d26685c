//! Service `work`: work queues of plugins.

use std::ffi::c_void;

use gristmill_abi::{
    ErrorText, Head, Status, Str,
    declaration::PluginHandle,
    work::{
        WORK_ANY_THREAD, WORK_BOUND, WORK_CLOSED, WORK_DRAINING, WORK_ORDERED, WORK_PENDING,
        WORK_UNBOUND, WorkFn, WorkItemHandle, WorkItemSpec, WorkQueueHandle, WorkQueueSpec,
        WorkService,
    },
};

use super::{answer, guard, host_of, passed};
use crate::{
    deferred::work::{Item, Kind, Queue, QueueSpec, Queued, Work, WorkError},
    graph::Owner,
    host::current_thread,
    time::{Nanos, timer::Site},
};

pub(super) static SERVICE: WorkService = WorkService {
    head: Head::of::<WorkService>(),
    create_queue,
    close_queue,
    destroy_queue,
    create_item,
    destroy_item,
    enqueue,
    enqueue_delayed,
    modify_delay,
    cancel,
    cancel_and_wait,
    flush,
    is_pending,
    flush_queue,
    drain,
    call,
};

/// Why a queue was not made.
#[derive(Debug, thiserror::Error)]
enum QueueError {
    #[error("there is no kind {0} of work queues")]
    Kind(u32),
    #[error("a work queue is not made on a thread that forwards packets")]
    Thread,
    #[error(transparent)]
    Work(#[from] WorkError),
}

/// What a plugin's item runs.
struct PluginWork {
    run: WorkFn,
    drop: WorkFn,
    data: *mut c_void,
}

// SAFETY: the SDK's data is `Send`; a plugin in C promises the same.
unsafe impl Send for PluginWork {}

impl PluginWork {
    fn of(spec: &WorkItemSpec<'_>) -> Self {
        Self { run: spec.run, drop: spec.drop, data: spec.data }
    }
}

impl Work for PluginWork {
    fn run(&mut self) -> bool {
        // SAFETY: the data lives until `drop`, and its functions are not called at the same time.
        unsafe { (self.run)(self.data) != Status::PANICKED }
    }

    fn give_back(self: Box<Self>) {
        std::mem::forget(*self); // The plugin drops its data itself.
    }
}

impl Drop for PluginWork {
    fn drop(&mut self) {
        // SAFETY: called once, and nothing runs on the data any more.
        unsafe { (self.drop)(self.data) };
    }
}

/// The queue behind a handle.
///
/// # Safety
/// `queue` was made by `create_queue` and not destroyed.
unsafe fn queue_of<'a>(queue: WorkQueueHandle) -> &'a Queue {
    // SAFETY: by the caller's promise.
    unsafe { &*queue.cast::<Queue>() }
}

/// The item behind a handle.
///
/// # Safety
/// `item` was made by `create_item` and not destroyed.
unsafe fn item_of<'a>(item: WorkItemHandle) -> &'a Item {
    // SAFETY: by the caller's promise.
    unsafe { &*item.cast::<Item>() }
}

fn status_of(queued: Result<Queued, WorkError>) -> Status {
    match queued {
        Ok(Queued::Now) => Status::OK,
        Ok(Queued::Before) => WORK_PENDING,
        Err(WorkError::Closed) => WORK_CLOSED,
        Err(WorkError::Draining) => WORK_DRAINING,
        Err(_) => Status::FAILED,
    }
}

/// Waits. Nothing is held here, and nothing of ours panics on the way: a process may be suspended.
///
/// # Safety
/// `error` is null or has room.
unsafe fn waited(error: *mut ErrorText, outcome: Result<(), WorkError>) -> Status {
    let Err(reason) = outcome else { return Status::OK };
    // SAFETY: by the caller's promise.
    if let Some(error) = unsafe { error.as_mut() } {
        error.set(&reason.to_string());
    }
    Status::FAILED
}

unsafe extern "C" fn create_queue(
    context: *mut c_void,
    plugin: PluginHandle,
    spec: *const WorkQueueSpec<'_>,
    queue: *mut WorkQueueHandle,
    error: *mut ErrorText,
) -> Status {
    // SAFETY: the plugin passes a specification, and room for an error.
    let spec = match unsafe { passed(spec, error) } {
        Ok(spec) => spec,
        Err(status) => return status,
    };
    let make = || {
        // SAFETY: the plugin passes the context it was given.
        let host = unsafe { host_of(context) };
        let kind = match spec.kind {
            WORK_UNBOUND => Kind::Unbound,
            WORK_ORDERED => Kind::Ordered,
            WORK_BOUND => Kind::Bound,
            unknown => return Err(QueueError::Kind(unknown)),
        };
        if current_thread().is_some() && !host.may_control() {
            return Err(QueueError::Thread);
        }
        let owner = Owner(plugin);
        let max_active = if spec.max_active == 0 { QueueSpec::MAX_ACTIVE } else { spec.max_active };
        let made = host.work.queue(QueueSpec {
            name: spec.name.as_str().to_owned(),
            owner,
            plugin: host.owner_name(owner),
            kind,
            max_active,
            lasting: false,
        })?;
        // SAFETY: the plugin passes room for it.
        unsafe { queue.write(Box::into_raw(Box::new(made)).cast_const().cast()) };
        Ok(())
    };
    // SAFETY: the plugin passes room for an error.
    unsafe { answer(error, make) }
}

unsafe extern "C" fn close_queue(
    _: *mut c_void,
    queue: WorkQueueHandle,
    error: *mut ErrorText,
) -> Status {
    // SAFETY: the plugin passes a queue of its own.
    let outcome = unsafe { queue_of(queue) }.close();
    // SAFETY: the plugin passes room for an error.
    unsafe { waited(error, outcome) }
}

unsafe extern "C" fn destroy_queue(_: *mut c_void, queue: WorkQueueHandle) -> Status {
    // SAFETY: what `create_queue` gave away comes back, once.
    let queue = unsafe { Box::from_raw(queue.cast::<Queue>().cast_mut()) };
    if queue.close().is_ok() { Status::OK } else { Status::FAILED }
}

unsafe extern "C" fn create_item(
    _: *mut c_void,
    queue: WorkQueueHandle,
    spec: *const WorkItemSpec<'_>,
    item: *mut WorkItemHandle,
    error: *mut ErrorText,
) -> Status {
    // SAFETY: the plugin passes a specification, and room for an error.
    let spec = match unsafe { passed(spec, error) } {
        Ok(spec) => spec,
        Err(status) => return status,
    };
    let make = || {
        // SAFETY: the plugin passes a queue of its own.
        let queue = unsafe { queue_of(queue) };
        let thread = (spec.thread != WORK_ANY_THREAD).then_some(spec.thread);
        let made = queue
            .item_of(spec.name.as_str(), thread, Box::new(PluginWork::of(&spec)))
            .map_err(given_back)?;
        // SAFETY: the plugin passes room for it.
        unsafe { item.write(Box::into_raw(Box::new(made)).cast_const().cast()) };
        Ok::<_, WorkError>(())
    };
    // SAFETY: the plugin passes room for an error.
    unsafe { answer(error, make) }
}

/// What was not taken stays the plugin's.
fn given_back((error, work): (WorkError, Option<Box<dyn Work>>)) -> WorkError {
    if let Some(work) = work {
        work.give_back();
    }
    error
}

unsafe extern "C" fn destroy_item(_: *mut c_void, item: WorkItemHandle) -> Status {
    // SAFETY: what `create_item` gave away comes back, once.
    let item = unsafe { Box::from_raw(item.cast::<Item>().cast_mut()) };
    if item.end().is_ok() { Status::OK } else { Status::FAILED }
}

unsafe extern "C" fn enqueue(_: *mut c_void, item: WorkItemHandle) -> Status {
    // SAFETY: the plugin passes an item of its own.
    guard(|| status_of(unsafe { item_of(item) }.queue()))
}

unsafe extern "C" fn enqueue_delayed(
    _: *mut c_void,
    item: WorkItemHandle,
    delay_ns: u64,
    file: Str<'_>,
    line: u32,
) -> Status {
    let site = Site { file: file.as_str(), line };
    // SAFETY: the plugin passes an item of its own.
    guard(|| status_of(unsafe { item_of(item) }.queue_after_from(Nanos(delay_ns), site)))
}

unsafe extern "C" fn modify_delay(
    _: *mut c_void,
    item: WorkItemHandle,
    delay_ns: u64,
    file: Str<'_>,
    line: u32,
    was_pending: *mut u32,
) -> Status {
    guard(|| {
        let site = Site { file: file.as_str(), line };
        // SAFETY: the plugin passes an item of its own.
        match unsafe { item_of(item) }.modify_delay_from(Nanos(delay_ns), site) {
            Ok(pending) => {
                // SAFETY: the plugin passes room for it.
                unsafe { was_pending.write(pending.into()) };
                Status::OK
            }
            Err(error) => status_of(Err(error)),
        }
    })
}

unsafe extern "C" fn cancel(_: *mut c_void, item: WorkItemHandle) -> u32 {
    let mut was_pending = false;
    guard(|| {
        // SAFETY: the plugin passes an item of its own.
        was_pending = unsafe { item_of(item) }.cancel();
        Status::OK
    });
    was_pending.into()
}

unsafe extern "C" fn cancel_and_wait(
    _: *mut c_void,
    item: WorkItemHandle,
    was_pending: *mut u32,
    error: *mut ErrorText,
) -> Status {
    // SAFETY: the plugin passes an item of its own.
    let outcome = unsafe { item_of(item) }.cancel_and_wait().map(|pending| {
        // SAFETY: the plugin passes room for it.
        unsafe { was_pending.write(pending.into()) };
    });
    // SAFETY: the plugin passes room for an error.
    unsafe { waited(error, outcome) }
}

unsafe extern "C" fn flush(_: *mut c_void, item: WorkItemHandle, error: *mut ErrorText) -> Status {
    // SAFETY: the plugin passes an item of its own.
    let outcome = unsafe { item_of(item) }.flush();
    // SAFETY: the plugin passes room for an error.
    unsafe { waited(error, outcome) }
}

unsafe extern "C" fn is_pending(_: *mut c_void, item: WorkItemHandle) -> u32 {
    // SAFETY: the plugin passes an item of its own.
    unsafe { item_of(item) }.is_pending().into()
}

unsafe extern "C" fn flush_queue(
    _: *mut c_void,
    queue: WorkQueueHandle,
    error: *mut ErrorText,
) -> Status {
    // SAFETY: the plugin passes a queue of its own.
    let outcome = unsafe { queue_of(queue) }.flush();
    // SAFETY: the plugin passes room for an error.
    unsafe { waited(error, outcome) }
}

unsafe extern "C" fn drain(
    _: *mut c_void,
    queue: WorkQueueHandle,
    error: *mut ErrorText,
) -> Status {
    // SAFETY: the plugin passes a queue of its own.
    let outcome = unsafe { queue_of(queue) }.drain();
    // SAFETY: the plugin passes room for an error.
    unsafe { waited(error, outcome) }
}

unsafe extern "C" fn call(
    _: *mut c_void,
    queue: WorkQueueHandle,
    spec: *const WorkItemSpec<'_>,
    error: *mut ErrorText,
) -> Status {
    // SAFETY: the plugin passes a specification, and room for an error.
    let spec = match unsafe { passed(spec, error) } {
        Ok(spec) => spec,
        Err(status) => return status,
    };
    let mut status = Status::FAILED;
    let queue_it = || {
        // SAFETY: the plugin passes a queue of its own.
        let queue = unsafe { queue_of(queue) };
        let thread = (spec.thread != WORK_ANY_THREAD).then_some(spec.thread);
        let work = Box::new(PluginWork::of(&spec));
        let queued = queue.run_work(spec.name.as_str(), thread, work).map_err(given_back);
        if let Err(error) = &queued {
            status = match error {
                WorkError::Closed => WORK_CLOSED,
                WorkError::Draining => WORK_DRAINING,
                _ => Status::FAILED,
            };
        }
        queued
    };
    // SAFETY: the plugin passes room for an error.
    let answered = unsafe { answer(error, queue_it) };
    if answered == Status::FAILED { status } else { answered }
}
