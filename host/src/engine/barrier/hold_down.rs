//! The hold-down: after a stop the workers are left alone for a while, so that a burst of changes
//! does not starve them.
//!
//! Source of the figures: VPP (`vlib/threads.c`): three times the time they stood, at most 1 ms, and
//! only where a worker is busy.

use std::{collections::BTreeMap, sync::Arc, sync::atomic::Ordering};

use crate::{engine::ThreadShared, time::Nanos};

/// They run so many times as long as they stood.
const FACTOR: u64 = 3;
/// But no longer than this.
const MOST: Nanos = Nanos::from_millis(1);

/// When the workers may be stopped again.
#[derive(Debug, Default)]
pub(super) struct HoldDown {
    not_before: Nanos,
    /// Turns, and turns without a packet, of each worker when they were released.
    turns: BTreeMap<u32, [u64; 2]>,
}

fn turns(worker: &ThreadShared) -> [u64; 2] {
    [worker.turns.load(Ordering::Relaxed), worker.idle_turns.load(Ordering::Relaxed)]
}

impl HoldDown {
    /// Notes that the workers, which stood for `closed`, go on at `now`.
    pub(super) fn released(&mut self, workers: &[Arc<ThreadShared>], closed: Nanos, now: Nanos) {
        self.not_before = Nanos(now.0 + closed.0.saturating_mul(FACTOR).min(MOST.0));
        self.turns.clear();
        self.turns.extend(workers.iter().map(|worker| (worker.index, turns(worker))));
    }

    /// How long the workers are to be left alone yet.
    pub(super) fn left(&self, workers: &[Arc<ThreadShared>], now: Nanos) -> Nanos {
        let left = self.not_before.since(now);
        if left == Nanos(0) || left > MOST || !workers.iter().any(|worker| self.is_busy(worker)) {
            return Nanos(0);
        }
        left
    }

    /// Whether a worker moved packets in half of its turns or more since it was released, or is
    /// still in the first one: that is long where there are many packets.
    fn is_busy(&self, worker: &ThreadShared) -> bool {
        let Some(then) = self.turns.get(&worker.index) else { return false };
        let now = turns(worker);
        let [all, idle] = [0, 1].map(|at| now[at].wrapping_sub(then[at]));
        if all == 0 { !worker.sleeps_now() } else { idle * 2 <= all }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn worker(turns: u64, idle: u64) -> Arc<ThreadShared> {
        let worker = ThreadShared::new(1).unwrap();
        worker.turns.store(turns, Ordering::Relaxed);
        worker.idle_turns.store(idle, Ordering::Relaxed);
        Arc::new(worker)
    }

    fn after(closed: u64, then: [u64; 2], now: [u64; 2], time: u64) -> u64 {
        let mut hold_down = HoldDown::default();
        hold_down.released(&[worker(then[0], then[1])], Nanos(closed), Nanos(1_000_000));
        hold_down.left(&[worker(now[0], now[1])], Nanos(1_000_000 + time)).0
    }

    #[test]
    fn busy_workers_run_three_times_as_long_as_they_stood() {
        assert_eq!(after(5_000, [10, 10], [20, 12], 0), 15_000);
        assert_eq!(after(5_000, [10, 10], [20, 12], 14_000), 1_000);
        assert_eq!(after(5_000, [10, 10], [20, 12], 15_000), 0);
    }

    #[test]
    fn but_no_longer_than_a_millisecond() {
        assert_eq!(after(900_000_000, [10, 10], [20, 12], 0), 1_000_000);
    }

    #[test]
    fn idle_workers_can_be_stopped_at_once() {
        assert_eq!(after(5_000, [10, 10], [20, 16], 0), 0);
    }

    #[test]
    fn a_worker_in_its_first_turn_is_busy_unless_it_sleeps() {
        assert_eq!(after(5_000, [10, 10], [10, 10], 0), 15_000);
        let (mut hold_down, asleep) = (HoldDown::default(), worker(10, 10));
        asleep.announce_sleep();
        hold_down.released(&[worker(10, 10)], Nanos(5_000), Nanos(1_000_000));
        assert_eq!(hold_down.left(&[asleep], Nanos(1_000_000)), Nanos(0));
    }

    #[test]
    fn a_clock_that_jumped_back_holds_nobody_down() {
        let mut hold_down = HoldDown::default();
        hold_down.released(&[worker(1, 0)], Nanos(5_000), Nanos(1_000_000_000));
        assert_eq!(hold_down.left(&[worker(9, 0)], Nanos(10)), Nanos(0));
    }
}
