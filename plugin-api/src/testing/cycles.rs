//! The cycle counter, for benchmarks.

/// Clocks now; what was asked for before is done, what comes after has not begun.
#[cfg(target_arch = "x86_64")]
pub(super) fn now() -> u64 {
    use core::arch::x86_64::{_mm_lfence, _rdtsc};
    // SAFETY: a fence only orders.
    unsafe { _mm_lfence() };
    // SAFETY: reading the counter has no effect.
    let now = unsafe { _rdtsc() };
    // SAFETY: a fence only orders.
    unsafe { _mm_lfence() };
    now
}

/// Nanoseconds, where there is no counter to read.
#[cfg(not(target_arch = "x86_64"))]
#[expect(clippy::disallowed_methods, reason = "a benchmark's clock, no packet path")]
pub(super) fn now() -> u64 {
    use std::{sync::OnceLock, time::Instant};
    static START: OnceLock<Instant> = OnceLock::new();
    let elapsed = START.get_or_init(Instant::now).elapsed();
    u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX)
}

/// Clocks of each of `n` packets.
#[expect(clippy::cast_precision_loss, reason = "a benchmark's figure")]
pub(super) fn each(clocks: u64, n: usize) -> f64 {
    clocks as f64 / n as f64
}
