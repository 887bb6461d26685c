//! An item, as its maker has it.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicBool, Ordering},
};

use plugin_api::ThreadIndex;

use super::{
    Queue, Queued, WorkError,
    core::{Key, Place},
};
use crate::{
    graph::Owner,
    host::{Host, current_thread},
    plugin::table::HostTimer,
    time::{
        Nanos, Ticks,
        timer::{Site, Started, Timer},
    },
};

/// An item. Any thread, nodes too, may queue it; dropping it cancels it and, where the thread may
/// wait, waits until it does not run.
#[derive(Debug)]
pub struct Item {
    queue: Queue,
    key: Key,
    /// Made with the first delay.
    timer: OnceLock<Arc<Timer<HostTimer>>>,
    /// Its end waits for nothing.
    is_detached: AtomicBool,
}

impl Drop for Item {
    fn drop(&mut self) {
        let _ = self.end(); // It is gone with its run, where that is not waited for.
    }
}

impl Item {
    pub(super) fn new(queue: Queue, key: Key) -> Self {
        Self { queue, key, timer: OnceLock::new(), is_detached: AtomicBool::new(false) }
    }

    fn from(&self) -> Option<Key> {
        self.queue.shared.current().map(|execution| execution.queue)
    }

    /// Queues the item, unless it is pending. If it runs, it runs once more after that.
    ///
    /// Cost: a lock that is held for moments; no allocation.
    ///
    /// # Errors
    /// [`WorkError::Closed`], [`WorkError::Draining`].
    #[inline]
    pub fn queue(&self) -> Result<Queued, WorkError> {
        let from = self.from();
        let (queued, wake) = self.queue.shared.state.lock().core.enqueue(self.key, from)?;
        self.queue.shared.wake(wake);
        Ok(queued)
    }

    /// Has the item be queued after `delay`, unless it is pending; it is pending from now on.
    ///
    /// # Errors
    /// As of [`queue`](Self::queue), and [`WorkError::NoTimers`].
    #[track_caller]
    pub fn queue_after(&self, delay: Nanos) -> Result<Queued, WorkError> {
        let caller = std::panic::Location::caller();
        self.queue_after_from(delay, Site { file: caller.file(), line: caller.line() })
    }

    /// As [`queue_after`](Self::queue_after), for a caller that says itself where it stands.
    pub(crate) fn queue_after_from(
        &self,
        delay: Nanos,
        site: Site<'_>,
    ) -> Result<Queued, WorkError> {
        if delay == Nanos(0) {
            return self.queue();
        }
        let from = self.from();
        let shared = &self.queue.shared;
        let (host, timer, deadline) = self.timer(delay)?;
        let mut state = shared.state.lock();
        let queued = state.core.delay(self.key, deadline, from)?;
        if queued == Queued::Now {
            // Still locked: who cancels it now would otherwise delete the timer before it starts.
            let started = start(host, timer, deadline, site);
            drop(state);
            ring(host, started);
        }
        Ok(queued)
    }

    /// Has the item be queued after `delay`, whether it is pending or not; whether it was.
    ///
    /// # Errors
    /// As of [`queue_after`](Self::queue_after).
    #[track_caller]
    pub fn modify_delay(&self, delay: Nanos) -> Result<bool, WorkError> {
        let caller = std::panic::Location::caller();
        self.modify_delay_from(delay, Site { file: caller.file(), line: caller.line() })
    }

    /// As [`modify_delay`](Self::modify_delay), for a caller that says itself where it stands.
    pub(crate) fn modify_delay_from(
        &self,
        delay: Nanos,
        site: Site<'_>,
    ) -> Result<bool, WorkError> {
        let from = self.from();
        let shared = &self.queue.shared;
        if delay == Nanos(0) {
            let mut state = shared.state.lock();
            if self.is_delayed(&state) {
                let wake = state.core.hurry(self.key);
                drop(state);
                shared.wake(wake);
                return Ok(true);
            }
            drop(state);
            return Ok(self.queue()? == Queued::Before);
        }
        let (host, timer, deadline) = self.timer(delay)?;
        let mut state = shared.state.lock();
        let (was_pending, wake) = state.core.modify_delay(self.key, deadline, from)?;
        let started = start(host, timer, deadline, site);
        shared.tell_waiters(&mut state);
        drop(state);
        shared.wake(wake);
        ring(host, started);
        Ok(was_pending)
    }

    fn is_delayed(&self, state: &super::facility::State) -> bool {
        let item = state.core.items.get(self.key);
        item.is_some_and(|own| matches!(own.place, Place::Delayed(_)))
    }

    /// The item's timer, and when it is to expire.
    fn timer(
        &self,
        delay: Nanos,
    ) -> Result<(&'static Host, &Arc<Timer<HostTimer>>, Ticks), WorkError> {
        let host = self.queue.shared.host().ok_or(WorkError::NoTimers)?;
        let deadline = crate::plugin::table::first_tick_at(host.now().0.saturating_add(delay.0));
        if let Some(timer) = self.timer.get() {
            return Ok((host, timer, deadline));
        }
        let (owner, plugin, name) = {
            let state = self.queue.shared.state.lock();
            let queue = state.core.queues.get(self.queue.key).ok_or(WorkError::Closed)?;
            let item = state.core.items.get(self.key).ok_or(WorkError::Closed)?;
            (queue.owner, queue.plugin.to_string(), item.name.to_string())
        };
        Ok((host, self.timer.get_or_init(|| self.make_timer(owner, plugin, name)), deadline))
    }

    fn make_timer(&self, owner: Owner, plugin: String, name: String) -> Arc<Timer<HostTimer>> {
        let (shared, key) = (Arc::downgrade(&self.queue.shared), self.key);
        let function = move |now| {
            if let Some(shared) = shared.upgrade() {
                let wake = shared.state.lock().core.expire(key, Ticks::at(now));
                shared.wake(wake);
            }
        };
        Arc::new(Timer::new(HostTimer::own(owner, plugin, name, function)))
    }

    /// Cancels the item; whether it was pending. It may be running all the same.
    pub fn cancel(&self) -> bool {
        let shared = &self.queue.shared;
        let mut state = shared.state.lock();
        let (was_pending, dropped, wake) = state.core.cancel(self.key);
        self.stop_timer();
        if was_pending {
            shared.tell_waiters(&mut state);
        }
        drop(state);
        shared.wake(wake);
        drop(dropped);
        was_pending
    }

    /// With the lock held, so that a timer that is started after this is not deleted by it.
    fn stop_timer(&self) {
        if let (Some(host), Some(timer)) = (self.queue.shared.host(), self.timer.get()) {
            host.timers.delete(timer);
        }
    }

    /// Cancels the item and waits until it does not run; whether it was pending. It is not queued
    /// meanwhile, not even by itself.
    ///
    /// Context: as of [`Queue::flush`].
    ///
    /// # Errors
    /// As of [`Queue::flush`].
    pub fn cancel_and_wait(&self) -> Result<bool, WorkError> {
        let shared = &self.queue.shared;
        shared.state.lock().core.set_cancelling(self.key, true);
        let was_pending = self.cancel();
        let target = shared.state.lock().core.run_of(self.key);
        let waited = shared.wait(target);
        shared.state.lock().core.set_cancelling(self.key, false);
        waited.map(|()| was_pending)
    }

    /// Waits until all that was queued of the item has run; what is delayed is queued at once.
    ///
    /// Context: as of [`Queue::flush`].
    ///
    /// # Errors
    /// As of [`Queue::flush`].
    pub fn flush(&self) -> Result<(), WorkError> {
        let shared = &self.queue.shared;
        let mut state = shared.state.lock();
        let wake = state.core.hurry(self.key);
        let target = state.core.flush_item(self.key);
        drop(state);
        shared.wake(wake);
        shared.wait(target)
    }

    /// Whether the item is queued or delayed. Another thread may have changed that by now.
    pub fn is_pending(&self) -> bool {
        self.queue.shared.state.lock().core.is_pending(self.key)
    }

    /// Has it end, in the time to come, without a wait for what runs of it.
    pub fn detach(&self) {
        self.is_detached.store(true, Ordering::Relaxed);
    }

    /// Ends the item: cancelled, never queued again, and, where the thread may wait, not running.
    ///
    /// # Errors
    /// As of [`Queue::flush`]; it ends with its run then.
    pub fn end(&self) -> Result<(), WorkError> {
        let shared = &self.queue.shared;
        let mut state = shared.state.lock();
        let target = state.core.run_of(self.key);
        let (dropped, wake) = state.core.remove_item(self.key);
        self.stop_timer();
        shared.tell_waiters(&mut state);
        drop(state);
        shared.wake(wake);
        drop(dropped);
        if self.is_detached.load(Ordering::Relaxed) { Ok(()) } else { shared.wait(target) }
    }
}

fn start(host: &Host, timer: &Arc<Timer<HostTimer>>, deadline: Ticks, site: Site<'_>) -> Started {
    host.timers.modify_from(current_thread().unwrap_or(ThreadIndex(0)), timer, deadline, site)
}

/// A thread that sleeps learns of a timer that is due before it would wake up.
fn ring(host: &Host, started: Started) {
    if started.wake {
        host.ring(started.thread.0);
    }
}
