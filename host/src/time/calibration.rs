//! How counts become nanoseconds, and how that is kept true. Pure: samples come from outside.
//!
//! ```text
//! nanoseconds          target: the operating system's monotonic clock
//!     ^             . '  ________ beyond: the smoothed rate, for as long as nobody looks again
//!     |          . '_ - '
//!     |       .'_ '  approach: the smoothed rate, bent by the correction, one interval long
//!     |    . ' error
//!     |   *-------- verified: the new line starts where the old one stands, so no step
//!     +---|-------|----------------> counts
//!       from    turn
//! ```
//! Half a correction is worse than none while the host sleeps, so the bent line ends by itself.

use super::units::{Cycles, Nanos};

/// How long from one check of the counter to the next, and the length of a correction.
pub const INTERVAL: Nanos = Nanos::from_secs(16);
/// The first check comes sooner: the start-up calibration saw only milliseconds.
pub const FIRST_INTERVAL: Nanos = Nanos::from_secs(1);
/// Time constant of the smoothing.
pub const SMOOTHING: Nanos = Nanos::from_secs(60);
/// Farthest a sample's rate may be from the one in use.
const TOLERANCE: f64 = 0.01;
/// Steepest correction of the clock's phase.
const SLEW_MAX: f64 = 500e-6;
/// A shorter interval measures the measuring.
const INTERVAL_MIN: Nanos = Nanos::from_millis(5);
/// That many refused samples in a row that agree with each other are the truth.
const REFUSALS_MAX: u32 = 3;

/// The counter and the operating system's monotonic clock, read at the same moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// The counter.
    pub cycles: Cycles,
    /// The monotonic clock, from any origin.
    pub monotonic: Nanos,
}

/// A straight line from counts to nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line {
    /// The count at which it starts.
    pub from: Cycles,
    /// The time there.
    pub at: Nanos,
    /// Nanoseconds per count, times 2^32.
    pub slope: u64,
}

impl Line {
    /// The time at a count; the line's start for counts before it.
    #[inline]
    pub fn time(self, cycles: Cycles) -> Nanos {
        let counts = cycles.0.saturating_sub(self.from.0);
        let scaled = (u128::from(counts) * u128::from(self.slope)) >> 32;
        #[expect(clippy::cast_possible_truncation, reason = "centuries of nanoseconds fit")]
        Nanos(self.at.0.wrapping_add(scaled as u64))
    }
}

/// Two lines, the second taking over at a count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scale {
    /// In force first.
    pub approach: Line,
    /// The count at which `beyond` takes over.
    pub turn: Cycles,
    /// In force from `turn` on.
    pub beyond: Line,
}

impl Scale {
    /// One count is one nanosecond: for clocks that count in nanoseconds already.
    pub const UNITY: Self = {
        let line = Line { from: Cycles(0), at: Nanos(0), slope: 1 << 32 };
        Self { approach: line, turn: Cycles(u64::MAX), beyond: line }
    };

    /// The time at a count.
    pub fn time(&self, cycles: Cycles) -> Nanos {
        if cycles < self.turn { self.approach.time(cycles) } else { self.beyond.time(cycles) }
    }
}

/// What became of a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It was smoothed into the rate, and a new scale is in force.
    Accepted,
    /// Its rate was too far off, or the monotonic clock stood still: only the reference moved.
    Rejected,
    /// The counter went backwards, or several rejected samples agreed: calibrated afresh.
    Restarted,
    /// Too soon after the last one to say anything.
    TooSoon,
}

/// The measured rate of the counter, and the scale in force.
#[derive(Clone, Debug)]
pub struct Calibration {
    nanos_per_count: f64,
    scale: Scale,
    last: Sample,
    /// What the monotonic clock showed when this clock would have shown zero.
    zero: i128,
    /// Length of the measurement behind `nanos_per_count`, at most [`SMOOTHING`].
    measured: Nanos,
    /// Rate of the last refused sample, and how many like it came in a row.
    refused: (f64, u32),
    tally: Tally,
}

/// What happened so far, for `show clock`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Tally {
    /// Samples taken into the rate, the start-up calibration included.
    pub calibrations: u64,
    /// Samples refused.
    pub rejected: u64,
    /// Times the counter went backwards or was calibrated afresh.
    pub restarts: u64,
    /// How far the last accepted sample's rate was from the one in use, in parts per million.
    pub drift_ppm: f64,
    /// How far the clock was behind the monotonic clock at the last sample, in nanoseconds.
    pub behind_nanos: i64,
}

impl Calibration {
    /// Calibrates from two samples; the clock shows zero at `zero` on the monotonic clock.
    ///
    /// Two samples that say nothing (no counts or no time between them) give 1 ns per count,
    /// which the first checks put right.
    pub fn new(zero: Nanos, first: Sample, second: Sample) -> Self {
        let rate = rate(first, second).unwrap_or(1.0);
        let line =
            Line { from: second.cycles, at: second.monotonic.since(zero), slope: slope(rate) };
        Self {
            nanos_per_count: rate,
            scale: Scale { approach: line, turn: Cycles(u64::MAX), beyond: line },
            last: second,
            zero: i128::from(zero.0),
            measured: second.monotonic.since(first.monotonic),
            refused: (0.0, 0),
            tally: Tally { calibrations: 1, ..Tally::default() },
        }
    }

    /// The scale in force.
    pub fn scale(&self) -> &Scale {
        &self.scale
    }

    /// The smoothed frequency of the counter, in counts per second.
    pub fn frequency(&self) -> f64 {
        1e9 / self.nanos_per_count
    }

    /// What happened so far.
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// How many counts after the last sample the next one is due.
    pub fn interval(&self) -> Cycles {
        let wait = if self.tally.calibrations < 2 { FIRST_INTERVAL } else { INTERVAL };
        Cycles(whole(wait.as_secs_f64() * self.frequency()))
    }

    /// Whether a check is due at this count; a counter that went backwards is due at once.
    #[inline]
    pub fn is_due(&self, cycles: Cycles, interval: Cycles) -> bool {
        cycles.since(self.last.cycles) >= interval
    }

    /// Takes a sample in. `shown` is the latest time anybody was told: the clock goes on from
    /// there or later.
    pub fn verify(&mut self, sample: Sample, shown: Nanos) -> Verdict {
        if sample.cycles < self.last.cycles {
            return self.restart(sample, shown);
        }
        let elapsed = sample.monotonic.since(self.last.monotonic);
        let Some(measured) = rate(self.last, sample) else {
            return self.reject(sample, 0.0, shown);
        };
        if elapsed < INTERVAL_MIN {
            return Verdict::TooSoon;
        }
        let drift = measured / self.nanos_per_count - 1.0;
        if drift.abs() > TOLERANCE {
            return self.reject(sample, measured, shown);
        }
        self.nanos_per_count += (measured - self.nanos_per_count) * self.weight(elapsed);
        self.measured = (self.measured + elapsed).min(SMOOTHING);
        self.refused = (0.0, 0);
        self.tally.calibrations += 1;
        self.tally.drift_ppm = drift * 1e6;
        self.bend(sample, shown);
        Verdict::Accepted
    }

    /// How much a new measurement counts against the old ones: by its length while the old ones
    /// are short, exponentially later.
    fn weight(&self, elapsed: Nanos) -> f64 {
        let elapsed = elapsed.as_secs_f64();
        let by_length = elapsed / (elapsed + self.measured.as_secs_f64());
        by_length.max(-(-elapsed / SMOOTHING.as_secs_f64()).exp_m1())
    }

    /// Draws the lines that take part of the error away over the next interval.
    fn bend(&mut self, sample: Sample, shown: Nanos) {
        let at = self.scale.time(sample.cycles).max(shown);
        let target = i128::from(sample.monotonic.0) - self.zero;
        let behind = i64::try_from(target - i128::from(at.0)).unwrap_or(i64::MAX);
        self.tally.behind_nanos = behind;
        let share = -(-INTERVAL.as_secs_f64() / SMOOTHING.as_secs_f64()).exp_m1();
        #[expect(clippy::cast_precision_loss, reason = "an error of months may lose nanoseconds")]
        let bent =
            (behind as f64 * 1e-9 * share / INTERVAL.as_secs_f64()).clamp(-SLEW_MAX, SLEW_MAX);
        let approach =
            Line { from: sample.cycles, at, slope: slope(self.nanos_per_count * (1.0 + bent)) };
        let turn = Cycles(sample.cycles.0.saturating_add(self.interval().0));
        let beyond =
            Line { from: turn, at: approach.time(turn), slope: slope(self.nanos_per_count) };
        self.scale = Scale { approach, turn, beyond };
        self.last = sample;
    }

    /// Refuses a sample: the clock runs on as it did, and the next interval starts here.
    fn reject(&mut self, sample: Sample, measured: f64, shown: Nanos) -> Verdict {
        self.tally.rejected += 1;
        let (before, count) = self.refused;
        let agrees = measured > 0.0 && (measured / before - 1.0).abs() <= TOLERANCE;
        self.refused = (measured, if agrees { count + 1 } else { 1 });
        if self.refused.1 >= REFUSALS_MAX {
            self.nanos_per_count = measured;
            self.measured = Nanos::ZERO;
            return self.restart(sample, shown);
        }
        // A suspended machine or a stepped counter is no error of rate to be made up for.
        let now = self.scale.time(sample.cycles);
        self.zero = i128::from(sample.monotonic.0) - i128::from(now.0);
        self.last = sample;
        Verdict::Rejected
    }

    /// Starts a new line at the sample: at what was shown, or what the monotonic clock says.
    fn restart(&mut self, sample: Sample, shown: Nanos) -> Verdict {
        let target = u64::try_from(i128::from(sample.monotonic.0) - self.zero).unwrap_or(0);
        let at = Nanos(target).max(shown);
        self.zero = i128::from(sample.monotonic.0) - i128::from(at.0);
        let line = Line { from: sample.cycles, at, slope: slope(self.nanos_per_count) };
        self.scale = Scale { approach: line, turn: Cycles(u64::MAX), beyond: line };
        self.last = sample;
        self.refused = (0.0, 0);
        self.tally.restarts += 1;
        Verdict::Restarted
    }
}

/// Nanoseconds per count between two samples; `None` if either clock did not advance.
#[expect(clippy::cast_precision_loss, reason = "53 bits are below a part in 10^15")]
fn rate(from: Sample, to: Sample) -> Option<f64> {
    let counts = to.cycles.0.checked_sub(from.cycles.0).filter(|&counts| counts > 0)?;
    let nanos = to.monotonic.0.checked_sub(from.monotonic.0).filter(|&nanos| nanos > 0)?;
    Some(nanos as f64 / counts as f64)
}

fn slope(nanos_per_count: f64) -> u64 {
    whole(nanos_per_count * 4_294_967_296.0).max(1)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the cast saturates, which is what is meant"
)]
fn whole(value: f64) -> u64 {
    value.round() as u64
}

#[cfg(test)]
mod tests;
