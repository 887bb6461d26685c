//! What the threads' clocks share: the scale main publishes, and the offset barriers prove.

use core::sync::atomic::{AtomicU64, Ordering, fence};

use super::calibration::{Line, Scale};
use super::units::{Cycles, Nanos};

/// What main and a worker tell each other through a barrier, for [`resume`](super::ThreadClock::resume).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stamp {
    /// Main's counter after the last worker had parked.
    pub closed: Cycles,
    /// Main's counter before the first worker could go on.
    pub released: Cycles,
}

/// The scale in force, for every thread; written by main alone.
///
/// A sequence lock: the generation is odd while main writes, and a reader that saw it move
/// keeps what it has and looks again at its next reading.
#[derive(Debug, Default)]
pub(super) struct Shared {
    pub(super) generation: AtomicU64,
    words: [AtomicU64; 7],
}

/// Where a thread's offset from main's counter must lie, by cause and effect at the barriers.
///
/// A worker parks before main sees it parked, and goes on after main released it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) low: i64,
    pub(super) high: i64,
}

impl Shared {
    pub(super) fn publish(&self, scale: &Scale) {
        let generation = self.generation.load(Ordering::Relaxed);
        self.generation.store(generation + 1, Ordering::Relaxed);
        fence(Ordering::Release);
        let Scale { approach, turn, beyond } = scale;
        let words = [
            approach.from.0,
            approach.at.0,
            approach.slope,
            turn.0,
            beyond.from.0,
            beyond.at.0,
            beyond.slope,
        ];
        for (word, value) in self.words.iter().zip(words) {
            word.store(value, Ordering::Relaxed);
        }
        self.generation.store(generation + 2, Ordering::Release);
    }

    pub(super) fn read(&self) -> Option<(u64, Scale)> {
        let generation = self.generation.load(Ordering::Acquire);
        let [from, at, slope, turn, later_from, later_at, later_slope] =
            core::array::from_fn(|word| self.words[word].load(Ordering::Relaxed));
        fence(Ordering::Acquire);
        let whole =
            generation.is_multiple_of(2) && self.generation.load(Ordering::Relaxed) == generation;
        let scale = Scale {
            approach: Line { from: Cycles(from), at: Nanos(at), slope },
            turn: Cycles(turn),
            beyond: Line { from: Cycles(later_from), at: Nanos(later_at), slope: later_slope },
        };
        whole.then_some((generation, scale))
    }
}

impl Bounds {
    pub(super) const NONE: Self = Self { low: i64::MIN, high: i64::MAX };

    /// What both leave; the newer alone if they contradict each other (the counter was set).
    pub(super) fn narrow(self, newer: Self) -> Self {
        let both = Self { low: self.low.max(newer.low), high: self.high.min(newer.high) };
        if both.low <= both.high { both } else { newer }
    }

    pub(super) fn nearest(self, offset: Cycles) -> Cycles {
        Cycles(offset.0.cast_signed().min(self.high).max(self.low).cast_unsigned())
    }
}

pub(super) fn difference(of: Cycles, from: Cycles) -> i64 {
    of.since(from).0.cast_signed()
}
