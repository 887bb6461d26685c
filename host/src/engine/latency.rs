//! How long things took: a histogram that costs an addition.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::time::Nanos;

/// Parts of each power of two: a percentile is at most an eighth too long.
const PARTS: usize = 8;
/// Buckets: the parts of as many powers as a time has bits.
const BUCKETS: usize = 64 * PARTS;

/// A histogram of times. Written by main alone, read by anyone.
#[derive(Debug)]
pub struct Latency {
    buckets: Box<[AtomicU64; BUCKETS]>,
    max: AtomicU64,
}

impl Default for Latency {
    fn default() -> Self {
        let buckets = Box::new([const { AtomicU64::new(0) }; BUCKETS]);
        Self { buckets, max: AtomicU64::new(0) }
    }
}

/// The bucket of a time: its highest bit says which power, the next three which part of it.
fn bucket_of(time: u64) -> usize {
    let parts = PARTS.ilog2();
    let power = time.checked_ilog2().map_or(0, |bits| bits.saturating_sub(parts));
    #[expect(clippy::cast_possible_truncation, reason = "below 2 * PARTS")]
    let part = (time >> power) as usize;
    power as usize * PARTS + part
}

/// The longest time of a bucket.
fn end_of(bucket: usize) -> u64 {
    if bucket < 2 * PARTS {
        return bucket as u64;
    }
    let (power, part) = (bucket / PARTS - 1, bucket % PARTS + PARTS);
    let first_beyond = (part as u128 + 1) << power;
    u64::try_from(first_beyond - 1).unwrap_or(u64::MAX)
}

impl Latency {
    /// Adds a time. Main.
    pub fn add(&self, time: Nanos) {
        let bucket = &self.buckets[bucket_of(time.0).min(BUCKETS - 1)];
        bucket.store(bucket.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        if time.0 > self.max.load(Ordering::Relaxed) {
            self.max.store(time.0, Ordering::Relaxed);
        }
    }

    /// How many times were added.
    pub fn count(&self) -> u64 {
        self.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed)).sum()
    }

    /// A time that so many of a hundred do not exceed: the upper end of its bucket, or the longest.
    pub fn percentile(&self, percent: u64) -> Nanos {
        let wanted = (self.count() * percent).div_ceil(100).max(1);
        let mut seen = 0;
        let bucket = self.buckets.iter().position(|bucket| {
            seen += bucket.load(Ordering::Relaxed);
            seen >= wanted
        });
        Nanos(bucket.map_or(0, end_of).min(self.max().0))
    }

    /// The longest.
    pub fn max(&self) -> Nanos {
        Nanos(self.max.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_the_end_of_its_bucket_and_no_more_than_the_longest() {
        let latency = Latency::default();
        assert_eq!(latency.percentile(50), Nanos(0));
        for time in [0, 3, 5, 6, 7, 700] {
            latency.add(Nanos(time));
        }
        assert_eq!(latency.percentile(1), Nanos(0));
        assert_eq!(latency.percentile(50), Nanos(5));
        assert_eq!(latency.percentile(99), Nanos(700));
        assert_eq!((latency.max(), latency.count()), (Nanos(700), 6));
        latency.add(Nanos(u64::MAX));
        assert_eq!(latency.percentile(100), Nanos(u64::MAX));
    }

    #[test]
    fn every_time_is_in_a_bucket_that_ends_at_most_an_eighth_later() {
        let powers = (0..64).map(|power| 1_u64 << power);
        let times = powers.flat_map(|at| [at - 1, at, at + 1, at + at / 3, at | (at - 1)]);
        for time in times {
            let end = end_of(bucket_of(time));
            assert!(end >= time && end - time <= time / 8, "{time} in a bucket up to {end}");
            assert!(bucket_of(time) < BUCKETS && bucket_of(end) == bucket_of(time), "{time}");
        }
    }
}
