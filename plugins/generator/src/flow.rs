//! Flows: what is numbered in order. A stream has one on each receive queue of its interface.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
};

use plugin_api::Error;

use crate::{
    tag::Magic,
    window::{REACH, Window},
};

/// Flows there is room for.
pub const CAPACITY: usize = 256;

/// One flow, as the queue that sends it and the queues that receive it share it.
#[derive(Debug)]
pub struct Flow {
    /// Number, as in the packets.
    pub id: u16,
    /// Written by the sending queue.
    pub sender: Sender,
    /// Written by the receiving queues.
    pub receivers: Receivers,
}

/// What the sending queue tells.
#[derive(Debug, Default)]
#[repr(align(64))]
pub struct Sender {
    /// Packets sent, which is also the next sequence number.
    pub sent: AtomicU64,
    /// Whether it sends.
    pub running: AtomicBool,
}

/// What the receiving queues need to know of each other.
#[derive(Debug)]
#[repr(align(64))]
pub struct Receivers {
    /// One more than the highest sequence number that has arrived (`NextExp` of RFC 4737).
    pub expected: AtomicU64,
    /// The numbers that have arrived.
    pub window: Window,
}

impl Flow {
    /// A flow of which nothing was sent, with a window over `reach` sequence numbers.
    pub fn new(id: u16, reach: u64) -> Self {
        let receivers = Receivers { expected: AtomicU64::new(0), window: Window::new(reach) };
        Self { id, sender: Sender::default(), receivers }
    }

    /// Packets sent.
    pub fn sent(&self) -> u64 {
        self.sender.sent.load(Relaxed)
    }
}

/// All flows of a generator. They stay as long as it does; a stream that is configured anew keeps
/// its flows.
#[derive(Debug)]
pub struct Flows {
    /// In every packet.
    pub magic: Magic,
    /// Filled from the front.
    flows: Box<[OnceLock<Arc<Flow>>]>,
}

impl Flows {
    /// A table without flows.
    pub fn new(magic: Magic) -> Self {
        Self { magic, flows: (0..CAPACITY).map(|_| OnceLock::new()).collect() }
    }

    /// The flow of that number. Any thread.
    #[inline(always)]
    pub fn get(&self, id: u16) -> Option<&Flow> {
        self.flows.get(usize::from(id))?.get().map(|flow| &**flow)
    }

    /// Adds `n` flows, or none.
    ///
    /// Context: main.
    ///
    /// # Errors
    /// If there is not so much room.
    pub fn add(&self, n: usize) -> Result<Vec<Arc<Flow>>, Error> {
        let used = self.flows.iter().take_while(|flow| flow.get().is_some()).count();
        let free = CAPACITY - used;
        if n > free {
            return Err(format!("{n} flows are too many: {used} of {CAPACITY} are in use").into());
        }
        let add = |(at, slot): (usize, &OnceLock<Arc<Flow>>)| {
            let id = u16::try_from(at).expect("at most 256 flows");
            Arc::clone(slot.get_or_init(|| Arc::new(Flow::new(id, REACH))))
        };
        Ok(self.flows.iter().enumerate().skip(used).take(n).map(add).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flows_are_numbered_in_order_and_a_request_beyond_the_table_adds_none() {
        let flows = Flows::new(Magic::new(0));
        let ids = |flows: Vec<Arc<Flow>>| flows.iter().map(|flow| flow.id).collect::<Vec<_>>();
        assert_eq!(ids(flows.add(2).unwrap()), [0, 1]);
        assert!(flows.add(CAPACITY - 1).is_err());
        assert_eq!(ids(flows.add(1).unwrap()), [2]);
        assert!(flows.get(2).is_some() && flows.get(3).is_none() && flows.get(u16::MAX).is_none());
    }
}
