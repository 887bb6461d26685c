//! Packets of a frame to other threads.

use core::mem::MaybeUninit;

use gristmill_abi::frame::{FRAME_SIZE, PER_PACKET, TAKEN};

use super::{Frame, prefetch_ahead};
use crate::{Handoff, NextNodes, Packet, To};

/// Room for a value of each packet. Not cleared, which would cost a frame of few packets more than all
/// the rest.
type Room<T> = [MaybeUninit<T>; FRAME_SIZE];

/// Packets of a frame that leave the thread: the first `n` places of each are written.
struct Leaving {
    n: usize,
    /// Where each was in the frame.
    places: Room<u16>,
    indices: Room<u32>,
    nexts: Room<u16>,
    threads: Room<u16>,
}

impl Leaving {
    fn new() -> Self {
        let none = [const { MaybeUninit::uninit() }; FRAME_SIZE];
        let indices = [const { MaybeUninit::uninit() }; FRAME_SIZE];
        Self { n: 0, places: none, indices, nexts: none, threads: none }
    }
}

impl<N: NextNodes> Frame<'_, N> {
    /// Enqueues every packet, in order, on the arc and the thread that `decide` returns for it; how
    /// many were dropped because a thread had no room for them, which the host counts.
    ///
    /// On the other thread a packet takes that arc as if this node had run there. Packets of one
    /// flow stay in their order as long as they go to the same thread. One call into the host, if
    /// any packet leaves the thread.
    ///
    /// # Panics
    /// If packets were taken out of the frame.
    #[inline(always)]
    pub fn hand_off_each(
        &mut self,
        handoff: &Handoff,
        mut decide: impl FnMut(&mut Packet<'_>) -> To<N>,
    ) -> usize {
        assert!(!self.taken, "packets were taken out of the frame");
        let (base, here) = (self.ctx().buffer_base, self.thread());
        let indices = self.indices();
        let nexts = self.nexts();
        let mut leaving = Leaving::new();
        let (mut first, mut differ) = (None, 0);
        for (at, &index) in indices.iter().enumerate() {
            prefetch_ahead(base, indices, at);
            // SAFETY: the packet belongs to this frame; indices of a frame are distinct.
            let mut packet = unsafe { Packet::at(base, index) };
            let To { thread, next } = decide(&mut packet);
            let next = next.index();
            if thread == here {
                nexts[at] = next;
                differ |= next ^ *first.get_or_insert(next);
                continue;
            }
            let n = leaving.n;
            #[expect(clippy::cast_possible_truncation, reason = "below 256")]
            let place = at as u16;
            leaving.places[n].write(place);
            leaving.indices[n].write(index);
            leaving.nexts[n].write(next);
            leaving.threads[n].write(u16::try_from(thread.0).unwrap_or(u16::MAX));
            leaving.n += 1;
        }
        if leaving.n == 0 {
            self.settle(first, differ);
            return 0;
        }
        self.hand_off(handoff, &leaving)
    }

    fn hand_off(&mut self, handoff: &Handoff, leaving: &Leaving) -> usize {
        let n = leaving.n.min(FRAME_SIZE);
        #[expect(clippy::cast_possible_truncation, reason = "at most 256")]
        let count = n as u32;
        // SAFETY: the first `n` of each are written, of packets of this frame; context and node are those the node
        // was given.
        let sent = unsafe {
            (handoff.service.hand_off)(
                handoff.context,
                self.ctx,
                self.node,
                leaving.indices.as_ptr().cast(),
                leaving.nexts.as_ptr().cast(),
                leaving.threads.as_ptr().cast(),
                count,
            )
        };
        let nexts = self.nexts();
        for place in &leaving.places[..n] {
            // SAFETY: the first `n` are written.
            let place = unsafe { place.assume_init() };
            nexts[usize::from(place)] = TAKEN;
        }
        self.taken = true;
        self.result = PER_PACKET;
        n.saturating_sub(sent as usize)
    }
}
