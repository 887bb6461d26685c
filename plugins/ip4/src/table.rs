//! The longest-prefix-match table.
//!
//! ```text
//! address  │ 16 bits        │ 8 bits │ 8 bits │
//! root     [ 65,536 entries ]
//!                 └─ entry ──> ply [ 256 slots ]
//!                                    └─ entry ──> ply [ 256 slots ]
//! entry    a leaf, or a ply (of two kinds, see `ply`)
//! ```
//! Prefixes are pushed down to the slots they win, so a lookup reads one entry per level and
//! stops at the first leaf. Neighbouring slots of a ply that hold the same entry are stored once:
//! a table like the Internet's takes some 10 MiB, and a lookup at most two cache lines per ply.
//!
//! One writer ([`Table`]) changes what any number of readers ([`Lookup`]) look at. A changed ply
//! is written elsewhere and published by one store, or changed in place where that is one store
//! per slot: a lookup sees the route as it was before or after, for each address.
//! Memory that readers may still look at comes back after a grace period (see [`crate::arena`]).

mod node;
mod ply;

#[cfg(test)]
mod tests;

use std::{
    collections::HashMap,
    net::Ipv4Addr,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use plugin_api::wire::Ip4Prefix;

use self::{node::Node, ply::Entry};
pub use crate::arena::Full;
use crate::arena::{Arena, Lines};

/// Entries of the root.
const ROOT: usize = 1 << 16;

/// What a route leads to; a number of the caller's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(transparent)]
pub struct Leaf(u32);

impl Leaf {
    /// What a lookup gives where there is no route.
    pub const NO_ROUTE: Self = Self(0);
    /// Every leaf is smaller.
    pub const LIMIT: u32 = ply::PLY;

    /// Leaf number `index`; `None` from [`LIMIT`](Self::LIMIT) on.
    pub const fn new(index: u32) -> Option<Self> {
        if index < Self::LIMIT { Some(Self(index)) } else { None }
    }

    /// Its number.
    #[inline(always)]
    pub const fn index(self) -> u32 {
        self.0
    }
}

/// The reading side.
///
/// Context: any thread, also while the table changes.
#[derive(Clone, Debug)]
pub struct Lookup {
    root: Arc<[AtomicU32; ROOT]>,
    lines: Arc<Lines>,
}

impl Lookup {
    /// The leaf of the longest prefix that `address` is in.
    ///
    /// Cost: 1 to 3 dependent steps, each of one or two cache lines.
    #[inline(always)]
    pub fn lookup(&self, address: Ipv4Addr) -> Leaf {
        let bits = address.to_bits();
        let mut entry = self.root_entry(bits);
        if entry.is_ply() {
            entry = ply::slot(&self.lines, entry, bits >> 8 & 0xff);
            if entry.is_ply() {
                entry = ply::slot(&self.lines, entry, bits & 0xff);
            }
        }
        entry.leaf()
    }

    /// Looks up `N` addresses, level by level, so that their cache misses overlap.
    ///
    /// Cost: with the table out of the cache, a third of as many [`lookup`](Self::lookup)s.
    #[inline(always)]
    pub fn lookup_each<const N: usize>(&self, addresses: [Ipv4Addr; N]) -> [Leaf; N] {
        let bits = addresses.map(Ipv4Addr::to_bits);
        let mut entries = bits.map(|bits| self.root_entry(bits));
        for shift in [8, 0] {
            if !entries.iter().fold(Entry(0), |or, entry| Entry(or.0 | entry.0)).is_ply() {
                break;
            }
            ply::slots(&self.lines, &mut entries, |lane| bits[lane] >> shift & 0xff);
        }
        entries.map(Entry::leaf)
    }

    #[inline(always)]
    fn root_entry(&self, bits: u32) -> Entry {
        Entry(self.root[(bits >> 16) as usize].load(Ordering::Acquire))
    }
}

/// The writing side, which also remembers the routes.
#[derive(Debug)]
pub struct Table {
    reader: Lookup,
    arena: Arena,
    /// Prefixes of at most 16 bits.
    short: HashMap<Ip4Prefix, Leaf>,
    /// What the root's entries are made of.
    root: Box<[RootSlot]>,
    len: usize,
    /// Nodes below the root: each may have a ply.
    nodes: usize,
}

/// One entry of the root.
#[derive(Debug, Default)]
struct RootSlot {
    /// Leaf of the longest prefix of at most 16 bits.
    cover: Leaf,
    /// Its length plus one; 0 if there is none.
    cover_rank: u8,
    /// The longer prefixes.
    node: Option<Box<Node>>,
}

impl Table {
    /// A table without routes.
    pub fn new() -> Self {
        let root: Box<[AtomicU32]> = (0..ROOT).map(|_| AtomicU32::new(0)).collect();
        let root: Result<Box<[AtomicU32; ROOT]>, _> = root.try_into();
        let root = root.unwrap_or_else(|root| unreachable!("{} entries were made", root.len()));
        let arena = Arena::new();
        Self {
            reader: Lookup { root: root.into(), lines: Arc::clone(arena.lines()) },
            arena,
            short: HashMap::new(),
            root: (0..ROOT).map(|_| RootSlot::default()).collect(),
            len: 0,
            nodes: 0,
        }
    }

    /// A reader.
    pub fn reader(&self) -> Lookup {
        self.reader.clone()
    }

    /// Number of routes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no routes.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Adds the route of `prefix` or changes it; returns the leaf it had.
    ///
    /// Cost: about a microsecond; for a prefix of at most 16 bits, that for every longer one's
    /// ply in it.
    ///
    /// # Errors
    /// [`Full`]; nothing has changed.
    pub fn insert(&mut self, prefix: Ip4Prefix, leaf: Leaf) -> Result<Option<Leaf>, Full> {
        self.reserve(prefix)?;
        let old = if prefix.len() <= 16 {
            let old = self.short.insert(prefix, leaf);
            let rank = prefix.len() + 1;
            self.repaint_root(prefix, |slot| {
                slot.cover_rank <= rank && {
                    (slot.cover, slot.cover_rank) = (leaf, rank);
                    true
                }
            })?;
            old
        } else {
            self.insert_long(prefix, leaf)?
        };
        self.len += usize::from(old.is_none());
        Ok(old)
    }

    /// Removes the route of `prefix`; returns the leaf it had.
    ///
    /// # Errors
    /// [`Full`], as what is left may need to be written anew; nothing has changed.
    pub fn remove(&mut self, prefix: Ip4Prefix) -> Result<Option<Leaf>, Full> {
        self.reserve(prefix)?;
        let old = if prefix.len() <= 16 {
            let old = self.short.remove(&prefix);
            if old.is_some() {
                let rank = prefix.len() + 1;
                let next = self.short_match(prefix.first(), prefix.len());
                let (cover, cover_rank) =
                    next.map_or((Leaf::NO_ROUTE, 0), |(prefix, leaf)| (leaf, prefix.len() + 1));
                self.repaint_root(prefix, |slot| {
                    slot.cover_rank == rank && {
                        (slot.cover, slot.cover_rank) = (cover, cover_rank);
                        true
                    }
                })?;
            }
            old
        } else {
            self.remove_long(prefix)?
        };
        self.len -= usize::from(old.is_some());
        Ok(old)
    }

    fn insert_long(&mut self, prefix: Ip4Prefix, leaf: Leaf) -> Result<Option<Leaf>, Full> {
        let slot = &mut self.root[root_index(prefix.first())];
        self.nodes += usize::from(slot.node.is_none());
        let node = slot.node.get_or_insert_with(|| Box::new(Node::new(slot.cover)));
        let before = node.entry();
        let (old, more) = node.insert(&mut self.arena, prefix, leaf)?;
        let after = node.entry();
        self.nodes += usize::from(more);
        self.publish(prefix.first(), before, after);
        Ok(old)
    }

    fn remove_long(&mut self, prefix: Ip4Prefix) -> Result<Option<Leaf>, Full> {
        let slot = &mut self.root[root_index(prefix.first())];
        let Some(node) = &mut slot.node else { return Ok(None) };
        let before = node.entry();
        let (old, fewer) = node.remove(&mut self.arena, prefix)?;
        self.nodes -= usize::from(fewer);
        let after = node.entry();
        if node.is_empty() {
            slot.node = None;
            self.nodes -= 1;
        }
        self.publish(prefix.first(), before, after);
        Ok(old)
    }

    /// The leaf of exactly this prefix.
    pub fn get(&self, prefix: Ip4Prefix) -> Option<Leaf> {
        if prefix.len() <= 16 {
            return self.short.get(&prefix).copied();
        }
        self.root[root_index(prefix.first())].node.as_ref()?.get(prefix)
    }

    /// The longest prefix of at most `max_len` bits that `address` is in, and its leaf.
    pub fn longest_match(&self, address: Ipv4Addr, max_len: u8) -> Option<(Ip4Prefix, Leaf)> {
        let node = self.root[root_index(address)].node.as_ref();
        let long = node.and_then(|node| node.longest_match(address, max_len));
        long.or_else(|| self.short_match(address, max_len.saturating_add(1).min(17)))
    }

    /// The longest prefix of fewer than `len` and at most 16 bits.
    fn short_match(&self, address: Ipv4Addr, len: u8) -> Option<(Ip4Prefix, Leaf)> {
        (0..len).rev().find_map(|len| {
            let prefix = Ip4Prefix::new(address, len).ok()?;
            Some((prefix, *self.short.get(&prefix)?))
        })
    }

    /// All routes by address, shorter prefixes first where they begin at the same.
    pub fn routes(&self) -> Vec<(Ip4Prefix, Leaf)> {
        let mut routes: Vec<_> = self.short.iter().map(|(&prefix, &leaf)| (prefix, leaf)).collect();
        for (high, slot) in (0..).zip(&self.root) {
            if let Some(node) = &slot.node {
                node.collect_routes(high << 16, &mut routes);
            }
        }
        routes.sort_unstable();
        routes
    }

    /// Begins a grace period for memory that lookups no longer find; `false` if there is none to
    /// wait for, or one is under way.
    ///
    /// The caller then makes sure that every lookup that is running now has ended, and calls
    /// [`end_grace`](Self::end_grace).
    pub fn begin_grace(&mut self) -> bool {
        self.arena.begin_grace()
    }

    /// Every lookup that was running when the grace period began has ended.
    pub fn end_grace(&mut self) {
        self.arena.end_grace();
    }

    /// Blocks that wait for a grace period.
    pub fn waiting(&self) -> usize {
        self.arena.waiting()
    }

    /// Bytes that lookups read: the root and the plies in use.
    pub fn lookup_bytes(&self) -> usize {
        size_of::<[AtomicU32; ROOT]>() + self.arena.live_bytes()
    }

    /// Bytes of the root and of all plies' memory, in use, free or waiting.
    pub fn touched_bytes(&self) -> usize {
        size_of::<[AtomicU32; ROOT]>() + self.arena.touched_bytes()
    }

    /// Sees to it that a change of `prefix` cannot fail half-way.
    fn reserve(&self, prefix: Ip4Prefix) -> Result<(), Full> {
        // A change may write every ply anew, and make two.
        if self.arena.can_take(self.nodes + 2) {
            return Ok(());
        }
        let slots = &self.root[root_index(prefix.first())..=root_index(prefix.last())];
        let affected: usize =
            slots.iter().filter_map(|slot| slot.node.as_ref()).map(|node| node.count()).sum();
        if self.arena.can_take(affected + 2) { Ok(()) } else { Err(Full) }
    }

    /// Lets `change` set the cover of every root slot of `prefix`, and publishes those it changed.
    fn repaint_root(
        &mut self,
        prefix: Ip4Prefix,
        change: impl Fn(&mut RootSlot) -> bool,
    ) -> Result<(), Full> {
        for index in root_index(prefix.first())..=root_index(prefix.last()) {
            let slot = &mut self.root[index];
            if !change(slot) {
                continue;
            }
            let entry = match &mut slot.node {
                Some(node) => {
                    node.set_cover(&mut self.arena, slot.cover)?;
                    node.entry()
                }
                None => Entry::from(slot.cover),
            };
            self.reader.root[index].store(entry.0, Ordering::Release);
        }
        Ok(())
    }

    fn publish(&self, address: Ipv4Addr, before: Entry, after: Entry) {
        if before != after {
            self.reader.root[root_index(address)].store(after.0, Ordering::Release);
        }
    }
}

impl Default for Table {
    fn default() -> Self {
        Self::new()
    }
}

fn root_index(address: Ipv4Addr) -> usize {
    (address.to_bits() >> 16) as usize
}
