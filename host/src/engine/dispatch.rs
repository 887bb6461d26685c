//! From frame to node to out-arcs: what happens between rx and tx.
//!
//! A node is handed its frame and says where the packets go: all to one next, and then the frame
//! itself moves on, or each to its own, and then they are copied, run by run, into the frames that
//! collect for the next nodes. A frame that is not empty is pending and is dispatched in the same
//! turn of the loop.
#![expect(unsafe_code, reason = "calls the nodes' entries, which get the thread by address")]

use std::sync::atomic::Ordering;

use gristmill_abi::{
    buffer::{Header, LINE_SHIFT},
    frame::{
        ENTRY_PANICKED, FRAME_SIZE, Frame, NodeRuntime, PANICKED, PER_PACKET, TAKEN, ThreadCtx,
    },
};

use super::thread::Thread;
use crate::{
    graph::{
        NodeIndex,
        frame::FrameId,
        runtime::{Dest, Runtime},
    },
    time::{Cycles, Nanos},
    trace,
};

impl Thread {
    /// Begins a turn of the loop: reads the clock, once, for all that the turn does.
    pub fn begin_turn(&mut self) -> Nanos {
        let cycles = self.clock.cycles();
        let now = self.clock.at(cycles);
        self.last = cycles;
        self.ctx.now_ns = now.0;
        self.moved = 0;
        self.look_for_traces();
        self.shared.watch.begin_turn();
        now
    }

    /// Nodes run from now on: what was done before is not theirs.
    pub(super) fn begin_nodes(&mut self) {
        self.last = self.clock.cycles();
    }
}

/// Dispatches pending frames until there are none: packets cross the graph and go out.
///
/// # Safety
/// `thread` is the calling thread's own, and no reference to it is in use during the call: the
/// nodes get at it by their context.
pub unsafe fn dispatch_pending(thread: *mut Thread) {
    let mut at = 0;
    loop {
        // SAFETY: by the caller's promise; the borrow ends before the node is called.
        let this = unsafe { &mut *thread };
        let Some(&(index, frame)) = this.pending.get(at) else {
            this.pending.clear();
            return;
        };
        if let Some(slot) = this.runtime.slot_mut(index)
            && slot.open == Some(frame)
        {
            slot.open = None; // Packets that come from here on wait for another turn.
        }
        // SAFETY: by the caller's promise.
        unsafe { run_node(thread, index, frame) };
        at += 1;
    }
}

/// Calls one node with one frame and sees to it that each of its packets has an owner.
///
/// # Safety
/// As of [`dispatch_pending`].
pub(super) unsafe fn run_node(thread: *mut Thread, index: NodeIndex, frame: FrameId) {
    // SAFETY: by the caller's promise; the borrow ends before the node is called.
    let this = unsafe { &mut *thread };
    let n = this.frames.len(frame);
    let Some(slot) = this.runtime.slot_mut(index) else {
        this.drop_packets(frame, 0, n);
        this.frames.free(frame);
        return;
    };
    let (mut entry, node, n_nexts) = (slot.entry, slot.node, slot.edges.1);
    if this.is_tracing() {
        entry = trace::entry; // It calls the node's.
    }
    let prefill = if n == 0 { FRAME_SIZE } else { n };
    this.nexts[..prefill].fill(PANICKED);
    #[expect(clippy::cast_possible_truncation, reason = "at most 256")]
    let packets = n as u32;
    this.shared.enter(index, packets);
    let mut raw = Frame {
        n: packets,
        flags: 0,
        indices: this.frames.indices(frame),
        nexts: this.nexts.as_mut_ptr(),
        aux: std::ptr::null_mut(),
        bytes: 0,
        reserved: [0; 2],
    };
    // SAFETY: the runtime belongs to this thread, and the node is not running.
    unsafe { publish_nexts(node, n_nexts) };
    let ctx = thread.cast::<ThreadCtx>();
    // SAFETY: the entry was declared for this node and gets what belongs to this thread; it
    // catches its own panics.
    let result = unsafe { entry(ctx, node, &raw mut raw) };
    // SAFETY: by the caller's promise; the node has returned.
    let this = unsafe { &mut *thread };
    if n == 0 {
        this.frames.set_len(frame, raw.n as usize); // An input node filled it.
    }
    if this.shared.leave_node() && this.shared.fence.is_closed() {
        this.go_into_exile(index, frame, result); // It was given up meanwhile.
        return;
    }
    this.settle(index, frame, result);
}

/// Tells a node how many nexts it has.
///
/// # Safety
/// `node` belongs to this thread and is not running.
unsafe fn publish_nexts(node: *mut NodeRuntime, n_nexts: u16) {
    // SAFETY: by the caller's promise.
    unsafe { (*node).n_nexts = n_nexts };
}

impl Thread {
    /// Sends the packets of a dispatched frame on their ways and counts the dispatch.
    fn settle(&mut self, index: NodeIndex, frame: FrameId, result: u32) {
        let n = self.frames.len(frame);
        self.moved += n;
        let n_edges = self.runtime.slot(index).map_or(0, |slot| slot.edges.1);
        if n == 0 {
            self.frames.free(frame);
        } else if result < u32::from(n_edges) {
            #[expect(clippy::cast_possible_truncation, reason = "below a u16")]
            self.enqueue_frame(index, result as u16, frame);
        } else {
            match result {
                PER_PACKET | ENTRY_PANICKED => self.partition(index, frame, n_edges),
                _ => self.drop_bad_next(index, frame, 0, n),
            }
            self.frames.free(frame);
        }
        let now = self.clock.cycles();
        let began = std::mem::replace(&mut self.last, now);
        let clocks = now.0.wrapping_sub(began.0);
        if self.shared.watch.is_flagged() {
            self.tell_held(began);
        }
        if let Some(slot) = self.runtime.slot(index) {
            let stats = &slot.counts.stats;
            stats.calls.add(1);
            stats.vectors.add(n as u64);
            stats.clocks.add(clocks);
            stats.max_clocks.raise(clocks);
            if result == ENTRY_PANICKED {
                stats.panics.add(1);
            }
        }
    }

    /// The node came back, but the thread has been given up: others have its queues. What it holds is
    /// freed and counted as lost to the node, and nothing is dispatched any more.
    #[cold]
    fn go_into_exile(&mut self, index: NodeIndex, frame: FrameId, result: u32) {
        let per_packet = matches!(result, PER_PACKET | ENTRY_PANICKED);
        let nexts = &self.nexts;
        let taken = |at: usize| per_packet && nexts[at] == TAKEN;
        let packets = self.frames.packets(frame).iter().enumerate();
        let mut held: Vec<u32> =
            packets.filter(|&(at, _)| !taken(at)).map(|(_, &packet)| packet).collect();
        self.frames.set_len(frame, 0);
        self.frames.empty(|packets| held.extend_from_slice(packets));
        self.pending.clear();
        self.cache.free(&held);
        if let Some(slot) = self.runtime.slot(index) {
            // Main has counted what it saw the node be handed.
            let counted = i64::from(self.shared.fence.packets());
            let lost = held.len().cast_signed() as i64 - counted;
            slot.counts.stats.lost.fetch_add(lost, Ordering::Relaxed);
        }
        self.inbox = Default::default(); // Its own is main's now.
        let none = Box::new(Runtime::empty());
        self.exiled = Some(std::mem::replace(&mut self.runtime, none));
        self.shared.quit.store(true, Ordering::SeqCst); // It does not come to the barrier again.
    }

    /// The watchdog has told of the dispatch that ends now.
    #[cold]
    fn tell_held(&mut self, began: Cycles) {
        let (from, to) = (self.clock.at(began), self.clock.at(self.last));
        self.shared.watch.ended(Some(to.since(from)));
    }

    /// Each packet to its own next, run by run.
    pub(super) fn partition(&mut self, index: NodeIndex, frame: FrameId, n_edges: u16) {
        let n = self.frames.len(frame);
        let mut from = 0;
        while from < n {
            let next = self.nexts[from];
            let run = self.nexts[from..n].iter().take_while(|&&other| other == next).count();
            match next {
                TAKEN => {}
                next if next < n_edges => self.enqueue_run(index, next, frame, from, run),
                PANICKED => self.drop_undecided(index, frame, from, run),
                _ => self.drop_bad_next(index, frame, from, run),
            }
            from += run;
        }
    }

    /// A whole frame to one next: where it leads to one node whose frame is empty, by pointer.
    fn enqueue_frame(&mut self, index: NodeIndex, next: u16, frame: FrameId) {
        let n = self.frames.len(frame);
        let (to, count) = self.edge(index, next);
        if let Dest::Node(node) = to
            && let Some(slot) = self.runtime.slot_mut(node)
            && slot.open.is_none()
        {
            slot.open = Some(frame);
            self.pending.push((node, frame));
            self.count_edge(count, n);
        } else {
            self.enqueue_run(index, next, frame, 0, n);
            self.frames.free(frame);
        }
    }

    /// Packets `from..from + run` of a frame to one next.
    fn enqueue_run(
        &mut self,
        index: NodeIndex,
        next: u16,
        frame: FrameId,
        from: usize,
        run: usize,
    ) {
        let (to, count) = self.edge(index, next);
        self.count_edge(count, run);
        self.send(to, frame, from, run);
    }

    fn edge(&self, index: NodeIndex, next: u16) -> (Dest, usize) {
        let first = self.runtime.slot(index).map_or(0, |slot| slot.edges.0);
        let at = first as usize + usize::from(next);
        (self.runtime.edges[at].to, at)
    }

    fn count_edge(&self, at: usize, packets: usize) {
        self.runtime.edges[at].count.add(packets as u64);
    }

    fn send(&mut self, to: Dest, frame: FrameId, from: usize, run: usize) {
        match to {
            Dest::Node(node) => self.put(node, frame, from, run),
            Dest::Drop => self.drop_packets(frame, from, run),
            Dest::Steer(steer) => self.steer(steer, frame, from, run),
        }
    }

    /// To the node that the packet's interface decides, run by run of the same interface.
    fn steer(&mut self, steer: u32, frame: FrameId, from: usize, run: usize) {
        let end = from + run;
        let mut from = from;
        while from < end {
            let packets = &self.frames.packets(frame)[from..end];
            let table = &self.runtime.steers[steer as usize];
            let interface = |&packet: &u32| self.interface_of(packet, table.by_tx);
            let first = interface(&packets[0]);
            let run = packets.iter().take_while(|packet| interface(packet) == first).count();
            let to = table.table.get(first as usize).copied().unwrap_or(table.other);
            match to {
                Dest::Steer(other) if other != steer => self.steer(other, frame, from, run),
                Dest::Steer(_) => self.drop_packets(frame, from, run),
                to => self.send(to, frame, from, run),
            }
            from += run;
        }
    }

    #[inline(always)]
    fn interface_of(&self, packet: u32, by_tx: bool) -> u32 {
        let header =
            self.ctx.buffer_base.wrapping_add((packet as usize) << LINE_SHIFT).cast::<Header>();
        // SAFETY: the packet is in a frame of this thread, so its buffer is ours.
        let header = unsafe { &*header };
        if by_tx { header.tx_interface } else { header.rx_interface }
    }

    /// Packets into the frame that collects for a node; a full one stays pending and another is
    /// begun.
    fn put(&mut self, node: NodeIndex, frame: FrameId, from: usize, run: usize) {
        let (mut from, end) = (from, from + run);
        while from < end {
            let Some(slot) = self.runtime.slot_mut(node) else { return };
            let open = *slot.open.get_or_insert_with(|| {
                let open = self.frames.alloc();
                self.pending.push((node, open));
                open
            });
            let fit = self.frames.append_of(open, frame, from, end - from);
            if from + fit < end {
                slot.open = None;
            }
            from += fit;
        }
    }

    pub(super) fn drop_packets(&mut self, frame: FrameId, from: usize, run: usize) {
        self.put(self.runtime.drop, frame, from, run);
    }

    #[cold]
    fn drop_undecided(&mut self, index: NodeIndex, frame: FrameId, from: usize, run: usize) {
        if let Some(slot) = self.runtime.slot(index) {
            slot.counts.stats.undecided.add(run as u64);
        }
        self.drop_packets(frame, from, run);
    }

    #[cold]
    fn drop_bad_next(&mut self, index: NodeIndex, frame: FrameId, from: usize, run: usize) {
        self.count_bad_next(index, run);
        self.drop_packets(frame, from, run);
    }

    /// Packets were sent to a next that the node does not have.
    pub(super) fn count_bad_next(&self, index: NodeIndex, packets: usize) {
        if let Some(slot) = self.runtime.slot(index) {
            slot.counts.stats.bad_next.add(packets as u64);
        }
    }

    /// Enqueues packets that a node sends beside those of its frame.
    pub fn emit(&mut self, index: NodeIndex, next: u32, packets: &[u32]) {
        if self.is_tracing() {
            self.trace_emitted(index, next, packets);
        }
        for packets in packets.chunks(FRAME_SIZE) {
            let frame = self.frames.alloc();
            self.frames.append(frame, packets);
            let n_edges = self.runtime.slot(index).map_or(0, |slot| slot.edges.1);
            match u16::try_from(next).ok().filter(|&next| next < n_edges) {
                Some(next) => self.enqueue_run(index, next, frame, 0, packets.len()),
                None => self.drop_bad_next(index, frame, 0, packets.len()),
            }
            self.frames.free(frame);
        }
    }

    /// Frees the packets that are under way.
    pub(super) fn free_packets(&mut self) {
        let mut held = Vec::new();
        self.frames.empty(|packets| held.extend_from_slice(packets));
        self.pending.clear();
        self.cache.free(&held);
    }

    /// Packets that are under way: none at the top of a turn, but where a splice has received what was
    /// handed to the thread.
    pub fn packets_under_way(&self) -> usize {
        self.frames.packets_in_all()
    }

    /// Whether nothing is under way: true at the top of every turn.
    pub fn is_settled(&self) -> bool {
        self.pending.is_empty() && self.frames.in_use() == 0
    }
}

#[cfg(test)]
mod tests;
