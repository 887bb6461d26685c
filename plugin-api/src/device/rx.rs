//! The frame a device receives into.

use gristmill_abi::{
    buffer::DATA,
    frame::{FRAME_SIZE, ThreadCtx},
};

use super::host_of;
use crate::{Buffer, Frame, InterfaceIndex, NextNodes, ThreadIndex, host};

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
