//! Whether a receive queue is polled or waited for: pure, by what its polls brought.
//!
//! ```text
//!                packets a dispatch, on average, >= polling threshold
//!   interrupt ───────────────────────────────────────────────────────▶ polling
//!       ▲                                                                 │ <= interrupt threshold,
//!       │     one more poll, for the driver to arm its descriptor         ▼ over a whole window
//!       └──────────────────────────────────────────────────────────── leaving
//! ```
//! The average is a true one: packets by dispatches *of this queue*, empty ones too, over a window
//! of 128 of them. Between the two thresholds the state stays what it is. A window is over early
//! where the rest of it could not change what comes of it: under load a queue is polled after a few
//! full vectors.

use std::fmt;

/// Dispatches of a window.
const WINDOW: u32 = 128;

/// What the operator wants of a receive queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RxMode {
    /// Polled every turn; its thread never sleeps.
    Polling,
    /// Polled when its descriptor says that packets wait.
    Interrupt,
    /// The one or the other, by the load.
    Adaptive,
}

impl RxMode {
    /// The mode of that name.
    pub fn named(name: &str) -> Option<Self> {
        [Self::Polling, Self::Interrupt, Self::Adaptive]
            .into_iter()
            .find(|mode| mode.to_string() == name)
    }
}

impl fmt::Display for RxMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Polling => "polling",
            Self::Interrupt => "interrupt",
            Self::Adaptive => "adaptive",
        })
    }
}

/// Between what an adaptive queue changes, in packets a dispatch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thresholds {
    /// From here on it is polled.
    pub polling: u32,
    /// Down from here it is waited for; less than `polling`.
    pub interrupt: u32,
}

impl Default for Thresholds {
    fn default() -> Self {
        Self { polling: 10, interrupt: 5 }
    }
}

/// What a queue does at present.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RxState {
    /// It is polled every turn.
    Polling,
    /// It is polled once more, and then waited for.
    Leaving,
    /// It is polled when it was marked.
    Interrupt,
}

impl RxState {
    /// Whether a queue that goes over to `next` has changed its mind between polling and interrupts.
    pub fn switches_to(self, next: Self) -> bool {
        matches!((self, next), (Self::Polling, Self::Leaving) | (Self::Interrupt, Self::Polling))
    }
}

/// The state of one receive queue.
#[derive(Clone, Debug)]
pub struct Adaptive {
    mode: RxMode,
    thresholds: Thresholds,
    state: RxState,
    dispatches: u32,
    packets: u32,
}

impl Adaptive {
    /// A queue that was just placed on its thread: polled, but for one that is to be waited for only
    /// once.
    pub fn new(mode: RxMode, thresholds: Thresholds) -> Self {
        let state = if mode == RxMode::Polling { RxState::Polling } else { RxState::Leaving };
        Self { mode, thresholds, state, dispatches: 0, packets: 0 }
    }

    /// What it does at present.
    #[inline(always)]
    pub fn state(&self) -> RxState {
        self.state
    }

    /// A poll of the queue brought so many packets; the state after it.
    #[inline]
    pub fn polled(&mut self, packets: u32) -> RxState {
        match (self.mode, self.state) {
            (RxMode::Polling, _) | (RxMode::Interrupt, RxState::Interrupt) => {}
            (_, RxState::Leaving) => self.enter(RxState::Interrupt),
            _ => self.account(packets),
        }
        self.state
    }

    fn account(&mut self, packets: u32) {
        self.dispatches += 1;
        self.packets = self.packets.saturating_add(packets);
        let reaches = |threshold: u32| self.packets >= threshold.saturating_mul(WINDOW);
        let is_over = self.dispatches >= WINDOW;
        match self.state {
            RxState::Interrupt if reaches(self.thresholds.polling) => self.enter(RxState::Polling),
            RxState::Polling
                if is_over && self.packets <= self.thresholds.interrupt.saturating_mul(WINDOW) =>
            {
                self.enter(RxState::Leaving);
            }
            state if is_over => self.enter(state),
            _ => {}
        }
    }

    /// Begins a window in `state`.
    fn enter(&mut self, state: RxState) {
        self.state = state;
        self.dispatches = 0;
        self.packets = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An adaptive queue in `state`.
    fn queue(state: RxState) -> Adaptive {
        let mut queue = Adaptive::new(RxMode::Adaptive, Thresholds::default());
        queue.enter(state);
        queue
    }

    /// Polls with what `load` says, again and again; how often the state changed.
    fn changes(queue: &mut Adaptive, polls: usize, load: &[u32]) -> usize {
        let mut changes = 0;
        for &packets in load.iter().cycle().take(polls) {
            let before = queue.state();
            changes += usize::from(queue.polled(packets) != before);
        }
        changes
    }

    #[test]
    fn a_constant_load_between_the_thresholds_changes_nothing() {
        for load in [
            &[6][..],
            &[9],
            &[0, 15],
            &[
                256, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
                0, 0, 0, 0, 0,
            ],
        ] {
            for state in [RxState::Polling, RxState::Interrupt] {
                let mut queue = queue(state);
                assert_eq!((changes(&mut queue, 100_000, load), queue.state()), (0, state));
            }
        }
    }

    #[test]
    fn under_load_it_is_polled_at_once_and_for_as_long_as_the_load_lasts() {
        let mut queue = queue(RxState::Interrupt);
        let polls = (1..).find(|_| queue.polled(256) == RxState::Polling);
        assert_eq!(polls, Some(5), "1,280 packets: a window of ten each, whatever comes");
        assert_eq!((changes(&mut queue, 100_000, &[256]), queue.state()), (0, RxState::Polling));
    }

    #[test]
    fn the_least_load_that_is_polled_takes_a_window() {
        let mut queue = queue(RxState::Interrupt);
        let polls = (1..).find(|_| queue.polled(10) == RxState::Polling);
        assert_eq!(polls, Some(WINDOW));
    }

    #[test]
    fn it_is_polled_once_more_before_it_is_waited_for() {
        let mut queue = queue(RxState::Polling);
        assert_eq!(changes(&mut queue, 127, &[0]), 0);
        assert_eq!(queue.polled(0), RxState::Leaving);
        assert_eq!(queue.polled(200), RxState::Interrupt, "whatever that poll brings");
        assert_eq!(changes(&mut queue, 1_000, &[1, 0]), 0);
    }

    #[test]
    fn the_average_is_one_of_packets_a_dispatch_and_not_a_sum() {
        // 12 packets in 128 polls: a sum is above both thresholds, the average is a tenth.
        let load: Vec<u32> = (0..128).map(|at| u32::from(at % 11 == 0)).collect();
        assert_eq!(load.iter().sum::<u32>(), 12);
        let mut queue = queue(RxState::Interrupt);
        assert_eq!((changes(&mut queue, 10_000, &load), queue.state()), (0, RxState::Interrupt));
        queue.enter(RxState::Polling);
        assert_eq!((changes(&mut queue, 129, &load), queue.state()), (2, RxState::Interrupt));
    }

    #[test]
    fn the_load_of_one_window_is_forgotten_in_the_next() {
        let mut queue = queue(RxState::Polling);
        assert_eq!(changes(&mut queue, 128, &[256]), 0);
        assert_eq!(changes(&mut queue, 127, &[0]), 0);
        assert_eq!(queue.polled(0), RxState::Leaving);
    }

    #[test]
    fn a_mode_that_is_not_adaptive_stays_what_it_is() {
        let mut polling = Adaptive::new(RxMode::Polling, Thresholds::default());
        assert_eq!((changes(&mut polling, 1_000, &[0]), polling.state()), (0, RxState::Polling));
        let mut waited = Adaptive::new(RxMode::Interrupt, Thresholds::default());
        assert_eq!(waited.state(), RxState::Leaving, "its descriptor is armed first");
        assert_eq!(waited.polled(256), RxState::Interrupt);
        assert_eq!(changes(&mut waited, 1_000, &[256]), 0);
    }

    #[test]
    fn thresholds_that_are_configured_are_followed() {
        let mut queue = Adaptive::new(RxMode::Adaptive, Thresholds { polling: 2, interrupt: 0 });
        queue.enter(RxState::Interrupt);
        assert_eq!(changes(&mut queue, 128, &[2]), 1);
        assert_eq!(changes(&mut queue, 10_000, &[0, 0, 0, 0, 0, 0, 0, 1]), 0);
        assert_eq!(changes(&mut queue, 1_000, &[0]), 2);
    }
}
