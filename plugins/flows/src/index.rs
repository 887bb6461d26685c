//! From a hash to a flow's slot: open addressing with linear probing.
//!
//! ```text
//! entry   │ hash 32 │ slot + 1, 32 │      0: vacant
//! ```
//! An entry knows its hash, so that entries move without a look at the flows. What is removed leaves
//! no mark: those behind it move up.

/// How far from its home an entry may be. At most half of the entries are taken, so none comes so
/// far by chance; it bounds what hashes that someone chose can cost.
const REACH: usize = 128;
/// The fewest entries.
const ENTRIES_MIN: usize = 2 * REACH;

/// The index.
#[derive(Debug)]
pub(crate) struct Index {
    /// A power of two.
    entries: Box<[u64]>,
}

impl Index {
    /// An index for up to `flows` flows. Memory is taken as it is used.
    pub(crate) fn new(flows: u32) -> Self {
        let entries = (flows as usize * 2).next_power_of_two().max(ENTRIES_MIN);
        Self { entries: vec![0; entries].into() }
    }

    /// The slot of a flow: of those with this hash, the one that `is_it`.
    ///
    /// Cost: O(1), at most 128 entries.
    #[inline(always)]
    pub(crate) fn find(&self, hash: u32, mut is_it: impl FnMut(u32) -> bool) -> Option<u32> {
        let mask = self.entries.len() - 1;
        for ahead in 0..REACH {
            let entry = self.entries[(hash as usize + ahead) & mask];
            let slot = slot_of(entry)?;
            if hash_of(entry) == hash && is_it(slot) {
                return Some(slot);
            }
        }
        None
    }

    /// The entry at the home of a hash.
    #[inline(always)]
    pub(crate) fn home(&self, hash: u32) -> u64 {
        self.entries[hash as usize & (self.entries.len() - 1)]
    }

    /// Adds a flow; `false` if there is no room near where it should be.
    pub(crate) fn insert(&mut self, hash: u32, slot: u32) -> bool {
        let mask = self.entries.len() - 1;
        for ahead in 0..REACH {
            let entry = &mut self.entries[(hash as usize + ahead) & mask];
            if *entry == 0 {
                *entry = u64::from(hash) << 32 | (u64::from(slot) + 1);
                return true;
            }
        }
        false
    }

    /// Removes a flow; `false` if it is not there.
    pub(crate) fn remove(&mut self, hash: u32, slot: u32) -> bool {
        let mask = self.entries.len() - 1;
        let entry = u64::from(hash) << 32 | (u64::from(slot) + 1);
        let mut places = (0..REACH).map(|ahead| (hash as usize + ahead) & mask);
        let Some(mut hole) = places.find(|&place| self.entries[place] == entry) else {
            return false;
        };
        let mut place = hole;
        loop {
            place = (place + 1) & mask;
            let entry = self.entries[place];
            if entry == 0 {
                break;
            }
            let home = hash_of(entry) as usize;
            let from_home = place.wrapping_sub(home) & mask;
            if from_home >= place.wrapping_sub(hole) & mask {
                self.entries[hole] = entry; // Its home is not behind the hole.
                hole = place;
            }
        }
        self.entries[hole] = 0;
        true
    }
}

#[inline(always)]
fn hash_of(entry: u64) -> u32 {
    (entry >> 32) as u32
}

#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "the half is meant")]
fn slot_of(entry: u64) -> Option<u32> {
    (entry as u32).checked_sub(1)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Few hashes, near the end of the index: everything collides and wraps.
        #[test]
        fn it_finds_what_a_map_has_and_nothing_else(
            steps in prop::collection::vec((any::<bool>(), 240..264_u32, 0..40_u32), 1..400)
        ) {
            let mut index = Index::new(1);
            let mut model = HashMap::new();
            for (adds, hash, slot) in steps {
                if adds && !model.contains_key(&slot) {
                    prop_assert!(index.insert(hash, slot));
                    model.insert(slot, hash);
                } else if !adds {
                    let removed = model.get(&slot) == Some(&hash);
                    prop_assert_eq!(index.remove(hash, slot), removed);
                    if removed {
                        model.remove(&slot);
                    }
                }
                for slot in 0..40 {
                    let found = (240..264).find(|&hash| index.find(hash, |at| at == slot).is_some());
                    prop_assert_eq!(found, model.get(&slot).copied());
                }
            }
        }
    }

    #[test]
    fn hashes_that_all_collide_fill_a_reach_and_no_more() {
        let mut index = Index::new(1_000);
        let added = (0..1_000).filter(|&slot| index.insert(7, slot)).count();
        assert_eq!(added, REACH);
        assert_eq!(index.find(7, |slot| slot == 127), Some(127));
        assert_eq!(index.find(7, |slot| slot == 128), None);
        assert!(index.remove(7, 3) && index.insert(7, 999));
        assert_eq!(index.find(7, |slot| slot == 999), Some(999));
    }
}
