//! What happens to timers when threads and plugins come and go, and what `show timers` tells.

use core::sync::atomic::Ordering;

use plugin_api::ThreadIndex;

use super::thread::Thread;
use super::{DeadlockError, MOVING, StatisticsReport, TimerFunction, Timers};
use crate::time::units::Ticks;

/// A row of `show timers`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ThreadReport {
    /// The thread.
    pub thread: ThreadIndex,
    /// The function that runs right now.
    pub running: Option<String>,
    /// The next expiry that is not deferrable.
    pub next_expiry: Option<Ticks>,
    /// Pending timers that are not deferrable.
    pub active: usize,
    /// Pending timers.
    pub all: usize,
    /// Whether it is idle.
    pub idle: bool,
}

/// Why a thread's timers were not handed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LeaveError {
    /// It runs one of them.
    #[error("thread {} runs a timer's function: let it end first", thread.0)]
    Running {
        /// The leaving thread.
        thread: ThreadIndex,
    },
    /// The heir is the leaving thread, or not online.
    #[error("thread {} cannot take timers over: name another one that is online", heir.0)]
    NoHeir {
        /// The thread that should take over.
        heir: ThreadIndex,
    },
}

impl<F: TimerFunction, const FIRST: usize, const LATER: usize> Timers<F, FIRST, LATER> {
    /// Notes that a thread is there. It was not idle and has no timers.
    pub fn join(&self, thread: ThreadIndex) {
        let thread = &self.threads[thread.0 as usize];
        thread.idle.store(false, Ordering::Relaxed);
        thread.online.store(true, Ordering::Relaxed);
    }

    /// Hands all timers of a thread that leaves to another one, pinned and deferrable ones too;
    /// returns how many.
    ///
    /// The thread has stopped calling [`Self::expire`]. If the heir is idle, wake it.
    ///
    /// # Errors
    /// [`LeaveError`]; nothing was handed on.
    pub fn leave(&self, leaving: ThreadIndex, heir: ThreadIndex) -> Result<usize, LeaveError> {
        let from = &self.threads[leaving.0 as usize];
        let to = &self.threads[heir.0 as usize];
        if leaving == heir || !to.online.load(Ordering::Relaxed) {
            return Err(LeaveError::NoHeir { heir });
        }
        let moved = {
            let mut state = from.state.lock();
            if state.running.is_some() {
                return Err(LeaveError::Running { thread: leaving });
            }
            from.online.store(false, Ordering::Relaxed);
            let moved = state.base.extract(|_| true);
            for (timer, ..) in &moved {
                timer.home.store(MOVING, Ordering::Relaxed);
            }
            from.quiet_until.store(u64::MAX, Ordering::Release);
            moved
        };
        let count = moved.len();
        let mut state = to.state.lock();
        for (timer, deadline, deferrable) in moved {
            let key = state.base.insert(deadline, deferrable, timer.clone());
            timer.set_key(Some(key));
            timer.home.store(heir.0, Ordering::Release);
        }
        to.quiet_until.store(state.base.quiet_until(), Ordering::Release);
        Ok(count)
    }

    /// Says whether a thread is idle: then it takes no timers that busy threads could run.
    #[inline]
    pub fn set_idle(&self, thread: ThreadIndex, idle: bool) {
        self.threads[thread.0 as usize].idle.store(idle, Ordering::Relaxed);
    }

    /// Says whether timers started on an idle thread go to a busy one; they do unless told.
    pub fn set_migration(&self, enabled: bool) {
        self.migration.store(enabled, Ordering::Relaxed);
    }

    /// Deletes the timers whose functions are chosen, and waits for those that run, as when their
    /// plugin goes away; returns how many were pending.
    ///
    /// Context: `current` is the calling thread, `None` for one that has no timers. May block.
    ///
    /// # Errors
    /// [`DeadlockError`] if one runs that the caller is inside of, or that waits for the caller;
    /// the others are deleted.
    pub fn delete_all(
        &self,
        current: Option<ThreadIndex>,
        chosen: impl Fn(&F) -> bool,
    ) -> Result<usize, DeadlockError> {
        let mut count = 0;
        let mut result = Ok(());
        for (home, thread) in (0..).zip(&self.threads) {
            let mut state = thread.state.lock();
            loop {
                let deleted = state.base.extract(|timer| chosen(timer.function()));
                thread.quiet_until.store(state.base.quiet_until(), Ordering::Release);
                for (timer, ..) in &deleted {
                    timer.set_key(None);
                }
                count += deleted.len();
                // A function that runs may start its timer, or others, again: look again after it.
                if !state.running.as_ref().is_some_and(|timer| chosen(timer.function())) {
                    break;
                }
                if let Err(error) = self.wait(current, home, &mut state) {
                    result = Err(error);
                    break;
                }
            }
        }
        result.map(|()| count)
    }

    /// Names of the pending timers whose functions are chosen.
    pub fn pending(&self, chosen: impl Fn(&F) -> bool) -> Vec<String> {
        let mut names = Vec::new();
        for thread in &self.threads {
            let state = thread.state.lock();
            let timers = state.base.iter().filter(|timer| chosen(timer.function()));
            names.extend(timers.map(|timer| timer.function().name()));
        }
        names
    }

    /// What `show timers` prints: a row per thread that is online.
    pub fn report(&self) -> Vec<ThreadReport> {
        let online = (0..).zip(&self.threads).filter(|(_, it)| it.online.load(Ordering::Relaxed));
        let row = |(number, thread): (u32, &Thread<F, FIRST, LATER>)| {
            let mut state = thread.state.lock();
            ThreadReport {
                thread: ThreadIndex(number),
                running: state.running.as_ref().map(|timer| timer.function().name()),
                next_expiry: state.base.next_expiry().map(|tick| self.epoch.after(tick)),
                active: state.base.active(),
                all: state.base.all(),
                idle: thread.idle.load(Ordering::Relaxed),
            }
        };
        online.map(row).collect()
    }

    /// Begins a sample of who starts timers, `period` ticks long or until it is stopped.
    pub fn start_statistics(&self, now: Ticks, period: Option<u64>) {
        self.statistics.start(now, period);
    }

    /// Ends the sample.
    pub fn stop_statistics(&self, now: Ticks) {
        self.statistics.stop(now);
    }

    /// What `show timers statistics` prints.
    pub fn statistics(&self, now: Ticks) -> StatisticsReport {
        self.statistics.report(now)
    }
}
