//! A work queue.

use core::{ffi::c_void, fmt};

use gristmill_abi::{
    Head, Status,
    work::{WorkFn, WorkItemSpec, WorkQueueHandle},
};

use super::{
    Service, WorkItem,
    item::{end, into_data, run_often},
    thread_of, told,
};
use crate::{Error, Mailbox, Sender, ThreadIndex, plugin::contain};

/// A work queue of this plugin. Any thread.
///
/// Dropping it closes it.
pub struct WorkQueue {
    service: Service,
    handle: WorkQueueHandle,
}

// SAFETY: the service is for any thread.
unsafe impl Send for WorkQueue {}
// SAFETY: as above.
unsafe impl Sync for WorkQueue {}

impl fmt::Debug for WorkQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WorkQueue({:p})", self.handle)
    }
}

impl Drop for WorkQueue {
    fn drop(&mut self) {
        // SAFETY: the handle is given back once.
        unsafe { (self.service.table.destroy_queue)(self.service.context, self.handle) };
    }
}

/// # Safety
/// `data` is what [`into_data`] made of an `Option<F>`, and nobody else has it meanwhile.
unsafe extern "C" fn run_once<F: FnOnce()>(data: *mut c_void) -> Status {
    // SAFETY: by the caller's promise.
    let function = unsafe { &mut *data.cast::<Option<F>>() };
    let ran = function.take().map(contain);
    if ran == Some(None) { Status::PANICKED } else { Status::OK }
}

fn spec<'a>(
    name: &'a str,
    thread: Option<ThreadIndex>,
    run: WorkFn,
    drop: WorkFn,
    data: *mut c_void,
) -> WorkItemSpec<'a> {
    let head = Head::of::<WorkItemSpec<'_>>();
    WorkItemSpec {
        head,
        name: name.into(),
        run,
        data,
        drop,
        thread: thread_of(thread),
        reserved: 0,
    }
}

impl WorkQueue {
    pub(super) fn new(service: Service, handle: WorkQueueHandle) -> Self {
        Self { service, handle }
    }

    /// Makes an item, which is not pending. Its function runs on a work thread, and may block; it may
    /// queue and cancel items, its own included.
    ///
    /// # Errors
    /// If the queue is closed, or bound.
    pub fn item(&self, name: &str, run: impl FnMut() + Send + 'static) -> Result<WorkItem, Error> {
        self.make_item(name, None, run)
    }

    /// Makes an item of a bound queue, for a forwarding thread.
    ///
    /// # Errors
    /// If the queue is closed, or not bound, or there is no such thread.
    pub fn item_on(
        &self,
        thread: ThreadIndex,
        name: &str,
        run: impl FnMut() + Send + 'static,
    ) -> Result<WorkItem, Error> {
        self.make_item(name, Some(thread), run)
    }

    fn make_item<F: FnMut() + Send + 'static>(
        &self,
        name: &str,
        thread: Option<ThreadIndex>,
        run: F,
    ) -> Result<WorkItem, Error> {
        let Service { table, context } = self.service;
        let spec = spec(name, thread, run_often::<F>, end::<F>, into_data(run));
        let mut handle = core::ptr::null();
        let made = told(|error| {
            // SAFETY: all pointers are good for the call.
            unsafe {
                (table.create_item)(context, self.handle, &raw const spec, &raw mut handle, error)
            }
        });
        if let Err(error) = made {
            // SAFETY: the host did not take it.
            unsafe { end::<F>(spec.data) };
            return Err(error);
        }
        Ok(WorkItem::new(self.service, handle))
    }

    /// Queues a function that runs once.
    ///
    /// Cost: an allocation here and some in the host; an [item](Self::item) needs none.
    ///
    /// # Errors
    /// If the queue is closed, drained, or bound; the function was dropped then, without having run.
    pub fn run(&self, name: &str, work: impl FnOnce() + Send + 'static) -> Result<(), Error> {
        self.run_one(name, None, work)
    }

    /// The same on a bound queue, on a forwarding thread's CPU.
    ///
    /// # Errors
    /// As of [`run`](Self::run), and if there is no such thread.
    pub fn run_on(
        &self,
        thread: ThreadIndex,
        name: &str,
        work: impl FnOnce() + Send + 'static,
    ) -> Result<(), Error> {
        self.run_one(name, Some(thread), work)
    }

    /// Runs `work` once and hands what it returns to `deliver`, on the same work thread. If the work
    /// is cancelled, or panics, nothing is delivered.
    ///
    /// # Errors
    /// As of [`run`](Self::run).
    pub fn call<R>(
        &self,
        name: &str,
        work: impl FnOnce() -> R + Send + 'static,
        deliver: impl FnOnce(R) + Send + 'static,
    ) -> Result<(), Error> {
        self.run(name, move || deliver(work()))
    }

    /// Runs `work` once and signals what it returns to a process, as an event.
    ///
    /// ```
    /// use std::net::{SocketAddr, ToSocketAddrs};
    /// use plugin_api::{Error, Events, Process, Sender, Stop, WorkQueue, event};
    ///
    /// /// A process that asks for addresses, and main goes on meanwhile.
    /// fn resolve(process: &mut Process, queue: &WorkQueue, name: String) -> Result<Vec<SocketAddr>, Stop> {
    ///     let (sender, mut answers) = event::<Vec<SocketAddr>>();
    ///     process.listen("answer", &mut answers)?;
    ///     queue.send("resolve", &sender, move || {
    ///         name.to_socket_addrs().map_or_else(|_| Vec::new(), Iterator::collect)
    ///     })?;
    ///     process.wait_for(&answers)?;
    ///     Ok(answers.take(process).next().unwrap_or_default())
    /// }
    /// ```
    ///
    /// # Errors
    /// As of [`run`](Self::run).
    pub fn send<R: Send + 'static>(
        &self,
        name: &str,
        to: &Sender<R>,
        work: impl FnOnce() -> R + Send + 'static,
    ) -> Result<(), Error> {
        let to = to.clone();
        self.call(name, work, move |result| {
            let _ = to.send(result); // The process may have ended.
        })
    }

    /// Runs `work` once and has what it returns taken at the end of a turn of a thread, that of the
    /// node that asked for it; of main, if that thread is gone by then.
    ///
    /// ```
    /// use std::fs;
    /// use plugin_api::{Error, Host, Mailbox, ThreadIndex, WorkQueue};
    ///
    /// /// To be called by `Plugin::start`.
    /// fn mailbox(host: &Host) -> Result<Mailbox<Vec<u8>>, Error> {
    ///     host.mailbox("acme-tables", |cx, table: Vec<u8>| {
    ///         let _ = (cx.thread(), table); // Here is what that thread has to do with it.
    ///     })
    /// }
    ///
    /// /// To be called by a node, on its thread.
    /// fn fetch(queue: &WorkQueue, tables: &Mailbox<Vec<u8>>, here: ThreadIndex) -> Result<(), Error> {
    ///     queue.post("fetch", tables, here, || fs::read("/var/lib/acme/table").unwrap_or_default())
    /// }
    /// ```
    ///
    /// # Errors
    /// As of [`run`](Self::run).
    pub fn post<R: Send + 'static>(
        &self,
        name: &str,
        to: &Mailbox<R>,
        thread: ThreadIndex,
        work: impl FnOnce() -> R + Send + 'static,
    ) -> Result<(), Error> {
        let to = to.clone();
        self.call(name, work, move |result| {
            if let Err(result) = to.send(thread, result) {
                let _ = to.send(ThreadIndex(0), result); // Main is there as long as the host.
            }
        })
    }

    fn run_one<F: FnOnce() + Send + 'static>(
        &self,
        name: &str,
        thread: Option<ThreadIndex>,
        work: F,
    ) -> Result<(), Error> {
        let Service { table, context } = self.service;
        let data = into_data(Some(work));
        let spec = spec(name, thread, run_once::<F>, end::<Option<F>>, data);
        let queued = told(|error| {
            // SAFETY: all pointers are good for the call.
            unsafe { (table.call)(context, self.handle, &raw const spec, error) }
        });
        queued.inspect_err(|_| {
            // SAFETY: the host did not take it.
            unsafe { end::<Option<F>>(data) };
        })
    }

    /// Waits for all that is queued now; a delay that has not passed is not waited for.
    ///
    /// # Errors
    /// Where the thread must not wait, or the wait would not end.
    pub fn flush(&self) -> Result<(), Error> {
        let Service { table, context } = self.service;
        // SAFETY: the handle is good until `drop`.
        told(|error| unsafe { (table.flush_queue)(context, self.handle, error) })
    }

    /// Waits until nothing is queued or runs; meanwhile only what its own items queue is taken. A
    /// delay that has not passed is not waited for.
    ///
    /// # Errors
    /// Where the thread must not wait, or the wait would not end.
    pub fn drain(&self) -> Result<(), Error> {
        let Service { table, context } = self.service;
        // SAFETY: the handle is good until `drop`.
        told(|error| unsafe { (table.drain)(context, self.handle, error) })
    }

    /// Cancels all that is pending, waits for what runs, and takes nothing any more.
    ///
    /// # Errors
    /// Where what runs is not waited for; the queue is closed all the same.
    pub fn close(&self) -> Result<(), Error> {
        let Service { table, context } = self.service;
        // SAFETY: the handle is good until `drop`.
        told(|error| unsafe { (table.close_queue)(context, self.handle, error) })
    }
}
