//! Coroutines beside their peers, in one run.
//!
//! Prints a line `WHAT/SIZE/PEER ours=.. peer=.. ratio=..` for each comparison, lower is better:
//! nanoseconds a round trip (a resume and a suspend), nanoseconds for 10,000 to start and suspend
//! themselves, bytes in memory for them. The least of nine rounds in which all take turns.
//!
//! * `switch/PEER`: the body is the bench's own; the peer is the crate `corosensei`.
//! * `switch/so-body/PEER`: the body is in a `.so`, and suspends itself through a function pointer of
//!   the host. `switch/so-body-64`: 64 of them in turn.
//! * `setjmp` saves and restores the callee-saved registers in a `setjmp` and a `longjmp`, as VPP
//!   does; there the functions are behind a function pointer too. `setjmp-inline`: the suspending
//!   function is compiled into the body, as VPP's is into a plugin.
//!
//! `cargo bench --bench process -- PART...` measures only the parts named: `switch`, `start`.
#![expect(clippy::print_stdout, reason = "a benchmark's results go to standard output")]
#![expect(clippy::cast_precision_loss, reason = "a figure has a few digits")]

use std::time::Instant;

mod fixture;
mod start;
mod switch;

/// Rounds of which the least counts.
const ROUNDS: usize = 9;

fn main() {
    let wanted: Vec<String> =
        std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let parts: [(&str, fn()); 2] = [("switch", switch::run), ("start", start::run)];
    for (name, run) in parts {
        if wanted.is_empty() || wanted.iter().any(|part| part == name) {
            run();
        }
    }
}

fn report(what: &str, peer: &str, ours: f64, figure: f64) {
    println!("{what}/{peer} ours={ours:.2} peer={figure:.2} ratio={:.3}", ours / figure);
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
