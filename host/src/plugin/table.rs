//! What plugins call: the host's table and its services. Each function checks what it is given and
//! catches its own panics, but for the few that look something up and have none.
#![expect(unsafe_code, reason = "called by plugins, with what they have")]

mod file;
mod graph;
mod handoff;
mod interface;
mod interrupt;
mod log;
mod process;
mod rpc;
mod softirq;
mod tasklet;
mod timer;
mod trace;
mod work;

pub use timer::HostTimer;
pub(crate) use timer::first_tick_at;

use std::{
    ffi::c_void,
    panic::{AssertUnwindSafe, catch_unwind},
};

use gristmill_abi::{
    ErrorText, Head, Status, Str,
    declaration::{PluginHandle, ServiceRef},
    frame::{NodeRuntime, ThreadCtx},
    grow::{self, Grows},
    host::{HostTable, log_level},
};
use semver::Version;

use super::services::{ServiceError, fits};
use crate::{
    engine::Thread,
    graph::{NodeIndex, Owner},
    host::Host,
    log::Level,
    process::Hold,
};

/// The table of `host`.
pub fn host_table(host: &'static Host) -> &'static HostTable {
    Box::leak(Box::new(HostTable {
        head: Head::of::<HostTable>(),
        shared: std::ptr::from_ref(host).cast(),
        log,
        service,
        buffer_alloc,
        buffer_free,
        buffer_release,
        enqueue,
        now,
        reserved: [std::ptr::null(); 2],
    }))
}

/// Runs the host's side of a call; a panic of ours must not cross into the plugin.
fn guard(call: impl FnOnce() -> Status) -> Status {
    let _hold = Hold::new(); // It may call plugins, and they must not wait below it.
    catch_unwind(AssertUnwindSafe(call)).unwrap_or(Status::PANICKED)
}

/// As [`guard`], with the reason of a failure written for the plugin.
///
/// # Safety
/// `error` is null or has room.
unsafe fn answer<E: std::fmt::Display>(
    error: *mut ErrorText,
    call: impl FnOnce() -> Result<(), E>,
) -> Status {
    let _hold = Hold::new(); // It may call plugins, and they must not wait below it.
    let outcome = catch_unwind(AssertUnwindSafe(call));
    let (status, text) = match outcome {
        Ok(Ok(())) => return Status::OK,
        Ok(Err(reason)) => (Status::FAILED, reason.to_string()),
        Err(_) => (Status::PANICKED, "the host panicked; its log has the message".to_owned()),
    };
    // SAFETY: by the caller's promise.
    if let Some(error) = unsafe { error.as_mut() } {
        error.set(&text);
    }
    status
}

/// What a plugin passes, as far as it knows the structure; the rest is 0.
///
/// # Safety
/// `from` is null or leads to a `T` of the plugin's version of the ABI; `error` is null or has room.
unsafe fn passed<T: Grows>(from: *const T, error: *mut ErrorText) -> Result<T, Status> {
    // SAFETY: by the caller's promise.
    let read = unsafe { grow::read(from) };
    // SAFETY: by the caller's promise.
    read.map_err(|fault| unsafe { answer(error, || Err::<(), _>(fault)) })
}

/// The host behind a table or a service's context.
///
/// # Safety
/// `shared` is what [`host_table`] stored.
unsafe fn host_of<'a>(shared: *const c_void) -> &'a Host {
    // SAFETY: by the caller's promise; the host lives as long as the process.
    unsafe { &*shared.cast::<Host>() }
}

fn level_of(number: u32) -> Level {
    match number {
        log_level::ERROR => Level::Error,
        log_level::WARN => Level::Warn,
        log_level::NOTICE => Level::Notice,
        _ => Level::Debug,
    }
}

unsafe extern "C" fn log(table: *const HostTable, plugin: PluginHandle, level: u32, text: Str<'_>) {
    guard(|| {
        // SAFETY: the plugin passes the table it was given.
        let shared = unsafe { (*table).shared };
        // SAFETY: as above.
        let host = unsafe { host_of(shared) };
        let name = host.owner_name(Owner(plugin));
        let class = if plugin == 0 { "panic" } else { name.as_str() };
        host.log.write(level_of(level), class, text.as_str());
        Status::OK
    });
}

unsafe extern "C" fn service(
    table: *const HostTable,
    _: PluginHandle,
    name: Str<'_>,
    range: Str<'_>,
    found: *mut ServiceRef,
    error: *mut ErrorText,
) -> Status {
    let find = || {
        // SAFETY: the plugin passes the table it was given.
        let shared = unsafe { (*table).shared };
        // SAFETY: as above.
        let host = unsafe { host_of(shared) };
        let (name, range) = (name.as_str(), range.as_str());
        let service = match own_service(name) {
            Some((version, table)) => {
                fits(name, range, "this host", &version)?;
                ServiceRef { table, context: shared.cast_mut() }
            }
            None => host.services.lock().find(name, range)?,
        };
        // SAFETY: the plugin passes room for it.
        unsafe { found.write(service) };
        Ok::<_, ServiceError>(())
    };
    // SAFETY: the plugin passes room for an error.
    unsafe { answer(error, find) }
}

/// The version in which this host itself offers a service. What is appended to a service's table
/// raises its minor number, so that a plugin can ask for it.
pub(super) fn own_version(name: &str) -> Option<Version> {
    own_service(name).map(|(version, _)| version)
}

fn own_service(name: &str) -> Option<(Version, *const c_void)> {
    const FIRST: Version = Version::new(1, 0, 0);
    let table = match name {
        "interface" => (&raw const interface::SERVICE).cast(),
        "graph" => (&raw const graph::SERVICE).cast(),
        "batch" => (&raw const graph::BATCH_SERVICE).cast(),
        "buffer" => (&raw const graph::BUFFER_SERVICE).cast(),
        "file" => (&raw const file::SERVICE).cast(),
        "handoff" => (&raw const handoff::SERVICE).cast(),
        "interrupt" => (&raw const interrupt::SERVICE).cast(),
        "process" => (&raw const process::SERVICE).cast(),
        "rpc" => (&raw const rpc::SERVICE).cast(),
        "softirq" => (&raw const softirq::SERVICE).cast(),
        "tasklet" => (&raw const tasklet::SERVICE).cast(),
        "timer" => (&raw const timer::SERVICE).cast(),
        "work" => (&raw const work::SERVICE).cast(),
        "log" => (&raw const log::SERVICE).cast(),
        "config" => (&raw const log::CONFIG_SERVICE).cast(),
        "trace" => (&raw const trace::SERVICE).cast(),
        _ => return None,
    };
    Some((FIRST, table))
}

unsafe extern "C" fn buffer_alloc(ctx: *mut ThreadCtx, indices: *mut u32, n: u32) -> u32 {
    // SAFETY: a node of this thread calls, with the context it was given.
    let thread = unsafe { Thread::of(ctx) };
    // SAFETY: the caller has room for `n` indices.
    let indices = unsafe { std::slice::from_raw_parts_mut(indices, n as usize) };
    let got = catch_unwind(AssertUnwindSafe(|| thread.cache.alloc(indices)));
    u32::try_from(got.unwrap_or(0)).unwrap_or(0)
}

unsafe extern "C" fn buffer_free(ctx: *mut ThreadCtx, indices: *const u32, n: u32) {
    // SAFETY: a node of this thread calls, with the context it was given.
    let thread = unsafe { Thread::of(ctx) };
    // SAFETY: the caller passes `n` indices.
    let indices = unsafe { std::slice::from_raw_parts(indices, n as usize) };
    guard(|| {
        thread.cache.free(indices);
        Status::OK
    });
}

unsafe extern "C" fn buffer_release(table: *const HostTable, index: u32) {
    guard(|| {
        // SAFETY: the plugin passes the table it was given.
        let shared = unsafe { (*table).shared };
        // SAFETY: as above.
        unsafe { host_of(shared) }.pool.release(index);
        Status::OK
    });
}

unsafe extern "C" fn enqueue(
    ctx: *mut ThreadCtx,
    node: *mut NodeRuntime,
    next: u32,
    indices: *const u32,
    n: u32,
) {
    // SAFETY: a node of this thread calls, with the context it was given.
    let thread = unsafe { Thread::of(ctx) };
    // SAFETY: the node passes the runtime it was given.
    let index = NodeIndex(unsafe { (*node).node_index });
    // SAFETY: the caller passes `n` indices.
    let indices = unsafe { std::slice::from_raw_parts(indices, n as usize) };
    guard(|| {
        thread.emit(index, next, indices);
        Status::OK
    });
}

unsafe extern "C" fn now(table: *const HostTable) -> u64 {
    // SAFETY: the plugin passes the table it was given.
    let shared = unsafe { (*table).shared };
    // SAFETY: as above.
    let host = unsafe { host_of(shared) };
    catch_unwind(AssertUnwindSafe(|| host.now().0)).unwrap_or(0)
}
