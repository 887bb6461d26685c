//! Where a thread waits until it is kicked: awake for a moment, then asleep.

use std::{
    hint::spin_loop,
    sync::{
        OnceLock,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    thread::{self, Thread},
    time::Duration,
};

use crate::{
    sync::Padded,
    time::{Nanos, ThreadClock},
};

/// How long a thread stays awake that has nothing to do: waking it up would take as long.
const SPIN: Nanos = Nanos::from_micros(15);
/// Looks in that time at most, should the clock stand still.
const LOOKS: usize = 1_000;
/// Of these, those after which others may have the CPU in between.
const ALONE: usize = 8;
/// Pauses from one reading of the clock to the next.
const PAUSES: usize = 16;

/// Nobody has kicked.
const NOTHING: u32 = 0;
/// Somebody has.
const KICKED: u32 = 1;
/// Nobody has, and the thread sleeps.
const ASLEEP: u32 = 2;

/// Where one thread waits.
#[derive(Debug, Default)]
pub(super) struct Parker {
    /// On lines of its own: the thread looks at it again and again.
    state: Padded<AtomicU32>,
    /// The thread stays awake, for a moment.
    spins: AtomicBool,
    thread: OnceLock<Thread>,
}

impl Parker {
    /// The calling thread is the one that waits here.
    pub(super) fn settle(&self) {
        self.thread.get_or_init(thread::current);
    }

    /// Ends the thread's wait, or its next one. Cost: a system call if it sleeps.
    pub(super) fn kick(&self) {
        if self.state.0.swap(KICKED, Ordering::AcqRel) == ASLEEP
            && let Some(thread) = self.thread.get()
        {
            thread.unpark();
        }
    }

    /// Says that the thread will stay awake when it waits next.
    pub(super) fn announce_spin(&self) {
        self.spins.store(true, Ordering::Relaxed);
    }

    /// Whether the thread stays awake, or is about to.
    pub(super) fn spins(&self) -> bool {
        self.spins.load(Ordering::Relaxed)
    }

    /// Waits for a kick, awake at first if that was announced; false if none came for as long as
    /// `longest`.
    pub(super) fn wait(&self, clock: &mut ThreadClock, longest: Duration) -> bool {
        if self.spins() && self.spin(clock) {
            self.spins.store(false, Ordering::Relaxed);
            return true;
        }
        self.spins.store(false, Ordering::Relaxed);
        self.sleep(clock, Some(longest))
    }

    fn spin(&self, clock: &mut ThreadClock) -> bool {
        let began = clock.read();
        for look in 0..LOOKS {
            if look > ALONE {
                thread::yield_now();
            }
            for _ in 0..PAUSES {
                if self.take() {
                    return true;
                }
                spin_loop();
            }
            if clock.read().since(began) >= SPIN {
                break;
            }
        }
        false
    }

    /// Sleeps until a kick; false if none came for as long as `longest`.
    pub(super) fn sleep(&self, clock: &mut ThreadClock, longest: Option<Duration>) -> bool {
        let (success, failure) = (Ordering::AcqRel, Ordering::Acquire);
        if self.state.0.compare_exchange(NOTHING, ASLEEP, success, failure).is_err() {
            return self.take();
        }
        let (began, mut before) = (clock.read(), None);
        loop {
            let passed = clock.read().since(began);
            let stands_still = before.replace(passed) == Some(passed); // As a test's clock may.
            let left = longest.map(|longest| longest.checked_sub(Duration::from_nanos(passed.0)));
            match left {
                None => thread::park(),
                Some(Some(left)) if !left.is_zero() && !stands_still => thread::park_timeout(left),
                // A kick at the last moment counts.
                Some(_) => return self.state.0.swap(NOTHING, Ordering::AcqRel) == KICKED,
            }
            if self.take() {
                return true;
            }
        }
    }

    fn take(&self) -> bool {
        let is_kicked = self.state.0.load(Ordering::Acquire) == KICKED;
        if is_kicked {
            // Who kicks meanwhile wants no more than to be looked for after this.
            self.state.0.swap(NOTHING, Ordering::AcqRel);
        }
        is_kicked
    }
}
