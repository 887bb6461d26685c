//! `error-drop`: where packets end that go nowhere. The reason is counted on the arc to it.
#![expect(unsafe_code, reason = "runs in the graph, by the nodes' calling convention")]

use gristmill_abi::frame::{Frame, NodeRuntime, PER_PACKET, TAKEN, ThreadCtx};

use crate::engine::Thread;

/// Frees the packets of its frame.
///
/// # Safety
/// A node's entry: called by the dispatcher alone.
pub unsafe extern "C" fn error_drop(
    ctx: *mut ThreadCtx,
    _: *mut NodeRuntime,
    frame: *mut Frame,
) -> u32 {
    // SAFETY: the host lent the frame for the dispatch.
    let raw = unsafe { &mut *frame };
    // SAFETY: a frame has `n` indices.
    let packets = unsafe { std::slice::from_raw_parts(raw.indices, raw.n as usize) };
    // SAFETY: a frame has room for a next per packet.
    let nexts = unsafe { std::slice::from_raw_parts_mut(raw.nexts, raw.n as usize) };
    // SAFETY: the dispatcher holds no reference to the thread while a node runs.
    unsafe { Thread::of(ctx) }.cache.free(packets);
    nexts.fill(TAKEN);
    PER_PACKET
}
