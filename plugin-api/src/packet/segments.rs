//! A packet's bytes along its chain of buffers.

use core::{marker::PhantomData, ptr::NonNull};

use gristmill_abi::buffer::{FLAG_NEXT, Header};

use super::Packet;

/// The parts of a chained packet.
#[derive(Debug)]
pub struct Segments<'a> {
    pub(super) base: *mut u8,
    pub(super) next: Option<NonNull<Header>>,
    pub(super) life: PhantomData<&'a Header>,
}

impl Segments<'_> {
    /// Those of the packet of buffer `index`.
    ///
    /// # Safety
    /// `index` names a buffer of the pool at `base` that nobody writes to while this lives.
    pub(crate) unsafe fn of(base: *mut u8, index: u32) -> Self {
        // SAFETY: by the caller's promise.
        let packet = unsafe { Packet::at(base, index) };
        Self { base, next: Some(packet.header), life: PhantomData }
    }
}

impl<'a> Iterator for Segments<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let header = self.next?;
        let packet = Packet { header, base: self.base, life: PhantomData::<&'a mut Header> };
        let fields = packet.header();
        self.next = (fields.flags & FLAG_NEXT != 0)
            // SAFETY: a chained index names a buffer of the same pool.
            .then(|| unsafe { Packet::at(self.base, fields.next_buffer) }.header);
        let bytes: *const [u8] = packet.data();
        // SAFETY: the packet whose segments these are is borrowed for `'a`.
        Some(unsafe { &*bytes })
    }
}
