//! The sending end: a node's packets, sorted by the thread that they are for.
#![expect(unsafe_code, reason = "vectors are made in the ring, without a copy")]

use std::{
    mem::MaybeUninit,
    ops::Range,
    sync::{Arc, atomic::Ordering},
};

use gristmill_abi::frame::FRAME_SIZE;

use super::{Destination, Handoff, THREADS, VECTOR, Vector};
use crate::{engine::thread::Thread, graph::NodeIndex};

/// What a thread knows of the rings of the others: a copy, looked up again when there was a change.
#[derive(Debug)]
pub struct Outbound {
    handoff: Option<Arc<Handoff>>,
    /// [`Handoff::changes`] when the copy was made.
    seen: u64,
    to: Box<[Option<Destination>; THREADS]>,
}

impl Default for Outbound {
    /// Of a thread that knows no other.
    fn default() -> Self {
        Self { handoff: None, seen: 0, to: Box::new([const { None }; THREADS]) }
    }
}

impl Outbound {
    /// To all threads of `handoff`.
    pub fn new(handoff: &Arc<Handoff>) -> Self {
        Self { handoff: Some(Arc::clone(handoff)), ..Self::default() }
    }

    /// Takes over what has changed.
    #[inline]
    fn refresh(&mut self) {
        if let Some(handoff) = &self.handoff
            && handoff.changes.load(Ordering::Acquire) != self.seen
        {
            self.look_again();
        }
    }

    #[cold]
    fn look_again(&mut self) {
        if let Some(handoff) = &self.handoff {
            let destinations = handoff.destinations.lock();
            self.seen = handoff.changes.load(Ordering::Relaxed);
            self.to.as_mut().clone_from(&destinations);
        }
    }
}

/// Positions in a frame, as a list for each thread.
struct Sorted {
    /// A bit for each thread that has a list.
    threads: u64,
    first: [u16; THREADS],
    last: [u16; THREADS],
    /// The position after this one in the same list; its own in the last.
    link: [u16; FRAME_SIZE],
}

impl Sorted {
    fn new() -> Self {
        let (first, last) = ([0; THREADS], [0; THREADS]);
        Self { threads: 0, first, last, link: [0; FRAME_SIZE] }
    }

    #[inline]
    fn add(&mut self, at: u16, thread: u16) {
        let list = usize::from(thread);
        self.link[usize::from(at)] = at;
        if self.threads & (1 << thread) == 0 {
            self.threads |= 1 << thread;
            self.first[list] = at;
        } else {
            self.link[usize::from(self.last[list])] = at;
        }
        self.last[list] = at;
    }

    /// Takes the list of any thread.
    fn take(&mut self) -> Option<(usize, List<'_>)> {
        let thread = self.threads.trailing_zeros() as usize;
        self.threads &= self.threads.wrapping_sub(1);
        let first = *self.first.get(thread)?;
        Some((thread, List { next: Some(first), link: &self.link }))
    }
}

/// Positions of packets for one thread, of which the first are taken away.
trait Positions: Iterator<Item = usize> {
    fn is_empty(&self) -> bool;
}

/// All packets of a frame are for one thread.
impl Positions for Range<usize> {
    #[inline(always)]
    fn is_empty(&self) -> bool {
        Self::is_empty(self)
    }
}

impl Positions for List<'_> {
    #[inline(always)]
    fn is_empty(&self) -> bool {
        self.next.is_none()
    }
}

/// What is left of a list.
struct List<'a> {
    next: Option<u16>,
    link: &'a [u16; FRAME_SIZE],
}

impl Iterator for List<'_> {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        let at = usize::from(self.next?);
        let next = self.link[at];
        self.next = (usize::from(next) != at).then_some(next);
        Some(at)
    }
}

/// Packets of a node, with the next and the thread of each.
#[derive(Clone, Copy)]
struct Packets<'a> {
    node: NodeIndex,
    serial: u64,
    indices: &'a [u32],
    nexts: &'a [u16],
}

impl Packets<'_> {
    /// Makes a vector of the first of `list`; of how many.
    #[inline]
    fn fill(&self, list: &mut impl Positions, room: &mut MaybeUninit<Vector>) -> usize {
        let Self { node, serial, .. } = *self;
        let vector =
            room.write(Vector { node, serial, n: 0, indices: [0; VECTOR], nexts: [0; VECTOR] });
        let mut n = 0;
        for from in list.take(VECTOR) {
            vector.indices[n] = self.indices[from];
            vector.nexts[n] = self.nexts[from];
            n += 1;
        }
        vector.n = u32::try_from(n).unwrap_or(0);
        n
    }
}

impl Thread {
    /// Hands packets of a node, each with one of its nexts, to threads; how many are on their way.
    /// All have another owner then. Those for this thread itself go on along their arcs at once;
    /// those that a thread has no room for are dropped and counted, and so are those for a thread
    /// or a next that there is not.
    ///
    /// Cost: O(n) and, for each thread, one exchange on a shared line for 32 packets and a look at
    /// whether it sleeps.
    /// Context: this thread's node.
    ///
    /// # Panics
    /// If there are not as many nexts and threads as packets.
    pub fn hand_off(
        &mut self,
        node: NodeIndex,
        indices: &[u32],
        nexts: &[u16],
        threads: &[u16],
    ) -> usize {
        assert!(indices.len() == nexts.len() && indices.len() == threads.len());
        self.outbound.refresh();
        let frames = indices.chunks(FRAME_SIZE).zip(nexts.chunks(FRAME_SIZE));
        let frames = frames.zip(threads.chunks(FRAME_SIZE));
        frames
            .map(|((indices, nexts), threads)| self.hand_off_frame(node, indices, nexts, threads))
            .sum()
    }

    fn hand_off_frame(
        &mut self,
        node: NodeIndex,
        indices: &[u32],
        nexts: &[u16],
        threads: &[u16],
    ) -> usize {
        if self.is_tracing() {
            self.trace_handed_off(indices, nexts, threads);
        }
        let slot = self.runtime.slot(node);
        let (serial, n_edges) = slot.map_or((0, 0), |slot| (slot.serial, slot.edges.1));
        let packets = Packets { node, serial, indices, nexts };
        let own = self.shared.index as usize;
        if let Some(&thread) = threads.first()
            && usize::from(thread) < THREADS
            && usize::from(thread) != own
            && threads.iter().all(|&other| other == thread)
            && nexts.iter().all(|&next| next < n_edges)
        {
            return self.send_vectors(&packets, thread.into(), 0..indices.len());
        }
        let mut sorted = Sorted::new();
        let mut wrong = 0;
        for (at, (&next, &thread)) in (0..).zip(nexts.iter().zip(threads)) {
            if next < n_edges && usize::from(thread) < THREADS {
                sorted.add(at, thread);
            } else {
                wrong += 1;
                self.cache.free(&indices[usize::from(at)..=usize::from(at)]);
            }
        }
        if wrong > 0 {
            self.count_bad_next(node, wrong);
        }
        let mut on_their_way = 0;
        while let Some((thread, list)) = sorted.take() {
            on_their_way += if thread == own {
                self.keep(&packets, list)
            } else {
                self.send_vectors(&packets, thread, list)
            };
        }
        on_their_way
    }

    /// Packets for this thread itself.
    fn keep(&mut self, packets: &Packets<'_>, list: List<'_>) -> usize {
        let mut kept = 0;
        for at in list {
            self.emit(packets.node, packets.nexts[at].into(), &packets.indices[at..=at]);
            kept += 1;
        }
        kept
    }

    /// Packets for another thread: as many as its ring has room for. How many went.
    fn send_vectors(
        &mut self,
        packets: &Packets<'_>,
        thread: usize,
        mut list: impl Positions,
    ) -> usize {
        let (mut sent, mut congested) = (0, 0);
        if let Some(to) = &self.outbound.to[thread] {
            while !list.is_empty() {
                let mut n = 0;
                let write = |room: &mut MaybeUninit<Vector>| n = packets.fill(&mut list, room);
                // SAFETY: `fill` writes a whole vector; its positions are those of the packets.
                if !unsafe { to.ring.push_with(write) } {
                    break;
                }
                sent += n;
            }
            if sent > 0 {
                to.thread.ring(); // Once for all; it fences after what was pushed.
            }
        }
        if !list.is_empty() {
            congested = self.free_list(packets.indices, list);
        }
        if let Some(slot) = self.runtime.slot(packets.node) {
            slot.counts.handed_off().add(thread, sent, congested);
        }
        sent
    }

    /// Frees what there is no room for; how many.
    #[cold]
    fn free_list(&mut self, indices: &[u32], list: impl Positions) -> usize {
        let mut freed = [0; FRAME_SIZE];
        let mut n = 0;
        for at in list {
            freed[n] = indices[at];
            n += 1;
        }
        if self.is_tracing() {
            self.trace_congested(&freed[..n]);
        }
        self.cache.free(&freed[..n]);
        n
    }
}
