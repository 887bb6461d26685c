//! A frame: the vector of packets one dispatch works on.

mod hand_off;
mod trace;

use core::{
    marker::PhantomData,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use gristmill_abi::{
    buffer::LINE_SHIFT,
    frame::{FRAME_SIZE, Frame as RawFrame, NodeRuntime, PER_PACKET, TAKEN, ThreadCtx},
};

use crate::{Buffer, NextIndex, NextNodes, Packet, ThreadIndex};

/// Packets ahead of the current one whose header is fetched into the cache.
const HEADER_AHEAD: usize = 8;
/// Packets ahead of the current one whose first data line is fetched into the cache.
const DATA_AHEAD: usize = 4;

/// The packets of one dispatch and, once decided, the arc each one takes.
///
/// A packet for which nothing was decided goes to `error-drop`.
#[derive(Debug)]
pub struct Frame<'a, N> {
    ctx: *mut ThreadCtx,
    node: *mut NodeRuntime,
    raw: &'a mut RawFrame,
    result: u32,
    /// A packet was taken: what works on the whole frame is out of the question.
    taken: bool,
    arcs: PhantomData<N>,
}

impl<'a, N: NextNodes> Frame<'a, N> {
    /// The safe face of the three.
    ///
    /// # Safety
    /// They come from the host and belong to this thread during `'a`.
    pub(crate) unsafe fn from_raw(
        ctx: *mut ThreadCtx,
        node: *mut NodeRuntime,
        raw: &'a mut RawFrame,
    ) -> Self {
        Self { ctx, node, raw, result: PER_PACKET, taken: false, arcs: PhantomData }
    }

    #[inline(always)]
    pub(crate) fn add_bytes(&mut self, bytes: u64) {
        self.raw.bytes += bytes;
    }

    pub(crate) fn flags(&self) -> u32 {
        self.raw.flags
    }

    pub(crate) fn set_flags(&mut self, flags: u32) {
        self.raw.flags = flags;
    }

    /// The thread's context.
    #[inline(always)]
    pub(crate) fn thread_ctx(&self) -> *mut ThreadCtx {
        self.ctx
    }

    pub(crate) fn result(&self) -> u32 {
        self.result
    }

    #[inline(always)]
    fn ctx(&self) -> &ThreadCtx {
        // SAFETY: `from_raw` promised that it is ours.
        unsafe { &*self.ctx }
    }

    /// Packets in the frame, 0 to 256.
    #[inline(always)]
    pub fn len(&self) -> usize {
        self.raw.n as usize
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.raw.n == 0
    }

    /// Nanoseconds since the host started, as read at the top of this turn of the loop.
    #[inline(always)]
    pub fn now_ns(&self) -> u64 {
        self.ctx().now_ns
    }

    /// The thread this runs on.
    pub fn thread(&self) -> ThreadIndex {
        ThreadIndex(self.ctx().thread_index)
    }

    #[inline(always)]
    fn indices(&self) -> &'a [u32] {
        // SAFETY: the host promised `n` indices.
        unsafe { core::slice::from_raw_parts(self.raw.indices, self.len()) }
    }

    #[inline(always)]
    fn nexts(&mut self) -> &'a mut [u16] {
        // SAFETY: the host promised room for a next per packet, used by nobody else.
        unsafe { core::slice::from_raw_parts_mut(self.raw.nexts, self.len()) }
    }

    /// Enqueues every packet, in order, on the arc `decide` returns for it.
    ///
    /// Headers and first bytes are fetched ahead. Where all packets agree, the host moves the
    /// frame as a whole.
    ///
    /// # Panics
    /// If packets were taken out of the frame.
    #[inline(always)]
    pub fn enqueue_each(&mut self, mut decide: impl FnMut(&mut Packet<'_>) -> N) {
        self.enqueue_each_numbered(|packet| decide(packet).number());
    }

    /// Like [`enqueue_each`](Self::enqueue_each), to arcs that were added at run time with
    /// [`Host::add_next`](crate::Host::add_next) and to declared ones. A packet sent to a number
    /// that the node does not have is dropped.
    ///
    /// # Panics
    /// If packets were taken out of the frame.
    #[inline(always)]
    pub fn enqueue_each_numbered(&mut self, mut decide: impl FnMut(&mut Packet<'_>) -> NextIndex) {
        assert!(!self.taken, "packets were taken out of the frame");
        let base = self.ctx().buffer_base;
        let indices = self.indices();
        let nexts = self.nexts();
        let (mut first, mut differ) = (None, 0);
        for (at, (&index, next)) in indices.iter().zip(nexts).enumerate() {
            prefetch_ahead(base, indices, at);
            // SAFETY: the packet belongs to this frame; indices of a frame are distinct.
            let mut packet = unsafe { Packet::at(base, index) };
            let NextIndex(decided) = decide(&mut packet);
            *next = decided;
            differ |= decided ^ *first.get_or_insert(decided);
        }
        self.settle(first, differ);
    }

    /// Like [`enqueue_each`](Self::enqueue_each), `B` packets at a time, so that independent work
    /// on neighbours overlaps; `one` decides for those left over.
    ///
    /// # Panics
    /// If packets were taken out of the frame.
    #[inline(always)]
    pub fn enqueue_batches<const B: usize>(
        &mut self,
        mut batch: impl FnMut(&mut [Packet<'_>; B]) -> [N; B],
        mut one: impl FnMut(&mut Packet<'_>) -> N,
    ) {
        assert!(!self.taken, "packets were taken out of the frame");
        let base = self.ctx().buffer_base;
        let indices = self.indices();
        let nexts = self.nexts();
        let (mut first, mut differ) = (None, 0);
        let mut at = 0;
        while at + B <= indices.len() {
            for ahead in at..at + B {
                prefetch_ahead(base, indices, ahead);
            }
            let mut packets = core::array::from_fn(|i| {
                // SAFETY: the packets belong to this frame; indices of a frame are distinct.
                unsafe { Packet::at(base, indices[at + i]) }
            });
            let decided = batch(&mut packets).map(N::index);
            nexts[at..at + B].copy_from_slice(&decided);
            for next in decided {
                differ |= next ^ *first.get_or_insert(next);
            }
            at += B;
        }
        for at in at..indices.len() {
            // SAFETY: as above.
            let mut packet = unsafe { Packet::at(base, indices[at]) };
            let decided = one(&mut packet).index();
            nexts[at] = decided;
            differ |= decided ^ *first.get_or_insert(decided);
        }
        self.settle(first, differ);
    }

    #[inline(always)]
    fn settle(&mut self, first: Option<u16>, differ: u16) {
        if let (Some(next), 0) = (first, differ) {
            self.result = next.into();
        }
    }

    /// Enqueues the whole frame on one arc; the host moves it without touching a packet.
    ///
    /// # Panics
    /// If packets were taken out of the frame.
    #[inline(always)]
    pub fn enqueue_all(&mut self, next: N) {
        assert!(!self.taken, "packets were taken out of the frame");
        self.result = next.index().into();
    }

    /// Packet number `at`.
    ///
    /// # Panics
    /// If there are not so many, or it was taken.
    #[inline(always)]
    pub fn packet(&mut self, at: usize) -> Packet<'_> {
        let index = self.indices()[at];
        assert!(self.nexts()[at] != TAKEN, "packet {at} was taken");
        // SAFETY: the packet belongs to this frame, and the frame is borrowed mutably.
        unsafe { Packet::at(self.ctx().buffer_base, index) }
    }

    /// Enqueues packet number `at`.
    ///
    /// # Panics
    /// If there are not so many, or it was taken.
    #[inline(always)]
    pub fn set_next(&mut self, at: usize, next: N) {
        let slot = &mut self.nexts()[at];
        assert!(*slot != TAKEN, "packet {at} was taken");
        *slot = next.index();
        self.result = PER_PACKET;
    }

    /// Takes packet number `at` out of the frame.
    ///
    /// # Panics
    /// If there are not so many, or it was taken before.
    pub fn take(&mut self, at: usize) -> Buffer {
        let index = self.indices()[at];
        let slot = &mut self.nexts()[at];
        assert!(*slot != TAKEN, "packet {at} was taken");
        *slot = TAKEN;
        self.taken = true;
        self.result = PER_PACKET;
        // SAFETY: the frame owned it and does no more.
        unsafe { Buffer::own(self.ctx().buffer_base, index) }
    }

    /// A fresh, empty packet; `None` when the pool is used up.
    pub fn alloc(&mut self) -> Option<Buffer> {
        let mut index = 0;
        // SAFETY: the host lent its table for the life of the frame.
        let alloc = unsafe { (*self.ctx().host).buffer_alloc };
        // SAFETY: room for one index.
        let got = unsafe { alloc(self.ctx, &raw mut index, 1) };
        // SAFETY: the host gave the buffer to us.
        (got == 1).then(|| unsafe { Buffer::own(self.ctx().buffer_base, index) })
    }

    /// Enqueues a packet that is not of this frame. A call into the host each: for replies and
    /// other exceptions, not for every packet.
    pub fn emit(&mut self, next: N, buffer: Buffer) {
        let index = buffer.into_index().0;
        // SAFETY: the host lent its table for the life of the frame.
        let enqueue = unsafe { (*self.ctx().host).enqueue };
        // SAFETY: one index, whose packet is handed over.
        unsafe { enqueue(self.ctx, self.node, next.index().into(), &raw const index, 1) };
    }

    /// Puts a packet into the frame of an input node; hands it back when the frame is full.
    ///
    /// # Errors
    /// The packet, if there are 256 already.
    pub fn push(&mut self, next: N, buffer: Buffer) -> Result<(), Buffer> {
        let at = self.len();
        if at == FRAME_SIZE {
            return Err(buffer);
        }
        let (to_index, to_next) =
            (self.raw.indices.wrapping_add(at), self.raw.nexts.wrapping_add(at));
        // SAFETY: there is room for 256 indices.
        unsafe { to_index.write(buffer.into_index().0) };
        // SAFETY: there is room for 256 nexts.
        unsafe { to_next.write(next.index()) };
        let next = u32::from(next.index());
        if at == 0 {
            self.result = next;
        } else if self.result != next {
            self.result = PER_PACKET;
        }
        self.raw.n += 1;
        Ok(())
    }

    /// Says when this node, of the kind [`Sched`](crate::NodeKind::Sched), wants to be called
    /// next, in nanoseconds since the host started; what was said last counts. At a time that has
    /// passed it is called 10 us from now at most. Nothing in nodes of other kinds.
    pub fn call_again_at(&mut self, time_ns: u64) {
        // SAFETY: `from_raw` promised that the runtime is ours.
        let node = unsafe { &mut *self.node };
        node.wake_at_ns = time_ns.max(1); // 0 is never.
    }

    /// As [`call_again_at`](Self::call_again_at), counted from the top of this turn of the loop.
    pub fn call_again_in(&mut self, delay: Duration) {
        let delay_ns = u64::try_from(delay.as_nanos()).unwrap_or(u64::MAX);
        self.call_again_at(self.now_ns().saturating_add(delay_ns));
    }

    /// Adds to one of the node's counters; one that was not declared is ignored.
    #[inline(always)]
    pub fn count(&mut self, counter: impl Into<usize>, amount: u64) {
        let counter = counter.into();
        // SAFETY: `from_raw` promised that the runtime is ours.
        let node = unsafe { &*self.node };
        if counter < node.n_counters as usize {
            let cell = node.counters.wrapping_add(counter).cast::<AtomicU64>();
            // SAFETY: there are `n_counters` of them, written by this thread only.
            let cell = unsafe { &*cell };
            cell.store(cell.load(Ordering::Relaxed).wrapping_add(amount), Ordering::Relaxed);
        }
    }
}

#[inline(always)]
fn prefetch_ahead(base: *mut u8, indices: &[u32], at: usize) {
    if let Some(&index) = indices.get(at + HEADER_AHEAD) {
        prefetch(base, index, 0);
    }
    if let Some(&index) = indices.get(at + DATA_AHEAD) {
        prefetch(base, index, gristmill_abi::buffer::HEADER + gristmill_abi::buffer::HEADROOM);
    }
}

#[inline(always)]
fn prefetch(base: *mut u8, index: u32, offset: usize) {
    let line = base.wrapping_add(((index as usize) << LINE_SHIFT) + offset);
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch reads nothing the program can see and cannot fault.
    unsafe {
        core::arch::x86_64::_mm_prefetch::<{ core::arch::x86_64::_MM_HINT_T0 }>(line.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = line;
}

#[cfg(test)]
mod tests {
    use std::{convert::Infallible, sync::Arc, time::Duration};

    use super::*;
    use crate::{Config, Error, Host, Node, NodeKind, Plugin, testing::NodeBench};

    struct Acme;

    impl Plugin for Acme {
        const NAME: &'static str = "acme";
        fn create(_: Host, _: &Config<'_>) -> Result<Self, Error> {
            Ok(Self)
        }
    }

    /// Asks for the delays of its list, one in each call.
    struct Beat(Vec<Option<Duration>>);

    impl Node for Beat {
        const NAME: &'static str = "acme-beat";
        const KIND: NodeKind = NodeKind::Sched;
        type Plugin = Acme;
        type Next = Infallible;
        fn new(_: &Arc<Acme>, _: ThreadIndex) -> Result<Self, Error> {
            let long = Duration::MAX;
            Ok(Self(vec![None, Some(long), Some(Duration::ZERO), Some(Duration::from_micros(70))]))
        }
        fn dispatch(&mut self, frame: &mut Frame<'_, Infallible>) {
            if let Some(delay) = self.0.pop().flatten() {
                frame.call_again_in(delay);
            }
        }
    }

    #[test]
    fn a_sched_node_asks_for_its_next_call_in_each_or_is_not_called() {
        let mut bench = NodeBench::<Beat>::new(Acme);
        for (now_ns, expected) in
            [(5_000, Some(75_000)), (0, Some(1)), (9, Some(u64::MAX)), (10, None), (11, None)]
        {
            bench.set_now_ns(now_ns);
            assert!(bench.run([[0; 0]; 0]).nexts.is_empty());
            assert_eq!(bench.wake_at_ns(), expected, "at {now_ns}");
        }
    }
}
