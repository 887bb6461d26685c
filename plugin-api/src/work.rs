//! Work queues: work that may block, run by threads of the host's own.
//!
//! A node, a timer or a process must not wait for a file or another program, for its thread forwards
//! packets. It queues an *item*, which does so on a work thread:
//!
//! ```
//! use std::{fs, sync::{Arc, OnceLock, atomic::{AtomicU64, Ordering}}, time::Duration};
//! use plugin_api::{Error, Host, Queued, WorkItem, WorkQueue, WorkQueueOptions};
//!
//! struct Acme { host: Host, seen: AtomicU64, save: OnceLock<(WorkItem, WorkQueue)> }
//!
//! /// To be called by `Plugin::start`.
//! fn start(acme: &Arc<Acme>) -> Result<(), Error> {
//!     let queue = acme.host.work_queue(WorkQueueOptions::new("acme-save").ordered())?;
//!     let weak = Arc::downgrade(acme); // The item must not keep the plugin that keeps it.
//!     let save = queue.item("save", move || {
//!         let Some(acme) = weak.upgrade() else { return };
//!         let seen = acme.seen.load(Ordering::Relaxed);
//!         let _ = fs::write("/var/lib/acme/seen", seen.to_string()); // It may take its time.
//!     })?;
//!     acme.save.get_or_init(|| (save, queue));
//!     Ok(())
//! }
//!
//! /// To be called by a node: at most one file in ten seconds, however many packets there are.
//! fn count(acme: &Acme, packets: u64) {
//!     acme.seen.fetch_add(packets, Ordering::Relaxed);
//!     if let Some((save, _)) = acme.save.get() {
//!         let _: Queued = save.queue_after(Duration::from_secs(10));
//!     }
//! }
//!
//! /// To be called by `Plugin::stop`.
//! fn stop(acme: &Acme) {
//!     if let Some((save, queue)) = acme.save.get() {
//!         let _ = save.flush(); // What was put off is saved now.
//!         let _ = queue.close();
//!     }
//! }
//! ```
//!
//! An item belongs to one queue, may be queued again and again, and never runs on two threads at
//! once. It is *pending* from being queued, or put off, until it begins to run. An item that blocks
//! holds no other up, but for those of its own queue that have to wait for it: an *ordered* queue runs
//! one at a time, in the order of queueing, others run as many at once as they are told to.
//!
//! *Waiting.* Items, processes (main goes on meanwhile), main outside of nodes and threads of the
//! plugin's own may wait for items; a thread that forwards packets is refused, and so is a wait that
//! would not end, as that of an item for itself. Main waits for three seconds at most.
//!
//! *The end.* When the plugin is unloaded, what is pending is cancelled, and what runs is waited for.

use core::{ffi::c_void, fmt, time::Duration};

use gristmill_abi::{
    ErrorText, Head, Status,
    work::{
        WORK_ANY_THREAD, WORK_BOUND, WORK_DRAINING, WORK_ORDERED, WORK_PENDING, WORK_UNBOUND,
        WorkQueueSpec, WorkService,
    },
};

use crate::{Error, Host};

mod item;
mod queue;

pub use item::WorkItem;
pub use queue::WorkQueue;

/// What came of queueing an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Queued {
    /// It is pending now. If it runs, it runs once more after that.
    Now,
    /// It was pending before, and nothing happened.
    Before,
    /// Not at all: its queue is being drained, and the caller is no item of it.
    Draining,
    /// Not at all: it is being cancelled, or its queue is closed, or the plugin is unloaded.
    Closed,
}

/// A queue to be made: [`Host::work_queue`].
#[derive(Clone, Copy, Debug)]
#[must_use = "it makes no queue by itself"]
pub struct WorkQueueOptions<'a> {
    name: &'a str,
    kind: u32,
    max_active: u32,
}

impl<'a> WorkQueueOptions<'a> {
    /// A queue whose items run on any work thread, 16 at once.
    pub fn new(name: &'a str) -> Self {
        Self { name, kind: WORK_UNBOUND, max_active: 0 }
    }

    /// One that runs one item at a time, in the order of queueing.
    pub fn ordered(self) -> Self {
        Self { kind: WORK_ORDERED, ..self }
    }

    /// One whose items each name a forwarding thread, on whose CPU they run: [`WorkQueue::item_on`].
    pub fn bound(self) -> Self {
        Self { kind: WORK_BOUND, ..self }
    }

    /// So many items of it at once.
    pub fn max_active(self, max_active: u32) -> Self {
        Self { max_active, ..self }
    }
}

impl Host {
    /// Makes a work queue. Main.
    ///
    /// # Errors
    /// If the host has no work queues, or the system no thread for them.
    pub fn work_queue(&self, options: WorkQueueOptions<'_>) -> Result<WorkQueue, Error> {
        let (table, context) = self.builtin::<WorkService>("work", "^1")?;
        let spec = WorkQueueSpec {
            head: Head::of::<WorkQueueSpec<'_>>(),
            name: options.name.into(),
            kind: options.kind,
            max_active: options.max_active,
        };
        let mut handle = core::ptr::null();
        self.call(|error| {
            // SAFETY: all pointers are good for the call.
            unsafe {
                (table.create_queue)(context, self.plugin, &raw const spec, &raw mut handle, error)
            }
        })?;
        Ok(WorkQueue::new(Service { table, context }, handle))
    }
}

/// The host's service, as queues and items use it.
#[derive(Clone, Copy)]
struct Service {
    table: &'static WorkService,
    context: *mut c_void,
}

// SAFETY: the service is for any thread.
unsafe impl Send for Service {}
// SAFETY: as above.
unsafe impl Sync for Service {}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Service")
    }
}

fn queued(status: Status) -> Queued {
    match status {
        Status::OK => Queued::Now,
        WORK_PENDING => Queued::Before,
        WORK_DRAINING => Queued::Draining,
        _ => Queued::Closed,
    }
}

/// Calls what has an error to tell.
fn told(call: impl FnOnce(*mut ErrorText) -> Status) -> Result<(), Error> {
    let mut error = ErrorText::new();
    if call(&raw mut error).is_ok() { Ok(()) } else { Err(Error::from_text(&error)) }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

fn thread_of(thread: Option<crate::ThreadIndex>) -> u32 {
    thread.map_or(WORK_ANY_THREAD, |thread| thread.0)
}
