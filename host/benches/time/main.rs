//! The clock, the timing wheel and the dynamic timers beside their peers, in one run.
//!
//! Prints a line `WHAT/SIZE/PEER ours=.. peer=.. ratio=..` for each comparison: nanoseconds per
//! operation, the least of seven rounds in which all take turns; lower is better. `best-crate`
//! is the best of the crates, `best-peer` of these and the heap; `linked-wheel` is a wheel of VPP's shape, without checks of
//! handles, and `vpp-recorded` what VPP's own took on another, quiet machine; the rows `-clocks`
//! have the same in clocks of either machine's counter.
//!
//! `cargo bench --bench time -- PART...` measures only the parts named: `clock`, `wheel`, `mix`,
//! `slot`, `timer`.
#![expect(clippy::print_stdout, reason = "a benchmark's results go to standard output")]
#![expect(clippy::cast_precision_loss, reason = "a figure has a few digits")]
#![expect(clippy::cast_possible_truncation, reason = "sizes are small, the machine is 64-bit")]

use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

mod cascade;
mod clock;
mod linked;
mod mix;
mod peers;
mod timer;
mod wheel;

/// Rounds of which the least counts.
const ROUNDS: usize = 7;
const SIZES: [u32; 4] = [1_000, 10_000, 100_000, 1_000_000];

fn main() {
    let wanted: Vec<String> =
        std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let parts: [(&str, fn()); 5] = [
        ("clock", clock::run),
        ("wheel", wheel::run),
        ("mix", mix::run),
        ("slot", wheel::run_one_slot),
        ("timer", timer::run),
    ];
    for (name, run) in parts {
        if wanted.is_empty() || wanted.iter().any(|part| part == name) {
            run();
        }
    }
}

/// Peers that are no crate of others.
const OTHERS: [&str; 3] = ["vpp-recorded", "linked-wheel", "heap"];

/// Prints our figure against each peer's, and against the best of them if they are several: of the
/// crates, and of the crates and the heap.
fn report(what: &str, ours: f64, peers: &[(&str, f64)]) {
    for (peer, figure) in peers {
        line(what, peer, ours, *figure);
    }
    for (name, others) in [("best-crate", &OTHERS[..]), ("best-peer", &OTHERS[..2])] {
        let figures = peers.iter().filter(|(peer, _)| !others.contains(peer));
        let figures: Vec<f64> = figures.map(|(_, figure)| *figure).collect();
        if figures.len() > 1 {
            line(what, name, ours, figures.into_iter().fold(f64::INFINITY, f64::min));
        }
    }
}

fn line(what: &str, peer: &str, ours: f64, figure: f64) {
    println!("{what}/{peer} ours={ours:.2} peer={figure:.2} ratio={:.3}", ours / figure);
}

/// Nanoseconds per operation of a piece of work: of its thread's time on a processor, or of the
/// clock's time where that is less because the system call has a part in it.
fn measure(operations: usize, work: impl FnOnce()) -> f64 {
    let thread = thread_time();
    #[expect(clippy::disallowed_methods, reason = "a benchmark measures time")]
    let start = Instant::now();
    work();
    let clock = start.elapsed();
    let least = clock.min(thread_time().saturating_sub(thread));
    least.as_nanos() as f64 / operations.max(1) as f64
}

/// How long this thread has been on a processor; others that want it are not in that.
fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::try_from(time).unwrap_or_default()
}

/// Numbers that are random enough and cost a nanosecond.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// Below a bound, without a division.
    fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }

    fn permutation(&mut self, size: u32) -> Vec<u32> {
        let mut order: Vec<u32> = (0..size).collect();
        for last in (1..order.len()).rev() {
            order.swap(last, self.below(last as u64 + 1) as usize);
        }
        order
    }
}
