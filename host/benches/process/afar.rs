//! From a signal on another thread until the woken process runs on main.
//!
//! `asleep`: main sleeps in its poller and is rung; `awake`: it looks all the time. The peer is a
//! channel, with an event counter written where the other side may sleep, whose events are handled
//! on main's own stack: nobody is resumed there.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use gristmill::{
    engine::{ThreadShared, poller::Poller},
    process::{Body, Ending, Processes, Request},
    time::Clock,
};

use crate::{lateness::Percentiles, pass, report, spec};

/// Events that are timed, one after the other.
const EVENTS: usize = 5_000;
/// Time between them, so that main is asleep again.
const PAUSE: Duration = Duration::from_micros(200);

/// Where one side says when it sent, and the other that it has taken it.
struct Line {
    origin: Instant,
    sent: AtomicU64,
    taken: AtomicU64,
    done: AtomicBool,
}

impl Line {
    fn new() -> Arc<Self> {
        let (sent, taken) = (AtomicU64::new(0), AtomicU64::new(0));
        Arc::new(Self { origin: instant(), sent, taken, done: AtomicBool::new(false) })
    }

    fn now(&self) -> u64 {
        u64::try_from(instant().duration_since(self.origin).as_nanos()).expect("a short while")
    }

    /// Sends one event after the other; gives how long each took to be taken.
    fn send(&self, asleep: bool, mut send: impl FnMut()) -> Vec<u64> {
        let mut latencies = Vec::with_capacity(EVENTS);
        for _ in 0..EVENTS {
            if asleep {
                #[expect(clippy::disallowed_methods, reason = "the other side is to fall asleep")]
                thread::sleep(PAUSE);
            }
            self.taken.store(0, Ordering::SeqCst);
            let sent = self.now();
            send();
            let taken = loop {
                match self.taken.load(Ordering::Acquire) {
                    0 => std::hint::spin_loop(),
                    taken => break taken,
                }
            };
            latencies.push(taken.saturating_sub(sent));
        }
        self.done.store(true, Ordering::SeqCst);
        latencies
    }

    fn take(&self) {
        self.sent.fetch_add(1, Ordering::Relaxed);
        self.taken.store(self.now().max(1), Ordering::Release);
    }
}

fn instant() -> Instant {
    #[expect(clippy::disallowed_methods, reason = "a benchmark measures time")]
    Instant::now()
}

/// Says when it was woken.
struct Taker {
    processes: &'static Processes,
    line: Arc<Line>,
}

impl Body for Taker {
    fn run(&mut self) -> Ending {
        while self.processes.wait(Request { events: 1, ..Request::default() }).is_ok() {
            self.line.take();
        }
        Ending::Cancelled
    }
}

pub(crate) fn run() {
    for (how, asleep) in [("asleep", true), ("awake", false)] {
        let ours = Percentiles::of(processes(asleep));
        let peer = Percentiles::of(channel(asleep));
        for (name, part) in [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999)] {
            let what = format!("signal-from-thread/{how}-{name}");
            report(&what, "crossbeam-channel-eventfd", ours.at(part), peer.at(part));
        }
    }
}

/// A thread's shared part and its poller.
fn sleeper() -> (Arc<ThreadShared>, Poller) {
    let shared = Arc::new(ThreadShared::new(0).expect("a descriptor"));
    let poller = Poller::new(Arc::clone(shared.doorbell())).expect("a descriptor");
    (shared, poller)
}

fn processes(asleep: bool) -> Vec<u64> {
    let mut clock = Clock::calibrate();
    let processes: &'static Processes = Box::leak(Box::new(Processes::new(clock.thread())));
    let (shared, mut poller) = sleeper();
    let line = Line::new();
    let taker = Taker { processes, line: Arc::clone(&line) };
    let process = processes.spawn(spec("taker", 32 << 10), Box::new(taker));
    let mut turn = || pass(processes, clock.read(), |_| ());
    turn();
    thread::scope(|scope| {
        let sender = scope.spawn(|| {
            let signal = || assert!(processes.signal(&process, 1, || shared.ring()));
            let latencies = line.send(asleep, signal);
            shared.ring_anyway();
            latencies
        });
        while !line.done.load(Ordering::SeqCst) {
            if turn() == 0 && asleep {
                shared.announce_sleep();
                if !processes.has_work() && !line.done.load(Ordering::SeqCst) {
                    poller.wait(None).expect("the poller waits");
                }
                shared.awake();
            }
        }
        sender.join().expect("the sender ends")
    })
}

fn channel(asleep: bool) -> Vec<u64> {
    let (shared, mut poller) = sleeper();
    let line = Line::new();
    let (events, queue) = crossbeam_channel::bounded::<u64>(1024);
    thread::scope(|scope| {
        let sender = scope.spawn(|| {
            let send = || {
                events.send(1).expect("it is taken");
                if asleep {
                    shared.ring_anyway();
                }
            };
            let latencies = line.send(asleep, send);
            shared.ring_anyway();
            latencies
        });
        while !line.done.load(Ordering::SeqCst) {
            let mut taken = 0;
            while queue.try_recv().is_ok() {
                line.take();
                taken += 1;
            }
            if taken == 0 && asleep {
                poller.wait(None).expect("the poller waits");
            }
        }
        sender.join().expect("the sender ends")
    })
}
