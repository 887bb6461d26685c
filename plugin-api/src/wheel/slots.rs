//! The slots: stacks of entries, in blocks that all slots share.
//!
//! ```text
//! block, 128 bytes:  word 0   last word of the full block below, 0 for none
//!                    word 1…  entries: places of timers
//! ```
//! A *position* is the number of a word among all blocks; a slot is the position of its last entry.
//! Only a slot's top block is ever partly filled, so n entries need at most n / 31 blocks more than
//! there are slots in use.

#![expect(clippy::cast_possible_truncation, reason = "there are fewer than 2^32 words and slots")]

use super::FAST_BITMAP;

const BLOCK: usize = 32;
/// First word of a block that holds an entry.
const FIRST: usize = 1;
/// Entries of a block.
pub(super) const BLOCK_ENTRIES: usize = BLOCK - FIRST;

/// All slots of a wheel: ring 0's first, then ring 1's and so on; the overflow list comes last.
#[derive(Debug)]
pub(super) struct Slots<const RINGS: usize, const SLOTS: usize, const FEATURES: u32> {
    /// Position of each slot's last entry, 0 if it has none.
    tops: Box<[u32]>,
    /// With [`FAST_BITMAP`] a bit per slot, rings starting at a word; else empty.
    occupied: Box<[u64]>,
    /// Entries per ring.
    used: [usize; RINGS],
    /// Block 0 is never used, so that position 0 is none.
    blocks: Vec<[u32; BLOCK]>,
    free: Vec<u32>,
}

/// The entries of a slot, taken out of it.
#[derive(Debug)]
pub(super) struct List {
    top: u32,
    ring: usize,
}

impl<const RINGS: usize, const SLOTS: usize, const FEATURES: u32> Slots<RINGS, SLOTS, FEATURES> {
    const WORDS: usize = SLOTS.div_ceil(64);
    const BITMAP: bool = FEATURES & FAST_BITMAP != 0;
    /// The overflow list included.
    const ALL: usize = RINGS * SLOTS + 1;

    pub(super) fn new() -> Self {
        let words = if Self::BITMAP { RINGS * Self::WORDS } else { 0 };
        Self {
            tops: vec![0; Self::ALL].into(),
            occupied: vec![0; words].into(),
            used: [0; RINGS],
            blocks: vec![[0; BLOCK]],
            free: Vec::new(),
        }
    }

    /// Makes room for that many entries, however they are spread.
    pub(super) fn reserve(&mut self, entries: usize) {
        // One block more, for the one that is being read while others fill.
        let blocks = entries / BLOCK_ENTRIES + entries.min(Self::ALL) + 2;
        self.blocks.reserve_exact(blocks.saturating_sub(self.blocks.len()));
        self.free.reserve_exact(blocks.saturating_sub(self.free.len()));
    }

    #[inline]
    pub(super) fn is_empty(&self, slot: usize) -> bool {
        self.tops[slot] == 0
    }

    /// Adds an entry to a slot and tells its position.
    #[inline]
    pub(super) fn push(&mut self, slot: usize, place: u32) -> u32 {
        let top = self.tops[slot];
        let position = if top as usize % BLOCK == BLOCK - 1 || top == 0 {
            self.push_block(slot, top)
        } else {
            top + 1
        };
        self.tops[slot] = position;
        *self.word(position) = place;
        if let Some(used) = self.used.get_mut(slot / SLOTS) {
            *used += 1;
        }
        position
    }

    /// Takes the last entry out of a slot.
    #[inline]
    pub(super) fn pop(&mut self, slot: usize) -> Option<u32> {
        let top = self.tops[slot];
        if top == 0 {
            return None;
        }
        let block = &self.blocks[top as usize / BLOCK];
        let place = block[top as usize % BLOCK];
        if top as usize % BLOCK > FIRST {
            self.tops[slot] = top - 1;
        } else {
            let below = block[0];
            self.free.push(top / BLOCK as u32);
            self.tops[slot] = below;
            if below == 0 {
                self.mark(slot, false);
            }
        }
        if let Some(used) = self.used.get_mut(slot / SLOTS) {
            *used -= 1;
        }
        Some(place)
    }

    /// Takes the entry at a position out of a slot; another one may come to stand there, which is
    /// returned. The position itself is only written to, so that nothing waits for it.
    #[inline]
    pub(super) fn remove(&mut self, slot: usize, position: u32) -> Option<u32> {
        let top = self.tops[slot];
        let last = self.pop(slot)?;
        if top == position {
            return None;
        }
        *self.word(position) = last;
        Some(last)
    }

    /// Takes all entries out of a slot at once.
    #[inline]
    pub(super) fn detach(&mut self, slot: usize) -> List {
        self.mark(slot, false);
        List { top: core::mem::take(&mut self.tops[slot]), ring: slot / SLOTS }
    }

    /// Puts what is left of a detached slot back; it must be empty.
    #[inline]
    pub(super) fn attach(&mut self, slot: usize, list: List) {
        if list.top != 0 {
            self.tops[slot] = list.top;
            self.mark(slot, true);
        }
    }

    /// Takes up to `limit` entries, but no more than a block, off a list; returns how many.
    #[inline]
    pub(super) fn take(&mut self, list: &mut List, limit: usize, places: &mut [u32]) -> usize {
        if list.top == 0 {
            return 0;
        }
        let number = list.top / BLOCK as u32;
        let block = &self.blocks[number as usize];
        let end = list.top as usize % BLOCK + 1;
        let count = limit.min(end - FIRST).min(places.len());
        places[..count].copy_from_slice(&block[end - count..end]);
        if let Some(used) = self.used.get_mut(list.ring) {
            *used -= count;
        }
        if count == end - FIRST {
            list.top = block[0];
            self.free.push(number);
        } else {
            list.top -= count as u32;
        }
        count
    }

    /// How many slots after `from` the next occupied one of a ring comes, `from` itself last.
    #[inline]
    pub(super) fn next_occupied(&self, ring: usize, from: usize) -> Option<u64> {
        if self.used[ring] == 0 {
            return None;
        }
        let start = (from + 1) % SLOTS;
        let found = if Self::BITMAP {
            let words = &self.occupied[ring * Self::WORDS..][..Self::WORDS];
            next_bit(words, start)?
        } else {
            let tops = &self.tops[ring * SLOTS..][..SLOTS];
            let (before, after) = tops.split_at(start);
            let occupied = |&top: &u32| top != 0;
            match after.iter().position(occupied) {
                Some(found) => start + found,
                None => before.iter().position(occupied)?,
            }
        };
        Some(((found + SLOTS - start) % SLOTS) as u64 + 1)
    }

    /// The entries of a slot, block by block.
    pub(super) fn blocks(&self, slot: usize) -> impl Iterator<Item = &[u32]> {
        let mut top = self.tops[slot] as usize;
        core::iter::from_fn(move || {
            let block = &self.blocks[top / BLOCK];
            let entries = (top != 0).then(|| &block[FIRST..=top % BLOCK]);
            top = block[0] as usize;
            entries
        })
    }

    #[inline]
    fn word(&mut self, position: u32) -> &mut u32 {
        &mut self.blocks[position as usize / BLOCK][position as usize % BLOCK]
    }

    fn push_block(&mut self, slot: usize, below: u32) -> u32 {
        let number = self.free.pop().unwrap_or_else(|| {
            self.blocks.push([0; BLOCK]);
            self.blocks.len() as u32 - 1
        });
        let block = &mut self.blocks[number as usize];
        block[0] = below;
        if below == 0 {
            self.mark(slot, true);
        }
        number * BLOCK as u32 + FIRST as u32
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

#[cfg(test)]
impl<const RINGS: usize, const SLOTS: usize, const FEATURES: u32> Slots<RINGS, SLOTS, FEATURES> {
    /// Entries on the rings.
    pub(super) fn entries(&self) -> usize {
        self.used.iter().sum()
    }
}
