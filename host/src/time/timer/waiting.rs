//! Waiting for a timer's function to end, and seeing that it never would.

use core::sync::atomic::Ordering;

use plugin_api::ThreadIndex;

use super::thread::Guard;
use super::{Timer, TimerFunction, Timers};

/// Waiting for the timer's function would not end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DeadlockError {
    /// It was asked for inside that function.
    #[error("the timer's function waits for itself to end: delete it without waiting")]
    Own,
    /// That function waits, perhaps through others, for the one that asks.
    #[error("the timer's function waits for the calling one to end: delete it without waiting")]
    Mutual,
}

impl<F: TimerFunction, const FIRST: usize, const LATER: usize> Timers<F, FIRST, LATER> {
    /// Deletes a timer and waits until its function does not run either, on any thread; tells
    /// whether it was pending. If the function re-arms its timer meanwhile, that is undone too.
    ///
    /// Context: `current` is the calling thread, `None` for one that has no timers. May block.
    ///
    /// # Errors
    /// [`DeadlockError`] if the wait would not end. The timer may be pending still.
    pub fn delete_and_wait(
        &self,
        current: Option<ThreadIndex>,
        timer: &Timer<F>,
    ) -> Result<bool, DeadlockError> {
        loop {
            let (home, mut state) = self.lock_home(timer);
            if !state.runs(timer) {
                return Ok(self.detach(home, &mut state, timer));
            }
            self.wait(current, home, &mut state)?;
        }
    }

    pub(super) fn wait(
        &self,
        current: Option<ThreadIndex>,
        home: u32,
        state: &mut Guard<'_, F, FIRST, LATER>,
    ) -> Result<(), DeadlockError> {
        let own = current.map(|current| &self.threads[current.0 as usize]);
        if current == Some(ThreadIndex(home)) {
            return Err(DeadlockError::Own);
        }
        if let (Some(own), Some(current)) = (own, current) {
            // Of threads that close a circle, the last to store sees it.
            own.waits_for.store(home + 1, Ordering::SeqCst);
            if self.leads_to(home, current.0) {
                own.waits_for.store(0, Ordering::SeqCst);
                return Err(DeadlockError::Mutual);
            }
        }
        state.waiters += 1;
        self.threads[home as usize].finished.wait(state);
        state.waiters -= 1;
        if let Some(own) = own {
            own.waits_for.store(0, Ordering::SeqCst);
        }
        Ok(())
    }

    fn leads_to(&self, from: u32, to: u32) -> bool {
        let waits_for = |thread: &u32| {
            self.threads[*thread as usize].waits_for.load(Ordering::SeqCst).checked_sub(1)
        };
        let chain = core::iter::successors(Some(from), waits_for);
        chain.take(self.threads.len()).any(|thread| thread == to)
    }
}
