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
        let outcome = Arc::new(Mutex::new(None));
        let deliver = Deliver(Arc::clone(&outcome));
        let run = move || {
            let done = catch_unwind(AssertUnwindSafe(work));
            *deliver.0.lock() = Some(done);
        };
        let shared = &self.work.shared;
        match self.work.system() {
            Ok(queue) => {
                let queued = queue.run(name, run); // Or dropped, which is an outcome too.
                debug_assert!(queued.is_ok(), "the host's own queue is open: {queued:?}");
            }
            Err(_) => run(), // There are no threads: better late than not.
        }
        let is_there = |_: &mut _| outcome.lock().is_some();
        // A process that is to end does not wait any more, but its work has to.
        if !shared.suspend_until(self, is_there) {
            shared.block_until(&mut shared.state.lock(), None, is_there);
        }
        let done = outcome.lock().take();
        match done.expect("it is there") {
            Ok(result) => result,
            Err(payload) => resume_unwind(payload),
        }
    }
}
