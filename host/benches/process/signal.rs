//! From a signal on main until the woken process runs: two processes that signal each other.
//!
//! An event is what the peer's is: a signal, a wait, and the pass that resumes the other one.

use std::{
    cell::{Cell, OnceCell},
    hint::black_box,
    rc::Rc,
};

use gristmill::{
    boot::boot,
    config::Config,
    host::Host,
    process::{Body, Ending, ProcessShared, Processes, Request},
    sync::Arc,
    time::{Clock, Nanos},
};

use crate::{crowd, nanoseconds, pass, report, spec};

/// Events of a round: so few that in some rounds nobody else ran on this processor.
const EVENTS: u64 = 5_000;
const ROUNDS: usize = 500;
/// What the peer took for an event when it was measured: the least and the most, in nanoseconds.
const VPP: [(&str, f64); 2] = [("vpp-recorded", 283.0), ("vpp-recorded-most", 324.0)];
/// What is aimed at.
const GOAL: f64 = 150.0;

/// What two processes share.
#[derive(Default)]
struct Court {
    players: [OnceCell<Arc<ProcessShared>>; 2],
    events: Cell<u64>,
}

/// Signals the other one, each time it is signalled.
struct Player {
    processes: &'static Processes,
    court: Rc<Court>,
    other: usize,
}

impl Body for Player {
    fn run(&mut self) -> Ending {
        let Self { processes, court, other } = self;
        let wait = || processes.wait(Request { events: 1, ..Request::default() });
        while black_box(wait()).is_ok() {
            court.events.set(court.events.get() + 1);
            let other = court.players[*other].get().expect("both were made");
            processes.signal(other, 1, || ());
        }
        Ending::Cancelled
    }
}

impl Court {
    /// Two processes of which one was signalled.
    fn open(processes: &'static Processes) -> Rc<Self> {
        let court = Rc::<Self>::default();
        for (number, other) in [(0, 1), (1, 0)] {
            let player = Player { processes, court: Rc::clone(&court), other };
            let made = processes.spawn(spec("player", 32 << 10), Box::new(player));
            court.players[number].set(made).expect("made once");
        }
        processes.signal(court.players[0].get().expect("just made"), 1, || ());
        court
    }
}

pub(crate) fn run() {
    let rows = |what: &str, ours: f64| {
        for (peer, figure) in VPP {
            report(what, peer, ours, figure);
        }
        report(what, "goal", ours, GOAL);
    };
    rows("signal-to-run/pass", passes());
    rows("signal-to-run/main-loop", turns());
    rows("signal-to-run/so-body", crowd::ping_pong(ROUNDS / 5, EVENTS));
}

/// Nanoseconds of an event, in passes over the processes alone.
fn passes() -> f64 {
    let mut clock = Clock::calibrate();
    let processes: &'static Processes = Box::leak(Box::new(Processes::new(clock.thread())));
    let court = Court::open(processes);
    let mut least = f64::INFINITY;
    for _ in 0..ROUNDS {
        let before = court.events.get();
        let taken = nanoseconds(|| {
            while court.events.get() - before < EVENTS {
                let entered = |longest: Option<Nanos>| {
                    black_box(longest);
                };
                pass(processes, clock.read(), entered);
            }
        });
        least = least.min(taken / (court.events.get() - before) as f64);
    }
    least
}

/// The same in the turns of a host's main loop, which also looks at its descriptors, timers and
/// nodes, and has statistics on.
fn turns() -> f64 {
    let mut running = boot(Config { workers: 0, ..Config::default() }).expect("a host");
    let host: &'static Host = running.main.control.host;
    let court = Court::open(&host.processes);
    let mut least = f64::INFINITY;
    for _ in 0..ROUNDS {
        let before = court.events.get();
        let taken = nanoseconds(|| {
            running.run(&mut |_, _| (court.events.get() - before < EVENTS).then_some(Nanos(0)));
        });
        least = least.min(taken / (court.events.get() - before) as f64);
    }
    for player in &court.players {
        host.processes.cancel(player.get().expect("both were made"));
    }
    running.end();
    least
}
