//! The worker loop: a packet's way from rx to tx, one call per line.
#![expect(unsafe_code, reason = "the nodes get at the thread by its address")]

use std::sync::atomic::{AtomicBool, Ordering};

use super::{BarrierGate, dispatch, thread::Thread};

/// Turns without a packet before a thread thinks of sleep.
const QUIET: u32 = 256;
/// Turns between two looks at the descriptors while packets flow.
pub(super) const BUSY_TURNS: u64 = 1024;

/// Runs `thread` until `stop` is raised.
///
/// Context: worker. No frame is pending at the top of the loop, so that is where it pauses for
/// the barrier and where its graph is exchanged.
///
/// # Safety
/// `thread` is this thread's own; main touches it only while this thread is at the barrier.
pub unsafe fn worker_loop(thread: *mut Thread, gate: &BarrierGate, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        {
            // SAFETY: by the caller's promise; the borrow ends before any node runs.
            let this = unsafe { &mut *thread };
            gate.pause_point(this);
            let _now = this.begin_turn(); // Once per loop; whoever needs the time is handed it.
        }
        // SAFETY: by the caller's promise, here and below; no reference is in use.
        unsafe { dispatch::poll_pre_inputs(thread) };
        // SAFETY: as above.
        unsafe { dispatch::poll_inputs(thread) }; // rx
        // SAFETY: as above.
        unsafe { dispatch::dispatch_pending(thread) }; // … to tx
        // SAFETY: as above.
        unsafe { &mut *thread }.rest(gate);
    }
}

impl Thread {
    /// Ends a turn: counts it, and sleeps if nothing has happened for a while.
    fn rest(&mut self, gate: &BarrierGate) {
        if !self.end_turn() {
            return;
        }
        self.shared.announce_sleep();
        if !gate.is_requested_before_sleep() {
            self.shared.sleeps.fetch_add(1, Ordering::Relaxed);
            // Whatever the thread sleeps for is level-triggered, so an error loses nothing.
            let _ = self.poller.wait(None, &mut Vec::new());
        }
        self.shared.awake();
    }

    /// Counts a turn; whether the thread may sleep now.
    pub(super) fn end_turn(&mut self) -> bool {
        self.shared.turns.store(
            self.shared.turns.load(Ordering::Relaxed).wrapping_add(1),
            Ordering::Relaxed,
        );
        if self.moved > 0 {
            self.quiet = 0;
            return false;
        }
        self.quiet = self.quiet.saturating_add(1);
        let idle = self.shared.idle_turns.load(Ordering::Relaxed);
        self.shared.idle_turns.store(idle.wrapping_add(1), Ordering::Relaxed);
        self.quiet >= QUIET && self.runtime.may_sleep
    }
}
