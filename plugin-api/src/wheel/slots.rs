//! The slots: stacks of entries, in blocks that all slots share.
//!
//! ```text
//! block, 128 bytes:  word 0   last word of the full block below, NONE for none
//!                    word 1…  entries: places of timers
//! ```
//! A *position* is the number of a word among all blocks; a slot is the position of its last entry.
//! Only a slot's top block is ever partly filled, so n entries need at most n / 31 blocks more than
//! there are slots in use. An entry goes to the word after the last one, unless that was the last
//! of its block; as [`NONE`] is the last of a block too, an empty slot is no case of its own.

#![expect(clippy::cast_possible_truncation, reason = "there are fewer than 2^32 words and slots")]

use core::ops::Range;

use super::{FAST_BITMAP, NEVER, OVERFLOW, geometry};

const BLOCK: usize = 32;
/// First word of a block that holds an entry.
const FIRST: usize = 1;
/// Entries of a block.
const BLOCK_ENTRIES: usize = BLOCK - FIRST;
/// Position of an empty slot's last entry: the end of block 0, which is never used.
const NONE: u32 = BLOCK as u32 - 1;

#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
struct Block([u32; BLOCK]);

/// All slots of a wheel: ring 0's first, then ring 1's and so on; the overflow list comes last.
#[derive(Debug)]
pub(super) struct Slots<const RINGS: usize, const SLOTS: usize, const FEATURES: u32> {
    /// The tick being emptied; before the time told only while `MAX_EXPIRIES` holds expiry up.
    /// Every entry is examined at `hand` or later.
    pub(super) hand: u64,
    /// No entry is examined before this tick.
    pub(super) due: u64,
    /// The tick at which the overflow list is examined.
    pub(super) overflow_due: u64,
    /// Position of each slot's last entry.
    tops: Box<[u32]>,
    /// With [`FAST_BITMAP`] a bit per slot, rings starting at a word; else empty.
    occupied: Box<[u64]>,
    blocks: Vec<Block>,
    /// The first free block, whose word 0 names the next; 0 for none.
    free: u32,
}

/// Entries of one block, taken out of their slot; to be given back by [`Slots::release`].
#[derive(Debug)]
pub(super) struct Taken {
    block: usize,
    words: Range<usize>,
}

impl Taken {
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.words.len()
    }
}

impl<const RINGS: usize, const SLOTS: usize, const FEATURES: u32> Slots<RINGS, SLOTS, FEATURES> {
    const WORDS: usize = SLOTS.div_ceil(64);
    const BITMAP: bool = FEATURES & FAST_BITMAP != 0;
    const BITS: u32 = SLOTS.ilog2();
    /// One turn of the slowest ring.
    const REACH: u64 = geometry::reach(RINGS, SLOTS);
    pub(super) const OVERFLOW_SLOT: usize = RINGS * SLOTS;
    const ALL: usize = Self::OVERFLOW_SLOT + 1;

    pub(super) fn new(hand: u64) -> Self {
        let words = if Self::BITMAP { RINGS * Self::WORDS } else { 0 };
        Self {
            hand,
            due: NEVER,
            overflow_due: NEVER,
            tops: vec![NONE; Self::ALL].into(),
            occupied: vec![0; words].into(),
            blocks: vec![Block([0; BLOCK])],
            free: 0,
        }
    }

    /// Makes room for that many entries, however they are spread.
    pub(super) fn reserve(&mut self, entries: usize) {
        // One block more, for the one that is being read while others fill.
        let blocks = entries / BLOCK_ENTRIES + entries.min(Self::ALL) + 2;
        self.blocks.reserve_exact(blocks.saturating_sub(self.blocks.len()));
    }

    #[inline]
    pub(super) fn is_empty(&self, slot: usize) -> bool {
        self.tops[slot] == NONE
    }

    /// The tick at which a slot is examined next. For the overflow list, and for what is left in
    /// the slot under the hand, a tick too late: such a timer is moved rather than left.
    #[inline]
    pub(super) fn examined(&self, slot: u32) -> u64 {
        let slot = slot as usize;
        if slot == Self::OVERFLOW_SLOT {
            return NEVER;
        }
        let bits = Self::BITS * level(slot / SLOTS);
        let turned = self.hand >> bits;
        let ahead = (slot as u64).wrapping_sub(turned).wrapping_sub(1) % SLOTS as u64 + 1;
        (turned + ahead) << bits
    }

    /// Gives a timer an entry where it is examined at its deadline or as late before as possible,
    /// and tells the slot and the position.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "a start is not much more than this")]
    pub(super) fn enter(&mut self, place: u32, deadline: u64) -> (u32, u32) {
        let delta = deadline - self.hand;
        let (slot, examined) = if delta < Self::REACH {
            Self::slot_within_reach(deadline, delta)
        } else {
            self.slot_beyond_reach(deadline)
        };
        if examined < self.due {
            self.lower_due(examined);
        }
        (slot as u32, self.push(slot, place))
    }

    /// The slot of a deadline `delta` ticks away, and the tick at which it is examined.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "a part of `enter`")]
    fn slot_within_reach(deadline: u64, delta: u64) -> (usize, u64) {
        // Without a branch: which ring it will be, no processor can foretell.
        let ring = match RINGS {
            1 => 0,
            2 => u32::from(delta >= SLOTS as u64),
            _ => (delta | 1).ilog2() / Self::BITS,
        };
        let turned = deadline >> (Self::BITS * ring);
        (ring as usize * SLOTS + index::<SLOTS>(turned), turned << (Self::BITS * ring))
    }

    #[cold]
    fn slot_beyond_reach(&mut self, deadline: u64) -> (usize, u64) {
        if FEATURES & OVERFLOW != 0 {
            let examined = deadline & !(Self::REACH - 1);
            self.overflow_due = self.overflow_due.min(examined);
            return (Self::OVERFLOW_SLOT, examined);
        }
        // The hand is behind, so that even a valid interval leads beyond the last ring.
        Self::slot_within_reach(self.hand + Self::REACH - 1, Self::REACH - 1)
    }

    /// Rare, and so no store in all the other starts.
    #[cold]
    fn lower_due(&mut self, examined: u64) {
        self.due = examined;
    }

    /// Adds an entry to a slot and tells its position.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "a part of `enter`")]
    fn push(&mut self, slot: usize, place: u32) -> u32 {
        let top = &mut self.tops[slot];
        let next = *top + 1;
        if next as usize % BLOCK == 0 {
            return self.push_block(slot, place);
        }
        *top = next;
        self.blocks[next as usize / BLOCK].0[next as usize % BLOCK] = place;
        next
    }

    /// Takes the last entry out of a slot.
    #[inline]
    pub(super) fn pop(&mut self, slot: usize) -> Option<u32> {
        let top = self.tops[slot];
        if top == NONE {
            return None;
        }
        let block = &mut self.blocks[top as usize / BLOCK].0;
        let place = block[top as usize % BLOCK];
        if top as usize % BLOCK > FIRST {
            self.tops[slot] = top - 1;
        } else {
            let below = core::mem::replace(&mut block[0], self.free);
            self.free = top / BLOCK as u32;
            self.tops[slot] = below;
            if below == NONE {
                self.mark(slot, false);
            }
        }
        Some(place)
    }

    /// Takes the entry at a position out of its slot; the slot's last one comes to stand there,
    /// which is returned, be it the same. The position itself is only written to, so that nothing
    /// waits for it.
    #[inline]
    pub(super) fn remove(&mut self, slot: usize, position: u32) -> Option<u32> {
        let last = self.pop(slot)?;
        self.blocks[position as usize / BLOCK].0[position as usize % BLOCK] = last;
        Some(last)
    }

    /// Takes all entries out of a slot at once; returns where the last one is.
    #[inline]
    pub(super) fn detach(&mut self, slot: usize) -> u32 {
        self.mark(slot, false);
        core::mem::replace(&mut self.tops[slot], NONE)
    }

    /// Puts what is left of a detached slot back; it must be empty.
    #[inline]
    pub(super) fn attach(&mut self, slot: usize, top: u32) {
        if top != NONE {
            self.tops[slot] = top;
            self.mark(slot, true);
        }
    }

    /// Takes up to `limit` entries, but no more than a block, off the entries that end at `top`.
    #[inline]
    pub(super) fn take(&self, top: &mut u32, limit: usize) -> Option<Taken> {
        if *top == NONE || limit == 0 {
            return None;
        }
        let block = *top as usize / BLOCK;
        let end = *top as usize % BLOCK + 1;
        let begin = if limit < end - FIRST { end - limit } else { FIRST };
        *top = if begin == FIRST { self.blocks[block].0[0] } else { *top - limit as u32 };
        Some(Taken { block, words: begin..end })
    }

    #[inline]
    pub(super) fn taken(&self, taken: &Taken) -> &[u32] {
        &self.blocks[taken.block].0[taken.words.clone()]
    }

    /// Frees the block of what was taken if nothing is left in it.
    #[inline]
    pub(super) fn release(&mut self, taken: &Taken) {
        if taken.words.start == FIRST {
            self.blocks[taken.block].0[0] = self.free;
            self.free = taken.block as u32;
        }
    }

    /// The first occupied slot of the fast ring from a slot on, not going round.
    #[inline]
    pub(super) fn next_before_turn(&self, from: usize) -> Option<usize> {
        if Self::BITMAP {
            let word = from / 64;
            let words = self.occupied.get(..Self::WORDS)?;
            let mut bits = words.get(word)? & (!0 << (from % 64));
            let mut rest = words[word + 1..].iter();
            let mut first = word * 64;
            while bits == 0 {
                bits = *rest.next()?;
                first += 64;
            }
            Some(first + bits.trailing_zeros() as usize)
        } else {
            let tops = self.tops.get(from..SLOTS)?;
            tops.iter().position(|&top| top != NONE).map(|found| from + found)
        }
    }

    /// How many slots after `from` the next occupied one of a ring comes, `from` itself last.
    pub(super) fn next_occupied(&self, ring: usize, from: usize) -> Option<u64> {
        let start = (from + 1) % SLOTS;
        let found = if Self::BITMAP {
            let words = &self.occupied[ring * Self::WORDS..][..Self::WORDS];
            next_bit(words, start)?
        } else {
            let tops = &self.tops[ring * SLOTS..][..SLOTS];
            let (before, after) = tops.split_at(start);
            let occupied = |&top: &u32| top != NONE;
            match after.iter().position(occupied) {
                Some(found) => start + found,
                None => before.iter().position(occupied)?,
            }
        };
        Some(((found + SLOTS - start) % SLOTS) as u64 + 1)
    }

    /// The entries of a slot, block by block.
    pub(super) fn blocks(&self, slot: usize) -> impl Iterator<Item = &[u32]> {
        let mut top = self.tops[slot];
        core::iter::from_fn(move || {
            let taken = self.take(&mut top, BLOCK_ENTRIES)?;
            Some(&self.blocks[taken.block].0[taken.words])
        })
    }

    /// Adds an entry to a slot whose top block is full.
    #[inline(never)]
    fn push_block(&mut self, slot: usize, place: u32) -> u32 {
        let below = self.tops[slot];
        let mut number = self.free as usize;
        if number == 0 {
            number = self.blocks.len();
            self.blocks.push(Block([0; BLOCK]));
        }
        let block = &mut self.blocks[number].0;
        self.free = block[0];
        block[0] = below;
        block[FIRST] = place;
        if below == NONE {
            self.mark(slot, true);
        }
        let position = (number * BLOCK + FIRST) as u32;
        self.tops[slot] = position;
        position
    }

    #[inline]
    fn mark(&mut self, slot: usize, occupied: bool) {
        if Self::BITMAP && slot < RINGS * SLOTS {
            let bit = 1 << (slot % SLOTS % 64);
            let word = &mut self.occupied[slot / SLOTS * Self::WORDS + slot % SLOTS / 64];
            *word = if occupied { *word | bit } else { *word & !bit };
        }
    }
}

/// The first bit set from `start` on, going round.
#[inline]
fn next_bit(words: &[u64], start: usize) -> Option<usize> {
    let (first, low) = (start / 64, !0 << (start % 64));
    let masked = words[first] & low;
    if masked != 0 {
        return Some(first * 64 + masked.trailing_zeros() as usize);
    }
    let later = (first + 1..words.len()).chain(0..=first).find(|&word| words[word] != 0)?;
    Some(later * 64 + words[later].trailing_zeros() as usize)
}

/// The slot that a number of turned slots ends on.
#[inline]
pub(super) fn index<const SLOTS: usize>(turned: u64) -> usize {
    (turned % SLOTS as u64) as usize
}

#[inline]
pub(super) fn level(ring: usize) -> u32 {
    ring as u32
}

#[cfg(test)]
impl<const RINGS: usize, const SLOTS: usize, const FEATURES: u32> Slots<RINGS, SLOTS, FEATURES> {
    /// Entries on the rings.
    pub(super) fn entries(&self) -> usize {
        (0..RINGS * SLOTS).flat_map(|slot| self.blocks(slot)).map(<[u32]>::len).sum()
    }
}
