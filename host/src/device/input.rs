//! The input node of an interface: device rx.
#![expect(unsafe_code, reason = "runs in the graph, by the nodes' calling convention")]

use std::sync::{Arc, atomic::Ordering};

use gristmill_abi::{
    frame::{ENTRY_PANICKED, Frame, NodeRuntime, PER_PACKET, RX_LINK_DOWN, RX_LINK_UP, ThreadCtx},
    text::Opaque,
};

use super::Interface;
use crate::graph::node::{Code, Maker};

/// The input on one thread.
struct Input {
    interface: Arc<Interface>,
    thread: usize,
    /// The queues placed on this thread.
    queues: Vec<u32>,
    /// The queue to begin with, so that none starves another.
    first: usize,
}

struct InputMaker(Arc<Interface>);

impl Maker for InputMaker {
    fn make(&self, thread: u32) -> Result<Opaque, String> {
        let placement = self.0.placement.lock();
        let placed = (0..).zip(&*placement).filter(|&(_, &on)| on == thread);
        let input = Input {
            interface: Arc::clone(&self.0),
            thread: thread as usize,
            queues: placed.map(|(queue, _)| queue).collect(),
            first: 0,
        };
        Ok(Box::into_raw(Box::new(input)).cast())
    }

    fn end(&self, state: Opaque) {
        // SAFETY: `make` made it, and the instance ends once.
        drop(unsafe { Box::from_raw(state.cast::<Input>()) });
    }
}

/// What the input node of `interface` runs.
pub fn input_node(interface: &Arc<Interface>) -> Code {
    Code { entry: receive, maker: Arc::new(InputMaker(Arc::clone(interface))) }
}

/// Polls the queues of this thread until one has packets.
unsafe extern "C" fn receive(
    ctx: *mut ThreadCtx,
    node: *mut NodeRuntime,
    frame: *mut Frame,
) -> u32 {
    // SAFETY: the host dispatches this node with what `make` made.
    let state = unsafe { (*node).state };
    // SAFETY: as above; no one else runs this instance.
    let input = unsafe { &mut *state.cast::<Input>() };
    let ops = &input.interface.ops;
    for _ in 0..input.queues.len() {
        let queue = input.queues[input.first];
        input.first = (input.first + 1) % input.queues.len();
        // SAFETY: the queue is placed on this thread, and the device is alive.
        let result = unsafe { (ops.class.rx)(ctx, ops.device, queue, frame) };
        // SAFETY: the host lent the frame for the dispatch.
        let raw = unsafe { &mut *frame };
        if result == ENTRY_PANICKED {
            input.interface.panics.fetch_add(1, Ordering::Relaxed);
        }
        if raw.flags & (RX_LINK_UP | RX_LINK_DOWN) != 0 {
            input.interface.news.tell(input.interface.index, raw.flags & RX_LINK_UP != 0);
        }
        if raw.n > 0 {
            let counters = &input.interface.counters[input.thread];
            counters.rx_packets.add(raw.n.into());
            counters.rx_bytes.add(raw.bytes);
            return result;
        }
    }
    PER_PACKET
}
