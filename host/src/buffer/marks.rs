//! Marks of traced packets: how many packets have one, so that nobody looks for them where none has.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::sync::Padded;

/// How many packets are traced at present, or are to be, and from which mark on.
///
/// A mark is a number that is given once. Those below the first that counts are forgotten: a packet
/// may have one still, and nobody minds.
#[derive(Debug, Default)]
pub struct Marks(
    /// The first mark that counts, and in the low half how many packets. Threads look at it for each
    /// frame, and write it when a traced packet ends.
    Padded<AtomicU64>,
);

/// The low half.
const COUNT: u64 = u32::MAX as u64;

impl Marks {
    /// Whether a packet is traced, or is to be. Cost: one load.
    #[inline(always)]
    pub fn any(&self) -> bool {
        self.0.0.load(Ordering::Relaxed) & COUNT != 0
    }

    /// So many packets more are traced, or are to be.
    pub fn add(&self, packets: u32) {
        self.change(|count| count.saturating_add(packets));
    }

    /// So many packets less are to be traced.
    pub fn take(&self, packets: u32) {
        self.change(|count| count.saturating_sub(packets));
    }

    /// A packet with this mark has ended. Any thread.
    pub fn end(&self, mark: u32) {
        let less = |state: u64| {
            let counts = u64::from(mark) >= state >> 32 && state & COUNT != 0;
            counts.then(|| state - 1)
        };
        let _ = self.0.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
    }

    /// Forgets all marks below `first`, and with them the packets that have one. Main.
    pub fn restart(&self, first: u32) {
        self.0.0.store(u64::from(first) << 32, Ordering::Relaxed);
    }

    fn change(&self, change: impl Fn(u32) -> u32) {
        let new = |state: u64| {
            let count = u32::try_from(state & COUNT).unwrap_or(u32::MAX);
            Some(state & !COUNT | u64::from(change(count)))
        };
        let _ = self.0.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, new);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_are_traced_until_each_of_them_has_ended() {
        let marks = Marks::default();
        assert!(!marks.any());
        marks.add(3);
        marks.end(1);
        marks.take(1);
        assert!(marks.any());
        marks.end(2);
        assert!(!marks.any());
        marks.end(2);
        assert!(!marks.any(), "none is left to end");
    }

    #[test]
    fn a_mark_that_is_forgotten_ends_nothing() {
        let marks = Marks::default();
        marks.add(2);
        marks.restart(3);
        assert!(!marks.any());
        marks.add(1);
        marks.end(2);
        assert!(marks.any());
        marks.end(3);
        assert!(!marks.any());
    }
}
