//! Packets on their way to another thread: each forwarding thread has one ring that all others push
//! vectors of (buffer, next) to.
//!
//! ```text
//!  node on thread A ── hand_off ──▶ ring of thread B ── receive, top of B's turn ──▶ B's out-arcs of
//!       │ thread A itself: on along the arc at once                                  that node
//!       │ full or closed: freed, counted by node, A and B
//! ```
//! A next is one of the node that hands off, and the packets go on as if that node had run on the
//! receiving thread. The vectors of one thread arrive in the order in which it sent them.
//!
//! A ring is opened before its thread runs and closed when that has ended, at any time: a push finds
//! it closed or comes before, and whoever holds the owner's end frees what is in it.

mod counts;
mod inbox;
mod outbound;

use std::sync::{
    Arc,
    atomic::{AtomicU64, AtomicUsize, Ordering},
};

use parking_lot::Mutex;

pub use self::{
    counts::{HandedOff, Received},
    inbox::{Inbox, InboxPlace},
    outbound::Outbound,
};
use super::{
    ring::{Producer, ring},
    thread::ThreadShared,
};
use crate::{buffer::Pool, graph::NodeIndex};

/// Why packets are dropped that another thread's ring has no room for.
pub const CONGESTION: &str = "handoff-congestion";
/// Why packets are dropped that were handed off by a node which is no more.
pub const NODE_GONE: &str = "handoff-node-gone";

/// Packets of a vector.
pub const VECTOR: usize = 32;
/// Vectors that a thread takes from its ring in one turn: the rest waits for the next turn, so that
/// its own inputs are not kept waiting.
const PER_TURN: usize = 64;
/// Vectors of a ring if nothing else is said.
pub const RING_SIZE: usize = 256;
/// Threads there can be.
const THREADS: usize = Pool::THREADS;
const _: () = assert!(THREADS == u64::BITS as usize, "`open` has a bit for each");

/// Packets that one node hands to one thread.
#[derive(Clone, Copy, Debug)]
pub struct Vector {
    /// The node that hands them off.
    node: NodeIndex,
    /// Tells it from other nodes that had its index.
    serial: u64,
    /// How many; 1 to [`VECTOR`].
    n: u32,
    indices: [u32; VECTOR],
    /// A next of the node for each.
    nexts: [u16; VECTOR],
}

/// A thread that packets can be handed to.
#[derive(Clone, Debug)]
struct Destination {
    ring: Producer<Vector>,
    thread: Arc<ThreadShared>,
    received: Arc<Received>,
}

/// The rings of all threads.
#[derive(Debug)]
pub struct Handoff {
    /// A bit for each thread whose ring is open. Nodes of plugins read it, too.
    open: AtomicU64,
    /// Counts the changes of `destinations`: a sender that has seen another number looks again.
    changes: AtomicU64,
    destinations: Mutex<[Option<Destination>; THREADS]>,
    /// What each thread received: a thread that comes back counts on.
    received: Box<[Arc<Received>]>,
    ring_size: AtomicUsize,
}

/// What `show handoff` tells of a ring.
#[derive(Clone, Debug)]
pub struct RingReport {
    /// Whose it is.
    pub thread: u32,
    /// Vectors there is room for.
    pub capacity: usize,
    /// Vectors in it now.
    pub len: usize,
    /// What came out of it.
    pub received: Arc<Received>,
}

impl Default for Handoff {
    fn default() -> Self {
        Self {
            open: AtomicU64::new(0),
            changes: AtomicU64::new(0),
            destinations: Mutex::new([const { None }; THREADS]),
            received: (0..THREADS).map(|_| Arc::default()).collect(),
            ring_size: AtomicUsize::new(RING_SIZE),
        }
    }
}

impl Handoff {
    /// Says how many vectors the rings have room for that are opened from now on, a power of two
    /// of at least 2.
    pub fn set_ring_size(&self, vectors: usize) {
        self.ring_size.store(vectors, Ordering::Relaxed);
    }

    /// Opens the ring of a thread that is about to run; one that it had is closed. No node chooses the
    /// thread before [`admit`](Self::admit). Packets left in
    /// the ring when its end is dropped go back to `pool`.
    ///
    /// # Panics
    /// If the thread's number is beyond [`Pool::THREADS`].
    pub fn open(&self, thread: &Arc<ThreadShared>, pool: &Arc<Pool>) -> Inbox {
        let (producer, consumer) = ring(self.ring_size.load(Ordering::Relaxed));
        let received = Arc::clone(&self.received[thread.index as usize]);
        let inbox = Inbox::new(consumer, Arc::clone(&received), Arc::clone(pool));
        let new = Destination { ring: producer, thread: Arc::clone(thread), received };
        self.exchange(thread.index, Some(new));
        inbox
    }

    /// No node chooses the thread from now on; what was chosen before still comes into its ring.
    pub fn retire(&self, thread: u32) {
        self.open.fetch_and(!(1 << thread), Ordering::Relaxed);
    }

    /// Nodes may choose the thread, or may again: it runs.
    pub fn admit(&self, thread: u32) {
        self.open.fetch_or(1 << thread, Ordering::Relaxed);
    }

    /// Closes the ring of a thread that was given up, and gives what is left in it to another; how
    /// many packets that one's ring had no room for, which are freed.
    pub fn rescue(&self, thread: u32, mut left: Inbox, to: u32) -> u64 {
        self.close(thread);
        let to = self.destinations.lock()[to as usize].clone();
        let mut lost = 0;
        while !left.is_empty() {
            let Some(vector) = left.pop() else { continue }; // It is being written.
            let taken = to.as_ref().is_some_and(|to| to.ring.push(vector).is_ok());
            if !taken {
                lost += vector.indices().len() as u64;
                left.free(&vector);
            }
        }
        if let Some(to) = to {
            to.thread.ring();
        }
        lost
    }

    /// Closes the ring of a thread: nothing comes into it from now on. What is in it is the
    /// thread's still, and goes back to the pool with the thread's [`Inbox`].
    pub fn close(&self, thread: u32) {
        self.exchange(thread, None);
    }

    fn exchange(&self, thread: u32, new: Option<Destination>) {
        let mut destinations = self.destinations.lock();
        let (bit, is_open) = (1_u64 << thread, new.is_some());
        let old = std::mem::replace(&mut destinations[thread as usize], new);
        if let Some(old) = old {
            old.ring.close();
        }
        if !is_open {
            self.open.fetch_and(!bit, Ordering::Relaxed);
        }
        // Release, and under the lock: who sees the number finds what it counts.
        self.changes.fetch_add(1, Ordering::Release);
    }

    /// A bit for each thread that packets can be handed to.
    pub fn open_threads(&self) -> &AtomicU64 {
        &self.open
    }

    /// Packets that were dropped because the node that had handed them off was gone.
    pub fn node_gone(&self) -> u64 {
        self.received.iter().map(|received| received.node_gone.get()).sum()
    }

    /// The rings that are open, by thread.
    pub fn report(&self) -> Vec<RingReport> {
        let destinations = self.destinations.lock();
        let report = |destination: &Destination| RingReport {
            thread: destination.thread.index,
            capacity: destination.ring.capacity(),
            len: destination.ring.len(),
            received: Arc::clone(&destination.received),
        };
        destinations.iter().flatten().map(report).collect()
    }
}

impl Vector {
    /// The packets.
    fn indices(&self) -> &[u32] {
        &self.indices[..(self.n as usize).min(VECTOR)]
    }

    /// A next for each.
    fn nexts(&self) -> &[u16] {
        &self.nexts[..(self.n as usize).min(VECTOR)]
    }
}

#[cfg(test)]
mod tests;
