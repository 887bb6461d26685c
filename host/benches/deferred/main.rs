//! What it costs to put work off, in one run.
//!
//! Prints a line `WHAT/SIZE/PEER ours=.. peer=.. ratio=..` for each comparison, lower is better; lines
//! that begin with `#` are notes. A `goal` is ours. What takes turns is the least of nine rounds.
//!
//! * `softirq/raise-run-ns-N`: nanoseconds to raise N softirqs on the calling thread, through the table
//!   that plugins call, and to run them, in the pass at the end of a turn; for each.
//! * `softirq/nothing-pending-ns`: what a turn pays where nothing is pending.
//! * `softirq/cross-thread-HOW-us-PERCENTILE`: microseconds from raising on a worker until it runs
//!   there; the worker sleeps, or is busy with turns of its own.
//! * `tasklet/schedule-run-ns-N`: as of softirqs, of tasklets that count.
//! * `starvation/packet-ns`: nanoseconds of a packet on a worker on which a softirq raises itself
//!   without end, against the same without.
//!
//! `cargo bench --bench deferred -- PART...` measures only the parts named: `local`, `cross`,
//! `starvation`.
#![expect(clippy::print_stdout, reason = "a benchmark's results go to standard output")]
#![expect(clippy::cast_precision_loss, reason = "a figure has a few digits")]

use std::time::Instant;

mod cross;
mod local;
mod starvation;
#[expect(dead_code, reason = "the bench of the threads uses more of it")]
#[path = "../threads/traffic.rs"]
mod traffic;

/// Rounds of which the least counts.
const ROUNDS: usize = 9;

fn main() {
    let wanted: Vec<String> =
        std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let parts: [(&str, fn()); 3] =
        [("local", local::run), ("cross", cross::run), ("starvation", starvation::run)];
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

/// Processors that this program may use.
fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
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
