//! An item of a work queue.

use core::{ffi::c_void, fmt, panic::Location, time::Duration};

use gristmill_abi::{Status, work::WorkItemHandle};

use super::{Queued, Service, nanos, queued, told};
use crate::{Error, plugin::contain};

/// An item of this plugin. Any thread, a node's too, may queue and cancel it.
///
/// Dropping it cancels it and, where the thread may wait, waits until it does not run.
pub struct WorkItem {
    service: Service,
    handle: WorkItemHandle,
}

// SAFETY: the service is for any thread, and what the item runs is `Send`.
unsafe impl Send for WorkItem {}
// SAFETY: as above; the host runs it on one thread at a time.
unsafe impl Sync for WorkItem {}

impl fmt::Debug for WorkItem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WorkItem({:p})", self.handle)
    }
}

impl Drop for WorkItem {
    fn drop(&mut self) {
        // SAFETY: the handle is given back once. What cannot be waited for ends what it runs later.
        unsafe { (self.service.table.destroy_item)(self.service.context, self.handle) };
    }
}

/// # Safety
/// `data` is what [`into_data`] made of an `F`, and nobody else has it meanwhile.
pub(super) unsafe extern "C" fn run_often<F: FnMut()>(data: *mut c_void) -> Status {
    // SAFETY: by the caller's promise.
    let function = unsafe { &mut *data.cast::<F>() };
    contain(function).map_or(Status::PANICKED, |()| Status::OK)
}

/// # Safety
/// `data` is what [`into_data`] made of an `F`; it is gone with this.
pub(super) unsafe extern "C" fn end<F>(data: *mut c_void) -> Status {
    // SAFETY: by the caller's promise.
    let function = unsafe { Box::from_raw(data.cast::<F>()) };
    contain(|| drop(function)).map_or(Status::PANICKED, |()| Status::OK)
}

pub(super) fn into_data<F>(function: F) -> *mut c_void {
    Box::into_raw(Box::new(function)).cast()
}

impl WorkItem {
    pub(super) fn new(service: Service, handle: WorkItemHandle) -> Self {
        Self { service, handle }
    }

    /// Queues the item, unless it is pending. If it runs, it runs once more after that.
    ///
    /// Cost: a call into the host, and a lock that is held for moments; wakes a thread up at most.
    #[inline]
    pub fn queue(&self) -> Queued {
        // SAFETY: the handle is good until `drop`.
        queued(unsafe { (self.service.table.enqueue)(self.service.context, self.handle) })
    }

    /// Has the item be queued after `delay`, unless it is pending; it is pending from now on.
    ///
    /// Cost: as of [`queue`](Self::queue), and of starting a [`Timer`](crate::Timer).
    #[track_caller]
    pub fn queue_after(&self, delay: Duration) -> Queued {
        let (site, delay) = (Location::caller(), nanos(delay));
        let Service { table, context } = self.service;
        let (file, line) = (site.file().into(), site.line());
        // SAFETY: the handle is good until `drop`.
        queued(unsafe { (table.enqueue_delayed)(context, self.handle, delay, file, line) })
    }

    /// Has the item be queued after `delay`, whether it is pending or not: [`Queued::Before`] if it
    /// was.
    #[track_caller]
    pub fn modify_delay(&self, delay: Duration) -> Queued {
        let (site, delay) = (Location::caller(), nanos(delay));
        let Service { table, context } = self.service;
        let (file, line) = (site.file().into(), site.line());
        let (handle, mut pending) = (self.handle, 0);
        // SAFETY: the handle is good until `drop`.
        let status =
            unsafe { (table.modify_delay)(context, handle, delay, file, line, &raw mut pending) };
        if status.is_ok() && pending != 0 { Queued::Before } else { queued(status) }
    }

    /// Cancels the item; whether it was pending. It may be running all the same.
    pub fn cancel(&self) -> bool {
        // SAFETY: the handle is good until `drop`.
        unsafe { (self.service.table.cancel)(self.service.context, self.handle) != 0 }
    }

    /// Cancels the item and waits until it does not run; whether it was pending. It is not queued
    /// meanwhile, not even by itself.
    ///
    /// # Errors
    /// Where the thread must not wait, or the wait would not end; it is cancelled all the same.
    pub fn cancel_and_wait(&self) -> Result<bool, Error> {
        let Service { table, context } = self.service;
        let (handle, mut pending) = (self.handle, 0);
        // SAFETY: the handle is good until `drop`.
        told(|error| unsafe { (table.cancel_and_wait)(context, handle, &raw mut pending, error) })?;
        Ok(pending != 0)
    }

    /// Waits until all that was queued of the item has run; if it waits for its delay, it is queued
    /// at once.
    ///
    /// # Errors
    /// Where the thread must not wait, or the wait would not end.
    pub fn flush(&self) -> Result<(), Error> {
        let Service { table, context } = self.service;
        // SAFETY: the handle is good until `drop`.
        told(|error| unsafe { (table.flush)(context, self.handle, error) })
    }

    /// Whether the item is pending.
    pub fn is_pending(&self) -> bool {
        // SAFETY: the handle is good until `drop`.
        unsafe { (self.service.table.is_pending)(self.service.context, self.handle) != 0 }
    }
}
