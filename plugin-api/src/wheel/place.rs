//! What is kept of a timer at its place, split by who looks at it.

use super::{NEVER, TimerHandle};

/// Slot of a timer that has no entry.
pub(super) const NO_SLOT: u32 = u32::MAX;

/// What an update and a stop look at: four to a cache line.
#[derive(Clone, Copy, Debug)]
#[repr(align(16))]
pub(super) struct Timer {
    /// [`NEVER`] while it does not run.
    pub(super) deadline: u64,
    /// Counts the starts and the ends, so it is odd while the timer runs.
    pub(super) generation: u32,
    /// The slot its entry is in, or [`NO_SLOT`]; a running timer has an entry. The slot is examined
    /// at the deadline or before.
    pub(super) slot: u32,
}

/// The rest of a timer.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Rest {
    pub(super) expiry: u32,
    /// Where its entry is, if it has one.
    pub(super) position: u32,
}

impl Timer {
    /// Whether it runs, and is the one that the handle was given for.
    #[inline]
    pub(super) fn is(&self, handle: TimerHandle) -> bool {
        self.generation == handle.generation && self.deadline != NEVER
    }
}
