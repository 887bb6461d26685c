//! Service `interrupt`: plugins mark their nodes.

use std::{
    ffi::c_void,
    panic::{AssertUnwindSafe, catch_unwind},
};

use gristmill_abi::{
    ErrorText, Head, Status, Str,
    declaration::PluginHandle,
    host::{ALL_THREADS, InterruptService},
};

use super::{answer, host_of};
use crate::graph::{NodeIndex, NodeKind, Owner};

pub(super) static SERVICE: InterruptService =
    InterruptService { head: Head::of::<InterruptService>(), node, mark };

/// Why a node cannot be marked.
#[derive(Debug, thiserror::Error)]
enum InterruptError {
    #[error("the plugin has no node {0:?} in the graph")]
    Unknown(String),
    #[error("node {0:?} is neither a sched node nor an input that is dispatched on interrupt")]
    Kind(String),
}

unsafe extern "C" fn node(
    context: *mut c_void,
    plugin: PluginHandle,
    name: Str<'_>,
    found: *mut u32,
    error: *mut ErrorText,
) -> Status {
    let find = || {
        // SAFETY: the plugin passes the context it was given.
        let plan = unsafe { host_of(context) }.plan();
        let name = name.as_str();
        let node = plan.find(name).and_then(|index| Some((index, plan.node(index)?)));
        let own = node.filter(|(_, node)| node.owner == Owner(plugin));
        let (index, node) = own.ok_or_else(|| InterruptError::Unknown(name.to_owned()))?;
        if !matches!(node.kind, NodeKind::Sched | NodeKind::MarkedInput) {
            return Err(InterruptError::Kind(name.to_owned()));
        }
        // SAFETY: the plugin passes room for it.
        unsafe { found.write(index.0) };
        Ok(())
    };
    // SAFETY: the plugin passes room for an error.
    unsafe { answer(error, find) }
}

unsafe extern "C" fn mark(context: *mut c_void, node: u32, thread: u32) -> Status {
    // SAFETY: the plugin passes the context it was given.
    let host = unsafe { host_of(context) };
    let thread = (thread != ALL_THREADS).then_some(thread);
    let marked = catch_unwind(AssertUnwindSafe(|| host.interrupt(NodeIndex(node), thread)));
    marked.map_or(Status::PANICKED, |done| if done { Status::OK } else { Status::FAILED })
}
