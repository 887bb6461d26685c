//! A receive queue: where it is placed, what is wanted of it, and what it does at present.

use std::{
    fmt,
    sync::atomic::{AtomicBool, Ordering},
};

use super::adaptive::{RxMode, RxState};
use crate::graph::node::Counter;

/// Where a receive queue is placed and what is wanted of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RxQueue {
    /// The thread that serves it.
    pub thread: u32,
    /// The operator has placed it there.
    pub by_hand: bool,
    /// How it is served.
    pub mode: RxMode,
}

/// What a receive queue does at present, as others see it; its thread alone writes.
#[derive(Debug)]
pub struct RxStatus {
    is_polled: AtomicBool,
    /// Times that an adaptive queue went over to being polled, or began to leave that.
    pub switches: Counter,
}

impl Default for RxStatus {
    fn default() -> Self {
        Self { is_polled: AtomicBool::new(true), switches: Counter::default() }
    }
}

impl RxStatus {
    /// Notes a new state.
    pub fn set(&self, state: RxState) {
        self.is_polled.store(state != RxState::Interrupt, Ordering::Relaxed);
    }

    /// Whether it is polled every turn.
    pub fn is_polled(&self) -> bool {
        self.is_polled.load(Ordering::Relaxed)
    }
}

/// A change of one receive queue: [`Host::set_rx_queues`](crate::host::Host::set_rx_queues).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RxChange {
    /// Index of the interface.
    pub interface: u32,
    /// The queue.
    pub queue: u32,
    /// The thread to place it on; `None` leaves it where it is.
    pub thread: Option<u32>,
    /// The operator places it there, if it is placed.
    pub by_hand: bool,
    /// Its mode; `None` leaves it what it is.
    pub mode: Option<RxMode>,
}

/// Names a queue in messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueName {
    /// Its interface.
    pub interface: String,
    /// Its number.
    pub queue: u32,
}

impl fmt::Display for QueueName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rx queue {} of {:?}", self.queue, self.interface)
    }
}
