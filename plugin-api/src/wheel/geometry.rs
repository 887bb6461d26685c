//! What a wheel can be: its features, the named instances, and what is refused.

use super::TimingWheel;

/// Feature: intervals longer than one turn of the slowest ring go to an overflow list, which is
/// dealt onto the rings when its first timer comes into their reach.
pub const OVERFLOW: u32 = 1;
/// Feature: a bit per slot, so that empty slots are skipped 64 at a time.
pub const FAST_BITMAP: u32 = 2;
/// Feature: stopping a timer that was stopped or has expired already is no mistake.
pub const DUPLICATE_STOP: u32 = 4;
/// As many expiries per call as are due.
pub const UNBOUNDED: usize = usize::MAX;

/// 16 timers per object, 2 rings of 512 slots: connections, at ticks of 100 ms.
pub type Wheel16t2w512sl = TimingWheel<16, 2, 512, DUPLICATE_STOP, UNBOUNDED>;
/// One timer per object, 3 rings of 1024 slots, overflow, bitmap: processes, at ticks of 10 us.
pub type Wheel1t3w1024slOv =
    TimingWheel<1, 3, 1024, { OVERFLOW | FAST_BITMAP | DUPLICATE_STOP }, UNBOUNDED>;
/// 2 timers per object, one ring of 2048 slots.
pub type Wheel2t1w2048sl = TimingWheel<2, 1, 2048, 0, UNBOUNDED>;
/// 16 timers per object, one ring of 2048 slots.
pub type Wheel16t1w2048sl = TimingWheel<16, 1, 2048, 0, UNBOUNDED>;
/// 4 timers per object, 3 rings of 256 slots.
pub type Wheel4t3w256sl = TimingWheel<4, 3, 256, 0, UNBOUNDED>;
/// 2 timers per object, 2 rings of 512 slots.
pub type Wheel2t2w512sl = TimingWheel<2, 2, 512, 0, UNBOUNDED>;
/// 2 timers per object, 3 rings of 64 slots: 2^18 ticks a turn, and the overflow list beyond.
pub type Wheel2t3w64slOv =
    TimingWheel<2, 3, 64, { OVERFLOW | FAST_BITMAP | DUPLICATE_STOP }, UNBOUNDED>;
/// 4 timers per object, 3 rings of 4 slots, overflow: so small that everything wraps all the time.
pub type Wheel4t3w4slOv = TimingWheel<4, 3, 4, OVERFLOW, UNBOUNDED>;

/// The ticks of one turn of the slowest ring.
pub(super) const fn reach(rings: usize, slots: usize) -> u64 {
    let mut reach = 1;
    let mut ring = 0;
    while ring < rings {
        reach *= slots as u64;
        ring += 1;
    }
    reach
}

/// Refuses, at compile time, what cannot work.
pub(super) const fn check(
    timers: usize,
    rings: usize,
    slots: usize,
    features: u32,
    max_expiries: usize,
) {
    assert!(timers.is_power_of_two() && timers <= 256, "timers per object: a power of two to 256");
    assert!(rings >= 1 && rings <= 8, "rings: 1 to 8");
    assert!(
        slots.is_power_of_two() && slots >= 2 && slots <= 1 << 16,
        "slots per ring: a power of two from 2 to 65536"
    );
    assert!(slots.ilog2() as usize * rings < 48, "one turn of the slowest ring: below 2^48 ticks");
    assert!(
        features & !(OVERFLOW | FAST_BITMAP | DUPLICATE_STOP) == 0,
        "features: OVERFLOW, FAST_BITMAP, DUPLICATE_STOP"
    );
    assert!(max_expiries > 0, "expiries per call: 1 at least");
}
