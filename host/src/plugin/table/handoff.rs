//! Service `handoff`: packets of plugins' nodes to other threads.

use std::{
    ffi::c_void,
    panic::{AssertUnwindSafe, catch_unwind},
};

use gristmill_abi::{
    Head,
    frame::{NodeRuntime, ThreadCtx},
    handoff::HandoffService,
};

use super::host_of;
use crate::{engine::Thread, graph::NodeIndex};

pub(super) static SERVICE: HandoffService =
    HandoffService { head: Head::of::<HandoffService>(), hand_off, threads };

unsafe extern "C" fn hand_off(
    _: *mut c_void,
    ctx: *mut ThreadCtx,
    node: *mut NodeRuntime,
    indices: *const u32,
    nexts: *const u16,
    threads: *const u16,
    n: u32,
) -> u32 {
    // SAFETY: a node of this thread calls, with the context it was given.
    let thread = unsafe { Thread::of(ctx) };
    // SAFETY: the node passes the runtime it was given.
    let index = NodeIndex(unsafe { (*node).node_index });
    // SAFETY: the caller passes `n` indices.
    let indices = unsafe { std::slice::from_raw_parts(indices, n as usize) };
    // SAFETY: the caller passes `n` nexts.
    let nexts = unsafe { std::slice::from_raw_parts(nexts, n as usize) };
    // SAFETY: the caller passes `n` threads.
    let threads = unsafe { std::slice::from_raw_parts(threads, n as usize) };
    // It calls no plugin.
    let sent = catch_unwind(AssertUnwindSafe(|| thread.hand_off(index, indices, nexts, threads)));
    u32::try_from(sent.unwrap_or(0)).unwrap_or(0)
}

unsafe extern "C" fn threads(context: *mut c_void, words: *mut u32) -> *const u64 {
    // SAFETY: the caller has room for a number.
    unsafe { words.write(1) };
    // SAFETY: the plugin passes the context it was given.
    let host = unsafe { host_of(context) };
    host.handoff.open_threads().as_ptr().cast_const()
}
