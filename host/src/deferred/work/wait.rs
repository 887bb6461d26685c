//! Who waits for items: threads sleep, a process lets others run.

use std::{sync::Arc, time::Duration};

use parking_lot::MutexGuard;

use super::{PATIENCE, Shared, WorkError, core::Target, facility::State};
use crate::{
    host::Host,
    process::{Request, WaitError},
};

/// The event of a process that waits; the SDK gives its number to no type of events.
const DONE: u64 = 1 << 63;

impl Shared {
    /// Those who wait look again.
    #[inline]
    pub(super) fn tell_waiters(&self, state: &mut State) {
        if state.waiters > 0 {
            self.settled.notify_all();
        }
        if !state.processes.is_empty() {
            self.signal_processes(state);
        }
    }

    #[cold]
    fn signal_processes(&self, state: &mut State) {
        let Some(host) = self.host() else { return };
        for process in state.processes.drain(..) {
            host.processes.signal(&process, DONE, || host.ring_main());
        }
    }

    /// Waits until `target` is settled: a process lets others run meanwhile, other threads sleep.
    ///
    /// # Errors
    /// [`WorkError`] where the wait would not end, or the thread must not wait.
    pub(super) fn wait(self: &Arc<Self>, target: Target) -> Result<(), WorkError> {
        let is_over = |state: &mut State| state.core.is_settled(target);
        if is_over(&mut self.state.lock()) {
            return Ok(());
        }
        if let Some(execution) = self.current() {
            let mut state = self.state.lock();
            state.core.begin_wait(execution.thread, target);
            let ends = state.core.wait_ends(execution.thread);
            if ends {
                self.block_until(&mut state, None, is_over);
            }
            state.core.end_wait(execution.thread);
            return if ends { Ok(()) } else { Err(WorkError::Deadlock) };
        }
        let mut patience = None;
        if let Some(host) = self.host() {
            if self.suspend_until(host, is_over) {
                return Ok(());
            }
            if host.may_control() {
                patience = Some(PATIENCE);
            } else if !host.may_wait() {
                return Err(WorkError::MustNotWait);
            }
        }
        let mut state = self.state.lock();
        let over = self.block_until(&mut state, patience, is_over);
        if over { Ok(()) } else { Err(WorkError::Late(PATIENCE)) }
    }

    /// Has the process that runs wait until `is_over`; false if none does, or it may not wait.
    pub(super) fn suspend_until(
        &self,
        host: &Host,
        mut is_over: impl FnMut(&mut State) -> bool,
    ) -> bool {
        let Some(process) = host.processes.current() else { return false };
        loop {
            {
                let mut state = self.state.lock();
                state.processes.retain(|waiting| !Arc::ptr_eq(waiting, &process));
                if is_over(&mut state) {
                    break;
                }
                state.processes.push(Arc::clone(&process));
            }
            match host.processes.wait(Request { events: DONE, ..Request::default() }) {
                Ok(_) => {}
                Err(WaitError::Cancelled | WaitError::NoProcess | WaitError::NotHere) => {
                    let mut state = self.state.lock();
                    state.processes.retain(|waiting| !Arc::ptr_eq(waiting, &process));
                    return is_over(&mut state);
                }
            }
        }
        // It may have been another's event that woke it: who awaits it looks once more.
        host.processes.signal(&process, DONE, || ());
        true
    }

    /// Sleeps until `is_over`, no longer than `patience`; whether it is.
    pub(super) fn block_until(
        &self,
        state: &mut MutexGuard<'_, State>,
        patience: Option<Duration>,
        mut is_over: impl FnMut(&mut State) -> bool,
    ) -> bool {
        let began = patience.map(|_| self.now());
        loop {
            if is_over(state) {
                return true;
            }
            state.waiters += 1;
            match (patience, began) {
                (Some(patience), Some(began)) => {
                    let passed = Duration::from_nanos(self.now().since(began).0);
                    let left = patience.checked_sub(passed).filter(|left| !left.is_zero());
                    let timed_out =
                        left.is_none_or(|left| self.settled.wait_for(state, left).timed_out());
                    if timed_out {
                        state.waiters -= 1;
                        return is_over(state);
                    }
                }
                _ => self.settled.wait(state),
            }
            state.waiters -= 1;
        }
    }
}
