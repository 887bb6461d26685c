//! A ply: 256 slots, each a leaf or another ply, in one of two kinds.
//!
//! ```text
//! compressed   word 0..8    bit i: slot i differs from slot i - 1; bit 0 is clear
//!              word 8..10   8 bytes: bits set in the words before word 0, 1, … 7
//!              word 10..    the entry of each run of equal slots
//! direct       word 0..256  the entry of each slot
//! ```
//! The head of a compressed ply and its first six runs are one cache line. A ply with many runs is
//! direct: one line to read instead of two, and a change of one slot is one store.

use std::{hint::select_unpredictable, sync::atomic::Ordering};

use super::Leaf;
use crate::arena::{Arena, Block, Full, LINE_WORDS, Lines, MAX_LINES, Words, fill};

/// Slots of a ply.
pub(super) const SLOTS: usize = 256;
/// Set in the entry of a ply; leaves are smaller.
pub(super) const PLY: u32 = 1 << 31;
/// Set in the entry of a direct ply.
const DIRECT: u32 = 1 << 30;
const LINE: u32 = MAX_LINES - 1;
const _: () = assert!(MAX_LINES.is_power_of_two() && MAX_LINES <= DIRECT);

/// Words before the runs of a compressed ply.
const HEAD: usize = 10;
/// A ply with more runs becomes direct.
const RUNS_COMPRESSED_MAX: usize = 160;
/// A direct ply with fewer runs becomes compressed; the gap saves going back and forth.
const RUNS_DIRECT_MIN: usize = 112;

/// What a slot holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub(super) struct Entry(pub(super) u32);

impl From<Leaf> for Entry {
    fn from(leaf: Leaf) -> Self {
        Self(leaf.0)
    }
}

impl Entry {
    /// Not a leaf.
    #[inline(always)]
    pub(super) const fn is_ply(self) -> bool {
        self.0 >= PLY
    }

    /// The leaf; of a ply, nothing sensible.
    #[inline(always)]
    pub(super) const fn leaf(self) -> Leaf {
        Leaf(self.0 & !PLY)
    }

    #[inline(always)]
    const fn is_direct(self) -> bool {
        self.0 & DIRECT != 0
    }

    #[inline(always)]
    fn words(self, lines: &Lines) -> Words<'_> {
        lines.words(self.0 & LINE)
    }
}

/// What `slot` (0 to 255) of the ply `entry` holds.
#[inline(always)]
pub(super) fn slot(lines: &Lines, entry: Entry, slot: u32) -> Entry {
    let words = entry.words(lines);
    let at = if entry.is_direct() { slot as usize } else { position(words, slot) };
    Entry(words.word(at).load(Ordering::Acquire))
}

/// As [`slot`] for a ply; a leaf stays as it is, without a branch on which of them it is.
#[inline(always)]
pub(super) fn slot_or_leaf(lines: &Lines, entry: Entry, index: u32) -> Entry {
    // A leaf reads line 0, which is nobody's business but always near.
    let ply = select_unpredictable(entry.is_ply(), entry.0, 0);
    let found = slot(lines, Entry(ply), index);
    Entry(select_unpredictable(entry.is_ply(), found.0, entry.0))
}

/// Word of a compressed ply that `slot` is in.
#[inline(always)]
fn position(words: Words<'_>, slot: u32) -> usize {
    let head = words.head();
    let at = (slot >> 5) as usize % 8;
    let bits = head.0[at].load(Ordering::Relaxed) & (u32::MAX >> (31 - slot % 32));
    let before = head.0[8 + at / 4].load(Ordering::Relaxed) >> (at % 4 * 8) & 0xff;
    HEAD + (before + bits.count_ones()) as usize
}

/// Changes one slot of the ply `entry` from one ply to another.
pub(super) fn replace_ply(lines: &Lines, entry: Entry, index: u32, to: Entry) {
    let words = entry.words(lines);
    // A ply is in no slot but its own, so its run has one slot.
    let at = if entry.is_direct() { index as usize } else { position(words, index) };
    words.word(at).store(to.0, Ordering::Release);
}

/// Writes `slots`, in place where `old` has room for them; returns the entry to publish.
///
/// # Errors
/// [`Full`]; nothing has changed.
pub(super) fn write(arena: &mut Arena, old: Entry, slots: &[Entry; SLOTS]) -> Result<Entry, Full> {
    let edges = edges(slots);
    let runs = 1 + count(&edges);
    if runs == 1 {
        retire(arena, old);
        return Ok(slots[0]);
    }
    let was_direct = old.is_ply() && old.is_direct();
    let direct = runs > if was_direct { RUNS_DIRECT_MIN } else { RUNS_COMPRESSED_MAX };
    if direct && was_direct {
        store_changes(old.words(arena.lines()), 0, slots.iter().copied());
        return Ok(old);
    }
    if !direct && old.is_ply() && !was_direct {
        let words = old.words(arena.lines());
        if stored_edges(words) == edges {
            store_changes(words, HEAD, first_of_runs(slots, &edges));
            return Ok(old);
        }
    }
    let block = arena.take(if direct { SLOTS / LINE_WORDS } else { lines_of(runs) })?;
    let words = arena.lines().words(block.first);
    let flags = if direct {
        fill(words, slots.iter().map(|slot| slot.0));
        PLY | DIRECT
    } else {
        let head = edges.into_iter().chain(counts(&edges));
        fill(words, head.chain(first_of_runs(slots, &edges).map(|slot| slot.0)));
        PLY
    };
    retire(arena, old);
    Ok(Entry(flags | block.first))
}

/// Retires the ply `entry`; a leaf has nothing to retire.
pub(super) fn retire(arena: &mut Arena, entry: Entry) {
    if !entry.is_ply() {
        return;
    }
    let lines = if entry.is_direct() {
        SLOTS / LINE_WORDS
    } else {
        lines_of(1 + count(&stored_edges(entry.words(arena.lines()))))
    };
    #[expect(clippy::cast_possible_truncation, reason = "at most 17")]
    arena.retire(Block { first: entry.0 & LINE, lines: lines as u8 });
}

/// Bit i of the 256: slot i differs from slot i - 1.
fn edges(slots: &[Entry; SLOTS]) -> [u32; 8] {
    let mut edges = [0; 8];
    let mut before = slots[0];
    for (word, slots) in edges.iter_mut().zip(slots.chunks_exact(32)) {
        for (bit, &slot) in slots.iter().enumerate() {
            *word |= u32::from(slot != before) << bit;
            before = slot;
        }
    }
    edges
}

fn stored_edges(words: Words<'_>) -> [u32; 8] {
    let head = words.head();
    core::array::from_fn(|at| head.0[at].load(Ordering::Relaxed))
}

fn count(edges: &[u32; 8]) -> usize {
    edges.iter().map(|word| word.count_ones() as usize).sum()
}

/// The bits set before each of the words, a byte each.
fn counts(edges: &[u32; 8]) -> [u32; 2] {
    let mut before = 0;
    let mut packed = [0; 2];
    for (at, word) in edges.iter().enumerate() {
        packed[at / 4] |= before << (at % 4 * 8);
        before += word.count_ones();
    }
    packed
}

/// The entry of each run.
fn first_of_runs<'a>(
    slots: &'a [Entry; SLOTS],
    edges: &'a [u32; 8],
) -> impl Iterator<Item = Entry> + 'a {
    let begins = edges.iter().enumerate().flat_map(|(at, &word)| {
        let mut rest = word;
        std::iter::from_fn(move || {
            let bit = (rest != 0).then(|| rest.trailing_zeros() as usize)?;
            rest &= rest - 1;
            Some(at * 32 + bit)
        })
    });
    std::iter::once(0).chain(begins).map(|index| slots[index])
}

/// Stores those entries that differ from word `from` on, each by one store.
fn store_changes(words: Words<'_>, from: usize, entries: impl Iterator<Item = Entry>) {
    for (index, entry) in entries.enumerate() {
        let word = words.word(from + index);
        if word.load(Ordering::Relaxed) != entry.0 {
            word.store(entry.0, Ordering::Release);
        }
    }
}

fn lines_of(runs: usize) -> usize {
    (HEAD + runs).div_ceil(LINE_WORDS)
}
