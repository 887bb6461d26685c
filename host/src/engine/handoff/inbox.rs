//! The receiving end: a thread takes what was handed to it.
#![expect(unsafe_code, reason = "a thread that was given up leaves its inbox to main")]

use std::{cell::UnsafeCell, fmt, sync::Arc};

use super::{Handoff, PER_TURN, Received, Vector};
use crate::{
    buffer::Pool,
    engine::{Barrier, ring::Consumer, thread::Thread},
    graph::runtime::Runtime,
};

/// A thread's end of its own ring. When it is dropped the ring is closed, and the packets in it go
/// back to the pool.
#[derive(Debug)]
pub struct Inbox {
    ring: Consumer<Vector>,
    received: Arc<Received>,
    pool: Arc<Pool>,
}

impl Inbox {
    pub(super) fn new(ring: Consumer<Vector>, received: Arc<Received>, pool: Arc<Pool>) -> Self {
        Self { ring, received, pool }
    }

    /// Gives the packets of a vector back to the pool.
    pub(super) fn free(&self, vector: &Vector) {
        release(&self.pool, vector);
    }

    /// Gives the oldest vector that is left.
    pub(super) fn pop(&mut self) -> Option<Vector> {
        self.ring.pop()
    }

    /// Whether nothing is in the ring or on its way into it; to be asked again after the owner has
    /// announced that it sleeps.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.ring.is_empty()
    }
}

/// Where a thread's inbox is: the thread's own, until the thread is given up; main's from then on. A
/// place of its own, so that main can take the inbox while the rest of the thread is lent to a node.
#[derive(Default)]
pub struct InboxPlace(UnsafeCell<Option<Inbox>>);

// SAFETY: one thread at a time has the content, as said above, and the fence orders the two.
unsafe impl Sync for InboxPlace {}
// SAFETY: as above.
unsafe impl Send for InboxPlace {}

impl fmt::Debug for InboxPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("InboxPlace")
    }
}

impl InboxPlace {
    /// A place with an inbox.
    pub(in crate::engine) fn new(inbox: Inbox) -> Arc<Self> {
        Arc::new(Self(UnsafeCell::new(Some(inbox))))
    }

    /// Takes the inbox away. Main.
    ///
    /// # Safety
    /// The thread has ended, or its fence is closed.
    pub(crate) unsafe fn take(&self) -> Option<Inbox> {
        // SAFETY: by the caller's promise this is nobody else's.
        unsafe { &mut *self.0.get() }.take()
    }
}

impl Handoff {
    /// Packets that wait in the rings that are open; exact, for all threads stand.
    ///
    /// Context: main. Cost: O(vectors in the rings).
    pub fn waiting(&self, _: &Barrier) -> usize {
        let mut packets = 0;
        for destination in self.destinations.lock().iter().flatten() {
            // SAFETY: workers push and pop in their turns, and are parked; main is here.
            unsafe { destination.ring.look_at_all(|vector| packets += vector.indices().len()) };
        }
        packets
    }
}

impl Drop for Inbox {
    fn drop(&mut self) {
        let Self { ring, pool, .. } = self;
        ring.close_and_drain(|vector| release(pool, &vector));
    }
}

fn release(pool: &Pool, vector: &Vector) {
    for &index in vector.indices() {
        pool.release(index);
    }
}

impl Thread {
    /// Takes vectors that other threads have handed to this one, and enqueues their packets along
    /// the out-arcs of the nodes that did.
    ///
    /// Cost: one load of a shared line if there are none. At most 64 vectors: the next turn comes
    /// before the thread sleeps.
    /// Context: outside of nodes, and where nothing changes the graph before the pending frames
    /// are dispatched.
    #[inline]
    pub fn receive_handoff(&mut self) {
        if !self.is_inbox_empty() {
            self.receive_vectors();
        }
    }

    /// Whether nobody has handed this thread anything that it has not taken.
    #[inline]
    pub fn is_inbox_empty(&self) -> bool {
        // SAFETY: this is the thread, and if it was given up it has another place.
        unsafe { &*self.inbox.0.get() }.as_ref().is_none_or(Inbox::is_empty)
    }

    /// Closes the thread's own ring: what is in it can be received, and nothing comes after.
    pub fn close_inbox(&self) {
        // SAFETY: as above.
        if let Some(inbox) = unsafe { &*self.inbox.0.get() } {
            inbox.ring.close();
        }
    }

    fn receive_vectors(&mut self) {
        let place = Arc::clone(&self.inbox);
        // SAFETY: as above; `receive` below does not come here, and main only if the thread is given
        // up, which it is not while it is here.
        let Some(inbox) = (unsafe { &mut *place.0.get() }) else { return };
        let Inbox { ring, received, .. } = inbox;
        received.longest.raise(ring.len() as u64);
        let (mut vectors, mut packets) = (0, 0);
        while vectors < PER_TURN
            && let Some(n) = ring.pop_with(|vector| self.receive(vector, received))
        {
            vectors += 1;
            packets += n;
        }
        received.vectors.add(vectors as u64);
        received.packets.add(packets as u64);
        self.look_for_traces(); // Those who handed packets over may have marked them meanwhile.
        self.begin_nodes(); // What this took is not the first node's.
    }

    /// Takes all that was handed to this thread, along the out-arcs that it has now: a node that
    /// handed packets off is about to leave the graph. Their frames stay pending across the splice.
    ///
    /// Context: main, at the barrier.
    pub(crate) fn receive_before_splice(&mut self) {
        while !self.is_inbox_empty() {
            self.receive_vectors();
        }
    }

    /// What is pending for nodes that were in `old` and have left the graph is dropped and counted.
    ///
    /// Context: main, at the barrier, after the exchange.
    pub(crate) fn drop_what_is_gone(&mut self, old: &Runtime) {
        let serial = |runtime: &Runtime, node| runtime.slot(node).map(|slot| slot.serial);
        for at in 0..self.pending.len() {
            let (node, frame) = self.pending[at];
            if serial(old, node) == serial(&self.runtime, node) {
                continue;
            }
            self.pending[at].0 = self.runtime.drop;
            // SAFETY: as above; the thread is parked, or this is main outside of its loop's steps.
            if let Some(inbox) = unsafe { &*self.inbox.0.get() } {
                inbox.received.node_gone.add(self.frames.len(frame) as u64);
            }
        }
    }

    /// Enqueues the packets of a vector; how many they are.
    fn receive(&mut self, vector: &Vector, received: &Received) -> usize {
        let (indices, nexts) = (vector.indices(), vector.nexts());
        let frame = self.frames.alloc();
        self.frames.append(frame, indices);
        match self.runtime.slot(vector.node).filter(|slot| slot.serial == vector.serial) {
            Some(slot) => {
                let n_edges = slot.edges.1;
                self.nexts[..nexts.len()].copy_from_slice(nexts);
                self.partition(vector.node, frame, n_edges);
            }
            None => {
                received.node_gone.add(indices.len() as u64);
                self.drop_packets(frame, 0, indices.len());
            }
        }
        self.frames.free(frame);
        indices.len()
    }
}
