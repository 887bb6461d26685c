//! What reading the clock costs.
#![expect(unsafe_code, reason = "the bare instruction is what the clock is measured against")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use gristmill::time::Clock;

use crate::{ROUNDS, measure, report};

const READS: usize = 200_000;

pub(crate) fn run() {
    let mut clock = Clock::calibrate();
    let quanta = quanta::Clock::new();
    let mut least = [f64::INFINITY; 4];
    for _ in 0..ROUNDS * 5 {
        let round = [
            each(|| clock.read().0),
            each(counter),
            each(|| quanta.now()),
            #[expect(clippy::disallowed_methods, reason = "a peer")]
            each(Instant::now),
        ];
        for (least, figure) in least.iter_mut().zip(round) {
            *least = least.min(figure);
        }
    }
    let [ours, counter, quanta, instant] = least;
    report("clock/read", ours, &[("rdtsc", counter)]);
    report("clock/read", ours, &[("quanta", quanta)]);
    report("clock/read", ours, &[("instant", instant)]);
}

/// Clocks of the processor's counter in a nanosecond.
pub(crate) fn clocks_per_ns() -> f64 {
    const WHILE: Duration = Duration::from_millis(50);
    #[expect(clippy::disallowed_methods, reason = "a benchmark measures time")]
    let start = Instant::now();
    let before = counter();
    while start.elapsed() < WHILE {
        std::hint::spin_loop();
    }
    (counter() - before) as f64 / start.elapsed().as_nanos() as f64
}

#[inline]
fn each<R>(mut read: impl FnMut() -> R) -> f64 {
    measure(READS, || {
        for _ in 0..READS {
            black_box(read());
        }
    })
}

#[cfg(target_arch = "x86_64")]
fn counter() -> u64 {
    // SAFETY: every x86-64 processor has `rdtsc`, and Linux lets user space use it.
    unsafe { core::arch::x86_64::_rdtsc() }
}

#[cfg(target_arch = "aarch64")]
fn counter() -> u64 {
    let count: u64;
    // SAFETY: Linux lets user space read the virtual counter; it touches nothing else.
    unsafe {
        core::arch::asm!("mrs {}, cntvct_el0", out(reg) count, options(nomem, nostack));
    }
    count
}
