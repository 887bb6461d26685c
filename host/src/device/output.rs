//! The output node of an interface: device tx.
#![expect(unsafe_code, reason = "runs in the graph, by the nodes' calling convention")]

use std::sync::{Arc, atomic::Ordering};

use gristmill_abi::{
    buffer::{Header, LINE_SHIFT},
    device::TX_PANICKED,
    frame::{FRAME_SIZE, Frame, NodeRuntime, PER_PACKET, TAKEN, ThreadCtx},
    text::Opaque,
};

use super::Interface;
use crate::{
    engine::Thread,
    graph::{
        PlanNext, Severity,
        node::{Code, Maker},
    },
};

/// How often the device is offered packets that it did not take, before they are dropped.
const TRIES: u32 = 4;

/// How often main finds a queue taken, 1024 tries and a yield each, before its packets are dropped:
/// tens of milliseconds.
const MAIN_WAITS: u32 = 1024;

const DOWN: u16 = 0;
const FULL: u16 = 1;
const PANICKED: u16 = 2;
const STUCK: u16 = 3;

/// The out-arcs of an output node: all of them drops.
pub(super) fn nexts() -> Vec<PlanNext> {
    let drop = |reason: &str, severity| PlanNext::Drop { reason: reason.to_owned(), severity };
    vec![
        drop("interface-down", Severity::Warning),
        drop("tx-full", Severity::Error),
        drop("tx-panicked", Severity::Error),
        drop("tx-stuck", Severity::Error),
    ]
}

/// The output on one thread.
struct Output {
    interface: Arc<Interface>,
    thread: u32,
    queue: u32,
}

struct OutputMaker(Arc<Interface>);

impl Maker for OutputMaker {
    fn make(&self, thread: u32) -> Result<Opaque, String> {
        let queue = thread.checked_rem(self.0.tx_queues).ok_or("it has no tx queue")?;
        let output = Output { interface: Arc::clone(&self.0), thread, queue };
        Ok(Box::into_raw(Box::new(output)).cast())
    }

    fn end(&self, state: Opaque) {
        // SAFETY: `make` made it, and the instance ends once.
        drop(unsafe { Box::from_raw(state.cast::<Output>()) });
    }
}

/// What the output node of `interface` runs, and its out-arcs.
pub fn output_node(interface: &Arc<Interface>) -> (Code, Vec<PlanNext>) {
    (Code { entry: transmit, maker: Arc::new(OutputMaker(Arc::clone(interface))) }, nexts())
}

unsafe extern "C" fn transmit(
    ctx: *mut ThreadCtx,
    node: *mut NodeRuntime,
    frame: *mut Frame,
) -> u32 {
    // SAFETY: the host dispatches this node with what `make` made.
    let state = unsafe { (*node).state };
    // SAFETY: as above; no one else runs this instance.
    let output = unsafe { &mut *state.cast::<Output>() };
    // SAFETY: the host lent the frame for the dispatch.
    let raw = unsafe { &mut *frame };
    if !output.interface.is_up() {
        return DOWN.into();
    }
    // SAFETY: a frame has `n` indices.
    let packets = unsafe { std::slice::from_raw_parts(raw.indices, raw.n as usize) };
    // SAFETY: a frame has room for a next per packet.
    let nexts = unsafe { std::slice::from_raw_parts_mut(raw.nexts, raw.n as usize) };
    // SAFETY: the host lent the context for the dispatch.
    let base = unsafe { (*ctx).buffer_base };
    let mut bytes = [0; FRAME_SIZE]; // Read before the device frees the buffers.
    for (bytes, &packet) in bytes.iter_mut().zip(packets) {
        *bytes = length(base, packet);
    }
    // SAFETY: the dispatcher holds no reference to the thread while a node runs.
    unsafe { Thread::of(ctx) }.trace_sending(output.queue);
    let (sent, left) = output.send(ctx, packets);
    nexts[..sent].fill(TAKEN);
    nexts[sent..].fill(left);
    let counters = &output.interface.counters[output.thread as usize];
    counters.tx_packets.add(sent as u64);
    counters.tx_bytes.add(bytes[..sent].iter().map(|&bytes| u64::from(bytes)).sum());
    counters.tx_drops.add((packets.len() - sent) as u64);
    PER_PACKET
}

impl Output {
    /// Sends, with a bounded number of tries; returns how many packets the device took and what
    /// becomes of the others.
    fn send(&self, ctx: *mut ThreadCtx, packets: &[u32]) -> (usize, u16) {
        let lock = &self.interface.tx_locks[self.queue as usize];
        // Main gives threads up, so it does not wait for one that may have to be; and a thread that was
        // given up while it waits does not begin to send.
        let give_up = |asked| match self.thread {
            0 => asked >= MAIN_WAITS,
            // SAFETY: the host lent the context for the dispatch.
            _ => unsafe { Thread::is_given_up(ctx) },
        };
        let sent = lock.with(self.thread, give_up, || {
            let ops = &self.interface.ops;
            let mut sent = 0;
            for _ in 0..TRIES {
                let rest = &packets[sent..];
                #[expect(clippy::cast_possible_truncation, reason = "at most 256")]
                let n = rest.len() as u32;
                // SAFETY: the queue is ours while the lock is held; the device is alive.
                let took = unsafe { (ops.class.tx)(ctx, ops.device, self.queue, rest.as_ptr(), n) };
                if took == TX_PANICKED {
                    self.interface.panics.fetch_add(1, Ordering::Relaxed);
                    return (sent, PANICKED);
                }
                sent += took.min(n) as usize;
                if sent == packets.len() {
                    break;
                }
            }
            (sent, FULL)
        });
        sent.unwrap_or((0, STUCK))
    }
}

fn length(base: *mut u8, packet: u32) -> u32 {
    let header = base.wrapping_add((packet as usize) << LINE_SHIFT).cast::<Header>();
    // SAFETY: the packet is in the frame of this dispatch.
    let header = unsafe { &*header };
    u32::from(header.len) + header.chain_len
}
