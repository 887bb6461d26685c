//! What is dispatched although nothing was enqueued to it: inputs, by turns and by interrupts, and
//! *sched* nodes.
#![expect(unsafe_code, reason = "calls the nodes' entries, which get the thread by address")]

use super::{dispatch::run_node, mark::Reason, thread::Thread};
use crate::{
    graph::{NodeIndex, runtime::OnMark},
    time::Nanos,
};

/// Dispatches the nodes that come before all inputs.
///
/// # Safety
/// As of [`dispatch_pending`](super::dispatch::dispatch_pending).
pub unsafe fn poll_pre_inputs(thread: *mut Thread) {
    let mut at = 0;
    // SAFETY: by the caller's promise; the borrow ends before the node is called.
    while let Some(&index) = unsafe { &*thread }.runtime.pre_inputs.get(at) {
        // SAFETY: by the caller's promise.
        unsafe { poll(thread, index) };
        at += 1;
    }
}

/// Dispatches the inputs that are polled: packets come in.
///
/// # Safety
/// As of [`dispatch_pending`](super::dispatch::dispatch_pending).
pub unsafe fn poll_inputs(thread: *mut Thread) {
    let (mut at, mut polls, mut waits) = (0, false, false);
    loop {
        // SAFETY: by the caller's promise; the borrow ends before the node is called.
        let this = unsafe { &mut *thread };
        let Some(&input) = this.runtime.inputs.get(at) else {
            (this.polls, this.waits) = (polls, waits);
            return;
        };
        let attention = this.runtime.attention(input.index);
        polls |= attention.polled && !input.wakes;
        waits |= attention.waits;
        if attention.polled {
            // SAFETY: by the caller's promise.
            unsafe { poll(thread, input.index) };
        }
        at += 1;
    }
}

/// Dispatches what was marked, by descriptors, other threads, and nodes of this one.
///
/// # Safety
/// As of [`dispatch_pending`](super::dispatch::dispatch_pending).
pub unsafe fn dispatch_marked(thread: *mut Thread) {
    // SAFETY: by the caller's promise; the borrow ends before a node is called.
    let marked = unsafe { &mut *thread }.take_marks();
    for at in 0..marked {
        // SAFETY: as above.
        let this = unsafe { &mut *thread };
        let mark = this.marks[at];
        let on_mark = this.runtime.slot(mark.node).map_or(OnMark::Nothing, |slot| slot.on_mark);
        match on_mark {
            OnMark::Nothing => {} // It is gone, or has been placed elsewhere.
            OnMark::Dispatch => {
                this.reason = Reason::Marked(mark.queue);
                // SAFETY: by the caller's promise.
                unsafe { poll(thread, mark.node) };
                // SAFETY: as above.
                unsafe { &mut *thread }.reason = Reason::Turn;
            }
            // SAFETY: by the caller's promise.
            OnMark::Call => unsafe { call_sched(thread, mark.node) },
        }
    }
    // SAFETY: as above.
    unsafe { &mut *thread }.marks.drain(..marked); // What was marked meanwhile waits for a turn.
}

/// Calls the *sched* nodes whose time has come, and those that are new in the graph.
///
/// # Safety
/// As of [`dispatch_pending`](super::dispatch::dispatch_pending).
pub unsafe fn dispatch_sched(thread: *mut Thread) {
    // SAFETY: by the caller's promise; the borrow ends before a node is called.
    let mut due = unsafe { &mut *thread }.take_due();
    for node in due.drain(..) {
        // SAFETY: by the caller's promise.
        unsafe { call_sched(thread, node) };
    }
    // SAFETY: as above; given back for the next time.
    unsafe { &mut *thread }.due = due;
}

/// Calls one *sched* node, and notes when it wants to be called next.
///
/// # Safety
/// As of [`dispatch_pending`](super::dispatch::dispatch_pending).
unsafe fn call_sched(thread: *mut Thread, index: NodeIndex) {
    // SAFETY: by the caller's promise.
    unsafe { poll(thread, index) };
    // SAFETY: by the caller's promise; the node has returned.
    let this = unsafe { &mut *thread };
    let Some(node) = this.runtime.slot(index).map(|slot| slot.node) else { return };
    // SAFETY: the runtime belongs to this thread, and the node is not running.
    let wake_at_ns = unsafe { &mut (*node).wake_at_ns };
    let at = std::mem::take(wake_at_ns);
    this.sched.called(index, (at != 0).then_some(Nanos(at)));
}

/// Dispatches one node with an empty frame.
///
/// # Safety
/// As of [`dispatch_pending`](super::dispatch::dispatch_pending).
unsafe fn poll(thread: *mut Thread, index: NodeIndex) {
    // SAFETY: by the caller's promise; the borrow ends before the node is called.
    let frame = unsafe { &mut *thread }.frames.alloc();
    // SAFETY: by the caller's promise.
    unsafe { run_node(thread, index, frame) };
}
