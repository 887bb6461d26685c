//! Memory that the packet path reads while one writer changes it.
//!
//! Lines of 64 bytes, in chunks that never move, named by index. The writer fills a block of
//! lines, then publishes its index by a release store somewhere a reader looks; to change a block
//! it publishes another one and *retires* the first, whose lines are used again only after a
//! grace period: when every reader has left what it was doing at that time. So a reader needs no
//! lock and no counter, and nothing here is `unsafe`: the worst a missing grace period does is a
//! wrong number.

use std::{
    mem,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU32, Ordering},
    },
};

/// Words of a line.
pub const LINE_WORDS: usize = 16;
/// Lines of the largest block.
pub const MAX_BLOCK: usize = 17;
/// Lines of a chunk (512 KiB).
const CHUNK_LINES: usize = 1 << CHUNK_SHIFT;
const CHUNK_SHIFT: u32 = 13;
const CHUNKS: usize = 4096;
/// Every line index is smaller.
pub const MAX_LINES: u32 = 1 << 25;
const _: () = assert!(MAX_LINES as usize == CHUNKS * CHUNK_LINES);

/// One cache line.
#[repr(align(64))]
#[derive(Debug)]
pub struct Line(pub [AtomicU32; LINE_WORDS]);

type Chunk = [Line; CHUNK_LINES];

/// Stands for chunks that do not exist: an index from nowhere reads zeros.
static VACANT: Chunk = [const { Line([const { AtomicU32::new(0) }; LINE_WORDS]) }; CHUNK_LINES];

/// The lines, as readers see them.
#[derive(Debug)]
pub struct Lines {
    chunks: Box<[OnceLock<Box<Chunk>>; CHUNKS]>,
}

/// A run of lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    /// Index of the first.
    pub first: u32,
    /// 1 to [`MAX_BLOCK`].
    pub lines: u8,
}

/// The lines, as their only writer sees them: gives out blocks and takes them back.
#[derive(Debug)]
pub struct Arena {
    shared: Arc<Lines>,
    /// First line never given out.
    fresh: u32,
    /// Free blocks by size; entry 0 stays empty.
    free: [Vec<u32>; MAX_BLOCK + 1],
    /// Unpublished, but a reader may still look at them.
    retired: Vec<Block>,
    /// As `retired`, and a grace period for them has begun.
    in_grace: Vec<Block>,
    /// Lines in blocks that are given out and not retired.
    live: usize,
}

/// The memory that routes may take is used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the forwarding table is full: remove routes, or wait for removed ones to be reclaimed")]
pub struct Full;

impl Lines {
    fn new() -> Self {
        Self { chunks: Box::new([const { OnceLock::new() }; CHUNKS]) }
    }

    /// The lines from `block` on, as many as its chunk has.
    #[inline(always)]
    fn chunk(&self, line: u32) -> &Chunk {
        match self.chunks[(line >> CHUNK_SHIFT) as usize % CHUNKS].get() {
            Some(chunk) => chunk,
            None => &VACANT,
        }
    }

    /// A line.
    #[inline(always)]
    pub fn line(&self, line: u32) -> &Line {
        &self.chunk(line)[line as usize % CHUNK_LINES]
    }

    /// A block that begins at line `first`, for [`Words::word`].
    #[inline(always)]
    pub fn words(&self, first: u32) -> Words<'_> {
        Words { chunk: self.chunk(first), first: first as usize % CHUNK_LINES }
    }
}

/// The words of one block.
#[derive(Clone, Copy, Debug)]
pub struct Words<'a> {
    chunk: &'a Chunk,
    first: usize,
}

impl<'a> Words<'a> {
    /// Word `index` of the block; beyond its end, of whatever comes behind.
    #[inline(always)]
    pub fn word(&self, index: usize) -> &'a AtomicU32 {
        let line = (self.first + index / LINE_WORDS) % CHUNK_LINES;
        &self.chunk[line].0[index % LINE_WORDS]
    }

    /// First line of the block.
    #[inline(always)]
    pub fn head(&self) -> &'a Line {
        &self.chunk[self.first % CHUNK_LINES]
    }
}

impl Arena {
    /// An arena without lines; it takes memory a chunk at a time.
    pub fn new() -> Self {
        Self {
            shared: Arc::new(Lines::new()),
            fresh: 0,
            free: [const { Vec::new() }; MAX_BLOCK + 1],
            retired: Vec::new(),
            in_grace: Vec::new(),
            live: 0,
        }
    }

    /// The lines, for readers.
    pub fn lines(&self) -> &Arc<Lines> {
        &self.shared
    }

    /// Takes a block of `lines`, holding whatever it held before.
    ///
    /// # Errors
    /// [`Full`] if all lines are taken, retired or in pieces too small.
    pub fn take(&mut self, lines: usize) -> Result<Block, Full> {
        assert!((1..=MAX_BLOCK).contains(&lines), "a block of {lines} lines");
        let first = match self.free[lines].pop() {
            Some(first) => first,
            None => self.take_fresh(lines).or_else(|Full| self.split(lines))?,
        };
        self.live += lines;
        #[expect(clippy::cast_possible_truncation, reason = "at most MAX_BLOCK")]
        Ok(Block { first, lines: lines as u8 })
    }

    /// Whether `n` blocks of any size can be taken for sure.
    pub fn can_take(&self, n: usize) -> bool {
        let largest = self.free[MAX_BLOCK].len();
        // At the end of every chunk a block's worth of lines may be lost.
        let fresh = (MAX_LINES - self.fresh) as usize / (MAX_BLOCK + 1);
        fresh + largest > n
    }

    /// Gives back a block that was never published.
    pub fn give_back(&mut self, block: Block) {
        self.live -= usize::from(block.lines);
        self.free[usize::from(block.lines)].push(block.first);
    }

    /// Gives back a block that no reader finds any more, though one may still be looking at it.
    pub fn retire(&mut self, block: Block) {
        self.live -= usize::from(block.lines);
        self.retired.push(block);
    }

    /// Begins a grace period for the blocks retired so far; `false` if there are none, or the
    /// last one has not [ended](Self::end_grace).
    pub fn begin_grace(&mut self) -> bool {
        if !self.in_grace.is_empty() || self.retired.is_empty() {
            return false;
        }
        mem::swap(&mut self.retired, &mut self.in_grace);
        true
    }

    /// Ends the grace period: every reader has finished what it was doing when it began.
    pub fn end_grace(&mut self) {
        for block in self.in_grace.drain(..) {
            self.free[usize::from(block.lines)].push(block.first);
        }
    }

    /// Blocks that wait for a grace period to begin or end.
    pub fn waiting(&self) -> usize {
        self.retired.len() + self.in_grace.len()
    }

    /// Bytes of the blocks in use.
    pub fn live_bytes(&self) -> usize {
        self.live * size_of::<Line>()
    }

    /// Bytes of all blocks ever given out: in use, free or waiting.
    pub fn touched_bytes(&self) -> usize {
        self.fresh as usize * size_of::<Line>()
    }

    fn take_fresh(&mut self, lines: usize) -> Result<u32, Full> {
        let left = CHUNK_LINES - self.fresh as usize % CHUNK_LINES;
        if left < lines {
            // No block crosses chunks: what is left becomes a smaller one.
            self.free[left].push(self.fresh);
            #[expect(clippy::cast_possible_truncation, reason = "less than a block")]
            let left = left as u32;
            self.fresh += left;
        }
        if self.fresh >= MAX_LINES {
            return Err(Full);
        }
        let first = self.fresh;
        self.shared.chunks[(first >> CHUNK_SHIFT) as usize].get_or_init(new_chunk);
        #[expect(clippy::cast_possible_truncation, reason = "at most MAX_BLOCK")]
        let lines = lines as u32;
        self.fresh += lines;
        Ok(first)
    }

    /// Cuts a block out of a larger free one.
    fn split(&mut self, lines: usize) -> Result<u32, Full> {
        let larger = (lines + 1..=MAX_BLOCK).find(|&size| !self.free[size].is_empty());
        let larger = larger.ok_or(Full)?;
        let first = self.free[larger].pop().ok_or(Full)?;
        #[expect(clippy::cast_possible_truncation, reason = "at most MAX_BLOCK")]
        let rest = first + lines as u32;
        self.free[larger - lines].push(rest);
        Ok(first)
    }
}

impl Default for Arena {
    fn default() -> Self {
        Self::new()
    }
}

fn new_chunk() -> Box<Chunk> {
    let line = || Line([const { AtomicU32::new(0) }; LINE_WORDS]);
    let lines: Box<[Line]> = (0..CHUNK_LINES).map(|_| line()).collect();
    let chunk: Result<Box<Chunk>, _> = lines.try_into();
    chunk.unwrap_or_else(|lines| unreachable!("{} lines were made", lines.len()))
}

/// Stores words from word `from` on of a block that is not published yet.
pub fn fill(words: Words<'_>, from: usize, values: impl IntoIterator<Item = u32>) {
    for (index, value) in values.into_iter().enumerate() {
        words.word(from + index).store(value, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_retired_block_is_given_out_again_only_after_its_grace_period() {
        let mut arena = Arena::new();
        let block = arena.take(3).unwrap();
        arena.retire(block);
        assert_ne!(arena.take(3).unwrap(), block);
        assert!(arena.begin_grace());
        assert_ne!(arena.take(3).unwrap(), block);
        let late = arena.take(3).unwrap();
        arena.retire(late);
        assert!(!arena.begin_grace(), "one at a time");
        arena.end_grace();
        assert_eq!(arena.take(3).unwrap(), block);
        assert_eq!(arena.waiting(), 1, "the one retired during the grace period");
    }

    #[test]
    fn no_block_overlaps_another_or_crosses_a_chunk() {
        let mut arena = Arena::new();
        let mut taken = vec![false; 6 * CHUNK_LINES];
        for round in 0..4000 {
            let block = arena.take(round % MAX_BLOCK + 1).unwrap();
            let lines = block.first as usize..block.first as usize + usize::from(block.lines);
            assert_eq!(lines.start / CHUNK_LINES, (lines.end - 1) / CHUNK_LINES);
            for line in lines {
                assert!(!mem::replace(&mut taken[line], true), "line {line} given twice");
            }
        }
    }

    #[test]
    fn an_index_from_nowhere_reads_zeros() {
        let arena = Arena::new();
        for line in [0, MAX_LINES - 1, u32::MAX] {
            assert_eq!(arena.lines().line(line).0[5].load(Ordering::Relaxed), 0);
        }
    }
}
