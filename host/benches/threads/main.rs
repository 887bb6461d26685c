//! What threads cost each other, in one run.
//!
//! Prints a line `WHAT/SIZE/PEER ours=.. peer=.. ratio=..` for each comparison, lower is better but
//! where it says `-mpps`; lines that begin with `#` are notes. A `-recorded` peer was measured on
//! another day and machine; a `goal` is ours. What takes turns is the least of nine rounds.
//!
//! * `barrier-check/..`: nanoseconds, and instructions where there is `valgrind`, of the look at the
//!   barrier in each turn of a worker's loop: against the loop without it.
//! * `barrier/whole-us-HOW-W-workers-PERCENTILE`: microseconds of main for an empty stop of so many
//!   workers, from the request until all have left; they sleep in their pollers or forward.
//! * `splice/HOLD-OR-STALL-us-PERCENTILE-W-workers-NODES-nodes`: microseconds for which loads,
//!   replacements and unloads of a node and its feature hold the workers, under full traffic over the
//!   same ten nodes in graphs of several sizes. `splice/stalls-beyond`: how many of a million stalls
//!   are longer than the longest turn of a worker's and the hold. Where it says `undisturbed`, only
//!   changes count in which the kernel took neither main nor a worker off its processor.
//! * `ring/HOW-ns-FRAME`, `handoff/HOW-ns-FRAME`: nanoseconds of a packet to another thread, in frames
//!   of so many: see `handoff.rs`. `same-thread`: what the same packets take without another thread.
//! * `scaling/..`: millions of packets a second of one and of two forwarding threads; `-per-cpu`:
//!   for each second that the kernel gave them.
//! * `ping-us/..` and `idle-percent/..`: microseconds of answers to pings, and hundredths of a core
//!   that a thread uses while nothing comes, in each mode of a TAP's receive queue.
//!
//! `cargo bench --bench threads -- PART...` measures only the parts named: `check`, `barrier`,
//! `splice`, `handoff`, `scaling`, `rx-mode`.
#![expect(clippy::print_stdout, reason = "a benchmark's results go to standard output")]
#![expect(clippy::cast_precision_loss, reason = "a figure has a few digits")]

use std::{sync::OnceLock, time::Instant};

mod barrier;
mod check;
mod disturbance;
mod figures;
mod handoff;
mod queues;
mod rx_mode;
mod scaling;
mod splice;
mod traffic;

/// Rounds of which the least counts.
const ROUNDS: usize = 9;

fn main() {
    let wanted: Vec<String> =
        std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    if let [check::CHILD, what] = wanted.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        return check::child(what);
    }
    let parts: [(&str, fn()); 6] = [
        ("check", check::run),
        ("barrier", barrier::run),
        ("splice", splice::run),
        ("handoff", handoff::run),
        ("scaling", scaling::run),
        ("rx-mode", rx_mode::run),
    ];
    for (name, run) in parts {
        if wanted.is_empty() || wanted.iter().any(|part| part == name) {
            println!("# {name}: {} processors, load average {}", processors(), load());
            run();
        }
    }
}

fn report(what: &str, peer: &str, ours: f64, figure: f64) {
    println!("{what}/{peer} ours={ours:.2} peer={figure:.2} ratio={:.3}", ours / figure);
}

/// Processors that this program may use, as it was started: later its threads have one each.
fn processors() -> usize {
    static FOUND: OnceLock<usize> = OnceLock::new();
    *FOUND.get_or_init(|| std::thread::available_parallelism().map_or(1, usize::from))
}

/// Threads that want to run, on average: what else the machine does.
fn load() -> String {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    load.split(' ').next().unwrap_or_default().to_owned()
}

/// Nanoseconds of a piece of work.
fn nanoseconds(work: impl FnOnce()) -> f64 {
    #[expect(clippy::disallowed_methods, reason = "a benchmark measures time")]
    let start = Instant::now();
    work();
    start.elapsed().as_nanos() as f64
}

/// The least of several rounds, for each of several measurements that take turns.
fn least<const N: usize>(mut round: impl FnMut() -> [f64; N]) -> [f64; N] {
    let mut least = [f64::INFINITY; N];
    for _ in 0..ROUNDS {
        for (least, figure) in least.iter_mut().zip(round()) {
            *least = least.min(figure);
        }
    }
    least
}
