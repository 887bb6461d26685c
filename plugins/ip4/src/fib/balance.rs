//! Load balances: from a leaf of the table to one of the adjacencies its routes lead to.
//!
//! ```text
//! Leaf ──> slot ──> adjacency                                   one path
//!               └─> block: buckets - 1 │ adjacency │ adjacency │ …  2, 4, … 64 buckets
//! ```
//! A packet of a flow always takes the bucket of its flow hash. The block of a changed balance is
//! written anew, so a reader sees the old paths or the new ones.

use std::sync::{Arc, atomic::Ordering};

use crate::{
    adjacency::AdjacencyIndex,
    arena::{Arena, Block, Full, LINE_WORDS, Lines, fill},
    slots::{SlotReader, Slots},
    table::Leaf,
};

/// Paths a route may have.
pub const PATHS_MAX: usize = 64;
/// Buckets where their number is not that of the paths: at most 1/64 of the flows are off.
const BUCKETS: usize = 64;
/// Marks a slot that names a block.
const MANY: u32 = 1 << 31;

/// The reading side. Context: any thread.
#[derive(Clone, Debug)]
pub(super) struct BalanceReader {
    slots: SlotReader,
    lines: Arc<Lines>,
}

impl BalanceReader {
    /// The adjacency for a packet whose flow hash is `hash()`, asked for if there is a choice.
    #[inline(always)]
    pub(super) fn pick(&self, leaf: Leaf, hash: impl FnOnce() -> u32) -> AdjacencyIndex {
        let word = self.slots.read(leaf.index());
        if word & MANY == 0 {
            return AdjacencyIndex(word);
        }
        let words = self.lines.words(word & !MANY);
        let mask = words.head().0[0].load(Ordering::Relaxed);
        let bucket = 1 + (hash() & mask) as usize;
        AdjacencyIndex(words.word(bucket).load(Ordering::Relaxed))
    }
}

/// The writing side.
#[derive(Debug)]
pub(super) struct Balances {
    slots: Slots,
    blocks: Arena,
}

impl Balances {
    /// Has that of [`Leaf::NO_ROUTE`].
    pub(super) fn new() -> Result<Self, Full> {
        let mut balances = Self { slots: Slots::new(1 << 24), blocks: Arena::new() };
        let first = balances.take(&[AdjacencyIndex::NO_ROUTE])?;
        debug_assert_eq!(first, Leaf::NO_ROUTE);
        Ok(balances)
    }

    pub(super) fn reader(&self) -> BalanceReader {
        BalanceReader { slots: self.slots.reader(), lines: Arc::clone(self.blocks.lines()) }
    }

    /// A leaf for packets to be spread over `adjacencies`, 1 to [`PATHS_MAX`].
    pub(super) fn take(&mut self, adjacencies: &[AdjacencyIndex]) -> Result<Leaf, Full> {
        let word = self.write(adjacencies)?;
        let taken = self.slots.take(word).and_then(|index| Leaf::new(index).ok_or(Full));
        taken.inspect_err(|Full| {
            if let Some(block) = self.block(word) {
                self.blocks.give_back(block);
            }
        })
    }

    /// Spreads the packets of `leaf` over other adjacencies from now on.
    pub(super) fn set(&mut self, leaf: Leaf, adjacencies: &[AdjacencyIndex]) -> Result<(), Full> {
        let word = self.write(adjacencies)?;
        let old = self.slots.get(leaf.index());
        self.slots.set(leaf.index(), word);
        self.retire_block(old);
        Ok(())
    }

    /// Takes back a leaf that is in no table any more.
    pub(super) fn retire(&mut self, leaf: Leaf) {
        let old = self.slots.get(leaf.index());
        self.slots.retire(leaf.index(), AdjacencyIndex::NO_ROUTE.0);
        self.retire_block(old);
    }

    pub(super) fn begin_grace(&mut self) -> bool {
        self.slots.begin_grace() | self.blocks.begin_grace()
    }

    pub(super) fn end_grace(&mut self) {
        self.slots.end_grace();
        self.blocks.end_grace();
    }

    pub(super) fn waiting(&self) -> usize {
        self.slots.waiting() + self.blocks.waiting()
    }

    /// The word of a slot for these adjacencies.
    fn write(&mut self, adjacencies: &[AdjacencyIndex]) -> Result<u32, Full> {
        if let [one] = adjacencies {
            return Ok(one.0);
        }
        assert!(adjacencies.len() <= PATHS_MAX, "{} paths", adjacencies.len());
        let count = adjacencies.len();
        let buckets = if count.is_power_of_two() { count } else { BUCKETS };
        let block = self.blocks.take((1 + buckets).div_ceil(LINE_WORDS))?;
        #[expect(clippy::cast_possible_truncation, reason = "at most 64")]
        let mask = buckets as u32 - 1;
        let even = (0..buckets).map(|bucket| adjacencies[bucket * count / buckets].0);
        fill(self.blocks.lines().words(block.first), 0, std::iter::once(mask).chain(even));
        Ok(MANY | block.first)
    }

    fn block(&self, word: u32) -> Option<Block> {
        let first = (word & MANY != 0).then_some(word & !MANY)?;
        let buckets = self.blocks.lines().line(first).0[0].load(Ordering::Relaxed) as usize + 1;
        #[expect(clippy::cast_possible_truncation, reason = "at most 5")]
        let lines = (1 + buckets).div_ceil(LINE_WORDS) as u8;
        Some(Block { first, lines })
    }

    fn retire_block(&mut self, word: u32) {
        if let Some(block) = self.block(word) {
            self.blocks.retire(block);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spread(paths: u32) -> Vec<u32> {
        let mut balances = Balances::new().unwrap();
        let adjacencies: Vec<_> = (0..paths).map(|path| AdjacencyIndex(10 + path)).collect();
        let leaf = balances.take(&adjacencies).unwrap();
        let reader = balances.reader();
        let mut counts = vec![0; paths as usize];
        for hash in 0..6400 {
            counts[(reader.pick(leaf, || hash).0 - 10) as usize] += 1;
        }
        counts
    }

    #[test]
    fn any_number_of_paths_gets_about_the_same_share() {
        for paths in 1..=64 {
            let counts = spread(paths);
            let (least, most) = (counts.iter().min().unwrap(), counts.iter().max().unwrap());
            assert!(most - least <= 100, "{paths} paths: {counts:?}");
        }
    }

    #[test]
    fn one_path_asks_for_no_hash() {
        let mut balances = Balances::new().unwrap();
        let leaf = balances.take(&[AdjacencyIndex(9)]).unwrap();
        let found = balances.reader().pick(leaf, || unreachable!("there is no choice"));
        assert_eq!(found, AdjacencyIndex(9));
    }

    #[test]
    fn a_changed_balance_keeps_its_leaf() {
        let mut balances = Balances::new().unwrap();
        let reader = balances.reader();
        let leaf = balances.take(&[AdjacencyIndex(7), AdjacencyIndex(8)]).unwrap();
        balances.set(leaf, &[AdjacencyIndex(9)]).unwrap();
        assert_eq!(reader.pick(leaf, || 1), AdjacencyIndex(9));
        balances.retire(leaf);
        assert_eq!(reader.pick(leaf, || 1), AdjacencyIndex::NO_ROUTE);
        assert!(balances.begin_grace());
        balances.end_grace();
        assert_eq!(balances.take(&[AdjacencyIndex(4)]), Ok(leaf));
    }
}
