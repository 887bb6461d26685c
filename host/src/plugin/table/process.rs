//! Service `process`: processes of plugins.

use std::{ffi::c_void, mem::ManuallyDrop};

use gristmill_abi::{
    ErrorText, Head, Status, Str,
    declaration::PluginHandle,
    process::{
        DelayedEvent, DropFn, ProcessFn, ProcessHandle, ProcessService, ProcessSpec,
        RESTART_ON_FAILURE, WAIT_CLOCK, WAIT_END, WAIT_EVENT, Wait,
    },
};

use super::{answer, guard, host_of, passed};
use crate::{
    graph::Owner,
    host::Host,
    process::{
        Body, Deliver, Ending, Later, PluginDeliver, ProcessShared, Request, Restart, Spec, Stack,
        StackError, WATCHDOG, WaitError,
    },
    sync::Arc,
    time::Nanos,
};

pub(super) static SERVICE: ProcessService = ProcessService {
    head: Head::of::<ProcessService>(),
    create,
    retain,
    release,
    current,
    wait,
    should_yield,
    signal,
    signal_later,
    take_back,
    name_event,
    cancel,
    restart,
    has_ended,
    detach,
};

/// Usable bytes of a plugin's process's stack, unless it asks for others: the machinery of a panic
/// needs 24 KiB.
const STACK: u64 = 128 << 10;

/// Why a process was not made.
#[derive(Debug, thiserror::Error)]
enum ProcessError {
    #[error("processes are made on the main thread")]
    Thread,
    #[error("the plugin is being unloaded")]
    Unloading,
    #[error("{0} bytes of stack: it takes {min} to {max}", min = Stack::MIN, max = Stack::MAX)]
    Stack(u64),
    #[error(transparent)]
    NoStack(#[from] StackError),
    #[error("event numbers are below 64, and one at least is needed")]
    NoEvent,
}

/// What a plugin's process runs.
struct PluginBody {
    entry: ProcessFn,
    data: *mut c_void,
    drop: DropFn,
}

impl Body for PluginBody {
    fn run(&mut self) -> Ending {
        let mut error = ErrorText::new();
        // SAFETY: the data lives until `drop`; a plugin's processes end before its state does.
        let status = unsafe { (self.entry)(self.data, &raw mut error) };
        match status {
            Status::OK => Ending::Done,
            Status::CANCELLED => Ending::Cancelled,
            Status::PANICKED => Ending::Panicked(error.as_str().to_owned()),
            _ => Ending::Failed(error.as_str().to_owned()),
        }
    }
}

impl Drop for PluginBody {
    fn drop(&mut self) {
        // SAFETY: called once, and nothing runs on the data any more.
        unsafe { (self.drop)(self.data) };
    }
}

fn handle(process: Arc<ProcessShared>) -> ProcessHandle {
    Arc::into_raw(process).cast()
}

/// The process behind a handle, whose count stays the plugin's.
///
/// # Safety
/// `process` is a counted reference that the caller holds.
unsafe fn process_of(process: ProcessHandle) -> Arc<ProcessShared> {
    let process = process.cast::<ProcessShared>();
    // SAFETY: by the caller's promise; this is one more.
    unsafe { Arc::increment_strong_count(process) };
    // SAFETY: the count was raised for this one.
    unsafe { Arc::from_raw(process) }
}

unsafe extern "C" fn create(
    context: *mut c_void,
    plugin: PluginHandle,
    spec: *const ProcessSpec<'_>,
    process: *mut ProcessHandle,
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
        if !host.processes.is_here() {
            return Err(ProcessError::Thread);
        }
        if host.processes.is_closed(Owner(plugin)) {
            return Err(ProcessError::Unloading);
        }
        let asked = if spec.stack_size == 0 { STACK } else { spec.stack_size };
        let stack_size = usize::try_from(asked).unwrap_or(usize::MAX);
        if !(Stack::MIN..=Stack::MAX).contains(&stack_size) {
            return Err(ProcessError::Stack(asked));
        }
        let restart = if spec.restart == RESTART_ON_FAILURE {
            let (first, longest) = (Nanos(spec.backoff_ns), Nanos(spec.backoff_max_ns));
            Restart::OnFailure { first, longest }
        } else {
            Restart::Never
        };
        let own = Spec {
            name: spec.name.as_str().to_owned(),
            owner: Owner(plugin),
            plugin: host.owner_name(Owner(plugin)),
            version: host.owner_version(Owner(plugin)),
            stack_size,
            restart,
            watchdog: if spec.watchdog_ns == 0 { WATCHDOG } else { Nanos(spec.watchdog_ns) },
        };
        let ProcessSpec { entry, data, drop, .. } = spec;
        let made = host.processes.spawn(own, Box::new(PluginBody { entry, data, drop }));
        // SAFETY: the plugin passes room for it.
        unsafe { process.write(handle(made)) };
        Ok(())
    };
    // SAFETY: the plugin passes room for an error.
    unsafe { answer(error, make) }
}

unsafe extern "C" fn retain(_: *mut c_void, process: ProcessHandle) {
    // SAFETY: the plugin passes a reference that it holds.
    std::mem::forget(unsafe { process_of(process) });
}

unsafe extern "C" fn release(_: *mut c_void, process: ProcessHandle) {
    // SAFETY: the plugin gives a reference back that it held.
    drop(unsafe { Arc::from_raw(process.cast::<ProcessShared>()) });
}

unsafe extern "C" fn current(context: *mut c_void) -> ProcessHandle {
    // SAFETY: the plugin passes the context it was given.
    let host = unsafe { host_of(context) };
    host.processes.current().map_or(std::ptr::null(), handle)
}

unsafe extern "C" fn wait(context: *mut c_void, wait: *mut Wait, error: *mut ErrorText) -> Status {
    // SAFETY: the plugin passes the context it was given.
    let host: &Host = unsafe { host_of(context) };
    // SAFETY: the plugin passes a request, and room for an error, or null.
    let asked = match unsafe { passed(wait.cast_const(), error) } {
        Ok(asked) => asked,
        Err(status) => return status,
    };
    let events = if asked.flags & WAIT_EVENT != 0 { asked.events } else { 0 };
    let timeout = (asked.flags & WAIT_CLOCK != 0).then_some(Nanos(asked.timeout_ns));
    // SAFETY: with the flag the plugin passes a reference that it holds.
    let end_of = (asked.flags & WAIT_END != 0).then(|| unsafe { process_of(asked.process) });
    // Nothing is held here, and nothing of ours panics on the way: the process may be suspended.
    match host.processes.wait(Request { events, timeout, end_of }) {
        Ok(woken) => {
            let flag = |on, flag| if on { flag } else { 0 };
            let what = flag(woken.events != 0, WAIT_EVENT)
                | flag(woken.clock, WAIT_CLOCK)
                | flag(woken.end, WAIT_END);
            // SAFETY: the request is the plugin's own until this returns, and has these three fields.
            unsafe { (*wait).woken = what };
            // SAFETY: as above.
            unsafe { (*wait).events = woken.events };
            // SAFETY: as above.
            unsafe { (*wait).timeout_ns = woken.left.0 };
            Status::OK
        }
        Err(WaitError::Cancelled) => Status::CANCELLED,
        Err(reason) => {
            // SAFETY: the plugin passes room for an error, or null.
            if let Some(error) = unsafe { error.as_mut() } {
                error.set(&reason.to_string());
            }
            Status::FAILED
        }
    }
}

unsafe extern "C" fn should_yield(context: *mut c_void) -> u32 {
    // SAFETY: the plugin passes the context it was given.
    let host = unsafe { host_of(context) };
    host.processes.should_yield().into()
}

unsafe extern "C" fn signal(context: *mut c_void, process: ProcessHandle, events: u64) -> Status {
    // SAFETY: the plugin passes the context it was given.
    let host = unsafe { host_of(context) };
    // SAFETY: the plugin passes a reference that it holds until this returns; its count stays.
    let process = ManuallyDrop::new(unsafe { Arc::from_raw(process.cast::<ProcessShared>()) });
    let happened = host.processes.signal(&process, events, || host.ring_main());
    if happened { Status::OK } else { Status::FAILED }
}

unsafe extern "C" fn signal_later(
    context: *mut c_void,
    plugin: PluginHandle,
    event: *const DelayedEvent,
    id: *mut u64,
    error: *mut ErrorText,
) -> Status {
    // SAFETY: the plugin passes an event, and room for an error.
    let event = match unsafe { passed(event, error) } {
        Ok(event) => event,
        Err(status) => return status,
    };
    let put_off = || {
        // SAFETY: the plugin passes the context it was given.
        let host = unsafe { host_of(context) };
        let DelayedEvent { process, events, delay_ns, .. } = event;
        if !host.processes.is_here() {
            return Err(ProcessError::Thread);
        }
        if events == 0 {
            return Err(ProcessError::NoEvent);
        }
        if host.processes.is_closed(Owner(plugin)) {
            return Err(ProcessError::Unloading);
        }
        // SAFETY: the plugin's own; what is left of it when its generation ends is taken back.
        let deliver = Deliver::Plugin(unsafe { PluginDeliver::of(&event) });
        // SAFETY: the plugin passes a reference that it holds.
        let process = unsafe { process_of(process) };
        let later = Later { process, owner: Owner(plugin), events, deliver };
        // SAFETY: the plugin passes room for it.
        unsafe { id.write(host.processes.later(later, Nanos(delay_ns))) };
        Ok(())
    };
    // SAFETY: the plugin passes room for an error.
    unsafe { answer(error, put_off) }
}

unsafe extern "C" fn take_back(context: *mut c_void, id: u64) -> Status {
    guard(|| {
        // SAFETY: the plugin passes the context it was given.
        let host = unsafe { host_of(context) };
        let taken = host.processes.is_here() && host.processes.take_back(id);
        if taken { Status::OK } else { Status::FAILED }
    })
}

unsafe extern "C" fn name_event(
    context: *mut c_void,
    process: ProcessHandle,
    event: u32,
    name: Str<'_>,
) -> Status {
    guard(|| {
        // SAFETY: the plugin passes the context it was given.
        let host = unsafe { host_of(context) };
        // SAFETY: the plugin passes a reference that it holds.
        let process = unsafe { process_of(process) };
        let here = host.processes.is_here();
        let named = here && host.processes.name_event(&process, event, name.as_str());
        if named { Status::OK } else { Status::FAILED }
    })
}

unsafe extern "C" fn cancel(context: *mut c_void, process: ProcessHandle) -> Status {
    guard(|| {
        // SAFETY: the plugin passes the context it was given.
        let host = unsafe { host_of(context) };
        // SAFETY: the plugin passes a reference that it holds.
        let process = unsafe { process_of(process) };
        let cancelled = host.processes.is_here() && host.processes.cancel(&process);
        if cancelled { Status::OK } else { Status::FAILED }
    })
}

unsafe extern "C" fn restart(context: *mut c_void, process: ProcessHandle) -> Status {
    guard(|| {
        // SAFETY: the plugin passes the context it was given.
        let host = unsafe { host_of(context) };
        // SAFETY: the plugin passes a reference that it holds.
        let process = unsafe { process_of(process) };
        let begun = host.processes.is_here() && host.processes.restart(&process);
        if begun { Status::OK } else { Status::FAILED }
    })
}

unsafe extern "C" fn has_ended(_: *mut c_void, process: ProcessHandle) -> u32 {
    // SAFETY: the plugin passes a reference that it holds.
    unsafe { process_of(process) }.has_ended().into()
}

unsafe extern "C" fn detach(context: *mut c_void, process: ProcessHandle) {
    guard(|| {
        // SAFETY: the plugin passes the context it was given.
        let host = unsafe { host_of(context) };
        // SAFETY: the plugin passes a reference that it holds.
        let process = unsafe { process_of(process) };
        host.processes.release(&process, || host.ring_main());
        Status::OK
    });
}
