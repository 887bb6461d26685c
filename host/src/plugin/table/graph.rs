//! Services `graph` and `buffer`.

use std::ffi::c_void;

use gristmill_abi::{
    ErrorText, Head, Status, Str,
    declaration::PluginHandle,
    host::{ALL_INTERFACES, BufferService, GraphService},
};

use super::{answer, host_of};
use crate::{graph::Owner, host::GraphError, plugin::slots::SlotError};

pub(super) static SERVICE: GraphService =
    GraphService { head: Head::of::<GraphService>(), add_next, set_feature };

pub(super) static BUFFER_SERVICE: BufferService =
    BufferService { head: Head::of::<BufferService>(), slot };

unsafe extern "C" fn add_next(
    context: *mut c_void,
    _: PluginHandle,
    node: Str<'_>,
    target: Str<'_>,
    next: *mut u32,
    error: *mut ErrorText,
) -> Status {
    let add = || {
        // SAFETY: the plugin passes the context it was given.
        let host = unsafe { host_of(context) };
        let added = host.change_graph(|plan| plan.add_next(node.as_str(), target.as_str()))?;
        // SAFETY: the plugin passes room for it.
        unsafe { next.write(added.into()) };
        Ok::<_, GraphError>(())
    };
    // SAFETY: the plugin passes room for an error.
    unsafe { answer(error, add) }
}

unsafe extern "C" fn set_feature(
    context: *mut c_void,
    _: PluginHandle,
    arc: Str<'_>,
    node: Str<'_>,
    interface: u32,
    on: u32,
    error: *mut ErrorText,
) -> Status {
    // SAFETY: the plugin passes the context it was given.
    let host = unsafe { host_of(context) };
    let interface = (interface != ALL_INTERFACES).then_some(interface);
    let set = || {
        host.change_graph(|plan| plan.set_feature(arc.as_str(), node.as_str(), interface, on != 0))
    };
    // SAFETY: the plugin passes room for an error.
    unsafe { answer(error, set) }
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
        let reserved =
            host.slots.lock().reserve(name.as_str(), size, align, Owner(plugin))?;
        // SAFETY: the plugin passes room for it.
        unsafe { offset.write(reserved) };
        Ok::<_, SlotError>(())
    };
    // SAFETY: the plugin passes room for an error.
    unsafe { answer(error, reserve) }
}
