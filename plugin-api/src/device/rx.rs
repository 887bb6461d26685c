//! The frame a device receives into.

use core::array;
use std::io::IoSliceMut;

use gristmill_abi::{
    buffer::DATA,
    frame::{FRAME_SIZE, RX_LAST_POLL, RX_LINK_DOWN, RX_LINK_UP, ThreadCtx},
};

use super::host_of;
use crate::{Buffer, Frame, InterfaceIndex, NextNodes, ThreadIndex, host};

/// Buffers of one received packet at most: 64 KiB, the largest the kernel knows.
const MAX_CHAIN: usize = 32;

/// A receive queue with empty buffers at hand.
pub(super) struct Rx<Q> {
    pub(super) queue: Q,
    pub(super) stash: Stash,
}

impl<Q> Rx<Q> {
    pub(super) fn new(queue: Q) -> Self {
        Self { queue, stash: Stash::default() }
    }
}

/// Empty buffers that the queue owns between two polls.
pub(crate) struct Stash {
    indices: [u32; FRAME_SIZE],
    len: usize,
}

impl Default for Stash {
    fn default() -> Self {
        Self { indices: [0; FRAME_SIZE], len: 0 }
    }
}

impl Stash {
    /// Fills up, with one call to the host.
    fn refill(&mut self, ctx: *mut ThreadCtx) {
        // SAFETY: the host lent its context and table for the dispatch.
        let alloc = unsafe { host_of(ctx) }.buffer_alloc;
        let room = &mut self.indices[self.len..];
        #[expect(clippy::cast_possible_truncation, reason = "at most 256")]
        let wanted = room.len() as u32;
        // SAFETY: there is room for as many indices as are asked for.
        let got = unsafe { alloc(ctx, room.as_mut_ptr(), wanted) };
        self.len += (got as usize).min(room.len());
    }

    fn pop(&mut self) -> Option<u32> {
        self.len = self.len.checked_sub(1)?;
        Some(self.indices[self.len])
    }

    fn push(&mut self, index: u32) {
        self.indices[self.len] = index;
        self.len += 1;
    }
}

impl Drop for Stash {
    fn drop(&mut self) {
        for &index in &self.indices[..self.len] {
            host::release(index);
        }
    }
}

/// Where a device puts the packets it receives.
#[derive(Debug)]
pub struct RxFrame<'a, N> {
    frame: Frame<'a, N>,
    stash: &'a mut Stash,
    interface: InterfaceIndex,
}

impl core::fmt::Debug for Stash {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Stash({})", self.len)
    }
}

impl<'a, N: NextNodes> RxFrame<'a, N> {
    pub(crate) fn new(
        frame: Frame<'a, N>,
        stash: &'a mut Stash,
        interface: InterfaceIndex,
    ) -> Self {
        Self { frame, stash, interface }
    }

    pub(crate) fn result(&self) -> u32 {
        self.frame.result()
    }

    /// Bytes of room for one packet in one buffer.
    pub const ROOM: usize = DATA;
    /// Bytes of room for one packet in a chain of buffers.
    pub const CHAIN_ROOM: usize = MAX_CHAIN * DATA;

    /// Packets received so far.
    #[expect(clippy::len_without_is_empty, reason = "what matters is whether it is full")]
    pub fn len(&self) -> usize {
        self.frame.len()
    }

    /// Whether no more packets fit.
    pub fn is_full(&self) -> bool {
        self.frame.len() == FRAME_SIZE
    }

    /// Nanoseconds since the host started, as read at the top of this turn of the loop.
    pub fn now_ns(&self) -> u64 {
        self.frame.now_ns()
    }

    /// The thread this runs on.
    pub fn thread(&self) -> ThreadIndex {
        self.frame.thread()
    }

    /// The interface the packets come in by.
    pub fn interface(&self) -> InterfaceIndex {
        self.interface
    }

    /// Receives one packet: `receive` writes its bytes into the room it is given (2,048 bytes)
    /// and returns how many, and where it goes; `None` if there is no packet.
    ///
    /// `false` if there was none, the frame is full, or the pool has no buffer.
    pub fn fill(&mut self, receive: impl FnOnce(&mut [u8]) -> Option<(usize, N)>) -> bool {
        if self.is_full() {
            return false;
        }
        if self.stash.len == 0 {
            self.stash.refill(self.frame.thread_ctx());
        }
        let Some(mut buffer) = self.pop() else { return false };
        let mut packet = buffer.packet();
        packet.resize(DATA);
        match receive(packet.data_mut()) {
            Some((len, next)) => {
                packet.resize(len.min(DATA));
                self.push(next, buffer).is_ok()
            }
            None => {
                packet.resize(0);
                self.stash.push(buffer.into_index().0);
                false
            }
        }
    }

    /// Like [`fill`](Self::fill) for a packet of up to `room` bytes, at most
    /// [`CHAIN_ROOM`](Self::CHAIN_ROOM): `receive` is given as many buffers as that takes, 2,048
    /// bytes each, and fills them in order.
    ///
    /// Cost: a pass over the buffers for each packet, used or not; `fill` where one will do.
    pub fn fill_chain(
        &mut self,
        room: usize,
        receive: impl FnOnce(&mut [IoSliceMut<'_>]) -> Option<(usize, N)>,
    ) -> bool {
        let count = room.div_ceil(DATA).clamp(1, MAX_CHAIN);
        if self.is_full() {
            return false;
        }
        if self.stash.len < count {
            self.stash.refill(self.frame.thread_ctx());
        }
        if self.stash.len < count {
            return false;
        }
        let mut buffers: [Option<Buffer>; MAX_CHAIN] = array::from_fn(|_| None);
        let mut rooms: [IoSliceMut<'_>; MAX_CHAIN] = array::from_fn(|_| IoSliceMut::new(&mut []));
        for (slot, room) in buffers.iter_mut().zip(&mut rooms).take(count) {
            let mut packet = slot.insert(self.pop().expect("as many as are there")).packet();
            packet.resize(DATA);
            let bytes: *mut [u8] = packet.data_mut();
            // SAFETY: the buffer is in `buffers`, where nothing touches it before `receive` is
            // done with its bytes.
            *room = IoSliceMut::new(unsafe { &mut *bytes });
        }
        let received = receive(&mut rooms[..count]);
        let used = received.as_ref().map_or(0, |&(len, _)| len.div_ceil(DATA).clamp(1, count));
        for mut unused in buffers[used..count].iter_mut().filter_map(Option::take) {
            unused.packet().resize(0);
            self.stash.push(unused.into_index().0);
        }
        let Some((len, next)) = received else { return false };
        let len = len.min(used * DATA);
        let mut chain: Option<Buffer> = None;
        for (at, slot) in buffers[..used].iter_mut().enumerate().rev() {
            let mut buffer = slot.take().expect("a buffer that was given");
            let mut packet = buffer.packet();
            packet.resize((len - at * DATA).min(DATA));
            if let Some(rest) = chain.take() {
                packet.chain(rest);
            }
            chain = Some(buffer);
        }
        chain.is_some_and(|buffer| self.push(next, buffer).is_ok())
    }

    /// Says that the device's link went up or down; the host's main thread hears of it.
    ///
    /// For devices that do not name a kernel interface to follow.
    pub fn set_link(&mut self, up: bool) {
        let link = if up { RX_LINK_UP } else { RX_LINK_DOWN };
        self.frame.set_flags(self.frame.flags() & RX_LAST_POLL | link);
    }

    /// Whether, unless this poll brings packets, the next one comes only when the queue's
    /// descriptor is readable.
    ///
    /// For devices that silence their descriptor while they are polled: they arm it now, and look
    /// for packets after that.
    pub fn is_last_poll(&self) -> bool {
        self.frame.flags() & RX_LAST_POLL != 0
    }

    /// An empty packet to be pushed; `None` when the pool is used up.
    pub fn alloc(&mut self) -> Option<Buffer> {
        if self.stash.len == 0 {
            self.stash.refill(self.frame.thread_ctx());
        }
        self.pop()
    }

    /// Adds a received packet; hands it back when the frame is full.
    ///
    /// # Errors
    /// The packet, if there are 256 already.
    pub fn push(&mut self, next: N, mut buffer: Buffer) -> Result<(), Buffer> {
        let mut packet = buffer.packet();
        packet.set_rx_interface(self.interface);
        let bytes = packet.total_len() as u64;
        self.frame.push(next, buffer)?;
        self.frame.add_bytes(bytes);
        Ok(())
    }

    fn pop(&mut self) -> Option<Buffer> {
        let index = self.stash.pop()?;
        // SAFETY: the host lent its context for the dispatch.
        let base = unsafe { (*self.frame.thread_ctx()).buffer_base };
        // SAFETY: the stash owned it.
        Some(unsafe { Buffer::own(base, index) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Config, Device, Error, Host, Plugin, TxFrame, next_nodes, testing::DeviceBench};

    struct Bytes;

    impl Plugin for Bytes {
        const NAME: &'static str = "bytes";
        fn create(_: Host, _: &Config<'_>) -> Result<Self, Error> {
            Ok(Self)
        }
    }

    next_nodes! {
        enum Next { Onward => Optional("onward") }
    }

    /// Receives packets of the lengths in its queue, and sends them into its other one.
    struct Lengths;

    impl Device for Lengths {
        const CLASS: &'static str = "lengths";
        type Plugin = Bytes;
        type Next = Next;
        type Rx = Vec<usize>;
        type Tx = Vec<Vec<usize>>;

        fn receive(&self, lengths: &mut Vec<usize>, frame: &mut RxFrame<'_, Next>) {
            while frame.fill_chain(9_000, |rooms| {
                assert_eq!(rooms.iter().map(|room| room.len()).sum::<usize>(), 5 * DATA);
                let len = lengths.pop()?;
                let mut value = 0_u8;
                for byte in rooms.iter_mut().flat_map(|room| room.iter_mut()).take(len) {
                    *byte = value;
                    value = value.wrapping_add(7);
                }
                Some((len, Next::Onward))
            }) {}
            frame.set_link(frame.is_last_poll());
        }

        fn transmit(&self, sent: &mut Vec<Vec<usize>>, frame: &mut TxFrame<'_>) -> usize {
            let parts = |at| frame.segments(at).map(<[u8]>::len).collect();
            sent.extend((0..frame.len()).map(parts));
            frame.len()
        }
    }

    #[test]
    fn a_long_packet_takes_the_buffers_it_needs_and_no_more() {
        let mut bench = DeviceBench::new(Lengths);
        let lengths = [0, 1, 2_047, 2_048, 2_049, 4_096, 9_000];
        let out = bench.receive(&mut lengths.iter().rev().copied().collect());
        assert_eq!(out.packets.iter().map(Vec::len).collect::<Vec<_>>(), lengths);
        for packet in &out.packets {
            let mut expected = 0_u8;
            for &byte in packet {
                assert_eq!(byte, expected);
                expected = expected.wrapping_add(7);
            }
        }
        assert_eq!(bench.link(), Some(false), "it is not told that this is the last poll");
        bench.set_last_poll(true);
        bench.receive(&mut Vec::new());
        assert_eq!(bench.link(), Some(true), "it is, and can still say how its link is");
        let mut sent = Vec::new();
        assert_eq!(bench.transmit(&mut sent, out.packets), lengths.len());
        assert_eq!(sent[..4], [vec![0], vec![1], vec![2_047], vec![2_048]]);
        assert_eq!(
            sent[4..],
            [vec![2_048, 1], vec![2_048; 2], vec![2_048, 2_048, 2_048, 2_048, 808]]
        );
    }

    #[test]
    fn a_packet_that_is_not_there_leaves_its_buffers_for_the_next() {
        let mut bench = DeviceBench::new(Lengths);
        for _ in 0..10_000 {
            assert!(bench.receive(&mut Vec::new()).packets.is_empty());
        }
        assert_eq!(bench.receive(&mut vec![9_000]).packets[0].len(), 9_000);
    }
}
