//! Which softirqs are pending on one thread. Modelled in `tests/loom`.
//!
//! ```text
//!  owner        own |= bit                        ── plain: it alone writes that word
//!  any other    others |= bit ── ring             ── release: what it did before goes with the bit
//!  owner        own | others, and both are empty  ── acquire; runs them, lowest first
//! ```
//! What is raised while it runs is pending again, so a function that looks for work after it began
//! misses none.

use crate::sync::{AtomicU64, Ordering, Padded};

/// A bit for each softirq, twice: the owner's and those of others.
#[derive(Debug)]
pub struct Pending {
    own: AtomicU64,
    /// On a line that the owner only reads, but for when something is there.
    others: Padded<AtomicU64>,
}

impl Pending {
    /// Nothing is pending.
    pub fn new() -> Self {
        Self { own: AtomicU64::new(0), others: Padded(AtomicU64::new(0)) }
    }

    /// Raises softirqs on the thread that calls, whose own this is.
    #[inline(always)]
    pub fn raise_own(&self, bits: u64) {
        self.own.store(self.own.load(Ordering::Relaxed) | bits, Ordering::Relaxed);
    }

    /// Raises softirqs on another thread, which must be rung after this; whether one was not
    /// pending.
    pub fn raise(&self, bits: u64) -> bool {
        self.others.0.fetch_or(bits, Ordering::Release) & bits != bits
    }

    /// Whether there is any. The owner, which looks once more after it announced its sleep.
    ///
    /// Cost: two relaxed loads.
    #[inline(always)]
    pub fn any(&self) -> bool {
        self.own.load(Ordering::Relaxed) | self.others.0.load(Ordering::Relaxed) != 0
    }

    /// Takes all of them. The owner; or main, for a thread that does not run any more.
    #[inline(always)]
    pub fn take(&self) -> u64 {
        let own = self.own.load(Ordering::Relaxed);
        self.own.store(0, Ordering::Relaxed);
        if self.others.0.load(Ordering::Relaxed) == 0 {
            return own;
        }
        own | self.others.0.swap(0, Ordering::Acquire)
    }
}

impl Default for Pending {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn what_is_raised_is_taken_once_whoever_raised_it() {
        let pending = Pending::new();
        assert!(!pending.any());
        pending.raise_own(1 << 3);
        assert!(pending.raise(1 << 63 | 1 << 3));
        assert!(!pending.raise(1 << 63), "it is pending already");
        assert!(pending.any());
        assert_eq!(pending.take(), 1 << 63 | 1 << 3);
        assert_eq!((pending.any(), pending.take()), (false, 0));
    }
}
