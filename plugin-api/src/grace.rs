//! Grace periods: when may memory be used again that packet threads read without a lock?
//!
//! A reader says when it begins and when it has ended; a writer that took something out of a
//! structure waits until every reader that may have seen it has ended. Readers write to a word of
//! their own and never wait. A reader may stay from one frame to the next of the same turn of the
//! loop, so that what one node found can be used by another: it enters with the first and leaves in
//! a pre-input node.
//!
//! Source: McKenney et al., "RCU usage in the Linux kernel: one decade later", 2013, for the idea;
//! epochs as in Fraser, "Practical lock-freedom", 2004.

use core::sync::atomic::{AtomicU64, Ordering, fence};
use std::sync::{Arc, Weak};

/// Not reading.
const OUTSIDE: u64 = 0;

/// Where the readers of some structures are.
#[derive(Debug)]
pub struct GraceDomain {
    epoch: AtomicU64,
    readers: Readers,
}

#[expect(clippy::disallowed_types, reason = "the SDK has no other lock and readers never take it")]
type Readers = std::sync::Mutex<Vec<Weak<AtomicU64>>>;

impl Default for GraceDomain {
    fn default() -> Self {
        Self { epoch: AtomicU64::new(1), readers: Readers::default() }
    }
}

/// One thread's way to read. A clone is the same reader, for another node of the same thread.
#[derive(Clone, Debug)]
pub struct GraceReader {
    domain: Arc<GraceDomain>,
    /// The epoch in which it began to read.
    inside: Arc<AtomicU64>,
}

/// A grace period that has begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Grace(u64);

impl GraceDomain {
    /// A reader of this domain.
    pub fn reader(self: &Arc<Self>) -> GraceReader {
        let inside = Arc::new(AtomicU64::new(OUTSIDE));
        let mut readers = self.readers.lock().unwrap_or_else(|poison| poison.into_inner());
        readers.retain(|reader| reader.strong_count() > 0);
        readers.push(Arc::downgrade(&inside));
        GraceReader { domain: Arc::clone(self), inside }
    }

    /// Begins a grace period, after the writer took out what readers may still see.
    pub fn begin(&self) -> Grace {
        // Sequentially consistent, against the fence in `enter`: a reader that enters after this
        // sees the new epoch, or its entry is seen by `is_over`.
        Grace(self.epoch.fetch_add(1, Ordering::SeqCst) + 1)
    }

    /// Whether every reader that began before the grace period has ended.
    pub fn is_over(&self, grace: Grace) -> bool {
        fence(Ordering::SeqCst);
        let readers = self.readers.lock().unwrap_or_else(|poison| poison.into_inner());
        readers.iter().filter_map(Weak::upgrade).all(|reader| {
            let inside = reader.load(Ordering::Acquire);
            inside == OUTSIDE || inside >= grace.0
        })
    }
}

impl GraceReader {
    /// Begins to read, unless it has begun before. What is reached from the structures stays until
    /// [`leave`](Self::leave).
    #[inline(always)]
    pub fn enter(&mut self) {
        if self.inside.load(Ordering::Relaxed) == OUTSIDE {
            self.inside.store(self.domain.epoch.load(Ordering::Relaxed), Ordering::Relaxed);
            fence(Ordering::SeqCst); // The store above is seen before anything below is read.
        }
    }

    /// Ends reading: nothing that was reached is used any more.
    #[inline(always)]
    pub fn leave(&mut self) {
        self.inside.store(OUTSIDE, Ordering::Release); // What was read was read before this.
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grace_period_ends_with_the_last_frame_that_began_before_it() {
        let domain = Arc::new(GraceDomain::default());
        let (mut one, mut other) = (domain.reader(), domain.reader());
        one.enter();
        let grace = domain.begin();
        assert!(!domain.is_over(grace));
        other.enter();
        one.clone().enter(); // Entering twice does not move the beginning.
        assert!(!domain.is_over(grace));
        one.leave();
        assert!(domain.is_over(grace), "a frame that began later does not hold it up");
        let next = domain.begin();
        assert!(!domain.is_over(next));
        other.leave();
        assert!(domain.is_over(next));
    }

    #[test]
    fn a_reader_that_is_gone_holds_nothing_up() {
        let domain = Arc::new(GraceDomain::default());
        let mut reader = domain.reader();
        reader.enter();
        let grace = domain.begin();
        assert!(!domain.is_over(grace));
        drop(reader);
        assert!(domain.is_over(grace));
    }

    #[test]
    fn nothing_is_used_again_under_a_reader() {
        let domain = Arc::new(GraceDomain::default());
        let slots: Arc<[AtomicU64; 2]> = Arc::new([AtomicU64::new(1), AtomicU64::new(1)]);
        let current = Arc::new(AtomicU64::new(0));
        let stop = Arc::new(AtomicU64::new(0));
        let reading = std::thread::spawn({
            let mut reader = domain.reader();
            let (slots, current, stop) =
                (Arc::clone(&slots), Arc::clone(&current), Arc::clone(&stop));
            move || {
                while stop.load(Ordering::Relaxed) == 0 {
                    reader.enter();
                    let at = usize::try_from(current.load(Ordering::Acquire)).unwrap();
                    let slot = &slots[at];
                    assert_eq!(
                        slot.load(Ordering::Relaxed),
                        1,
                        "a slot was emptied under a reader"
                    );
                    reader.leave();
                }
            }
        });
        for turn in 0..2_000_u64 {
            let old = usize::try_from(turn % 2).unwrap();
            slots[1 - old].store(1, Ordering::Release);
            current.store(1 - turn % 2, Ordering::Release);
            let grace = domain.begin();
            while !domain.is_over(grace) {
                std::thread::yield_now();
            }
            slots[old].store(0, Ordering::Relaxed);
        }
        stop.store(1, Ordering::Relaxed);
        reading.join().unwrap();
    }
}
