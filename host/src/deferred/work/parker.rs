//! Where a thread waits until it is kicked: awake for a moment, then asleep.

use std::{
    hint::spin_loop,
    sync::{
        OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, Thread},
    time::Duration,
};

use crate::time::{Nanos, ThreadClock};

/// How long a thread stays awake that has nothing to do: waking it up would take as long.
const SPIN: Nanos = Nanos::from_micros(15);
/// Looks in that time at most, should the clock stand still.
const LOOKS: usize = 1_000;
/// Of these, those after which others may have the CPU in between.
const ALONE: usize = 8;
/// Pauses from one reading of the clock to the next.
const PAUSES: usize = 16;

/// Where one thread waits.
#[derive(Debug, Default)]
pub(super) struct Parker {
    kicked: AtomicBool,
    thread: OnceLock<Thread>,
}

impl Parker {
    /// The calling thread is the one that waits here.
    pub(super) fn settle(&self) {
        self.thread.get_or_init(thread::current);
    }

    /// Ends the thread's wait, or its next one. Cost: a system call if it sleeps.
    pub(super) fn kick(&self) {
        self.kicked.store(true, Ordering::Release);
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }

    /// Waits for a kick, awake at first; false if none came for as long as `longest`.
    pub(super) fn wait(&self, clock: &mut ThreadClock, longest: Duration) -> bool {
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
        self.sleep(clock, Some(longest))
    }

    /// Sleeps until a kick; false if none came for as long as `longest`.
    pub(super) fn sleep(&self, clock: &mut ThreadClock, longest: Option<Duration>) -> bool {
        let began = clock.read();
        loop {
            if self.take() {
                return true;
            }
            let Some(longest) = longest else {
                thread::park();
                continue;
            };
            let passed = Duration::from_nanos(clock.read().since(began).0);
            match longest.checked_sub(passed).filter(|left| !left.is_zero()) {
                Some(left) => thread::park_timeout(left),
                None => return false,
            }
        }
    }

    fn take(&self) -> bool {
        self.kicked.load(Ordering::Relaxed) && self.kicked.swap(false, Ordering::Acquire)
    }
}
