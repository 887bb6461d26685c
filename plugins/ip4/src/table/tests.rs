use std::sync::atomic::{AtomicBool, AtomicU64};

use proptest::prelude::*;

use super::*;

fn prefix(address: u32, len: u8) -> Ip4Prefix {
    Ip4Prefix::new(Ipv4Addr::from_bits(address), len).unwrap()
}

fn leaf(index: u32) -> Leaf {
    Leaf::new(index).unwrap()
}

/// The routes in a list, and the longest found by looking at all of them.
#[derive(Default)]
struct Model(Vec<(Ip4Prefix, Leaf)>);

impl Model {
    fn insert(&mut self, prefix: Ip4Prefix, leaf: Leaf) -> Option<Leaf> {
        let old = self.remove(prefix);
        self.0.push((prefix, leaf));
        old
    }

    fn remove(&mut self, prefix: Ip4Prefix) -> Option<Leaf> {
        let index = self.0.iter().position(|route| route.0 == prefix)?;
        Some(self.0.swap_remove(index).1)
    }

    fn longest_match(&self, address: Ipv4Addr, max_len: u8) -> Option<(Ip4Prefix, Leaf)> {
        let fits =
            |route: &&(Ip4Prefix, Leaf)| route.0.len() <= max_len && route.0.contains(address);
        self.0.iter().filter(fits).max_by_key(|route| route.0.len()).copied()
    }
}

#[derive(Clone, Debug)]
enum Change {
    Insert(Ip4Prefix, Leaf),
    Remove(Ip4Prefix),
    Grace,
}

/// Prefixes that are often in each other.
fn crowded_prefix() -> impl Strategy<Value = Ip4Prefix> {
    let byte = || prop_oneof![Just(0_u8), Just(1), Just(128), Just(255), any::<u8>()];
    let len = prop_oneof![4 => 16_u8..=32, 1 => 0_u8..=16];
    (prop_oneof![Just(10_u8), Just(11)], prop_oneof![Just(0_u8), Just(1)], byte(), byte(), len)
        .prop_map(|(a, b, c, d, len)| prefix(u32::from_be_bytes([a, b, c, d]), len))
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        6 => (crowded_prefix(), 1_u32..6).prop_map(|(prefix, index)| Change::Insert(prefix, leaf(index))),
        3 => crowded_prefix().prop_map(Change::Remove),
        1 => Just(Change::Grace),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn every_lookup_finds_what_looking_at_all_routes_finds(
        changes in proptest::collection::vec(change(), 1..300),
        more in proptest::collection::vec(any::<u32>(), 64),
    ) {
        let (mut table, mut model) = (Table::new(), Model::default());
        let reader = table.reader();
        for change in &changes {
            match *change {
                Change::Insert(prefix, leaf) => {
                    prop_assert_eq!(table.insert(prefix, leaf), Ok(model.insert(prefix, leaf)));
                }
                Change::Remove(prefix) => {
                    prop_assert_eq!(table.remove(prefix), Ok(model.remove(prefix)));
                }
                Change::Grace => {
                    table.begin_grace();
                    table.end_grace();
                }
            }
        }
        // The edges of every prefix that was ever there, and a few places of no importance.
        let prefixes = changes.iter().filter_map(|change| match *change {
            Change::Insert(prefix, _) | Change::Remove(prefix) => Some(prefix),
            Change::Grace => None,
        });
        let edges = prefixes.flat_map(|prefix| {
            let (first, last) = (prefix.first().to_bits(), prefix.last().to_bits());
            [first, last, first.wrapping_sub(1), last.wrapping_add(1)]
        });
        for address in edges.chain(more).map(Ipv4Addr::from_bits) {
            let found = model.longest_match(address, 32);
            let wanted = found.map_or(Leaf::NO_ROUTE, |route| route.1);
            prop_assert_eq!(reader.lookup(address), wanted, "{}", address);
            prop_assert_eq!(reader.lookup_each([address; 3]), [wanted; 3], "{}", address);
            for max_len in [0, 8, 15, 16, 17, 23, 24, 25, 31, 32] {
                let wanted = model.longest_match(address, max_len);
                prop_assert_eq!(table.longest_match(address, max_len), wanted);
            }
        }
        model.0.sort_unstable();
        prop_assert_eq!(table.routes(), model.0.clone());
        prop_assert_eq!(table.len(), model.0.len());
        for &(prefix, leaf) in &model.0 {
            prop_assert_eq!(table.get(prefix), Some(leaf));
            prop_assert_eq!(table.remove(prefix), Ok(Some(leaf)));
        }
        table.begin_grace();
        table.end_grace();
        prop_assert_eq!(table.lookup_bytes(), 4 * ROOT, "an empty table has no plies");
        prop_assert_eq!(table.nodes, 0);
    }
}

#[test]
fn a_ply_with_a_route_for_every_slot_is_found_and_taken_down_again() {
    let mut table = Table::new();
    let reader = table.reader();
    for low in 0..0x1_0000 {
        table.insert(prefix(0x1400_0000 | low, 32), leaf(1 + low)).unwrap();
    }
    for low in 0..0x1_0000 {
        assert_eq!(reader.lookup(Ipv4Addr::from_bits(0x1400_0000 | low)), leaf(1 + low));
    }
    for low in (0..0x1_0000).step_by(2) {
        table.remove(prefix(0x1400_0000 | low, 32)).unwrap();
    }
    for low in 0..0x1_0000 {
        let wanted = if low % 2 == 0 { Leaf::NO_ROUTE } else { leaf(1 + low) };
        assert_eq!(reader.lookup(Ipv4Addr::from_bits(0x1400_0000 | low)), wanted);
    }
}

#[test]
fn neighbours_with_the_same_leaf_take_no_memory() {
    let mut table = Table::new();
    for low in 0..0x1_0000 {
        table.insert(prefix(0x1400_0000 | low, 32), leaf(7)).unwrap();
    }
    assert_eq!(table.lookup_bytes(), 4 * ROOT);
    assert_eq!(table.reader().lookup(Ipv4Addr::new(20, 0, 3, 4)), leaf(7));
}

/// Readers run while routes come and go and memory is used again. Every leaf tells the prefix it
/// belongs to, so a reader sees at once when it is led to a place that is not for its address;
/// and there is a route that never goes away, so none may ever find nothing.
#[test]
fn a_lookup_beside_changes_finds_a_route_for_its_address() {
    const SPAN: u32 = 0x0a00_0000;
    const BACKBONE: Leaf = Leaf(1);
    const CHANGES: u32 = 60_000;
    let mut table = Table::new();
    table.insert(prefix(SPAN, 14), BACKBONE).unwrap();
    let (reader, done) = (table.reader(), AtomicBool::new(false));
    let passes = [const { AtomicU64::new(0) }; 2];
    std::thread::scope(|scope| {
        for (seed, pass) in (1_u64..).zip(&passes) {
            let (reader, done) = (&reader, &done);
            scope.spawn(move || {
                let mut random = Random(seed);
                while !done.load(Ordering::Relaxed) {
                    for _ in 0..64 {
                        let address = Ipv4Addr::from_bits(SPAN | random.next() & 0x3_ffff);
                        let found = [reader.lookup(address), reader.lookup_each([address; 2])[1]];
                        for leaf in found {
                            assert!(is_for(leaf, address), "{address} went to {leaf:?}");
                        }
                    }
                    pass.fetch_add(1, Ordering::SeqCst);
                }
                pass.store(u64::MAX, Ordering::SeqCst);
            });
        }
        let mut random = Random(9);
        let mut began = None;
        let seen = || passes.each_ref().map(|pass| pass.load(Ordering::SeqCst));
        for _ in 0..CHANGES {
            let len = 15 + (random.next() % 18).min(17) as u8;
            let target = prefix(SPAN | random.next() & 0x3_ffff, len);
            if random.next().is_multiple_of(3) {
                table.remove(target).unwrap();
            } else {
                // The bits of the address behind /14, then the length.
                let bits = target.first().to_bits() & 0x3_ffff;
                table.insert(target, leaf(2 + (bits << 6 | u32::from(len)))).unwrap();
            }
            match began {
                None if table.begin_grace() => began = Some(seen()),
                Some(then) if (0..2).all(|reader: usize| seen()[reader] > then[reader] + 1) => {
                    table.end_grace();
                    began = None;
                }
                _ => {}
            }
        }
        done.store(true, Ordering::Relaxed);
    });
    assert!(table.touched_bytes() < 64 << 20, "memory is used again");

    fn is_for(leaf: Leaf, address: Ipv4Addr) -> bool {
        if leaf == BACKBONE {
            return true;
        }
        let Some(code) = leaf.index().checked_sub(2) else { return false };
        let len = u8::try_from(code & 63).unwrap();
        len > 14
            && Ip4Prefix::new(Ipv4Addr::from_bits(SPAN | code >> 6), len)
                .is_ok_and(|prefix| prefix.contains(address))
    }
}

/// A small generator (xorshift64*), the same on every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u32 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32) as u32
    }
}
