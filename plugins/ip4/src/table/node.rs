//! What a ply is made of: the routes of a span of 256 slots, as the writer remembers them.

use std::net::Ipv4Addr;

use plugin_api::wire::Ip4Prefix;

use super::{
    Leaf,
    ply::{self, Entry, Runs, SLOTS},
};
use crate::arena::{Arena, Full};

/// Prefix bits above the span of a node below the root, and below that.
const FIRST: u8 = 16;
const SECOND: u8 = 24;

/// The routes that end in one span, and the nodes below it.
#[derive(Debug)]
pub(super) struct Node {
    /// 16 or 24.
    above: u8,
    /// Leaf of slots that no route is for: that of the longest prefix around the span.
    cover: Leaf,
    /// The published form.
    entry: Entry,
    /// Sorted by place, then length: whatever a route covers comes behind it.
    routes: Vec<Route>,
    /// Sorted by slot.
    children: Vec<(u8, Box<Self>)>,
}

/// A route to `1 << (8 - len)` slots.
#[derive(Clone, Copy, Debug)]
struct Route {
    /// First slot.
    at: u8,
    /// Bits in this span, 1 to 8.
    len: u8,
    leaf: Leaf,
}

impl Route {
    /// Whether it is for slot `slot`.
    fn contains(&self, slot: u8) -> bool {
        u32::from(self.at ^ slot) >> (8 - self.len) == 0
    }

    fn slots(&self) -> std::ops::Range<usize> {
        let first = usize::from(self.at);
        first..first + (1 << (8 - self.len))
    }
}

impl Node {
    /// A node below the root, where `cover` is the leaf around it.
    pub(super) fn new(cover: Leaf) -> Self {
        Self::below(FIRST, cover)
    }

    fn below(above: u8, cover: Leaf) -> Self {
        let entry = Entry::from(cover);
        Self { above, cover, entry, routes: Vec::new(), children: Vec::new() }
    }

    /// What to put in the slot above.
    pub(super) fn entry(&self) -> Entry {
        self.entry
    }

    /// Nothing is left in it.
    pub(super) fn is_empty(&self) -> bool {
        self.routes.is_empty() && self.children.is_empty()
    }

    /// Nodes from here down.
    pub(super) fn count(&self) -> usize {
        1 + self.children.len()
    }

    /// Adds or changes a route; returns the leaf it had, and whether a node was added.
    pub(super) fn insert(
        &mut self,
        arena: &mut Arena,
        prefix: Ip4Prefix,
        leaf: Leaf,
    ) -> Result<(Option<Leaf>, bool), Full> {
        let at = self.slot(prefix.first());
        if self.is_deeper(prefix.len()) {
            let place = self.child(at);
            let index = place.unwrap_or_else(|index| {
                let child = Self::below(SECOND, self.leaf_at(at));
                make_room(&mut self.children);
                self.children.insert(index, (at, Box::new(child)));
                index
            });
            let child = &mut self.children[index].1;
            let before = child.entry;
            let (old, _) = child.insert(arena, prefix, leaf)?;
            let after = child.entry;
            self.replace(arena, at, before, after)?;
            return Ok((old, place.is_err()));
        }
        let old = match self.route(at, prefix.len()) {
            Ok(index) => Some(std::mem::replace(&mut self.routes[index].leaf, leaf)),
            Err(index) => {
                make_room(&mut self.routes);
                self.routes.insert(index, Route { at, len: prefix.len() - self.above, leaf });
                None
            }
        };
        if old != Some(leaf) {
            self.repaint(arena)?;
        }
        Ok((old, false))
    }

    /// Removes a route; returns the leaf it had, and whether a node was removed.
    pub(super) fn remove(
        &mut self,
        arena: &mut Arena,
        prefix: Ip4Prefix,
    ) -> Result<(Option<Leaf>, bool), Full> {
        let at = self.slot(prefix.first());
        if self.is_deeper(prefix.len()) {
            let Ok(index) = self.child(at) else { return Ok((None, false)) };
            let child = &mut self.children[index].1;
            let before = child.entry;
            let (old, _) = child.remove(arena, prefix)?;
            let after = child.entry;
            let emptied = child.is_empty();
            if emptied {
                self.children.remove(index);
            }
            self.replace(arena, at, before, after)?;
            return Ok((old, emptied));
        }
        let Ok(index) = self.route(at, prefix.len()) else { return Ok((None, false)) };
        let old = self.routes.remove(index).leaf;
        self.repaint(arena)?;
        Ok((Some(old), false))
    }

    /// Changes the leaf of the longest prefix around the span.
    pub(super) fn set_cover(&mut self, arena: &mut Arena, cover: Leaf) -> Result<(), Full> {
        if self.cover == cover {
            return Ok(());
        }
        self.cover = cover;
        self.repaint(arena)
    }

    /// The leaf of exactly this prefix.
    pub(super) fn get(&self, prefix: Ip4Prefix) -> Option<Leaf> {
        let at = self.slot(prefix.first());
        if self.is_deeper(prefix.len()) {
            return self.children[self.child(at).ok()?].1.get(prefix);
        }
        self.route(at, prefix.len()).ok().map(|index| self.routes[index].leaf)
    }

    /// The longest prefix of at most `max_len` bits, but longer than those above, that `address`
    /// is in.
    pub(super) fn longest_match(
        &self,
        address: Ipv4Addr,
        max_len: u8,
    ) -> Option<(Ip4Prefix, Leaf)> {
        let at = self.slot(address);
        let child = self.child(at).ok().filter(|_| self.is_deeper(max_len));
        let deeper = child.and_then(|index| self.children[index].1.longest_match(address, max_len));
        deeper.or_else(|| {
            let fits = |route: &&Route| route.contains(at) && self.above + route.len <= max_len;
            let route = self.routes.iter().rfind(fits)?;
            Some((Ip4Prefix::new(address, self.above + route.len).ok()?, route.leaf))
        })
    }

    /// Appends all routes from here down; the span begins at address `first`.
    pub(super) fn collect_routes(&self, first: u32, routes: &mut Vec<(Ip4Prefix, Leaf)>) {
        let shift = 24 - self.above;
        for route in &self.routes {
            let address = Ipv4Addr::from_bits(first | u32::from(route.at) << shift);
            let prefix = Ip4Prefix::new(address, self.above + route.len);
            routes.extend(prefix.ok().map(|prefix| (prefix, route.leaf)));
        }
        for (at, child) in &self.children {
            child.collect_routes(first | u32::from(*at) << shift, routes);
        }
    }

    /// A slot's child changed its entry.
    fn replace(
        &mut self,
        arena: &mut Arena,
        at: u8,
        before: Entry,
        after: Entry,
    ) -> Result<(), Full> {
        if before == after {
            return Ok(());
        }
        if before.is_ply() && after.is_ply() {
            ply::replace_ply(arena.lines(), self.entry, at.into(), after);
            return Ok(());
        }
        self.repaint(arena)
    }

    /// Publishes what the routes now say.
    ///
    /// Cost: linear in the routes and children.
    fn repaint(&mut self, arena: &mut Arena) -> Result<(), Full> {
        let Self { cover, entry, routes, children, .. } = self;
        let mut runs = Runs::new();
        let mut children = children.iter_mut().peekable();
        // Slots `from..to` hold `leaf`, but for those with children.
        let mut paint = |from: usize, to: usize, leaf: Leaf| {
            let mut from = from;
            while let Some((slot, child)) = children.next_if(|(slot, _)| usize::from(*slot) < to) {
                let at = usize::from(*slot);
                if from < at {
                    runs.push(index(from), Entry::from(leaf));
                }
                child.set_cover(arena, leaf)?;
                runs.push(*slot, child.entry);
                from = at + 1;
            }
            if from < to {
                runs.push(index(from), Entry::from(leaf));
            }
            Ok(())
        };
        // Routes around the slot reached, each in the one before: one for each length, at most.
        let mut around = [(SLOTS, *cover); 9];
        let (mut depth, mut reached) = (0, 0);
        for route in routes.iter() {
            let slots = route.slots();
            while around[depth].0 <= slots.start {
                let (end, leaf) = around[depth];
                paint(reached, end, leaf)?;
                (reached, depth) = (end, depth - 1);
            }
            paint(reached, slots.start, around[depth].1)?;
            (reached, depth) = (slots.start, depth + 1);
            around[depth] = (slots.end, route.leaf);
        }
        for &(end, leaf) in around[..=depth].iter().rev() {
            paint(reached, end, leaf)?;
            reached = end;
        }
        *entry = ply::write(arena, *entry, &runs)?;
        Ok(())
    }

    /// The leaf of `slot` as far as the routes of this node say.
    fn leaf_at(&self, slot: u8) -> Leaf {
        let route = self.routes.iter().rfind(|route| route.contains(slot));
        route.map_or(self.cover, |route| route.leaf)
    }

    fn is_deeper(&self, len: u8) -> bool {
        len > self.above + 8
    }

    #[expect(clippy::cast_possible_truncation, reason = "the byte of the address is meant")]
    fn slot(&self, address: Ipv4Addr) -> u8 {
        (address.to_bits() >> (24 - self.above)) as u8
    }

    fn child(&self, at: u8) -> Result<usize, usize> {
        self.children.binary_search_by_key(&at, |&(slot, _)| slot)
    }

    fn route(&self, at: u8, len: u8) -> Result<usize, usize> {
        let key = (at, len - self.above);
        self.routes.binary_search_by_key(&key, |route| (route.at, route.len))
    }
}

/// A slot's number, which is below 256.
#[expect(clippy::cast_possible_truncation, reason = "the caller's slot is below 256")]
const fn index(slot: usize) -> u8 {
    slot as u8
}

/// Grows by a quarter: there are a million of these, most of them small.
fn make_room<T>(list: &mut Vec<T>) {
    if list.len() == list.capacity() {
        list.reserve_exact(1 + list.len() / 4);
    }
}
