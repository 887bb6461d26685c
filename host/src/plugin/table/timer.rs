//! Service `timer`: dynamic timers of plugins.

use std::{ffi::c_void, sync::Arc};

use gristmill_abi::{
    ErrorText, Head, Status, Str,
    declaration::PluginHandle,
    host::{TIMER_DEFERRABLE, TIMER_PINNED, TimerFn, TimerHandle, TimerService, TimerSpec},
};

use plugin_api::ThreadIndex;

use super::{answer, guard, host_of, passed};
use crate::{
    graph::Owner,
    host::{Host, current_thread},
    time::{
        Nanos, Ticks,
        timer::{Site, Started, Timer, TimerFunction},
    },
};

/// Nanoseconds of a tick.
const TICK_NS: u64 = 1_000_000_000 / Ticks::PER_SECOND;

pub(super) static SERVICE: TimerService = TimerService {
    head: Head::of::<TimerService>(),
    create,
    destroy,
    add,
    modify,
    delete,
    delete_and_wait,
    is_pending,
};

/// What a timer runs.
#[derive(Debug)]
pub struct HostTimer {
    /// The generation it belongs to.
    pub owner: Owner,
    plugin: String,
    name: String,
    function: Function,
}

enum Function {
    /// A plugin's.
    Plugin(TimerFn, *mut c_void),
    /// One of the host's own.
    Own(Box<dyn Fn(Nanos) + Send + Sync>),
}

impl std::fmt::Debug for Function {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if matches!(self, Self::Own(_)) { "Own" } else { "Plugin" })
    }
}

// SAFETY: the SDK's data is `Send + Sync`; a plugin in C promises the same.
unsafe impl Send for HostTimer {}
// SAFETY: as above.
unsafe impl Sync for HostTimer {}

impl TimerFunction for HostTimer {
    fn owner(&self) -> String {
        self.plugin.clone()
    }

    fn name(&self) -> String {
        self.name.clone()
    }
}

impl HostTimer {
    /// A timer that the host runs on behalf of a plugin, or its own; the function does not panic.
    pub(crate) fn own(
        owner: Owner,
        plugin: String,
        name: String,
        function: impl Fn(Nanos) + Send + Sync + 'static,
    ) -> Self {
        Self { owner, plugin, name, function: Function::Own(Box::new(function)) }
    }

    /// What it is called.
    pub fn called(&self) -> &str {
        &self.name
    }

    /// Runs it. Context: the thread it was placed on, outside of nodes.
    pub fn run(&self, now: Nanos) -> Status {
        match &self.function {
            Function::Own(function) => {
                function(now);
                Status::OK
            }
            // SAFETY: a plugin's timers are deleted, and waited for, before its state ends.
            Function::Plugin(function, data) => unsafe { function(*data, now.0) },
        }
    }
}

unsafe extern "C" fn create(
    context: *mut c_void,
    plugin: PluginHandle,
    spec: *const TimerSpec<'_>,
    timer: *mut TimerHandle,
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
        let mut made = Timer::new(HostTimer {
            owner: Owner(plugin),
            plugin: host.owner_name(Owner(plugin)),
            name: spec.name.as_str().to_owned(),
            function: Function::Plugin(spec.function, spec.data),
        });
        if spec.flags & TIMER_DEFERRABLE != 0 {
            made = made.deferrable();
        }
        if spec.flags & TIMER_PINNED != 0 {
            made = made.pinned();
        }
        // SAFETY: the plugin passes room for it.
        unsafe { timer.write(Arc::into_raw(Arc::new(made)).cast()) };
        Ok::<_, std::convert::Infallible>(())
    };
    // SAFETY: the plugin passes room for an error.
    unsafe { answer(error, make) }
}

/// The timer behind a handle, still the plugin's.
///
/// # Safety
/// `timer` was made by `create` and not destroyed.
unsafe fn timer_of(timer: TimerHandle) -> Arc<Timer<HostTimer>> {
    let timer = timer.cast::<Timer<HostTimer>>();
    // SAFETY: by the caller's promise; this is one more owner.
    unsafe { Arc::increment_strong_count(timer) };
    // SAFETY: the count was raised for this one.
    unsafe { Arc::from_raw(timer) }
}

unsafe extern "C" fn destroy(context: *mut c_void, timer: TimerHandle) -> Status {
    guard(|| {
        // SAFETY: the plugin passes the context it was given.
        let host = unsafe { host_of(context) };
        // SAFETY: the plugin passes a timer of its own.
        let held = unsafe { timer_of(timer) };
        if host.timers.delete_and_wait(current_thread(), &held).is_err() {
            return Status::FAILED;
        }
        // SAFETY: the owner that `create` gave away comes back, once.
        drop(unsafe { Arc::from_raw(timer.cast::<Timer<HostTimer>>()) });
        Status::OK
    })
}

unsafe extern "C" fn add(
    context: *mut c_void,
    timer: TimerHandle,
    expires_ns: u64,
    file: Str<'_>,
    line: u32,
) -> Status {
    guard(|| {
        // SAFETY: the plugin passes the context it was given.
        let host = unsafe { host_of(context) };
        // SAFETY: the plugin passes a timer of its own.
        let timer = unsafe { timer_of(timer) };
        let thread = current_thread().unwrap_or(ThreadIndex(0));
        let site = Site { file: file.as_str(), line };
        let expires = first_tick_at(expires_ns);
        match host.timers.add_from(thread, &timer, expires, site) {
            Ok(started) => {
                wake(host, started);
                Status::OK
            }
            Err(_) => Status::FAILED,
        }
    })
}

unsafe extern "C" fn modify(
    context: *mut c_void,
    timer: TimerHandle,
    expires_ns: u64,
    file: Str<'_>,
    line: u32,
    was_pending: *mut u32,
) -> Status {
    guard(|| {
        // SAFETY: the plugin passes the context it was given.
        let host = unsafe { host_of(context) };
        // SAFETY: the plugin passes a timer of its own.
        let timer = unsafe { timer_of(timer) };
        let thread = current_thread().unwrap_or(ThreadIndex(0));
        let site = Site { file: file.as_str(), line };
        let expires = first_tick_at(expires_ns);
        let started = host.timers.modify_from(thread, &timer, expires, site);
        wake(host, started);
        // SAFETY: the plugin passes room for it.
        unsafe { was_pending.write(started.was_pending.into()) };
        Status::OK
    })
}

/// The first tick at which that time has come.
pub(crate) fn first_tick_at(time_ns: u64) -> Ticks {
    Ticks::at(Nanos(time_ns.saturating_add(TICK_NS - 1)))
}

/// A thread that sleeps learns of a timer that is due before it would wake up.
fn wake(host: &Host, started: Started) {
    if started.wake {
        host.ring(started.thread.0);
    }
}

unsafe extern "C" fn delete(
    context: *mut c_void,
    timer: TimerHandle,
    was_pending: *mut u32,
) -> Status {
    guard(|| {
        // SAFETY: the plugin passes the context it was given.
        let host = unsafe { host_of(context) };
        // SAFETY: the plugin passes a timer of its own.
        let timer = unsafe { timer_of(timer) };
        // SAFETY: the plugin passes room for it.
        unsafe { was_pending.write(host.timers.delete(&timer).into()) };
        Status::OK
    })
}

unsafe extern "C" fn delete_and_wait(
    context: *mut c_void,
    timer: TimerHandle,
    was_pending: *mut u32,
    error: *mut ErrorText,
) -> Status {
    let wait = || {
        // SAFETY: the plugin passes the context it was given.
        let host = unsafe { host_of(context) };
        // SAFETY: the plugin passes a timer of its own.
        let timer = unsafe { timer_of(timer) };
        let pending = host.timers.delete_and_wait(current_thread(), &timer)?;
        // SAFETY: the plugin passes room for it.
        unsafe { was_pending.write(pending.into()) };
        Ok::<_, crate::time::timer::DeadlockError>(())
    };
    // SAFETY: the plugin passes room for an error.
    unsafe { answer(error, wait) }
}

unsafe extern "C" fn is_pending(_: *mut c_void, timer: TimerHandle) -> u32 {
    // SAFETY: the plugin passes a timer of its own.
    unsafe { timer_of(timer) }.is_pending().into()
}
