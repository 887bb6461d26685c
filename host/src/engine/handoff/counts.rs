//! What is counted: by the node and the two threads where packets are sent, by the thread where they
//! are received. Each counter has one writer.

use std::fmt;

use super::THREADS;
use crate::graph::node::Counter;

/// What one thread took from its ring.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Received {
    /// Vectors.
    pub vectors: Counter,
    /// Packets.
    pub packets: Counter,
    /// Of those, packets that were dropped because the node that had sent them was gone.
    pub node_gone: Counter,
    /// Most vectors that it found in the ring at once.
    pub longest: Counter,
}

/// What one node on one thread handed to each other thread.
pub struct HandedOff {
    to: Box<[To; THREADS]>,
}

#[derive(Default)]
struct To {
    sent: Counter,
    congested: Counter,
}

impl Default for HandedOff {
    fn default() -> Self {
        Self { to: Box::new(std::array::from_fn(|_| To::default())) }
    }
}

impl HandedOff {
    /// Counts packets for thread `to`: those in its ring, and those there was no room for.
    pub(super) fn add(&self, to: usize, sent: usize, congested: usize) {
        let counts = &self.to[to];
        counts.sent.add(sent as u64);
        counts.congested.add(congested as u64);
    }

    /// Packets that went to each thread's ring and that there was no room for, by thread; only
    /// threads that any were for.
    pub fn read(&self) -> impl Iterator<Item = (u32, u64, u64)> {
        let counts = (0..).zip(&*self.to).map(|(to, count)| {
            let (sent, congested) = (count.sent.get(), count.congested.get());
            (to, sent, congested)
        });
        counts.filter(|(_, sent, congested)| sent + congested > 0)
    }

    /// Packets that there was no room for, whosever ring it was.
    pub fn congested(&self) -> u64 {
        self.to.iter().map(|to| to.congested.get()).sum()
    }
}

impl fmt::Debug for HandedOff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.read()).finish()
    }
}
