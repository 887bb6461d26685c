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
//! * `signal-to-run/WHERE/PEER`: nanoseconds from a signal on main until the woken process runs, where
//!   two signal each other: in passes over the processes alone, in a host's main loop, and there with
//!   the bodies in a plugin. The peer's figure was measured on another day; the goal is ours.
//! * `signal-from-thread/HOW-PERCENTILE/PEER`: nanoseconds for a signal from another thread.
//! * `lateness-us/10000-PERCENTILE`: microseconds that 10,000 processes are woken too late, which wait
//!   for 10 us to 10 ms each, or for ten times as long (`-tenth`); the peer is a tick. `wake-up/10000`: nanoseconds from one to the next,
//!   beside what there would be if none were late. On a loaded machine main is not always running.
//! * `idle/1000-…`: wake-ups a second and hundredths of a core of a host in which 1,000 processes wait.
//!
//! `cargo bench --bench process -- PART...` measures only the parts named: `switch`, `start`, `signal`,
//! `afar`, `lateness`, `idle`.
#![expect(clippy::print_stdout, reason = "a benchmark's results go to standard output")]
#![expect(clippy::cast_precision_loss, reason = "a figure has a few digits")]

use std::time::Instant;

use gristmill::{
    graph::Owner,
    process::{Notice, Processes, Restart, Spec, WATCHDOG, What},
    time::Nanos,
};

mod afar;
mod crowd;
mod fixture;
mod idle;
mod lateness;
mod signal;
mod start;
mod switch;

/// Rounds of which the least counts.
const ROUNDS: usize = 9;

fn main() {
    let wanted: Vec<String> =
        std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    if let [idle::CHILD, how] = wanted.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        return idle::host(how);
    }
    let parts: [(&str, fn()); 6] = [
        ("switch", switch::run),
        ("start", start::run),
        ("signal", signal::run),
        ("afar", afar::run),
        ("lateness", lateness::run),
        ("idle", idle::run),
    ];
    for (name, run) in parts {
        if wanted.is_empty() || wanted.iter().any(|part| part == name) {
            run();
        }
    }
}

/// A process of nobody's in particular.
fn spec(name: &str, stack_size: usize) -> Spec {
    Spec {
        name: name.to_owned(),
        owner: Owner(1),
        plugin: "bench".to_owned(),
        version: "1.0.0".to_owned(),
        stack_size,
        restart: Restart::Never,
        watchdog: WATCHDOG,
    }
}

/// Resumes who is to be resumed; how many. Who held main held it because this thread did not run.
fn pass(processes: &Processes, now: Nanos, entered: impl Fn(Option<Nanos>)) -> usize {
    let tell = |notice: Notice| assert!(matches!(notice.what, What::Held(_)), "{notice:?}");
    processes.run(std::ptr::null_mut(), now, entered, tell)
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
