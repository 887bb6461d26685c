//! A ply: 256 slots, each a leaf or another ply, in one of three kinds.
//!
//! ```text
//! narrow       word 0..8    bit i: slot i differs from slot i - 1; bit 0 is clear
//!              word 8..10   8 bytes: bits set in the words before word 0, 1, … 7
//!              word 10..    the leaf of each run of equal slots, two to a word
//! wide         as narrow, but the entry of each run, one to a word
//! direct       word 0..256  the entry of each slot
//! ```
//! Nearly all are narrow: their head and first twelve runs are one cache line. Wide are those with
//! a ply below, or a leaf over 65,535. A ply with many runs is direct: one line to read instead
//! of two, and a change of one slot is one store.

use std::{hint::select_unpredictable, ops::Range, sync::atomic::Ordering};

use super::Leaf;
use crate::arena::{Arena, Block, Full, LINE_WORDS, Lines, MAX_LINES, Words, fill};

/// Slots of a ply.
pub(super) const SLOTS: usize = 256;
/// Set in the entry of a ply; leaves are smaller.
pub(super) const PLY: u32 = 1 << 31;
/// Set in the entry of a direct ply.
const DIRECT: u32 = 1 << 30;
/// Set in the entry of a wide ply.
const WIDE: u32 = 1 << 29;
const LINE: u32 = MAX_LINES - 1;
const _: () = assert!(MAX_LINES.is_power_of_two() && MAX_LINES <= WIDE);

/// Words before the runs of a compressed ply.
const HEAD: usize = 10;
/// A wide ply with more runs becomes direct.
const RUNS_WIDE_MAX: usize = 160;
/// A direct ply with fewer runs becomes wide; the gap saves going back and forth.
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
    const fn kind(self) -> Kind {
        if self.0 & (WIDE | DIRECT) == 0 {
            Kind::Narrow
        } else if self.0 & DIRECT == 0 {
            Kind::Wide
        } else {
            Kind::Direct
        }
    }

    #[inline(always)]
    fn words(self, lines: &Lines) -> Words<'_> {
        lines.words(self.0 & LINE)
    }
}

/// How a ply is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Narrow,
    Wide,
    Direct,
}

impl Kind {
    const fn flags(self) -> u32 {
        match self {
            Self::Narrow => PLY,
            Self::Wide => PLY | WIDE,
            Self::Direct => PLY | DIRECT,
        }
    }

    /// Lines of a ply of `runs` runs.
    const fn lines(self, runs: usize) -> usize {
        let words = match self {
            Self::Narrow => HEAD + runs.div_ceil(2),
            Self::Wide => HEAD + runs,
            Self::Direct => SLOTS,
        };
        words.div_ceil(LINE_WORDS)
    }
}

/// Where in the ply `entry` slot `index` (0 to 255) is: a half word of a narrow one, else a word.
#[inline(always)]
fn position(lines: &Lines, entry: Entry, index: u32) -> usize {
    match entry.kind() {
        Kind::Narrow => 2 * HEAD + run(entry.words(lines), index),
        Kind::Wide => HEAD + run(entry.words(lines), index),
        Kind::Direct => index as usize,
    }
}

/// What is at a [`position`] of the ply `entry`.
#[inline(always)]
fn at(lines: &Lines, entry: Entry, position: usize) -> Entry {
    let words = entry.words(lines);
    if entry.kind() == Kind::Narrow {
        let pair = words.word(position / 2).load(Ordering::Acquire);
        return Entry(pair >> (position % 2 * 16) & 0xffff);
    }
    Entry(words.word(position).load(Ordering::Acquire))
}

/// Run of a compressed ply that slot `index` is in.
#[inline(always)]
fn run(words: Words<'_>, index: u32) -> usize {
    let head = words.head();
    let at = (index >> 5) as usize % 8;
    let bits = head.0[at].load(Ordering::Relaxed) & (u32::MAX >> (31 - index % 32));
    let before = head.0[8 + at / 4].load(Ordering::Relaxed) >> (at % 4 * 8) & 0xff;
    (before + bits.count_ones()) as usize
}

/// What slot `index` (0 to 255) of the ply `entry` holds.
#[inline(always)]
pub(super) fn slot(lines: &Lines, entry: Entry, index: u32) -> Entry {
    at(lines, entry, position(lines, entry, index))
}

/// As [`slot`] for many, in two passes, so that the cache misses of each overlap; entries that are
/// leaves stay as they are, without a branch on which of them are.
#[inline(always)]
pub(super) fn slots<const N: usize>(
    lines: &Lines,
    entries: &mut [Entry; N],
    index: impl Fn(usize) -> u32,
) {
    // A leaf reads line 0, which is nobody's business but always near.
    let ply = |entry: Entry| Entry(select_unpredictable(entry.is_ply(), entry.0, PLY));
    let mut positions = [0; N];
    for (lane, (place, &entry)) in positions.iter_mut().zip(entries.iter()).enumerate() {
        #[expect(clippy::cast_possible_truncation, reason = "at most 276")]
        let short = position(lines, ply(entry), index(lane)) as u16;
        *place = short;
    }
    for (&place, entry) in positions.iter().zip(entries) {
        let found = at(lines, ply(*entry), place.into());
        entry.0 = select_unpredictable(entry.is_ply(), found.0, entry.0);
    }
}

/// Changes one slot of the ply `entry` from one ply to another.
pub(super) fn replace_ply(lines: &Lines, entry: Entry, index: u32, to: Entry) {
    // A ply is in no slot but its own, so its run has one slot, and whatever holds it is not
    // narrow.
    debug_assert_ne!(entry.kind(), Kind::Narrow);
    entry.words(lines).word(position(lines, entry, index)).store(to.0, Ordering::Release);
}

/// The slots of a ply to be written, as runs of equal ones.
#[derive(Debug)]
pub(super) struct Runs {
    /// First slot of each run.
    first: [u8; SLOTS],
    entry: [Entry; SLOTS],
    len: usize,
    /// Bit i of the 256: slot i differs from slot i - 1.
    edges: [u32; 8],
    /// All entries, or-ed.
    all: u32,
}

impl Runs {
    /// No slots yet.
    pub(super) const fn new() -> Self {
        Self { first: [0; SLOTS], entry: [Entry(0); SLOTS], len: 0, edges: [0; 8], all: 0 }
    }

    /// From slot `first` on, which is behind those before, all are `entry`.
    #[inline]
    pub(super) fn push(&mut self, first: u8, entry: Entry) {
        if self.len > 0 {
            if self.entry[self.len - 1] == entry {
                return;
            }
            self.edges[usize::from(first >> 5)] |= 1 << (first & 31);
        }
        self.first[self.len] = first;
        self.entry[self.len] = entry;
        self.len += 1;
        self.all |= entry.0;
    }

    fn entries(&self) -> &[Entry] {
        &self.entry[..self.len]
    }

    /// The slots of each run, and their entry.
    fn spans(&self) -> impl Iterator<Item = (Range<usize>, Entry)> + '_ {
        let firsts = self.first[..self.len].iter().map(|&first| usize::from(first));
        let ends = firsts.clone().skip(1).chain([SLOTS]);
        firsts.zip(ends).zip(self.entries()).map(|((first, end), &entry)| (first..end, entry))
    }
}

/// Writes the slots, in place where `old` has room for them; returns the entry to publish.
///
/// # Errors
/// [`Full`]; nothing has changed.
pub(super) fn write(arena: &mut Arena, old: Entry, runs: &Runs) -> Result<Entry, Full> {
    if let [only] = runs.entries() {
        retire(arena, old);
        return Ok(*only);
    }
    let was = old.is_ply().then(|| old.kind());
    let direct_from = if was == Some(Kind::Direct) { RUNS_DIRECT_MIN } else { RUNS_WIDE_MAX };
    let kind = if runs.all <= 0xffff {
        Kind::Narrow
    } else if runs.len <= direct_from {
        Kind::Wide
    } else {
        Kind::Direct
    };
    if was == Some(kind) {
        let words = old.words(arena.lines());
        if kind == Kind::Direct || stored_edges(words) == runs.edges {
            store_changes(words, kind, runs);
            return Ok(old);
        }
    }
    let block = arena.take(kind.lines(runs.len))?;
    let words = arena.lines().words(block.first);
    if kind != Kind::Direct {
        fill(words, 0, runs.edges.into_iter().chain(counts(&runs.edges)));
    }
    store_changes(words, kind, runs);
    retire(arena, old);
    Ok(Entry(kind.flags() | block.first))
}

/// Retires the ply `entry`; a leaf has nothing to retire.
pub(super) fn retire(arena: &mut Arena, entry: Entry) {
    if !entry.is_ply() {
        return;
    }
    let kind = entry.kind();
    let runs = match kind {
        Kind::Direct => SLOTS,
        _ => 1 + count(&stored_edges(entry.words(arena.lines()))),
    };
    #[expect(clippy::cast_possible_truncation, reason = "at most 17")]
    arena.retire(Block { first: entry.0 & LINE, lines: kind.lines(runs) as u8 });
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

/// Stores the words behind the head that differ from what is there, each by one store.
fn store_changes(words: Words<'_>, kind: Kind, runs: &Runs) {
    let store = |index: usize, value: u32| {
        let word = words.word(index);
        if word.load(Ordering::Relaxed) != value {
            word.store(value, Ordering::Release);
        }
    };
    match kind {
        Kind::Narrow => {
            // Both halves at once: a reader must not see a pair half written.
            for (index, pair) in runs.entries().chunks(2).enumerate() {
                let high = pair.get(1).map_or(0, |entry| entry.0 << 16);
                store(HEAD + index, pair[0].0 | high);
            }
        }
        Kind::Wide => {
            for (index, entry) in runs.entries().iter().enumerate() {
                store(HEAD + index, entry.0);
            }
        }
        Kind::Direct => {
            for (slots, entry) in runs.spans() {
                slots.for_each(|slot| store(slot, entry.0));
            }
        }
    }
}
