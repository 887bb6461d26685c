//! The worker loop: a packet's way from rx to tx, one call per line.
#![expect(unsafe_code, reason = "the nodes get at the thread by its address")]

use std::{sync::atomic::Ordering, time::Duration};

use plugin_api::ThreadIndex;

use super::{dispatch, thread::Thread};
use crate::{
    host::Host,
    time::{Nanos, Ticks, timer::TimerFunction},
};

/// Turns without a packet before a thread thinks of sleep.
const QUIET: u32 = 256;
/// Turns between two looks at the descriptors while packets flow.
pub(super) const BUSY_TURNS: u64 = 1024;

/// Runs `thread` until the host tells the workers to stop.
///
/// Context: worker. No frame is pending at the top of the loop, so that is where it pauses for
/// the barrier and where its graph is exchanged.
///
/// # Safety
/// `thread` is this thread's own; main touches it only while this thread is at the barrier.
pub unsafe fn worker_loop(thread: *mut Thread, host: &Host) {
    while !host.stop.load(Ordering::Relaxed) {
        // SAFETY: by the caller's promise; the borrow ends before any node runs.
        let this = unsafe { &mut *thread };
        host.gate.pause_point(this);
        let now = this.begin_turn(); // Once per loop; whoever needs the time is handed it.
        // SAFETY: by the caller's promise, here and below; no reference is in use.
        unsafe { dispatch::poll_pre_inputs(thread) };
        // SAFETY: as above.
        unsafe { dispatch::poll_inputs(thread) }; // rx
        // SAFETY: as above.
        unsafe { dispatch::dispatch_pending(thread) }; // … to tx
        // SAFETY: as above.
        let this = unsafe { &mut *thread };
        let index = ThreadIndex(this.shared.index);
        expire_timers(host, index, now);
        this.rest(host);
    }
}

/// Runs the dynamic timers of thread `index` that are due.
pub(super) fn expire_timers(host: &Host, index: ThreadIndex, now: Nanos) {
    host.timers.expire(index, Ticks::at(now), |timer| {
        let function = timer.function();
        if !function.run(now).is_ok() {
            let (name, plugin) = (function.name(), TimerFunction::owner(function));
            host.log.error("timer", format!("timer {name} of {plugin} panicked"));
        }
    });
}

impl Thread {
    /// How long the thread may sleep for its timers: until the next that is not deferrable.
    pub(super) fn until_timer(&mut self, host: &Host) -> Option<Duration> {
        let next = host.timers.next_expiry(ThreadIndex(self.shared.index))?;
        let now = self.clock.read();
        let at = Nanos::from_millis(next.0);
        Some(Duration::from_nanos(at.since(now).0))
    }

    /// Ends a turn: counts it, and sleeps if nothing has happened for a while.
    fn rest(&mut self, host: &Host) {
        if !self.end_turn() {
            return;
        }
        let index = ThreadIndex(self.shared.index);
        host.timers.set_idle(index, true);
        self.shared.announce_sleep();
        if !host.gate.is_requested_before_sleep() && !host.stop.load(Ordering::SeqCst) {
            self.shared.sleeps.fetch_add(1, Ordering::Relaxed);
            let timeout = self.until_timer(host);
            // Whatever the thread sleeps for is level-triggered, so an error loses nothing.
            let _ = self.poller.wait(timeout, &mut Vec::new());
        }
        self.shared.awake();
        host.timers.set_idle(index, false);
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
