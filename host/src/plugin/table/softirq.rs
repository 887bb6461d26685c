//! Service `softirq`: work at the end of a turn, and what waits for the end of a grace period.

use std::ffi::c_void;

use gristmill_abi::{
    ErrorText, Head, Status,
    declaration::PluginHandle,
    deferred::{GraceFn, SOFTIRQ_ANY, SOFTIRQS, SoftirqService, SoftirqSpec, THIS_THREAD},
    host::ALL_THREADS,
};

use super::{answer, guard, host_of, passed};
use crate::{
    deferred::softirq::On,
    engine::watchdog::{self, Job},
    graph::Owner,
};

pub(super) static SERVICE: SoftirqService =
    SoftirqService { head: Head::of::<SoftirqService>(), open, close, raise, after_grace };

/// Where a number of a thread means.
pub(super) fn on(thread: u32) -> On {
    match thread {
        THIS_THREAD => On::Here,
        ALL_THREADS => On::All,
        index => On::Thread(index),
    }
}

unsafe extern "C" fn open(
    context: *mut c_void,
    plugin: PluginHandle,
    spec: *const SoftirqSpec<'_>,
    number: *mut u32,
    error: *mut ErrorText,
) -> Status {
    // SAFETY: the plugin passes a specification, and room for an error.
    let spec = match unsafe { passed(spec, error) } {
        Ok(spec) => spec,
        Err(status) => return status,
    };
    let open = || {
        // SAFETY: the plugin passes the context it was given.
        let host = unsafe { host_of(context) };
        let owner = (Owner(plugin), &*host.owner_name(Owner(plugin)));
        let wanted = Some(spec.number).filter(|&number| number != SOFTIRQ_ANY);
        let action = (spec.function, spec.data);
        let opened = host.softirqs.open(owner, spec.name.as_str(), wanted, action)?;
        // SAFETY: the plugin passes room for it.
        unsafe { number.write(opened) };
        Ok::<_, crate::deferred::SoftirqError>(())
    };
    // SAFETY: the plugin passes room for an error.
    unsafe { answer(error, open) }
}

unsafe extern "C" fn close(context: *mut c_void, plugin: PluginHandle, number: u32) -> Status {
    guard(|| {
        // SAFETY: the plugin passes the context it was given.
        let host = unsafe { host_of(context) };
        let closed = host.close_softirq(number, Owner(plugin));
        if closed.is_ok() { Status::OK } else { Status::FAILED }
    })
}

/// Has none of what the others have to contain a panic: it is for nodes, and has none.
unsafe extern "C" fn raise(context: *mut c_void, number: u32, thread: u32) -> Status {
    // SAFETY: the plugin passes the context it was given.
    let host = unsafe { host_of(context) };
    let raised = number < SOFTIRQS && host.raise(number, on(thread));
    if raised { Status::OK } else { Status::FAILED }
}

/// What a plugin puts off.
struct Call(GraceFn, *mut c_void);

// SAFETY: the SDK's data is `Send`; a plugin in C promises the same.
unsafe impl Send for Call {}

impl Call {
    fn call(self) -> Status {
        // SAFETY: the plugin passed the two together; it is called once.
        unsafe { (self.0)(self.1) }
    }
}

unsafe extern "C" fn after_grace(
    context: *mut c_void,
    plugin: PluginHandle,
    function: GraceFn,
    data: *mut c_void,
) -> Status {
    guard(|| {
        // SAFETY: the plugin passes the context it was given, of a host that lives as long as the
        // process.
        let host = unsafe { host_of(context) };
        let (owner, call) = (Owner(plugin), Call(function, data));
        host.grace.after_grace(host, owner, move |host| {
            let job = Job { what: "call after a grace period", name: "", owner, longest: None };
            if !watchdog::job(&job, || call.call()).is_ok() {
                let plugin = host.owner_name(owner);
                host.log.error("rcu", format!("a call of {plugin} after a grace period panicked"));
            }
        });
        Status::OK
    })
}
