//! The main loop: what a worker does, and all that only main may do.
#![expect(unsafe_code, reason = "the nodes get at the thread by its address")]

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use gristmill_abi::deferred::softirq;
use plugin_api::ThreadIndex;

use super::{
    dispatch, inputs,
    poller::{Ready, Token},
    thread::Thread,
    watchdog::Watch,
    worker_loop::serve_descriptors,
};
use crate::{
    cli, control::Control, deferred, device::netlink::LinkChange, host::Host, log::Level,
    time::Nanos,
};

/// A signal asked the host to end.
pub const SIGNAL: Token = Token(1);
/// Links of the kernel's interfaces changed.
pub const LINKS: Token = Token(2);
/// How long main sleeps at most while something waits for the end of a grace period.
const GRACE: Duration = Duration::from_millis(1);
/// First of the control socket's tokens.
pub const CLI: u64 = 1000;

/// What is called when the time it asked for has come: gives the next such time, or `None` to end
/// the loop.
pub type Tick<'a> = dyn FnMut(&mut Control, Nanos) -> Option<Nanos> + 'a;

/// All that the main loop serves.
#[derive(Debug)]
pub struct MainLoop {
    /// What commands work on.
    pub control: Control,
    /// The control socket, if there is one.
    pub server: Option<cli::Server>,
}

/// Runs main's loop until the host is told to stop or `tick` says that it is over.
///
/// # Safety
/// `thread` is main's own and no reference to it is in use.
pub unsafe fn main_loop(thread: *mut Thread, main: &mut MainLoop, tick: &mut Tick<'_>) {
    let mut wake_at = Nanos(0);
    // SAFETY: by the caller's promise.
    let shared = Arc::clone(&unsafe { &*thread }.shared);
    shared.watch.arm();
    let _disarm = Disarm(&shared.watch);
    while !main.control.host.quit.load(Ordering::Relaxed) {
        main.control.tend_threads(); // May change the graph, and so may:
        let called = main.control.host.serve_calls();
        // SAFETY: by the caller's promise; the borrow ends before anything else runs.
        let this = unsafe { &mut *thread };
        if called > 0 {
            this.stay_awake();
        }
        let now = this.begin_turn(); // Once per loop.
        if now >= wake_at {
            match tick(&mut main.control, now) {
                Some(next) => wake_at = next,
                None => return,
            }
        }
        // SAFETY: by the caller's promise; the borrow ends before anything else runs.
        unsafe { &mut *thread }.look_at_descriptors(main.control.host);
        // SAFETY: by the caller's promise; no reference is in use.
        unsafe { serve_descriptors(thread, main.control.host, &mut |ready| main.serve(ready)) };
        // No frame is pending here nor after the timers: a process may change the graph.
        let ran = main.run_processes(&shared.watch, now);
        if ran > 0 {
            // SAFETY: as above; what processes took is not the next node's.
            unsafe { &mut *thread }.begin_nodes();
        }
        main.control.host.set_in_nodes(true);
        // SAFETY: as above. Not before the processes, which may change the graph.
        unsafe { &mut *thread }.receive_handoff();
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
        main.control.host.set_in_nodes(false);
        // SAFETY: as above.
        unsafe { &mut *thread }.raise_deferred(main.control.host, now);
        // SAFETY: as above. May change the graph.
        let deferred = unsafe { deferred::run_pending(thread, main.control.host) };
        let ran = ran + main.run_processes(&shared.watch, now); // Those that nodes and timers have woken.
        // SAFETY: as above.
        let this = unsafe { &mut *thread };
        if deferred || ran > 0 {
            this.stay_awake();
        }
        this.hurried = ran > 0;
        this.rest_until(main.control.host, wake_at);
        if main.control.host.link_news.is_some() {
            main.control.tell_links();
        }
    }
}

/// Ends the watch over main when its loop ends.
struct Disarm<'a>(&'a Watch);

impl Drop for Disarm<'_> {
    fn drop(&mut self) {
        self.0.disarm();
    }
}

impl Thread {
    /// Has main's timers run at the end of this turn, if any is due, and what waits to be freed.
    fn raise_deferred(&mut self, host: &Host, now: Nanos) {
        self.raise_timers(host, now);
        if host.grace.is_waiting() {
            self.shared.deferred.pending().raise_own(1 << softirq::RCU);
        }
    }

    /// Ends a turn of main: sleeps, if nothing has happened for a while, until something does or
    /// until `wake_at`.
    fn rest_until(&mut self, host: &Host, wake_at: Nanos) {
        if !self.end_turn() {
            return;
        }
        let index = ThreadIndex(self.shared.index);
        host.timers.set_idle(index, true);
        self.shared.announce_sleep();
        let left = wake_at.since(self.clock.read());
        let tick = (wake_at != Nanos(u64::MAX)).then(|| Duration::from_nanos(left.0));
        let process = host.processes.next_expiry();
        let process = process.map(|at| Duration::from_nanos(at.since(self.clock.read()).0));
        let grace = host.grace.is_waiting().then_some(GRACE);
        let timeout =
            tick.into_iter().chain(self.until_timer(host)).chain(process).chain(grace).min();
        // What was asked for after main last looked, and before it announced its sleep.
        let asked = !host.rpc.is_empty()
            || host.link_news.is_some()
            || host.thread_news.load(Ordering::SeqCst)
            || !self.is_inbox_empty()
            || !self.is_settled() // A splice may have received what was handed to main.
            || host.processes.has_work()
            || self.shared.deferred.pending().any()
            || self.is_marked()
            || host.quit.load(Ordering::SeqCst);
        let timeout = if asked { Some(Duration::ZERO) } else { timeout };
        self.shared.sleeps.fetch_add(1, Ordering::Relaxed);
        if asked {
            self.wait(host, timeout);
        } else {
            self.sleep(host, timeout);
        }
        self.shared.awake();
        host.timers.set_idle(index, false);
    }
}

impl MainLoop {
    /// Resumes the processes that were woken; how many.
    fn run_processes(&mut self, watch: &Watch, now: Nanos) -> usize {
        let host = self.control.host;
        let tell = |notice| host.tell_of_process(notice);
        host.processes.run(&raw mut self.control, now, |longest| watch.process(longest), tell)
    }

    /// Serves a descriptor of the host's own.
    fn serve(&mut self, ready: Ready) {
        match ready.token {
            SIGNAL => self.control.host.quit.store(true, Ordering::Relaxed),
            LINKS => self.follow_links(),
            Token(token) => {
                self.control.host.clock().lock().verify_if_due();
                if let Some(server) = &mut self.server {
                    server.ready(token, &mut self.control);
                }
            }
        }
    }

    /// Takes the kernel's word for the links of interfaces that stand for its own.
    pub fn follow_links(&mut self) {
        let mut changes = Vec::new();
        if let Some(links) = &mut *self.control.host.links.lock()
            && let Err(error) = links.read(&mut changes)
        {
            self.control.host.log.write(Level::Warn, "netlink", error.to_string());
        }
        self.control.apply_links(&changes);
    }
}

impl Control {
    /// Tells what devices found out about their links.
    fn tell_links(&self) {
        for (index, up) in self.host.link_news.take() {
            if let Ok(interface) = self.host.interface(index) {
                self.host.set_link(&interface, up);
            }
        }
    }

    /// Brings interfaces in line with the kernel's.
    pub fn apply_links(&self, changes: &[LinkChange]) {
        for change in changes {
            let interfaces: Vec<_> = self.host.interfaces.read().iter().cloned().collect();
            let own = interfaces.iter().filter(|own| own.kernel_index == change.kernel_index);
            for interface in own.filter(|own| own.kernel_index != 0) {
                self.host.set_link(interface, change.up && !change.deleted);
            }
        }
    }
}
