//! Which of the latest packets of a flow have arrived: a sliding bitmap that any number of
//! threads may mark at once.
//!
//! A packet's copies may arrive on different threads, so a bitmap for each thread cannot tell a
//! duplicate: one bitmap is shared. It needs no lock and no clearing, because each of its words
//! tells which block of 32 sequence numbers it is about:
//!
//! ```text
//! sequence  ├──── round ────┼── slot ──┼─ bit ─┤       round: how often the window slid past
//!                                      5       0
//! word      ├──── round (32) ────┼──── bits (32) ────┤
//! ```
//! A block of a later round takes the word over; a block of an earlier one is too old to tell. A
//! word is changed by compare-and-swap, once for all packets of a block that arrive in a row, so
//! the shared write is paid once in 32 packets.

use std::{
    cmp::Ordering::{Equal, Greater, Less},
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

/// log2 of the sequence numbers of a block.
pub const BLOCK_SHIFT: u32 = 5;

/// Sequence numbers of a flow's window: 64 KiB of bitmap.
///
/// A packet that arrives so far behind the newest can no longer be told from a duplicate.
pub const REACH: u64 = 1 << 18;

/// The bitmap.
#[derive(Debug)]
pub struct Window {
    /// A power of two of them.
    words: Box<[AtomicU64]>,
    slot_bits: u32,
}

impl Window {
    /// A window over `reach` sequence numbers, none of which has arrived.
    ///
    /// # Panics
    /// If `reach` is not a power of two of at least 32.
    pub fn new(reach: u64) -> Self {
        assert!(reach.is_power_of_two() && reach >= 1 << BLOCK_SHIFT, "reach {reach}");
        let slots = reach >> BLOCK_SHIFT;
        let words = (0..slots).map(|_| AtomicU64::new(0)).collect();
        Self { words, slot_bits: slots.trailing_zeros() }
    }

    /// Marks packets of `block` (bit n: sequence number `block * 32 + n`) as arrived.
    ///
    /// Returns those of them that had arrived before; `None` if the block is too old to tell.
    #[inline]
    pub fn mark(&self, block: u64, arrived: u32) -> Option<u32> {
        #[expect(clippy::cast_possible_truncation, reason = "masked")]
        let slot = block as usize & (self.words.len() - 1);
        #[expect(clippy::cast_possible_truncation, reason = "rounds last for centuries")]
        let round = (block >> self.slot_bits) as u32;
        let word = &self.words[slot];
        let mut old = word.load(Relaxed);
        loop {
            let (old_round, old_bits) = unpack(old);
            let before = match old_round.cmp(&round) {
                Less => 0,
                Equal => old_bits,
                Greater => return None,
            };
            let new = pack(round, before | arrived);
            match word.compare_exchange_weak(old, new, Relaxed, Relaxed) {
                Ok(_) => return Some(before & arrived),
                Err(other) => old = other,
            }
        }
    }
}

fn pack(round: u32, bits: u32) -> u64 {
    (u64::from(round) << 32) | u64::from(bits)
}

#[expect(clippy::cast_possible_truncation, reason = "the two halves")]
fn unpack(word: u64) -> (u32, u32) {
    ((word >> 32) as u32, word as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_bits_marked_before_come_back() {
        let window = Window::new(64);
        assert_eq!(window.mark(0, 0b0110), Some(0));
        assert_eq!(window.mark(0, 0b0011), Some(0b0010));
        assert_eq!(window.mark(1, 0b0011), Some(0), "another block");
    }

    #[test]
    fn a_block_that_the_window_slid_past_is_too_old_to_tell() {
        let window = Window::new(64);
        assert_eq!(window.mark(0, 1), Some(0));
        assert_eq!(window.mark(2, 1), Some(0), "takes the word over, clean");
        assert_eq!(window.mark(0, 1), None);
        assert_eq!(window.mark(1, 1), Some(0), "the other word is still of the first round");
    }
}
