//! Dynamic timers with Linux's contract: one base per thread, and any thread may start, move and
//! delete any timer.
//!
//! A timer is *pending* from its start until it is deleted or its function begins to run. The
//! function runs on the thread the timer was placed on, with nothing locked: it may start, move and
//! delete timers, its own included, which is how a periodic one goes on.
//!
//! ```text
//!                  add, modify                      expire
//!   idle ────────────────────────▶ pending ──────────────────────▶ running ──▶ idle
//!     ▲                             │    ▲                            │
//!     └────────── delete ───────────┘    └─── add, modify (re-arm) ───┘
//! ```
//! A thread looks at an atomic to see that nothing is due, and takes its base's lock only then: at
//! most once per tick and once per timer that runs, never per packet.
//!
//! Source: Linux `kernel/time/timer.c` for the contract, none of it for the code.

use core::ops::Deref;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::Arc;

use plugin_api::ThreadIndex;

mod base;
mod links;
mod maintenance;
mod rings;
mod statistics;
mod thread;
mod timers;
mod waiting;

pub use base::{Key, SmallTimerBase, TimerBase};
pub use maintenance::{LeaveError, ThreadReport};
pub use statistics::{Site, StatisticsReport, StatisticsRow};
pub use timers::Timers;
pub use waiting::DeadlockError;

/// A timer's home while it moves from one base to another.
const MOVING: u32 = u32::MAX;

/// What a timer runs, as far as this file needs to know; [`Timers::expire`]'s caller calls it.
pub trait TimerFunction: Send + Sync + 'static {
    /// The plugin it belongs to.
    fn owner(&self) -> String;
    /// What it is called in `show timers`.
    fn name(&self) -> String;
}

/// A timer. Made at run time or in a `static`, it needs nothing else before it is started.
///
/// It belongs to the first [`Timers`] it is started on.
#[derive(Debug)]
pub struct Timer<F> {
    function: F,
    deferrable: bool,
    pinned: bool,
    /// The thread whose base it is on, or was last; its lock guards the fields below.
    /// [`MOVING`] for a moment.
    home: AtomicU32,
    /// 0 while not pending.
    key: AtomicU64,
    /// Who started it, a number of the statistics.
    site: AtomicU32,
}

/// A timer that outlives its being pending.
#[derive(Debug)]
pub enum TimerRef<F: 'static> {
    /// Made at run time.
    Shared(Arc<Timer<F>>),
    /// In a `static`.
    Static(&'static Timer<F>),
}

/// What starting a timer did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Started {
    /// Whether it was pending before.
    pub was_pending: bool,
    /// The thread it was placed on.
    pub thread: ThreadIndex,
    /// Whether that thread is idle and may sleep too long unless it is woken.
    pub wake: bool,
}

/// The timer is pending; [`Timers::modify`] moves a pending timer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the timer is pending already: modify it")]
pub struct AlreadyPending;

impl<F> Timer<F> {
    /// A timer that is not pending.
    pub const fn new(function: F) -> Self {
        Self {
            function,
            deferrable: false,
            pinned: false,
            home: AtomicU32::new(0),
            key: AtomicU64::new(0),
            site: AtomicU32::new(0),
        }
    }

    /// Makes it one that an idle thread does not wake up for.
    #[must_use]
    pub const fn deferrable(mut self) -> Self {
        self.deferrable = true;
        self
    }

    /// Makes it one that stays on the thread that starts it, even if that is idle.
    #[must_use]
    pub const fn pinned(mut self) -> Self {
        self.pinned = true;
        self
    }

    /// What it runs.
    pub fn function(&self) -> &F {
        &self.function
    }

    /// Whether it is pending. Another thread may have changed that by the time it is read.
    pub fn is_pending(&self) -> bool {
        self.key.load(Ordering::Relaxed) != 0
    }

    fn set_key(&self, key: Option<Key>) {
        self.key.store(key.map_or(0, Key::to_bits), Ordering::Relaxed);
    }

    fn key(&self) -> Option<Key> {
        let bits = self.key.load(Ordering::Relaxed);
        (bits != 0).then(|| Key::from_bits(bits))
    }
}

impl<F> Deref for TimerRef<F> {
    type Target = Timer<F>;

    fn deref(&self) -> &Timer<F> {
        match self {
            Self::Shared(timer) => timer,
            Self::Static(timer) => timer,
        }
    }
}

impl<F> Clone for TimerRef<F> {
    fn clone(&self) -> Self {
        match self {
            Self::Shared(timer) => Self::Shared(Arc::clone(timer)),
            Self::Static(timer) => Self::Static(timer),
        }
    }
}

impl<F> From<&Arc<Timer<F>>> for TimerRef<F> {
    fn from(timer: &Arc<Timer<F>>) -> Self {
        Self::Shared(Arc::clone(timer))
    }
}

impl<F> From<&TimerRef<F>> for TimerRef<F> {
    fn from(timer: &Self) -> Self {
        timer.clone()
    }
}

impl<F> From<&'static Timer<F>> for TimerRef<F> {
    fn from(timer: &'static Timer<F>) -> Self {
        Self::Static(timer)
    }
}

#[cfg(test)]
mod tests;
