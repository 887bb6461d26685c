//! What is kept of a timer at its place.

use super::TimerHandle;

/// Slot of a timer that has no entry.
pub(super) const NO_SLOT: u32 = u32::MAX;

/// What every operation looks at: four to a cache line. What an expiry tells, and where the entry
/// is, are kept apart, so that what is written to at random lies close together.
#[derive(Clone, Copy, Debug)]
#[repr(align(16))]
pub(super) struct Timer {
    /// The last one if it does not run. If it has an entry, that is examined at this tick or before.
    pub(super) deadline: u64,
    /// Counts the starts and the ends, so it is odd while the timer runs.
    pub(super) generation: u32,
    /// The slot its entry is in, or [`NO_SLOT`]; a running timer has an entry.
    pub(super) slot: u32,
}

impl Timer {
    pub(super) const UNUSED: Self = Self { deadline: 0, generation: 0, slot: NO_SLOT };

    #[inline]
    pub(super) fn runs(&self) -> bool {
        self.generation % 2 == 1
    }

    /// Whether it runs, and is the one that the handle was given for.
    #[inline]
    pub(super) fn is(&self, handle: TimerHandle) -> bool {
        self.generation == handle.generation() && self.runs()
    }
}
