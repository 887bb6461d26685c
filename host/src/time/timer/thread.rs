//! A thread's part of the timers: its base, its lock, and what it runs or waits for.

use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use parking_lot::{Condvar, Mutex, MutexGuard};

use super::{Timer, TimerBase, TimerRef};

pub(super) struct Thread<F: 'static, const FIRST: usize, const LATER: usize> {
    /// A copy of the base's `quiet_until`, readable without the lock.
    pub(super) quiet_until: AtomicU64,
    pub(super) idle: AtomicBool,
    pub(super) online: AtomicBool,
    /// One more than the thread whose function this one waits for in `delete_and_wait`.
    pub(super) waits_for: AtomicU32,
    pub(super) state: Mutex<State<F, FIRST, LATER>>,
    pub(super) finished: Condvar,
}

pub(super) struct State<F: 'static, const FIRST: usize, const LATER: usize> {
    pub(super) base: TimerBase<TimerRef<F>, FIRST, LATER>,
    pub(super) running: Option<TimerRef<F>>,
    pub(super) waiters: u32,
}

pub(super) type Guard<'a, F, const FIRST: usize, const LATER: usize> =
    MutexGuard<'a, State<F, FIRST, LATER>>;

/// While it lives, the thread's function runs; its end, even by a panic, is told to who waits.
pub(super) struct Running<'a, F: 'static, const FIRST: usize, const LATER: usize>(
    pub(super) &'a Thread<F, FIRST, LATER>,
);

impl<F, const FIRST: usize, const LATER: usize> Drop for Running<'_, F, FIRST, LATER> {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        let ended = state.running.take();
        if state.waiters > 0 {
            self.0.finished.notify_all();
        }
        drop(state);
        drop(ended);
    }
}

impl<F, const FIRST: usize, const LATER: usize> Thread<F, FIRST, LATER> {
    pub(super) fn new() -> Self {
        Self {
            quiet_until: AtomicU64::new(u64::MAX),
            idle: AtomicBool::new(false),
            online: AtomicBool::new(false),
            waits_for: AtomicU32::new(0),
            state: Mutex::new(State { base: TimerBase::new(), running: None, waiters: 0 }),
            finished: Condvar::new(),
        }
    }

    pub(super) fn is_busy(&self) -> bool {
        self.online.load(Ordering::Relaxed) && !self.idle.load(Ordering::Relaxed)
    }
}

impl<F, const FIRST: usize, const LATER: usize> State<F, FIRST, LATER> {
    pub(super) fn runs(&self, timer: &Timer<F>) -> bool {
        self.running.as_ref().is_some_and(|running| core::ptr::eq(&**running, timer))
    }
}
