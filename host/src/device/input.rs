//! The input node of an interface: device rx.
#![expect(unsafe_code, reason = "runs in the graph, by the nodes' calling convention")]

use std::sync::{Arc, atomic::Ordering};

use gristmill_abi::{
    frame::{
        ENTRY_PANICKED, Frame, NodeRuntime, PER_PACKET, RX_LAST_POLL, RX_LINK_DOWN, RX_LINK_UP,
        ThreadCtx,
    },
    text::Opaque,
};

use super::{
    Interface,
    adaptive::{Adaptive, RxMode, RxState, Thresholds},
};
use crate::{
    engine::{
        Thread,
        mark::{Mark, Reason},
    },
    graph::{
        NodeIndex,
        node::{Attention, Code, Maker},
    },
};

/// The input on one thread.
struct Input {
    interface: Arc<Interface>,
    thread: usize,
    /// The queues placed on this thread.
    queues: Vec<Queue>,
    /// The queue to begin with, so that none starves another.
    first: usize,
    /// Nothing was dispatched yet.
    is_new: bool,
}

struct Queue {
    number: u32,
    mode: RxMode,
    adaptive: Adaptive,
}

/// What a poll of a queue came to.
struct Polled {
    result: u32,
    packets: u32,
    /// What the queue does has changed.
    changed: bool,
}

struct InputMaker {
    interface: Arc<Interface>,
    thresholds: Thresholds,
}

impl Maker for InputMaker {
    fn make(&self, thread: u32) -> Result<Opaque, String> {
        let queues = self.interface.rx_queues.lock();
        let placed = (0..).zip(&*queues).filter(|&(_, queue)| queue.thread == thread);
        let input = Input {
            interface: Arc::clone(&self.interface),
            thread: thread as usize,
            queues: placed
                .map(|(number, queue)| Queue {
                    number,
                    mode: queue.mode,
                    adaptive: Adaptive::new(queue.mode, self.thresholds),
                })
                .collect(),
            first: 0,
            is_new: true,
        };
        Ok(Box::into_raw(Box::new(input)).cast())
    }

    fn end(&self, state: Opaque) {
        // SAFETY: `make` made it, and the instance ends once.
        drop(unsafe { Box::from_raw(state.cast::<Input>()) });
    }
}

/// What the input node of `interface` runs.
pub fn input_node(interface: &Arc<Interface>, thresholds: Thresholds) -> Code {
    let interface = Arc::clone(interface);
    Code { entry: receive, maker: Arc::new(InputMaker { interface, thresholds }) }
}

/// Polls queues of this thread until one has packets: those that are polled, or the one that was
/// marked. One that is waited for is marked again by itself until a poll finds it empty; from then
/// on its descriptor tells of the next packets.
unsafe extern "C" fn receive(
    ctx: *mut ThreadCtx,
    node: *mut NodeRuntime,
    frame: *mut Frame,
) -> u32 {
    // SAFETY: the host dispatches this node with what `make` made.
    let state = unsafe { (*node).state };
    // SAFETY: as above; no one else runs this instance.
    let input = unsafe { &mut *state.cast::<Input>() };
    // SAFETY: as above.
    let index = NodeIndex(unsafe { (*node).node_index });
    // SAFETY: the dispatcher holds no reference to the thread while a node runs.
    let reason = unsafe { Thread::of(ctx) }.reason();
    let mut result = PER_PACKET;
    let mut changed = std::mem::take(&mut input.is_new);
    for visited in 1..=input.queues.len() {
        let at = input.first;
        input.first = if at + 1 < input.queues.len() { at + 1 } else { 0 }; // No division.
        if !input.queues[at].answers(reason) {
            continue;
        }
        // SAFETY: the three are what the host lent for the dispatch.
        let polled = unsafe { input.poll(at, ctx, frame) };
        changed |= polled.changed;
        let queue = &input.queues[at];
        if polled.packets == 0 {
            continue;
        }
        result = polled.result;
        // SAFETY: as above; the device has returned.
        let thread = unsafe { Thread::of(ctx) };
        thread.trace_queue(queue.number);
        if queue.adaptive.state() == RxState::Interrupt {
            thread.mark(Mark { node: index, queue: Some(queue.number) });
        }
        if reason == Reason::Marked(None) && visited < input.queues.len() {
            thread.mark(Mark { node: index, queue: None }); // The others have not had their turn.
        }
        break;
    }
    if changed {
        input.tell();
        // SAFETY: as above.
        unsafe { Thread::of(ctx) }.attend(index, input.attention());
    }
    result
}

impl Input {
    /// Polls the queue at `at`, for packets into `frame`, which is empty.
    ///
    /// # Safety
    /// Context and frame are what the host lent for this dispatch.
    unsafe fn poll(&mut self, at: usize, ctx: *mut ThreadCtx, frame: *mut Frame) -> Polled {
        let Self { interface, queues, .. } = self;
        let queue = &mut queues[at];
        let before = queue.adaptive.state();
        // SAFETY: the host lent the frame for the dispatch.
        let raw = unsafe { &mut *frame };
        raw.flags = if before == RxState::Polling { 0 } else { RX_LAST_POLL };
        let ops = &interface.ops;
        // SAFETY: the queue is placed on this thread, and the device is alive.
        let result = unsafe { (ops.class.rx)(ctx, ops.device, queue.number, frame) };
        // SAFETY: as above.
        let raw = unsafe { &*frame };
        if result == ENTRY_PANICKED {
            interface.panics.fetch_add(1, Ordering::Relaxed);
        }
        if raw.flags & (RX_LINK_UP | RX_LINK_DOWN) != 0 {
            interface.news.tell(interface.index, raw.flags & RX_LINK_UP != 0);
        }
        if raw.n > 0 {
            let counters = &interface.counters[self.thread];
            counters.rx_packets.add(raw.n.into());
            counters.rx_bytes.add(raw.bytes);
        }
        let after = queue.adaptive.polled(raw.n);
        if queue.mode == RxMode::Adaptive && before.switches_to(after) {
            interface.rx_status[queue.number as usize].switches.add(1);
        }
        Polled { result, packets: raw.n, changed: after != before }
    }

    /// Tells others what the queues do from now on.
    #[cold]
    fn tell(&self) {
        for queue in &self.queues {
            self.interface.rx_status[queue.number as usize].set(queue.adaptive.state());
        }
    }

    /// When the thread is to dispatch this input.
    fn attention(&self) -> Attention {
        let is_waited = |queue: &Queue| queue.adaptive.state() == RxState::Interrupt;
        Attention {
            polled: !self.queues.iter().all(is_waited),
            waits: self.queues.iter().any(is_waited),
        }
    }
}

impl Queue {
    /// Whether it is polled in a dispatch of that reason.
    #[inline]
    fn answers(&self, reason: Reason) -> bool {
        match reason {
            Reason::Turn => self.adaptive.state() != RxState::Interrupt,
            Reason::Marked(queue) => queue.is_none_or(|queue| queue == self.number),
        }
    }
}

#[cfg(test)]
mod tests;
