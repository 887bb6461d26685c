//! Services `graph`, `batch` and `buffer`.

use std::ffi::c_void;

use gristmill_abi::{
    ErrorText, Head, Status, Str,
    declaration::PluginHandle,
    host::{ALL_INTERFACES, BatchService, BufferService, GraphService},
};

use super::{answer, host_of};
use crate::{engine::Caller, graph::Owner, host::GraphError, plugin::slots::SlotError};

pub(super) static SERVICE: GraphService =
    GraphService { head: Head::of::<GraphService>(), add_next, set_feature };

pub(super) static BATCH_SERVICE: BatchService =
    BatchService { head: Head::of::<BatchService>(), make: batch };

pub(super) static BUFFER_SERVICE: BufferService =
    BufferService { head: Head::of::<BufferService>(), slot };

unsafe extern "C" fn add_next(
    context: *mut c_void,
    plugin: PluginHandle,
    node: Str<'_>,
    target: Str<'_>,
    next: *mut u32,
    error: *mut ErrorText,
) -> Status {
    let add = || {
        // SAFETY: the plugin passes the context it was given.
        let host = unsafe { host_of(context) };
        let caller = Caller::of(Owner(plugin), "next");
        let added =
            host.change_graph(caller, |plan| plan.add_next(node.as_str(), target.as_str()))?;
        // SAFETY: the plugin passes room for it.
        unsafe { next.write(added.into()) };
        Ok::<_, GraphError>(())
    };
    // SAFETY: the plugin passes room for an error.
    unsafe { answer(error, add) }
}

unsafe extern "C" fn set_feature(
    context: *mut c_void,
    plugin: PluginHandle,
    arc: Str<'_>,
    node: Str<'_>,
    interface: u32,
    on: u32,
    error: *mut ErrorText,
) -> Status {
    // SAFETY: the plugin passes the context it was given.
    let host = unsafe { host_of(context) };
    let interface = (interface != ALL_INTERFACES).then_some(interface);
    let caller = Caller::of(Owner(plugin), "feature");
    let set = || {
        host.change_graph(caller, |plan| {
            plan.set_feature(arc.as_str(), node.as_str(), interface, on != 0)
        })
    };
    // SAFETY: the plugin passes room for an error.
    unsafe { answer(error, set) }
}

/// Why a plugin's batch was not put in force.
#[derive(Debug, thiserror::Error)]
enum BatchError {
    /// What it called said so.
    #[error("the batch was given up: nothing of it is in force")]
    GivenUp,
    #[error(transparent)]
    Graph(#[from] GraphError),
}

unsafe extern "C" fn batch(
    context: *mut c_void,
    plugin: PluginHandle,
    changes: unsafe extern "C" fn(data: *mut c_void) -> Status,
    data: *mut c_void,
    error: *mut ErrorText,
) -> Status {
    // SAFETY: the plugin passes the context it was given.
    let host = unsafe { host_of(context) };
    let make = || {
        if !host.may_control() {
            return Err(BatchError::Graph(GraphError::NotNow));
        }
        host.batch(Caller::of(Owner(plugin), "batch"), || {
            // SAFETY: the plugin's function, with its own data, which are good for the call.
            let made = unsafe { changes(data) };
            if made.is_ok() { Ok(()) } else { Err(BatchError::GivenUp) }
        })?;
        Ok(())
    };
    // SAFETY: the plugin passes room for an error.
    unsafe { answer(error, make) }
}

unsafe extern "C" fn slot(
    context: *mut c_void,
    plugin: PluginHandle,
    name: Str<'_>,
    size: u32,
    align: u32,
    offset: *mut u32,
    error: *mut ErrorText,
) -> Status {
    let reserve = || {
        // SAFETY: the plugin passes the context it was given.
        let host = unsafe { host_of(context) };
        let reserved = host.slots.lock().reserve(name.as_str(), size, align, Owner(plugin))?;
        // SAFETY: the plugin passes room for it.
        unsafe { offset.write(reserved) };
        Ok::<_, SlotError>(())
    };
    // SAFETY: the plugin passes room for an error.
    unsafe { answer(error, reserve) }
}
