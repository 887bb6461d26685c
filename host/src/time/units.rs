//! Units of time: nanoseconds since the clock started, and counts of the cycle counter.

use core::fmt;
use core::ops::{Add, AddAssign, Sub};
use core::time::Duration;

/// A time since the clock started, or a length of time.
///
/// Unit: nanosecond; 2^64 of them are 584 years.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Nanos(pub u64);

/// A reading of the cycle counter, or a number of its counts.
///
/// Unit: one count; `show clock` says how many make a second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cycles(pub u64);

/// A tick of the dynamic timers.
///
/// Unit: 1 ms. Ticks may wrap, so they have no order: one is before another if it is less than half
/// way round behind it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Ticks(pub u64);

impl Ticks {
    /// Ticks per second.
    pub const PER_SECOND: u64 = 1_000;

    /// The tick that a time lies in.
    pub const fn at(time: Nanos) -> Self {
        Self(time.0 / (1_000_000_000 / Self::PER_SECOND))
    }

    /// The tick that comes `ticks` later.
    #[must_use]
    pub const fn after(self, ticks: u64) -> Self {
        Self(self.0.wrapping_add(ticks))
    }

    /// How many ticks `earlier` lies before this one.
    pub const fn since(self, earlier: Self) -> u64 {
        self.0.wrapping_sub(earlier.0)
    }

    /// Whether this one is later.
    pub const fn is_after(self, other: Self) -> bool {
        other.is_before(self)
    }

    /// Whether this one is earlier.
    pub const fn is_before(self, other: Self) -> bool {
        self.0.wrapping_sub(other.0).cast_signed() < 0
    }
}

impl Nanos {
    /// The moment the clock started.
    pub const ZERO: Self = Self(0);

    /// Whole microseconds.
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros.saturating_mul(1_000))
    }

    /// Whole milliseconds.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis.saturating_mul(1_000_000))
    }

    /// Whole seconds.
    pub const fn from_secs(secs: u64) -> Self {
        Self(secs.saturating_mul(1_000_000_000))
    }

    /// The same time in seconds; exact to a nanosecond for the first 104 days.
    #[expect(clippy::cast_precision_loss, reason = "documented")]
    pub const fn as_secs_f64(self) -> f64 {
        self.0 as f64 / 1e9
    }

    /// The time from `earlier` to this one, zero if `earlier` is later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Self {
        Self(self.0.saturating_sub(earlier.0))
    }
}

impl Cycles {
    /// The counts from `earlier` to this reading, across the counter's wrap.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Self {
        Self(self.0.wrapping_sub(earlier.0))
    }
}

impl Add for Nanos {
    type Output = Self;

    fn add(self, more: Self) -> Self {
        Self(self.0.saturating_add(more.0))
    }
}

impl AddAssign for Nanos {
    fn add_assign(&mut self, more: Self) {
        *self = *self + more;
    }
}

impl Sub for Nanos {
    type Output = Self;

    fn sub(self, earlier: Self) -> Self {
        self.since(earlier)
    }
}

impl From<Duration> for Nanos {
    fn from(duration: Duration) -> Self {
        Self(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX))
    }
}

impl From<Nanos> for Duration {
    fn from(nanos: Nanos) -> Self {
        Self::from_nanos(nanos.0)
    }
}

impl fmt::Display for Nanos {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}.{:09}", self.0 / 1_000_000_000, self.0 % 1_000_000_000)
    }
}
