//! Whether what a tick finds at work is stuck. Pure: times are arguments.
//!
//! ```text
//!  another piece ──▶ seen first ── as long as it may ──▶ told: no more of this piece
//!                      ▲     │ not run meanwhile
//!                      └─────┘
//! ```

use crate::time::Nanos;

/// What a tick reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Reading {
    /// Wall time.
    pub(super) now: Nanos,
    /// The thread's processor time.
    pub(super) cpu: Nanos,
    /// Times that the thread gave the processor up by itself.
    pub(super) waits: u64,
}

/// What was seen of the piece that the last tick found.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sight {
    /// Its number; `None` before the first tick.
    piece: Option<u64>,
    first: Reading,
    told: bool,
    /// When it was last said that it is to be given up.
    given_up: Option<Nanos>,
}

/// A piece that is stuck.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Held {
    /// When it was seen first.
    pub(super) first: Nanos,
    /// Since then.
    pub(super) time: Nanos,
    /// Processor time since then.
    pub(super) cpu: Nanos,
}

impl Sight {
    /// A tick finds `piece` at work, which may take `longest`; what is to be told of it, once.
    pub(super) fn look(&mut self, piece: u64, longest: Nanos, reading: Reading) -> Option<Held> {
        if self.piece != Some(piece) {
            *self = Self { piece: Some(piece), first: reading, ..Self::default() };
            return None;
        }
        let time = reading.now.since(self.first.now);
        if self.told || time < longest {
            return None;
        }
        if !self.has_run(longest, reading) {
            return None;
        }
        self.told = true;
        Some(Held { first: self.first.now, time, cpu: reading.cpu.since(self.first.cpu) })
    }

    /// Whether the piece that was just looked at has taken so long that it is to be given up; said
    /// again as long after, should nobody have done so.
    pub(super) fn hangs(&mut self, longest: Nanos, reading: Reading) -> bool {
        let since = self.given_up.unwrap_or(self.first.now);
        let over = reading.now.since(since) >= longest && self.has_run(longest, reading);
        if over {
            self.given_up = Some(reading.now);
        }
        over
    }

    /// Whether it had its chance: else others had the processor, and it may well go on if it gets it.
    fn has_run(&self, longest: Nanos, reading: Reading) -> bool {
        let cpu = reading.cpu.since(self.first.cpu);
        cpu.0 >= longest.0 / 2 || reading.waits != self.first.waits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONGEST: Nanos = Nanos::from_millis(10);

    fn at(now: u64, cpu: u64, waits: u64) -> Reading {
        Reading { now: Nanos::from_millis(now), cpu: Nanos::from_millis(cpu), waits }
    }

    fn held(first: u64, time: u64, cpu: u64) -> Option<Held> {
        let [first, time, cpu] = [first, time, cpu].map(Nanos::from_millis);
        Some(Held { first, time, cpu })
    }

    #[test]
    fn a_piece_that_computes_is_told_once_when_its_time_is_over() {
        let mut sight = Sight::default();
        assert_eq!(sight.look(7, LONGEST, at(100, 50, 0)), None);
        assert_eq!(sight.look(7, LONGEST, at(105, 55, 0)), None);
        assert_eq!(sight.look(7, LONGEST, at(110, 60, 0)), held(100, 10, 10));
        assert_eq!(sight.look(7, LONGEST, at(115, 65, 0)), None);
        assert_eq!(sight.look(8, LONGEST, at(120, 70, 0)), None);
        assert_eq!(sight.look(8, LONGEST, at(131, 81, 0)), held(120, 11, 11));
    }

    #[test]
    fn many_short_pieces_are_never_told() {
        let mut sight = Sight::default();
        for tick in 0..1000 {
            assert_eq!(sight.look(tick, LONGEST, at(tick * 5, tick * 5, tick)), None);
        }
    }

    #[test]
    fn a_piece_that_waits_is_told_without_processor_time() {
        let mut sight = Sight::default();
        assert_eq!(sight.look(1, LONGEST, at(0, 0, 3)), None);
        assert_eq!(sight.look(1, LONGEST, at(12, 0, 4)), held(0, 12, 0));
    }

    #[test]
    fn a_piece_that_was_not_run_is_told_only_once_it_has_computed_for_half_its_time() {
        let mut sight = Sight::default();
        assert_eq!(sight.look(1, LONGEST, at(0, 0, 3)), None);
        assert_eq!(sight.look(1, LONGEST, at(40, 1, 3)), None);
        assert_eq!(sight.look(1, LONGEST, at(80, 4, 3)), None);
        assert_eq!(sight.look(1, LONGEST, at(81, 5, 3)), held(0, 81, 5));
    }

    #[test]
    fn a_piece_that_may_take_for_ever_is_never_told_and_times_that_run_backwards_are_none() {
        let mut sight = Sight::default();
        let never = Nanos(u64::MAX);
        assert_eq!(sight.look(0, never, at(50, 50, 1)), None);
        assert_eq!(sight.look(0, never, at(u64::MAX / 2_000_000, 60, 9)), None);
        assert_eq!(sight.look(0, LONGEST, at(1, 1, 0)), None);
    }

    #[test]
    fn a_piece_is_given_up_once_in_its_time_and_only_if_it_had_its_chance() {
        let hang = Nanos::from_millis(1000);
        let mut sight = Sight::default();
        let mut look = |piece, reading| {
            let _ = sight.look(piece, LONGEST, reading);
            sight.hangs(hang, reading)
        };
        assert!(!look(1, at(0, 0, 0)) && !look(1, at(999, 999, 0)));
        assert!(look(1, at(1000, 1000, 0)) && !look(1, at(1005, 1005, 0)));
        assert!(!look(1, at(1999, 1999, 0)) && look(1, at(2000, 2000, 0)), "nobody did");
        assert!(!look(2, at(2000, 2000, 0)) && !look(2, at(3000, 2499, 0)), "it was not run");
        assert!(look(2, at(3001, 2500, 0)));
        assert!(!look(3, at(4000, 3000, 5)));
        assert!(look(3, at(5000, 3000, 6)), "it waits");
    }

    #[test]
    fn the_first_piece_of_all_is_seen_like_any_other() {
        let mut sight = Sight::default();
        assert_eq!(sight.look(0, LONGEST, at(1000, 1000, 0)), None);
    }
}
