//! Service `tasklet`.

use std::{convert::Infallible, ffi::c_void, mem::ManuallyDrop};

use gristmill_abi::{
    ErrorText, Head, Status,
    declaration::PluginHandle,
    deferred::{
        TASKLET_ALREADY, TASKLET_HI, TASKLET_KILLED, TaskletHandle, TaskletService, TaskletSpec,
    },
};

use super::{answer, guard, host_of, passed, softirq::on};
use crate::{
    deferred::{
        WaitError,
        tasklet::{self, Tasklet, state::Scheduled},
    },
    graph::Owner,
    sync::Arc,
};

pub(super) static SERVICE: TaskletService = TaskletService {
    head: Head::of::<TaskletService>(),
    create,
    destroy,
    schedule,
    disable,
    enable,
    kill,
    is_scheduled,
};

unsafe extern "C" fn create(
    context: *mut c_void,
    plugin: PluginHandle,
    spec: *const TaskletSpec<'_>,
    tasklet: *mut TaskletHandle,
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
        let owner = Owner(plugin);
        let made = host.tasklets.create(tasklet::TaskletSpec {
            name: spec.name.as_str().to_owned(),
            owner,
            plugin: host.owner_name(owner),
            high: spec.flags & TASKLET_HI != 0,
            function: spec.function,
            data: spec.data,
        });
        // SAFETY: the plugin passes room for it.
        unsafe { tasklet.write(Arc::into_raw(made).cast()) };
        Ok::<_, Infallible>(())
    };
    // SAFETY: the plugin passes room for an error.
    unsafe { answer(error, make) }
}

/// The tasklet behind a handle, still the plugin's.
///
/// # Safety
/// `tasklet` was made by `create` and not destroyed.
unsafe fn tasklet_of(tasklet: TaskletHandle) -> ManuallyDrop<Arc<Tasklet>> {
    // SAFETY: by the caller's promise; the owner that `create` gave away is lent, and not dropped.
    ManuallyDrop::new(unsafe { Arc::from_raw(tasklet.cast::<Tasklet>()) })
}

unsafe extern "C" fn destroy(context: *mut c_void, tasklet: TaskletHandle) -> Status {
    guard(|| {
        // SAFETY: the plugin passes the context it was given.
        let host = unsafe { host_of(context) };
        // SAFETY: the owner that `create` gave away comes back, once.
        let tasklet = unsafe { Arc::from_raw(tasklet.cast::<Tasklet>()) };
        let ended = host.kill(&tasklet);
        if ended.is_ok() {
            host.tasklets.forget(&tasklet);
        }
        if ended.is_ok() { Status::OK } else { Status::FAILED }
    })
}

unsafe extern "C" fn schedule(context: *mut c_void, tasklet: TaskletHandle, thread: u32) -> Status {
    // SAFETY: the plugin passes the context it was given.
    let host = unsafe { host_of(context) };
    // SAFETY: the plugin passes a tasklet of its own.
    let tasklet = unsafe { tasklet_of(tasklet) };
    match host.schedule(&tasklet, on(thread)) {
        Some(Scheduled::List | Scheduled::Held) => Status::OK,
        Some(Scheduled::Already) => TASKLET_ALREADY,
        Some(Scheduled::Killed) => TASKLET_KILLED,
        None => Status::FAILED,
    }
}

unsafe extern "C" fn disable(
    context: *mut c_void,
    tasklet: TaskletHandle,
    wait: u32,
    error: *mut ErrorText,
) -> Status {
    let disable = || {
        // SAFETY: the plugin passes the context it was given.
        let host = unsafe { host_of(context) };
        // SAFETY: the plugin passes a tasklet of its own.
        let tasklet = unsafe { tasklet_of(tasklet) };
        tasklet.disable();
        if wait == 0 { Ok(()) } else { host.await_end(&tasklet) }
    };
    // SAFETY: the plugin passes room for an error.
    unsafe { answer::<WaitError>(error, disable) }
}

unsafe extern "C" fn enable(context: *mut c_void, tasklet: TaskletHandle) -> Status {
    guard(|| {
        // SAFETY: the plugin passes the context it was given.
        let host = unsafe { host_of(context) };
        // SAFETY: the plugin passes a tasklet of its own.
        let tasklet = unsafe { tasklet_of(tasklet) };
        if host.enable(&tasklet) { Status::OK } else { Status::FAILED }
    })
}

unsafe extern "C" fn kill(
    context: *mut c_void,
    tasklet: TaskletHandle,
    error: *mut ErrorText,
) -> Status {
    let kill = || {
        // SAFETY: the plugin passes the context it was given.
        let host = unsafe { host_of(context) };
        // SAFETY: the plugin passes a tasklet of its own.
        let tasklet = unsafe { tasklet_of(tasklet) };
        host.kill(&tasklet)
    };
    // SAFETY: the plugin passes room for an error.
    unsafe { answer::<WaitError>(error, kill) }
}

unsafe extern "C" fn is_scheduled(_: *mut c_void, tasklet: TaskletHandle) -> u32 {
    // SAFETY: the plugin passes a tasklet of its own.
    unsafe { tasklet_of(tasklet) }.is_scheduled().into()
}
