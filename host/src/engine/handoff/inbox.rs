//! The receiving end: a thread takes what was handed to it.

use std::sync::Arc;

use super::{PER_TURN, Received, Vector};
use crate::{
    buffer::Pool,
    engine::{ring::Consumer, thread::Thread},
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

    /// Whether nothing is in the ring or on its way into it; to be asked again after the owner has
    /// announced that it sleeps.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.ring.is_empty()
    }
}

impl Drop for Inbox {
    fn drop(&mut self) {
        let Self { ring, pool, .. } = self;
        ring.close_and_drain(|vector| {
            for &index in vector.indices() {
                pool.release(index);
            }
        });
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
        self.inbox.as_ref().is_none_or(Inbox::is_empty)
    }

    /// Closes the thread's own ring: what is in it can be received, and nothing comes after.
    pub fn close_inbox(&self) {
        if let Some(inbox) = &self.inbox {
            inbox.ring.close();
        }
    }

    fn receive_vectors(&mut self) {
        let Some(mut inbox) = self.inbox.take() else { return };
        let Inbox { ring, received, .. } = &mut inbox;
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
        self.inbox = Some(inbox);
        self.begin_nodes(); // What this took is not the first node's.
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
