//! Frames: vectors of at most 256 buffer indices, used again and again by one thread.
#![expect(
    unsafe_code,
    reason = "a node holds pointers into a frame while the thread's list of frames grows"
)]

use std::ptr::NonNull;

use gristmill_abi::frame::FRAME_SIZE;

/// Names a frame of a thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameId(u32);

#[repr(align(64))]
struct FrameBuf {
    indices: [u32; FRAME_SIZE],
    n: usize,
}

/// All frames of one thread. After the first turns of the loop it allocates no more.
#[derive(Debug, Default)]
pub struct Frames {
    all: Vec<NonNull<FrameBuf>>,
    free: Vec<FrameId>,
}

// SAFETY: the frames are owned by the list, like boxes.
unsafe impl Send for Frames {}

impl Frames {
    /// An empty frame.
    #[inline]
    pub fn alloc(&mut self) -> FrameId {
        self.free.pop().unwrap_or_else(|| self.grow())
    }

    #[cold]
    fn grow(&mut self) -> FrameId {
        let frame = Box::new(FrameBuf { indices: [0; FRAME_SIZE], n: 0 });
        self.all.push(NonNull::from(Box::leak(frame)));
        FrameId(u32::try_from(self.all.len() - 1).expect("fewer than 2^32 frames"))
    }

    /// Takes a frame back; its packets have other owners now.
    #[inline]
    pub fn free(&mut self, id: FrameId) {
        self.buf_mut(id).n = 0;
        self.free.push(id);
    }

    /// Shows the packets of all frames in use, and frees the frames.
    pub fn empty(&mut self, mut packets: impl FnMut(&[u32])) {
        self.free.clear();
        for at in 0..self.all.len() {
            let id = FrameId(u32::try_from(at).expect("fewer than 2^32 frames"));
            packets(self.packets(id)); // A free one has none.
            self.free(id);
        }
    }

    /// Packets in all frames.
    pub fn packets_in_all(&self) -> usize {
        // SAFETY: `grow` leaked them, and `self` is borrowed.
        self.all.iter().map(|frame| unsafe { frame.as_ref() }.n).sum()
    }

    /// Frames in use.
    pub fn in_use(&self) -> usize {
        self.all.len() - self.free.len()
    }

    #[inline(always)]
    fn buf(&self, id: FrameId) -> &FrameBuf {
        // SAFETY: `grow` leaked it, `drop` is the only one to end it, and `self` is borrowed.
        unsafe { self.all[id.0 as usize].as_ref() }
    }

    #[inline(always)]
    fn buf_mut(&mut self, id: FrameId) -> &mut FrameBuf {
        // SAFETY: as above, and `self` is borrowed mutably.
        unsafe { self.all[id.0 as usize].as_mut() }
    }

    /// Packets in a frame.
    #[inline(always)]
    pub fn len(&self, id: FrameId) -> usize {
        self.buf(id).n
    }

    /// Says how many of a frame's indices are packets; at most 256 count.
    #[inline(always)]
    pub fn set_len(&mut self, id: FrameId, n: usize) {
        self.buf_mut(id).n = n.min(FRAME_SIZE);
    }

    /// The packets of a frame.
    #[inline(always)]
    pub fn packets(&self, id: FrameId) -> &[u32] {
        let buf = self.buf(id);
        &buf.indices[..buf.n.min(FRAME_SIZE)]
    }

    /// Where a frame's indices are; they stay there.
    #[inline(always)]
    pub fn indices(&mut self, id: FrameId) -> *mut u32 {
        let buf = self.all[id.0 as usize].as_ptr();
        // SAFETY: a place inside a frame that lives as long as the list.
        unsafe { &raw mut (*buf).indices }.cast()
    }

    /// Appends packets and returns how many fitted.
    #[inline(always)]
    pub fn append(&mut self, id: FrameId, packets: &[u32]) -> usize {
        let buf = self.buf_mut(id);
        let n = buf.n;
        let fit = packets.len().min(FRAME_SIZE - n);
        buf.indices[n..n + fit].copy_from_slice(&packets[..fit]);
        buf.n = n + fit;
        fit
    }

    /// Appends packets `from..from + count` of another frame and returns how many fitted.
    ///
    /// # Panics
    /// If the two are the same.
    #[inline(always)]
    pub fn append_of(&mut self, id: FrameId, other: FrameId, from: usize, count: usize) -> usize {
        assert!(id != other, "a frame cannot be appended to itself");
        // SAFETY: another frame than the one that `append` writes to; both live with the list.
        let other = unsafe { self.all[other.0 as usize].as_ref() };
        self.append(id, &other.indices[from..from + count])
    }
}

impl Drop for Frames {
    fn drop(&mut self) {
        for frame in self.all.drain(..) {
            // SAFETY: `grow` leaked it, and the list is gone with this.
            drop(unsafe { Box::from_raw(frame.as_ptr()) });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_takes_256_packets_and_no_more() {
        let mut frames = Frames::default();
        let id = frames.alloc();
        let packets: Vec<u32> = (0..200).collect();
        assert_eq!(frames.append(id, &packets), 200);
        assert_eq!(frames.append(id, &packets), 56);
        assert_eq!(frames.len(id), 256);
        assert_eq!(frames.packets(id)[200..], packets[..56]);
    }

    #[test]
    fn a_freed_frame_is_used_again_and_empty() {
        let mut frames = Frames::default();
        let (a, b) = (frames.alloc(), frames.alloc());
        frames.append(a, &[1, 2, 3]);
        assert_eq!(frames.append_of(b, a, 1, 2), 2);
        assert_eq!(frames.packets(b), [2, 3]);
        frames.free(b);
        assert_eq!(frames.in_use(), 1);
        let again = frames.alloc();
        assert_eq!((again, frames.len(again)), (b, 0));
    }

    #[test]
    fn all_frames_are_emptied_at_once() {
        let mut frames = Frames::default();
        let ids = [frames.alloc(), frames.alloc(), frames.alloc()];
        frames.append(ids[0], &[1, 2]);
        frames.append(ids[2], &[3]);
        frames.free(ids[1]);
        let mut found = Vec::new();
        frames.empty(|packets| found.extend_from_slice(packets));
        assert_eq!((found, frames.in_use()), (vec![1, 2, 3], 0));
        assert!(frames.packets(ids[0]).is_empty());
    }

    #[test]
    fn a_pointer_into_a_frame_is_good_while_others_are_made() {
        let mut frames = Frames::default();
        let id = frames.alloc();
        let indices = frames.indices(id);
        let _others: Vec<FrameId> = (0..100).map(|_| frames.alloc()).collect();
        // SAFETY: there is room for 256 indices.
        unsafe { indices.write(7) };
        frames.set_len(id, 1);
        assert_eq!(frames.packets(id), [7]);
    }
}
