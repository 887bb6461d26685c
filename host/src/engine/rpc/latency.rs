//! How long calls waited, in powers of two.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::time::Nanos;

/// Buckets: as many as a time has bits.
const BUCKETS: usize = 64;

/// A histogram of times; bucket `n` has those below `2^n` and not in one before. Written by main
/// alone, read by anyone.
#[derive(Debug)]
pub struct Latency {
    buckets: [AtomicU64; BUCKETS],
    max: AtomicU64,
}

impl Default for Latency {
    fn default() -> Self {
        Self { buckets: [const { AtomicU64::new(0) }; BUCKETS], max: AtomicU64::new(0) }
    }
}

impl Latency {
    /// Adds a time. Main.
    pub fn add(&self, time: Nanos) {
        let bucket = (u64::BITS - time.0.leading_zeros()) as usize;
        let bucket = &self.buckets[bucket.min(BUCKETS - 1)];
        bucket.store(bucket.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        if time.0 > self.max.load(Ordering::Relaxed) {
            self.max.store(time.0, Ordering::Relaxed);
        }
    }

    /// A time that so many of a hundred do not exceed: the upper end of its bucket, or the longest.
    pub fn percentile(&self, percent: u64) -> Nanos {
        let counts = self.buckets.each_ref().map(|bucket| bucket.load(Ordering::Relaxed));
        let wanted = (counts.iter().sum::<u64>() * percent).div_ceil(100).max(1);
        let mut seen = 0;
        let bucket = counts.iter().position(|count| {
            seen += count;
            seen >= wanted
        });
        let end = bucket.map_or(0, |bucket| (1_u64 << bucket) - 1);
        Nanos(end.min(self.max().0))
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
        assert_eq!(latency.percentile(50), Nanos(7));
        assert_eq!(latency.percentile(99), Nanos(700));
        assert_eq!(latency.max(), Nanos(700));
        latency.add(Nanos(u64::MAX));
        assert_eq!(latency.max(), Nanos(u64::MAX));
    }
}
