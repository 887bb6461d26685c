//! What the look at the barrier costs in each turn of a worker's loop.
#![expect(unsafe_code, reason = "dispatches the nodes of a thread of its own")]

use std::{env, hint::black_box, process::Command, sync::Arc};

use gristmill::{
    buffer::{Cache, Pool},
    engine::{BarrierGate, Thread, ThreadShared, dispatch, inputs, poller::Poller},
    time::Clock,
};

use crate::{least, nanoseconds, report};

/// Asks for the loops alone: what `valgrind` looks at.
pub(crate) const CHILD: &str = "barrier-check";
const TURNS: u64 = 2_000_000;
/// Turns whose instructions are counted.
const COUNTED: u64 = 100_000;

/// A thread that is settled, and a gate that is open.
struct Bench {
    gate: BarrierGate,
    thread: Box<Thread>,
}

pub(crate) fn run() {
    let mut bench = Bench::new();
    let per_turn = |work: &mut dyn FnMut()| nanoseconds(work) / TURNS as f64;
    let [check, none, turn, without] = least(|| {
        [
            per_turn(&mut || bench.empty::<true>(TURNS)),
            per_turn(&mut || bench.empty::<false>(TURNS)),
            per_turn(&mut || bench.turns::<true>(TURNS)),
            per_turn(&mut || bench.turns::<false>(TURNS)),
        ]
    });
    report("barrier-check/ns", "empty-loop", check, none);
    report("barrier-check/ns-idle-turn", "without-check", turn, without);
    println!("# barrier-check: {:.2} ns in each turn of the loop", check - none);
    let counted = ["check", "none", "turn", "without"].map(instructions);
    if let [Some(check), Some(none), Some(turn), Some(without)] = counted {
        let per_turn = |counted: u64| counted as f64 / COUNTED as f64;
        report("barrier-check/instructions", "empty-loop", per_turn(check), per_turn(none));
        let (turn, without) = (per_turn(turn), per_turn(without));
        report("barrier-check/instructions-idle-turn", "without-check", turn, without);
    } else {
        println!("# barrier-check: no instructions counted: there is no valgrind");
    }
}

impl Bench {
    fn new() -> Self {
        let shared = Arc::new(ThreadShared::new(1).expect("a descriptor"));
        let poller = Poller::new(Arc::clone(shared.doorbell())).expect("a descriptor");
        let cache = Cache::new(Arc::new(Pool::new(1024).expect("memory")), 1);
        let clock = Clock::calibrate().thread();
        let thread = Box::new(Thread::new(shared, cache, clock, poller, std::ptr::null()));
        Self { gate: BarrierGate::default(), thread }
    }

    /// Turns of nothing, with the look or without.
    #[inline(never)]
    fn empty<const CHECKED: bool>(&mut self, turns: u64) {
        for _ in 0..turns {
            let this = black_box(&mut *self);
            if CHECKED {
                this.gate.pause_point(&mut this.thread);
            }
        }
    }

    /// Turns as a worker's that has nothing to do, with the look or without.
    #[inline(never)]
    fn turns<const CHECKED: bool>(&mut self, turns: u64) {
        for _ in 0..turns {
            let this = black_box(&mut *self);
            if CHECKED {
                this.gate.pause_point(&mut this.thread);
            }
            black_box(this.thread.begin_turn());
            this.thread.receive_handoff();
            let thread = &raw mut *this.thread;
            // SAFETY: the thread is this program's own, here and below; no reference is in use.
            unsafe { inputs::poll_pre_inputs(thread) };
            // SAFETY: as above.
            unsafe { inputs::poll_inputs(thread) };
            // SAFETY: as above.
            unsafe { inputs::dispatch_marked(thread) };
            // SAFETY: as above.
            unsafe { inputs::dispatch_sched(thread) };
            // SAFETY: as above.
            unsafe { dispatch::dispatch_pending(thread) };
        }
    }
}

/// Instructions of `COUNTED` turns of one of the loops, as `valgrind` counts them.
fn instructions(what: &str) -> Option<u64> {
    // The same program with no turns, to be taken off.
    Some(collected(what)?.saturating_sub(collected("nothing")?))
}

fn collected(what: &str) -> Option<u64> {
    let program = env::current_exe().ok()?;
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]).arg(program);
    let output = valgrind.args([CHILD, what]).output().ok()?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    said.lines().find_map(|line| line.split_once("Collected : ")?.1.trim().parse().ok())
}

/// What `valgrind` looks at.
pub(crate) fn child(what: &str) {
    let mut bench = Bench::new();
    match what {
        "check" => bench.empty::<true>(COUNTED),
        "none" => bench.empty::<false>(COUNTED),
        "turn" => bench.turns::<true>(COUNTED),
        "without" => bench.turns::<false>(COUNTED),
        _ => {}
    }
}
