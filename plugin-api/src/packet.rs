//! One packet: its bytes, what is known of it, and who owns it.

mod segments;

use core::{marker::PhantomData, ops::Range, ptr::NonNull, sync::atomic::Ordering};

use gristmill_abi::buffer::{
    self, DATA, FLAG_NEXT, HEADER, HEADROOM, Header, LINE_SHIFT, NO_INTERFACE,
};

pub use self::segments::Segments;
use crate::{InterfaceIndex, host};

/// Names a buffer: its offset from the pool's base, in lines of 64 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct BufferIndex(pub u32);

/// A packet that is being looked at; its owner is the frame it is in.
///
/// The bytes are those from the current header on: a node that is done with a header advances
/// past it.
#[derive(Debug)]
pub struct Packet<'a> {
    header: NonNull<Header>,
    base: *mut u8,
    life: PhantomData<&'a mut Header>,
}

impl<'a> Packet<'a> {
    /// The packet of buffer `index`.
    ///
    /// # Safety
    /// `index` names a buffer of the pool at `base` that nobody else uses during `'a`.
    #[inline(always)]
    pub(crate) unsafe fn at(base: *mut u8, index: u32) -> Self {
        // SAFETY: the offset is inside the pool, by the caller's promise.
        let header = unsafe { base.add((index as usize) << LINE_SHIFT) };
        // SAFETY: a place inside the pool is not null.
        let header = unsafe { NonNull::new_unchecked(header.cast::<Header>()) };
        Self { header, base, life: PhantomData }
    }

    #[inline(always)]
    fn header(&self) -> &Header {
        // SAFETY: `at` promised a buffer that is ours.
        unsafe { self.header.as_ref() }
    }

    #[inline(always)]
    fn header_mut(&mut self) -> &mut Header {
        // SAFETY: as above, and `self` is borrowed mutably.
        unsafe { self.header.as_mut() }
    }

    #[inline(always)]
    fn room(&self) -> NonNull<u8> {
        // SAFETY: the headroom lies inside the buffer.
        unsafe { self.header.cast::<u8>().add(HEADER) }
    }

    /// Bytes in this buffer, from the current header to its end.
    #[inline(always)]
    #[expect(clippy::len_without_is_empty, reason = "a packet of no bytes is nothing special")]
    pub fn len(&self) -> usize {
        self.header().len.into()
    }

    /// Bytes of the whole chain, from the current header on.
    #[inline(always)]
    pub fn total_len(&self) -> usize {
        self.len() + self.header().chain_len as usize
    }

    /// The bytes in this buffer, from the current header on.
    #[inline(always)]
    pub fn data(&self) -> &[u8] {
        let header = self.header();
        // SAFETY: every way to set `data_off` and `len` keeps them inside headroom and data.
        let start = unsafe { self.room().add(header.data_off.into()) };
        // SAFETY: as above; the buffer is ours while `self` is.
        unsafe { core::slice::from_raw_parts(start.as_ptr(), header.len.into()) }
    }

    /// The bytes in this buffer, from the current header on.
    #[inline(always)]
    pub fn data_mut(&mut self) -> &mut [u8] {
        let (off, len) = (self.header().data_off, self.header().len);
        // SAFETY: every way to set `data_off` and `len` keeps them inside headroom and data.
        let start = unsafe { self.room().add(off.into()) };
        // SAFETY: as above; the buffer is ours while `self` is, and `self` is borrowed mutably.
        unsafe { core::slice::from_raw_parts_mut(start.as_ptr(), len.into()) }
    }

    /// Moves past `bytes` of header.
    ///
    /// # Panics
    /// If the buffer holds fewer.
    #[inline(always)]
    pub fn advance(&mut self, bytes: usize) {
        assert!(bytes <= self.len(), "advance by {bytes} of {} bytes", self.len());
        let header = self.header_mut();
        #[expect(clippy::cast_possible_truncation, reason = "at most len")]
        let bytes = bytes as u16;
        header.data_off += bytes;
        header.len -= bytes;
    }

    /// Takes `bytes` in front of the current header and gives them to be written; `None` if there
    /// is not so much headroom.
    #[inline(always)]
    pub fn prepend(&mut self, bytes: usize) -> Option<&mut [u8]> {
        if bytes > usize::from(self.header().data_off) {
            return None;
        }
        let header = self.header_mut();
        #[expect(clippy::cast_possible_truncation, reason = "at most data_off")]
        let short = bytes as u16;
        header.data_off -= short;
        header.len += short;
        self.data_mut().get_mut(..bytes)
    }

    /// Cuts this buffer's bytes to `len`, or grows them by bytes whose value is whatever was
    /// there; `false` (and nothing changed) if the buffer is too small.
    #[inline(always)]
    pub fn resize(&mut self, len: usize) -> bool {
        let header = self.header_mut();
        let fits = usize::from(header.data_off) + len <= HEADROOM + DATA;
        if fits {
            #[expect(clippy::cast_possible_truncation, reason = "at most 2176")]
            let short = len as u16;
            header.len = short;
        }
        fits
    }

    /// Makes the packet `bytes`, in one buffer with the usual headroom; `false` (and nothing
    /// changed) if they do not fit.
    pub fn replace(&mut self, bytes: &[u8]) -> bool {
        if bytes.len() > DATA || self.header().flags & FLAG_NEXT != 0 {
            return false;
        }
        #[expect(clippy::cast_possible_truncation, reason = "128")]
        let headroom = HEADROOM as u16;
        self.header_mut().data_off = headroom;
        self.resize(bytes.len()) && {
            self.data_mut().copy_from_slice(bytes);
            true
        }
    }

    /// The packet's bytes, buffer by buffer along the chain.
    pub fn segments(&self) -> Segments<'_> {
        Segments { base: self.base, next: Some(self.header), life: PhantomData }
    }

    /// The next buffer of the chain.
    pub(crate) fn chained(&self) -> Option<u32> {
        let header = self.header();
        (header.flags & FLAG_NEXT != 0).then_some(header.next_buffer)
    }

    /// Whether other owners share the bytes; they must not be written then.
    #[inline(always)]
    pub fn is_shared(&self) -> bool {
        self.header().ref_count.load(Ordering::Relaxed) > 1
    }

    /// Interface it came in by.
    #[inline(always)]
    pub fn rx_interface(&self) -> Option<InterfaceIndex> {
        Some(self.header().rx_interface).filter(|&index| index != NO_INTERFACE).map(InterfaceIndex)
    }

    /// Sets the interface it came in by.
    #[inline(always)]
    pub fn set_rx_interface(&mut self, interface: InterfaceIndex) {
        self.header_mut().rx_interface = interface.0;
    }

    /// Interface it leaves by.
    #[inline(always)]
    pub fn tx_interface(&self) -> Option<InterfaceIndex> {
        Some(self.header().tx_interface).filter(|&index| index != NO_INTERFACE).map(InterfaceIndex)
    }

    /// Sets the interface it leaves by; `interface-output` reads it.
    #[inline(always)]
    pub fn set_tx_interface(&mut self, interface: InterfaceIndex) {
        self.header_mut().tx_interface = interface.0;
    }

    /// `FLAG_*` of [`abi::buffer`](gristmill_abi::buffer).
    #[inline(always)]
    pub fn flags(&self) -> u32 {
        self.header().flags
    }

    /// Sets flags; the chain flag is not touched.
    #[inline(always)]
    pub fn set_flags(&mut self, flags: u32) {
        let header = self.header_mut();
        header.flags = (flags & !FLAG_NEXT) | (header.flags & FLAG_NEXT);
    }

    /// Whether it is traced: records are kept of it, see [`Frame::trace_each`](crate::Frame::trace_each).
    #[inline(always)]
    pub fn is_traced(&self) -> bool {
        self.header().trace != 0
    }

    /// Marks it as traced. For benches: in a host, the host does.
    pub(crate) fn mark_traced(&mut self) {
        self.header_mut().trace = 1;
    }

    /// Where its buffer begins.
    pub(crate) fn address(&self) -> usize {
        self.header.addr().get()
    }

    /// Hash of the flow; 0 if not computed.
    #[inline(always)]
    pub fn flow_hash(&self) -> u32 {
        self.header().flow_hash
    }

    /// Sets the flow hash.
    #[inline(always)]
    pub fn set_flow_hash(&mut self, hash: u32) {
        self.header_mut().flow_hash = hash;
    }

    /// Adjacency chosen by a lookup.
    #[inline(always)]
    pub fn adjacency(&self) -> u32 {
        self.header().adjacency
    }

    /// Sets the adjacency.
    #[inline(always)]
    pub fn set_adjacency(&mut self, adjacency: u32) {
        self.header_mut().adjacency = adjacency;
    }

    /// 16 bytes from this node to its immediate next.
    #[inline(always)]
    pub fn scratch(&mut self) -> &mut [u64; 2] {
        &mut self.header_mut().scratch
    }

    /// Remembers that the layer-2 header begins at the current header.
    #[inline(always)]
    pub fn mark_l2(&mut self) {
        let header = self.header_mut();
        header.l2_off = header.data_off;
    }

    /// Remembers that the layer-3 header begins at the current header.
    #[inline(always)]
    pub fn mark_l3(&mut self) {
        let header = self.header_mut();
        header.l3_off = header.data_off;
    }

    /// Goes back to the layer-2 header, if it was marked.
    #[inline(always)]
    pub fn rewind_to_l2(&mut self) {
        self.rewind_to(self.header().l2_off);
    }

    /// Goes back to the layer-3 header, if it was marked.
    #[inline(always)]
    pub fn rewind_to_l3(&mut self) {
        self.rewind_to(self.header().l3_off);
    }

    fn rewind_to(&mut self, off: u16) {
        let header = self.header_mut();
        if off != 0 && off <= header.data_off {
            header.len += header.data_off - off;
            header.data_off = off;
        }
    }

    /// The bytes of a named slot that [`Host::buffer_slot`](crate::Host::buffer_slot) gave.
    ///
    /// # Panics
    /// If the range is not inside the slot line.
    #[inline(always)]
    pub fn slot(&mut self, slot: &Range<usize>) -> &mut [u8] {
        let line = buffer::SLOTS_AT..buffer::SLOTS_AT + buffer::SLOTS;
        assert!(slot.start >= line.start && slot.end <= line.end && slot.start <= slot.end);
        // SAFETY: the slot lies in line 1 of a buffer that is ours.
        let start = unsafe { self.header.cast::<u8>().add(slot.start) };
        // SAFETY: as above.
        unsafe { core::slice::from_raw_parts_mut(start.as_ptr(), slot.len()) }
    }

    /// Resets line 0 to that of a fresh, empty packet.
    pub(crate) fn reset(&mut self) {
        // SAFETY: the place is a header's, aligned and ours.
        unsafe { self.header.write(Header::fresh()) };
    }

    /// Hangs `rest` behind the last buffer of this packet.
    pub fn chain(&mut self, rest: Buffer) {
        let added = rest.packet_len();
        self.header_mut().chain_len += added;
        let mut last = self.header;
        loop {
            // SAFETY: the chain is owned by this packet, so no one else writes to it.
            let header = unsafe { last.as_mut() };
            if header.flags & FLAG_NEXT == 0 {
                header.flags |= FLAG_NEXT;
                header.next_buffer = rest.into_index().0;
                return;
            }
            // SAFETY: a chained index names a buffer of the same pool.
            last = unsafe { Packet::at(self.base, header.next_buffer) }.header;
        }
    }
}

/// A packet that this plugin owns: taken out of a frame, or made.
///
/// It goes back to the pool when it is dropped, which is slow; the fast ways to part with it are
/// those of [`Frame`](crate::Frame).
#[derive(Debug)]
pub struct Buffer {
    index: u32,
    base: *mut u8,
}

// SAFETY: a buffer has one owner, wherever that is.
unsafe impl Send for Buffer {}

impl Buffer {
    /// The owner of buffer `index`.
    ///
    /// # Safety
    /// `index` names a buffer of the pool at `base` that nobody else owns.
    pub(crate) unsafe fn own(base: *mut u8, index: u32) -> Self {
        Self { index, base }
    }

    /// The packet.
    pub fn packet(&mut self) -> Packet<'_> {
        // SAFETY: `own` promised that the buffer is ours.
        unsafe { Packet::at(self.base, self.index) }
    }

    fn packet_len(&self) -> u32 {
        // SAFETY: `own` promised that the buffer is ours.
        let packet = unsafe { Packet::at(self.base, self.index) };
        u32::try_from(packet.total_len()).unwrap_or(u32::MAX)
    }

    /// Gives up the ownership, for someone else to take.
    pub(crate) fn into_index(self) -> BufferIndex {
        let index = self.index;
        core::mem::forget(self);
        BufferIndex(index)
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        host::release(self.index);
    }
}
