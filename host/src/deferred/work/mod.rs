//! Work queues: items that may block, run by threads of their own.
//!
//! ```text
//!  any thread ── queue: at most max-active of its items at once ──▶ pool: in line ──▶ its threads
//!                  │ later: the host's timers                         │ all of them blocked?
//!                  └── delayed ───────────────────────────────────────┘ one more thread takes an item
//! ```
//! A *pool* has as many items run at once as its limit says; one that sleeps in the kernel does not
//! count. Who sleeps is seen by the supervisor, which looks every millisecond while items are in line,
//! and sleeps as long as there are none. Threads that have nothing to do end after a while.
//!
//! An *item* belongs to one queue and never runs on two threads at once; if it is queued while it runs,
//! it runs once more. `core.rs` decides all that, without threads or time of its own, under one lock
//! that is taken twice for each item that runs: when it is queued, and when a thread has done the one
//! before.
//!
//! Source: Linux `kernel/workqueue.c` for the contract, none of it for the code.

mod blocking;
mod core;
mod facility;
mod item;
mod parker;
mod queue;
mod report;
mod signals;
mod supervisor;
mod thread;
mod wait;

use std::{io, time::Duration};

pub use self::core::{QueueSpec, Queued};
pub use blocking::Abandoned;
use facility::Shared;
pub(crate) use facility::Work;
pub use facility::{MAX_THREADS, PATIENCE, Settings, WorkQueues};
pub use item::Item;
pub use queue::Queue;
pub use report::{ItemReport, PoolReport, QueueReport};

/// What the items of a queue may do at once, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// As many as the queue lets, on threads of the pool that all share.
    Unbound,
    /// One at a time, in the order of queueing; on threads of that pool too.
    Ordered,
    /// As many as the queue lets; each names the forwarding thread whose pool runs it, on its CPU.
    Bound,
}

/// Why work is not taken, or not waited for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WorkError {
    /// The item or its queue is being cancelled, or is gone.
    #[error("the item or its queue is being cancelled, or gone: it is not queued")]
    Closed,
    /// The queue is being drained.
    #[error("the queue is being drained: only items of its own are queued")]
    Draining,
    /// An item would wait for itself, perhaps through others.
    #[error("the item waits for what waits for it: leave the wait to another")]
    Deadlock,
    /// The thread forwards packets.
    #[error("a thread that forwards packets does not wait: leave it to a work item or a process")]
    MustNotWait,
    /// Main has waited for long.
    #[error("it still runs after {0:?}: main waits no longer")]
    Late(Duration),
    /// There are no timers without a host.
    #[error("there are no timers here: queue it without a delay")]
    NoTimers,
    /// A bound queue's item is made for a thread, others are not.
    #[error("items of a bound queue are made for a forwarding thread, those of others for none")]
    Binding,
    /// There is no such forwarding thread.
    #[error("there is no forwarding thread {0}")]
    UnknownThread(u32),
    /// No thread can be started.
    #[error("no thread can be started: {0}")]
    NoThread(#[source] io::Error),
}

#[cfg(test)]
mod tests;
