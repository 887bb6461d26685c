//! Work of the host's own that blocks, without main standing still for it.

use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::Arc,
};

use parking_lot::Mutex;

use crate::host::Host;

/// What came of it; nothing yet, or the payload of a panic.
type Outcome<R> = Option<Result<R, Box<dyn Any + Send>>>;

/// Where a result goes; if it never comes, that is said.
struct Deliver<R>(Arc<Mutex<Outcome<R>>>);

impl<R> Drop for Deliver<R> {
    fn drop(&mut self) {
        self.0.lock().get_or_insert_with(|| Err(Box::new("the host ends: it was not run")));
    }
}

/// Whoever waited is to end, and does not wait any more; the work goes on without it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the host ends, and this is not waited for")]
pub struct Abandoned;

/// Who waits for a result, in a process of main's.
struct Awaited<R> {
    outcome: Arc<Mutex<Outcome<R>>>,
    is_there: bool,
}

impl Host {
    /// Runs `work`, which may block, and gives what it returns.
    ///
    /// In a process of main's that may wait, a work thread runs it, and main goes on meanwhile:
    /// nothing that main lends may be kept across this. Elsewhere it just runs.
    ///
    /// Context: a process, a thread that forwards nothing, or main before its loop runs.
    ///
    /// # Panics
    /// If `work` does.
    pub fn blocking<R: Send + 'static>(
        &self,
        name: &str,
        work: impl FnOnce() -> R + Send + 'static,
    ) -> R {
        if !self.processes.can_wait() {
            return work();
        }
        let awaited = self.put_to_work(name, work);
        if !awaited.is_there {
            // A process that is to end does not wait any more, but its work has to.
            let is_there = |_: &mut _| awaited.outcome.lock().is_some();
            let shared = &self.work.shared;
            shared.block_until(&mut shared.state.lock(), None, is_there);
        }
        awaited.take()
    }

    /// As [`blocking`](Self::blocking), for work that may take long and whose result nobody needs
    /// once the host ends.
    ///
    /// # Errors
    /// If the process is to end; what `work` returns is dropped by the work thread then.
    ///
    /// # Panics
    /// If `work` does.
    pub fn blocking_until_ended<R: Send + 'static>(
        &self,
        name: &str,
        work: impl FnOnce() -> R + Send + 'static,
    ) -> Result<R, Abandoned> {
        if !self.processes.can_wait() {
            return Ok(work());
        }
        let awaited = self.put_to_work(name, work);
        if awaited.is_there { Ok(awaited.take()) } else { Err(Abandoned) }
    }

    /// Has a work thread run it; the process waits for what comes of it, unless it is to end.
    fn put_to_work<R: Send + 'static>(
        &self,
        name: &str,
        work: impl FnOnce() -> R + Send + 'static,
    ) -> Awaited<R> {
        let outcome = Arc::new(Mutex::new(None));
        let deliver = Deliver(Arc::clone(&outcome));
        let run = move || {
            let done = catch_unwind(AssertUnwindSafe(work));
            *deliver.0.lock() = Some(done);
        };
        match self.work.system() {
            Ok(queue) => {
                let queued = queue.run(name, run); // Or dropped, which is an outcome too.
                debug_assert!(queued.is_ok(), "the host's own queue is open: {queued:?}");
            }
            Err(_) => run(), // There are no threads: better late than not.
        }
        let is_there = |_: &mut _| outcome.lock().is_some();
        let is_there = self.work.shared.suspend_until(self, is_there);
        Awaited { outcome, is_there }
    }
}

impl<R> Awaited<R> {
    fn take(self) -> R {
        let done = self.outcome.lock().take();
        match done.expect("it is there") {
            Ok(result) => result,
            Err(payload) => resume_unwind(payload),
        }
    }
}
