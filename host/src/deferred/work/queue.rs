//! A queue, as whoever queues on it has it.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use parking_lot::MutexGuard;

use super::{
    Item, Kind, Shared, Work, WorkError,
    core::{Key, Target},
    facility::State,
};

/// Why work was not taken, and the work.
pub(crate) type Untaken = (WorkError, Option<Box<dyn Work>>);

/// A queue. A clone is the same queue, which lives until it is [closed](Self::close).
#[derive(Clone, Debug)]
pub struct Queue {
    pub(super) shared: Arc<Shared>,
    pub(super) key: Key,
}

/// A function that runs often.
struct Often<F>(F);

/// A function that runs once.
struct Once<F>(Option<F>);

impl<F: FnMut() + Send + 'static> Work for Often<F> {
    fn run(&mut self) -> bool {
        contain(&mut self.0)
    }
}

impl<F: FnOnce() + Send + 'static> Work for Once<F> {
    fn run(&mut self) -> bool {
        self.0.take().is_none_or(contain)
    }
}

fn contain(run: impl FnOnce()) -> bool {
    let ran = catch_unwind(AssertUnwindSafe(run));
    ran.map_err(std::mem::forget).is_ok() // Dropping the payload might panic again.
}

impl Queue {
    /// Makes an item, not pending. It ends when it is dropped.
    ///
    /// # Errors
    /// If the queue is closed, or bound.
    pub fn item(&self, name: &str, run: impl FnMut() + Send + 'static) -> Result<Item, WorkError> {
        self.item_of(name, None, Box::new(Often(run))).map_err(|(error, _)| error)
    }

    /// Makes an item of a bound queue, for a forwarding thread.
    ///
    /// # Errors
    /// If the queue is closed, or not bound, or there is no such thread.
    pub fn item_on(
        &self,
        thread: u32,
        name: &str,
        run: impl FnMut() + Send + 'static,
    ) -> Result<Item, WorkError> {
        self.item_of(name, Some(thread), Box::new(Often(run))).map_err(|(error, _)| error)
    }

    /// Queues a function that runs once.
    ///
    /// # Errors
    /// [`WorkError`]; it was dropped then, without having run.
    pub fn run(&self, name: &str, run: impl FnOnce() + Send + 'static) -> Result<(), WorkError> {
        self.run_work(name, None, Box::new(Once(Some(run)))).map_err(|(error, _)| error)
    }

    /// Makes an item of any work, which comes back if it is not taken.
    pub(crate) fn item_of(
        &self,
        name: &str,
        thread: Option<u32>,
        work: Box<dyn Work>,
    ) -> Result<Item, Untaken> {
        let (_, key) = self.add(name, thread, false, work)?;
        Ok(Item::new(self.clone(), key))
    }

    /// Queues any work that runs once, which comes back if it is not taken.
    pub(crate) fn run_work(
        &self,
        name: &str,
        thread: Option<u32>,
        work: Box<dyn Work>,
    ) -> Result<(), Untaken> {
        let from = self.shared.current().map(|execution| execution.queue);
        let (mut state, key) = self.add(name, thread, true, work)?;
        match state.core.enqueue(key, from) {
            Ok((_, wake)) => {
                drop(state);
                self.shared.wake(wake);
                Ok(())
            }
            Err(error) => Err((error, state.core.cancel(key).1)),
        }
    }

    fn add(
        &self,
        name: &str,
        thread: Option<u32>,
        once: bool,
        work: Box<dyn Work>,
    ) -> Result<(MutexGuard<'_, State>, Key), Untaken> {
        let cpu = match self.cpu_of(thread) {
            Ok(cpu) => cpu,
            Err(error) => return Err((error, Some(work))),
        };
        let mut state = self.shared.state.lock();
        let pool = match self.pool(&mut state, thread, cpu) {
            Ok(pool) => pool,
            Err(error) => return Err((error, Some(work))),
        };
        match state.core.add_item(self.key, pool, name, once, work) {
            Ok(key) => Ok((state, key)),
            Err((error, work)) => Err((error, Some(work))),
        }
    }

    fn cpu_of(&self, thread: Option<u32>) -> Result<Option<u32>, WorkError> {
        let (Some(index), Some(host)) = (thread, self.shared.host()) else { return Ok(None) };
        let shared = host.thread(index).ok_or(WorkError::UnknownThread(index))?;
        Ok(shared.cpu.load(std::sync::atomic::Ordering::Relaxed).checked_sub(1))
    }

    fn pool(
        &self,
        state: &mut State,
        thread: Option<u32>,
        cpu: Option<u32>,
    ) -> Result<usize, WorkError> {
        let queue = state.core.queues.get(self.key).ok_or(WorkError::Closed)?;
        match (queue.kind, thread) {
            (Kind::Bound, Some(thread)) => Ok(state.core.bound_pool(thread, cpu)),
            (Kind::Bound, None) | (_, Some(_)) => Err(WorkError::Binding),
            (_, None) => Ok(0),
        }
    }

    /// Waits for all that is queued now; a delay that has not passed is not waited for.
    ///
    /// Context: a work thread, a process, main outside of nodes, or a thread that forwards nothing.
    ///
    /// # Errors
    /// [`WorkError`] where the wait would not end, or the thread must not wait.
    pub fn flush(&self) -> Result<(), WorkError> {
        let color = {
            let mut state = self.shared.state.lock();
            let Some(queue) = state.core.queues.get_mut(self.key) else { return Ok(()) };
            queue.colors.flush()
        };
        self.shared.wait(Target::Flush(self.key, color))
    }

    /// Waits until nothing is queued or runs; meanwhile only items of the queue's own are queued. A
    /// delay that has not passed is not waited for.
    ///
    /// Context: as of [`flush`](Self::flush).
    ///
    /// # Errors
    /// As of [`flush`](Self::flush).
    pub fn drain(&self) -> Result<(), WorkError> {
        let set = |on: bool| {
            let mut state = self.shared.state.lock();
            if let Some(queue) = state.core.queues.get_mut(self.key) {
                queue.draining = if on { queue.draining + 1 } else { queue.draining - 1 };
            }
        };
        set(true);
        let drained = self.shared.wait(Target::Empty(self.key));
        set(false);
        drained
    }

    /// Cancels what is pending, waits for what runs, and takes nothing any more.
    ///
    /// Context: as of [`flush`](Self::flush); elsewhere it does not wait.
    ///
    /// # Errors
    /// As of [`flush`](Self::flush); it is closed all the same.
    pub fn close(&self) -> Result<(), WorkError> {
        self.close_unwaited();
        self.shared.wait(Target::Empty(self.key))
    }

    /// The same, but that it does not wait for what runs.
    pub(crate) fn close_unwaited(&self) {
        let mut state = self.shared.state.lock();
        let dropped = state.core.close_queue(self.key);
        self.shared.tell_waiters(&mut state);
        drop(state);
        drop(dropped);
    }
}
