//! The worker loop: a packet's way from rx to tx, one call per line.
#![expect(unsafe_code, reason = "the nodes get at the thread by its address")]

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use gristmill_abi::deferred::softirq;
use plugin_api::ThreadIndex;

use super::{
    dispatch,
    files::{FileFault, FileId},
    inputs,
    poller::Ready,
    thread::Thread,
    watchdog::{self, Job},
};
use crate::{
    deferred,
    host::Host,
    log::Level,
    time::{Nanos, Ticks, timer::TimerFunction},
};

/// Turns without a packet before a thread thinks of sleep.
const QUIET: u32 = 256;
/// Turns between two looks at the descriptors while packets flow.
const BUSY_TURNS: u64 = 1024;
/// Turns between two looks while nothing is polled and nothing comes, or while turns take long.
const IDLE_TURNS: u64 = 16;
/// How long the packets of a queue that is not polled wait for such a look at most.
const LOOK: Nanos = Nanos(100_000);

/// Runs `thread` until main tells it to end.
///
/// Context: worker. No frame is pending at the top of the loop, so that is where it pauses for
/// the barrier and where its graph is exchanged.
///
/// # Safety
/// `thread` is this thread's own; main touches it only while this thread is at the barrier.
pub unsafe fn worker_loop(thread: *mut Thread, host: &Host) {
    // SAFETY: as below.
    let shared = Arc::clone(&unsafe { &*thread }.shared);
    shared.watch.arm();
    while !shared.quit.load(Ordering::Relaxed) {
        // SAFETY: by the caller's promise; the borrow ends before any node runs.
        let this = unsafe { &mut *thread };
        host.gate.pause_point(this);
        let now = this.begin_turn(); // Once per loop; whoever needs the time is handed it.
        this.receive_handoff();
        this.look_at_descriptors(host);
        // SAFETY: by the caller's promise; no reference is in use.
        unsafe { serve_descriptors(thread, host, &mut |_| ()) };
        // SAFETY: by the caller's promise, here and below; no reference is in use.
        unsafe { inputs::poll_pre_inputs(thread) };
        // SAFETY: as above.
        unsafe { inputs::poll_inputs(thread) }; // rx
        // SAFETY: as above.
        unsafe { inputs::dispatch_marked(thread) }; // rx, by interrupts
        // SAFETY: as above.
        unsafe { inputs::dispatch_sched(thread) };
        // SAFETY: as above.
        unsafe { dispatch::dispatch_pending(thread) }; // … to tx
        // SAFETY: as above.
        let this = unsafe { &mut *thread };
        if this.is_exiled() {
            break; // Its timers and descriptors are others' now.
        }
        this.raise_timers(host, now);
        // SAFETY: as above; no frame is pending.
        let ran = unsafe { deferred::run_pending(thread, host) };
        // SAFETY: as above.
        let this = unsafe { &mut *thread };
        if ran {
            this.stay_awake();
        }
        this.rest(host);
    }
    if !shared.fence.is_closed() {
        // SAFETY: as above.
        unsafe { forward_the_rest(thread) };
        // SAFETY: as above; what is left goes to another thread.
        unsafe { deferred::run_last(thread, host) };
    }
    shared.watch.disarm();
}

/// Forwards what other threads have handed to this one, which takes no more.
///
/// # Safety
/// As of [`worker_loop`]; no reference is in use.
unsafe fn forward_the_rest(thread: *mut Thread) {
    loop {
        // SAFETY: by the caller's promise; the borrow ends before any node runs.
        let this = unsafe { &mut *thread };
        this.close_inbox();
        if this.is_inbox_empty() {
            return;
        }
        this.begin_turn();
        this.receive_handoff();
        // SAFETY: as above.
        unsafe { dispatch::dispatch_pending(thread) };
    }
}

/// Calls the functions of the descriptors that are ready; those of the host's own are `other`'s.
///
/// Context: outside of nodes.
///
/// # Safety
/// `thread` is this thread's own and no reference to it is in use.
pub(super) unsafe fn serve_descriptors(
    thread: *mut Thread,
    host: &Host,
    other: &mut dyn FnMut(Ready),
) {
    // SAFETY: by the caller's promise; the borrow ends before any function is called.
    let this = unsafe { &mut *thread };
    if this.poller.ready.is_empty() {
        return;
    }
    this.stay_awake();
    let files = Arc::clone(&this.files);
    let mut found = std::mem::take(&mut this.poller.ready);
    for ready in found.drain(..) {
        if FileId::of(ready.token.0).is_none() {
            other(ready);
        } else if let Some(fault) = files.serve(ready) {
            tell(host, &fault);
        }
    }
    // SAFETY: as above; given back for the next time.
    unsafe { &mut *thread }.poller.ready = found;
}

fn tell(host: &Host, fault: &FileFault) {
    let (name, plugin) = (&fault.name, host.owner_name(fault.owner));
    let what = if fault.panicked { "panicked" } else { "failed" };
    let end = if fault.closed { ": it is watched no more" } else { "" };
    let text = format!("descriptor {name} of {plugin}: its function {what}{end}");
    host.log.write(Level::Error, "poller", &text);
}

/// The softirq TIMER: runs the dynamic timers of the thread that are due.
///
/// # Safety
/// `thread` is this thread's own and no reference to it is in use.
pub(crate) unsafe fn run_timers(thread: *mut Thread, host: &Host) {
    // SAFETY: by the caller's promise; the borrow ends before any function is called.
    let this = unsafe { &*thread };
    let (index, now) = (ThreadIndex(this.shared.index), Nanos(this.ctx.now_ns));
    host.timers.expire(index, Ticks::at(now), |timer| {
        let function = timer.function();
        let (name, owner) = (function.called(), function.owner);
        let job = Job { what: "timer", name, owner, longest: None };
        if !watchdog::job(&job, || function.run(now)).is_ok() {
            let (name, plugin) = (function.name(), TimerFunction::owner(function));
            host.log.error("timer", format!("timer {name} of {plugin} panicked"));
        }
    });
}

impl Thread {
    /// Has the dynamic timers run at the end of this turn, if any is due.
    #[inline]
    pub(super) fn raise_timers(&mut self, host: &Host, now: Nanos) {
        if host.timers.is_due(ThreadIndex(self.shared.index), Ticks::at(now)) {
            self.shared.deferred.pending().raise_own(1 << softirq::TIMER);
        }
    }

    /// Something happened that nodes may have to look at before the thread sleeps.
    pub(super) fn stay_awake(&mut self) {
        self.quiet = self.quiet.min(QUIET - 2);
    }

    /// Looks at the descriptors, without waiting, now and then: a thread that does not come to
    /// sleep learns of them here.
    pub(super) fn look_at_descriptors(&mut self, host: &Host) {
        // A turn with processes may take long.
        let is_idle = self.waits && !self.polls && self.quiet > 0;
        let turns = if is_idle || self.hurried { IDLE_TURNS } else { BUSY_TURNS };
        let now = Nanos(self.ctx.now_ns);
        let is_late = self.waits && now.since(self.looked) >= LOOK;
        if is_late || self.shared.turns.load(Ordering::Relaxed).is_multiple_of(turns) {
            self.looked = now;
            self.wait(host, Some(Duration::ZERO));
        }
    }

    /// Waits for the descriptors.
    pub(super) fn wait(&mut self, host: &Host, timeout: Option<Duration>) {
        if let Err(error) = self.poller.wait(timeout) {
            // What was not reported is the system's still, so nothing is lost.
            host.log.write(Level::Error, "poller", error.to_string());
        }
        self.marks.append(&mut self.poller.marks); // Packets wait.
    }

    /// Waits for the descriptors, unwatched.
    pub(super) fn sleep(&mut self, host: &Host, timeout: Option<Duration>) {
        self.shared.watch.disarm();
        self.wait(host, timeout);
        self.shared.watch.arm();
    }

    /// How long the thread may sleep for its timers, until the next that is not deferrable, and its
    /// *sched* nodes.
    pub(super) fn until_timer(&mut self, host: &Host) -> Option<Duration> {
        let timer = host.timers.next_expiry(ThreadIndex(self.shared.index));
        let timer = timer.map(|next| Nanos::from_millis(next.0));
        let at = timer.into_iter().chain(self.sched.next_call()).min()?;
        let now = self.clock.read();
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
        let asked = host.gate.is_requested_before_sleep()
            || self.shared.quit.load(Ordering::SeqCst)
            || !self.is_inbox_empty()
            || self.shared.deferred.pending().any()
            || self.is_marked();
        if !asked {
            self.shared.sleeps.fetch_add(1, Ordering::Relaxed);
            let timeout = self.until_timer(host);
            self.sleep(host, timeout);
        }
        self.shared.awake();
        host.timers.set_idle(index, false);
    }

    /// Counts a turn; whether the thread may sleep now.
    pub(super) fn end_turn(&mut self) -> bool {
        // Releases what this turn's nodes did, for who waits for a grace period.
        let turns = self.shared.turns.load(Ordering::Relaxed).wrapping_add(1);
        self.shared.turns.store(turns, Ordering::Release);
        if self.moved > 0 {
            self.quiet = 0;
            return false;
        }
        self.quiet = self.quiet.saturating_add(1);
        let idle = self.shared.idle_turns.load(Ordering::Relaxed);
        self.shared.idle_turns.store(idle.wrapping_add(1), Ordering::Relaxed);
        self.quiet >= QUIET && !self.is_marked() && self.runtime.may_sleep()
    }
}
