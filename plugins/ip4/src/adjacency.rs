//! Adjacencies: where a packet goes once its route is known, and what is written in front of it.
//!
//! ```text
//! AdjacencyIndex ──> slot ──> line of 64 bytes, never changed once published
//!                             kind, rewrite length │ interface │ mtu │ next hop │ rewrite, 16 B
//! ```
//! An index keeps its meaning while anyone holds it; a change (a neighbour answered, a link got
//! another MTU) publishes another line, so a reader never sees half of one.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    net::Ipv4Addr,
    sync::{Arc, atomic::Ordering},
};

use plugin_api::{
    InterfaceIndex,
    wire::{EtherType, MacAddress, ethernet},
};

use crate::{
    arena::{Arena, Block, Full, Lines, fill},
    slots::{SlotReader, Slots},
};

/// Bytes that are copied in front of a packet at once.
pub const WIDE: usize = 16;
/// Adjacencies there may be.
const LIMIT: u32 = 1 << 24;

/// Names an adjacency.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(transparent)]
pub struct AdjacencyIndex(pub u32);

impl AdjacencyIndex {
    /// There is no route.
    pub const NO_ROUTE: Self = Self(0);
    /// A route says: drop.
    pub const DROP: Self = Self(1);
    /// The packet is for this host.
    pub const LOCAL: Self = Self(2);
    /// The route's next hop cannot be reached over any interface.
    pub const UNRESOLVED: Self = Self(3);
    const BUILT_IN: [(Self, Kind); 4] = [
        (Self::NO_ROUTE, Kind::NoRoute),
        (Self::DROP, Kind::Drop),
        (Self::LOCAL, Kind::Local),
        (Self::UNRESOLVED, Kind::Unresolved),
    ];

    /// One of the four that are always there.
    pub const fn is_built_in(self) -> bool {
        (self.0 as usize) < Self::BUILT_IN.len()
    }
}

impl fmt::Display for AdjacencyIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// What happens to a packet of an adjacency.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Kind {
    /// Drop: there is no route.
    NoRoute = 0,
    /// Drop: the route says so.
    Drop = 1,
    /// Deliver here.
    Local = 2,
    /// Drop: the next hop cannot be reached over any interface.
    Unresolved = 3,
    /// The destination itself is on the link: find its hardware address.
    Glean = 4,
    /// The next hop's hardware address is not known: find it.
    Incomplete = 5,
    /// Write the rewrite in front and send.
    Complete = 6,
}

impl Kind {
    const ALL: [Self; 7] = [
        Self::NoRoute,
        Self::Drop,
        Self::Local,
        Self::Unresolved,
        Self::Glean,
        Self::Incomplete,
        Self::Complete,
    ];
}

/// An adjacency as it is at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Adjacency {
    /// What to do.
    pub kind: Kind,
    /// Bytes of `rewrite` that count: 14, or 0 on links without an Ethernet header.
    pub rewrite_len: u8,
    /// Where to send; meaningful from [`Kind::Glean`] on.
    pub interface: InterfaceIndex,
    /// Largest packet of the link, without rewrite. Unit: bytes.
    pub mtu: u32,
    /// To whom; 0.0.0.0 if that is the packet's destination.
    pub next_hop: Ipv4Addr,
    /// What goes in front of the packet, at the *end* of the 16 bytes: write them all right
    /// before the packet, in one store, then step back to the last `rewrite_len`.
    pub rewrite: [u8; WIDE],
}

impl Adjacency {
    const EMPTY: Self = Self {
        kind: Kind::NoRoute,
        rewrite_len: 0,
        interface: InterfaceIndex(u32::MAX),
        mtu: 0,
        next_hop: Ipv4Addr::UNSPECIFIED,
        rewrite: [0; WIDE],
    };

    /// The bytes that count.
    pub fn header(&self) -> &[u8] {
        &self.rewrite[WIDE - usize::from(self.rewrite_len).min(WIDE)..]
    }
}

/// The reading side. Context: any thread.
#[derive(Clone, Debug)]
pub struct AdjacencyReader {
    slots: SlotReader,
    lines: Arc<Lines>,
}

impl AdjacencyReader {
    /// Adjacency `index`; [`Kind::NoRoute`] if there is none.
    ///
    /// Cost: two dependent cache lines.
    #[inline(always)]
    pub fn read(&self, index: AdjacencyIndex) -> Adjacency {
        let line = self.lines.line(self.slots.read(index.0));
        let word = |at: usize| line.0[at].load(Ordering::Relaxed);
        let mut rewrite = [0; WIDE];
        for (at, bytes) in rewrite.chunks_exact_mut(4).enumerate() {
            bytes.copy_from_slice(&word(4 + at).to_ne_bytes());
        }
        let [kind, rewrite_len, ..] = word(0).to_le_bytes();
        Adjacency {
            kind: Kind::ALL.get(usize::from(kind)).copied().unwrap_or(Kind::NoRoute),
            rewrite_len,
            interface: InterfaceIndex(word(1)),
            mtu: word(2),
            next_hop: Ipv4Addr::from_bits(word(3)),
            rewrite,
        }
    }
}

/// What has to be known of an interface to send by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its own hardware address.
    pub mac: MacAddress,
    /// Largest packet. Unit: bytes.
    pub mtu: u32,
    /// Carries IP packets without an Ethernet header.
    pub is_l3: bool,
}

/// The writing side.
#[derive(Debug)]
pub struct Adjacencies {
    slots: Slots,
    lines: Arena,
    links: HashMap<InterfaceIndex, Link>,
    /// By interface and next hop; 0.0.0.0 is the glean adjacency.
    entries: BTreeMap<(InterfaceIndex, Ipv4Addr), Entry>,
    keys: HashMap<AdjacencyIndex, (InterfaceIndex, Ipv4Addr)>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    index: AdjacencyIndex,
    holders: usize,
    mac: Option<MacAddress>,
}

impl Adjacencies {
    /// The four that are always there.
    ///
    /// # Errors
    /// None in practice: the table is empty.
    pub fn new() -> Result<Self, Full> {
        let (mut slots, mut lines) = (Slots::new(LIMIT), Arena::new());
        for (index, kind) in AdjacencyIndex::BUILT_IN {
            let line = publish(&mut lines, &Adjacency { kind, ..Adjacency::EMPTY })?;
            let slot = slots.take(line)?;
            debug_assert_eq!(slot, index.0);
        }
        Ok(Self {
            slots,
            lines,
            links: HashMap::new(),
            entries: BTreeMap::new(),
            keys: HashMap::new(),
        })
    }

    /// A reader.
    pub fn reader(&self) -> AdjacencyReader {
        AdjacencyReader { slots: self.slots.reader(), lines: Arc::clone(self.lines.lines()) }
    }

    /// Tells what is known of an interface; its adjacencies change at once.
    ///
    /// # Errors
    /// [`Full`]; some adjacencies may have changed.
    pub fn set_link(&mut self, interface: InterfaceIndex, link: Link) -> Result<(), Full> {
        self.links.insert(interface, link);
        let keys: Vec<_> = self.entries.range(of(interface)).map(|(&key, _)| key).collect();
        keys.into_iter().try_for_each(|key| self.rewrite(key))
    }

    /// Forgets an interface; adjacencies that are still held drop their packets.
    ///
    /// # Errors
    /// [`Full`]; some adjacencies may have changed.
    pub fn remove_link(&mut self, interface: InterfaceIndex) -> Result<(), Full> {
        self.links.remove(&interface);
        let keys: Vec<_> = self.entries.range(of(interface)).map(|(&key, _)| key).collect();
        for key in keys {
            self.set_mac(key, None)?;
        }
        Ok(())
    }

    /// What is known of an interface.
    pub fn link(&self, interface: InterfaceIndex) -> Option<Link> {
        self.links.get(&interface).copied()
    }

    /// The adjacency to `next_hop` by `interface`, made if need be, and held once more.
    ///
    /// # Errors
    /// [`Full`].
    pub fn hold(
        &mut self,
        interface: InterfaceIndex,
        next_hop: Ipv4Addr,
    ) -> Result<AdjacencyIndex, Full> {
        let key = (interface, next_hop);
        if let Some(entry) = self.entries.get_mut(&key) {
            entry.holders += 1;
            return Ok(entry.index);
        }
        let content = self.content(key, None);
        let line = publish(&mut self.lines, &content)?;
        let slot = self.slots.take(line).inspect_err(|Full| self.lines.give_back(block(line)))?;
        let index = AdjacencyIndex(slot);
        self.entries.insert(key, Entry { index, holders: 1, mac: None });
        self.keys.insert(index, key);
        Ok(index)
    }

    /// The adjacency to whatever is on the link of `interface`, held once more.
    ///
    /// # Errors
    /// [`Full`].
    pub fn hold_glean(&mut self, interface: InterfaceIndex) -> Result<AdjacencyIndex, Full> {
        self.hold(interface, Ipv4Addr::UNSPECIFIED)
    }

    /// Holds an adjacency that someone holds already; built-in ones need no holding.
    pub fn hold_again(&mut self, index: AdjacencyIndex) {
        if let Some(entry) = self.keys.get(&index).and_then(|key| self.entries.get_mut(key)) {
            entry.holders += 1;
        }
    }

    /// Lets go of an adjacency; the last to do so removes it.
    pub fn release(&mut self, index: AdjacencyIndex) {
        let Some(&key) = self.keys.get(&index) else { return };
        let Some(entry) = self.entries.get_mut(&key) else { return };
        entry.holders -= 1;
        if entry.holders == 0 {
            self.entries.remove(&key);
            self.keys.remove(&index);
            let none = self.slots.get(AdjacencyIndex::NO_ROUTE.0);
            let line = self.slots.get(index.0);
            self.slots.retire(index.0, none);
            self.lines.retire(block(line));
        }
    }

    /// Tells the hardware address of a next hop, or that it is no longer known; nothing happens
    /// if nobody holds the adjacency.
    ///
    /// # Errors
    /// [`Full`]; nothing has changed.
    pub fn set_mac(
        &mut self,
        key: (InterfaceIndex, Ipv4Addr),
        mac: Option<MacAddress>,
    ) -> Result<(), Full> {
        let Some(entry) = self.entries.get_mut(&key) else { return Ok(()) };
        let before = std::mem::replace(&mut entry.mac, mac);
        let changed = self.rewrite(key);
        if let (Err(Full), Some(entry)) = (changed, self.entries.get_mut(&key)) {
            entry.mac = before;
        }
        changed
    }

    /// All adjacencies that are held: index, interface and next hop, number of holders.
    pub fn iter(
        &self,
    ) -> impl Iterator<Item = (AdjacencyIndex, InterfaceIndex, Ipv4Addr, usize)> + '_ {
        self.entries.iter().map(|(&(interface, next_hop), entry)| {
            (entry.index, interface, next_hop, entry.holders)
        })
    }

    /// As [`Arena::begin_grace`]; not while one is under way.
    pub fn begin_grace(&mut self) -> bool {
        // Both, not the first that has something.
        self.slots.begin_grace() | self.lines.begin_grace()
    }

    /// As [`Arena::end_grace`].
    pub fn end_grace(&mut self) {
        self.slots.end_grace();
        self.lines.end_grace();
    }

    /// Lines and indices that wait for a grace period.
    pub fn waiting(&self) -> usize {
        self.slots.waiting() + self.lines.waiting()
    }

    /// Publishes what is now known of an adjacency.
    fn rewrite(&mut self, key: (InterfaceIndex, Ipv4Addr)) -> Result<(), Full> {
        let Some(&entry) = self.entries.get(&key) else { return Ok(()) };
        let content = self.content(key, entry.mac);
        let line = publish(&mut self.lines, &content)?;
        let old = self.slots.get(entry.index.0);
        self.slots.set(entry.index.0, line);
        self.lines.retire(block(old));
        Ok(())
    }

    fn content(
        &self,
        (interface, next_hop): (InterfaceIndex, Ipv4Addr),
        mac: Option<MacAddress>,
    ) -> Adjacency {
        let Some(link) = self.links.get(&interface) else {
            return Adjacency { kind: Kind::Unresolved, interface, next_hop, ..Adjacency::EMPTY };
        };
        let known = Adjacency { interface, next_hop, mtu: link.mtu, ..Adjacency::EMPTY };
        if link.is_l3 {
            return Adjacency { kind: Kind::Complete, ..known };
        }
        if next_hop.is_unspecified() {
            return Adjacency { kind: Kind::Glean, ..known };
        }
        let Some(mac) = mac else { return Adjacency { kind: Kind::Incomplete, ..known } };
        let mut rewrite = [0; WIDE];
        if let Some(header) = rewrite.last_chunk_mut() {
            ethernet::emit(header, mac, link.mac, EtherType::IP4);
        }
        #[expect(clippy::cast_possible_truncation, reason = "14")]
        let rewrite_len = ethernet::HEADER as u8;
        Adjacency { kind: Kind::Complete, rewrite_len, rewrite, ..known }
    }
}

/// Writes an adjacency to a fresh line.
fn publish(lines: &mut Arena, adjacency: &Adjacency) -> Result<u32, Full> {
    let block = lines.take(1)?;
    let head = u32::from_le_bytes([adjacency.kind as u8, adjacency.rewrite_len, 0, 0]);
    let fields = [head, adjacency.interface.0, adjacency.mtu, adjacency.next_hop.to_bits()];
    let rewrite = adjacency.rewrite.chunks_exact(4).filter_map(|bytes| bytes.first_chunk());
    let words = fields.into_iter().chain(rewrite.map(|&bytes| u32::from_ne_bytes(bytes)));
    fill(lines.lines().words(block.first), 0, words);
    Ok(block.first)
}

/// The block that is one line.
const fn block(line: u32) -> Block {
    Block { first: line, lines: 1 }
}

/// The keys of an interface.
fn of(interface: InterfaceIndex) -> std::ops::RangeInclusive<(InterfaceIndex, Ipv4Addr)> {
    (interface, Ipv4Addr::UNSPECIFIED)..=(interface, Ipv4Addr::BROADCAST)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ETH: InterfaceIndex = InterfaceIndex(1);
    const TUN: InterfaceIndex = InterfaceIndex(2);
    const HOP: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
    const OWN: MacAddress = MacAddress([2, 0, 0, 0, 0, 1]);
    const MAC: MacAddress = MacAddress([2, 0, 0, 0, 0, 2]);

    fn with_links() -> Adjacencies {
        let mut adjacencies = Adjacencies::new().unwrap();
        adjacencies.set_link(ETH, Link { mac: OWN, mtu: 1500, is_l3: false }).unwrap();
        adjacencies.set_link(TUN, Link { mac: OWN, mtu: 1400, is_l3: true }).unwrap();
        adjacencies
    }

    #[test]
    fn an_adjacency_keeps_its_index_from_unknown_to_known_and_back() {
        let mut adjacencies = with_links();
        let reader = adjacencies.reader();
        let index = adjacencies.hold(ETH, HOP).unwrap();
        assert_eq!(reader.read(index).kind, Kind::Incomplete);
        adjacencies.set_mac((ETH, HOP), Some(MAC)).unwrap();
        let complete = reader.read(index);
        assert_eq!((complete.kind, complete.mtu, complete.interface), (Kind::Complete, 1500, ETH));
        let header = [2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0];
        assert_eq!(complete.header(), header);
        assert_eq!(complete.rewrite[2..], header);
        adjacencies.set_mac((ETH, HOP), None).unwrap();
        assert_eq!(reader.read(index).kind, Kind::Incomplete);
        assert_eq!(adjacencies.hold(ETH, HOP), Ok(index), "the same for the same next hop");
    }

    #[test]
    fn a_link_without_ethernet_needs_no_hardware_address() {
        let mut adjacencies = with_links();
        let index = adjacencies.hold(TUN, HOP).unwrap();
        let adjacency = adjacencies.reader().read(index);
        assert_eq!((adjacency.kind, adjacency.header()), (Kind::Complete, &[][..]));
        let glean = adjacencies.hold_glean(TUN).unwrap();
        assert_eq!(adjacencies.reader().read(glean).kind, Kind::Complete);
    }

    #[test]
    fn a_new_link_address_reaches_every_adjacency_of_the_link() {
        let mut adjacencies = with_links();
        let index = adjacencies.hold(ETH, HOP).unwrap();
        adjacencies.set_mac((ETH, HOP), Some(MAC)).unwrap();
        adjacencies.set_link(ETH, Link { mac: MAC, mtu: 9000, is_l3: false }).unwrap();
        let adjacency = adjacencies.reader().read(index);
        assert_eq!((adjacency.mtu, &adjacency.header()[6..12]), (9000, &MAC.0[..]));
    }

    #[test]
    fn a_released_index_drops_packets_and_is_used_again_after_the_grace_period() {
        let mut adjacencies = with_links();
        let index = adjacencies.hold(ETH, HOP).unwrap();
        adjacencies.hold_again(index);
        adjacencies.release(index);
        assert_eq!(adjacencies.reader().read(index).kind, Kind::Incomplete, "still held");
        adjacencies.release(index);
        assert_eq!(adjacencies.reader().read(index).kind, Kind::NoRoute);
        assert_ne!(adjacencies.hold(ETH, HOP), Ok(index));
        assert!(adjacencies.begin_grace());
        adjacencies.end_grace();
        assert_eq!(adjacencies.hold_glean(ETH), Ok(index));
    }

    #[test]
    fn the_built_in_ones_are_there_and_an_unknown_index_is_no_route() {
        let adjacencies = with_links();
        let kinds =
            AdjacencyIndex::BUILT_IN.map(|(index, _)| adjacencies.reader().read(index).kind);
        assert_eq!(kinds, [Kind::NoRoute, Kind::Drop, Kind::Local, Kind::Unresolved]);
        assert_eq!(adjacencies.reader().read(AdjacencyIndex(u32::MAX)).kind, Kind::NoRoute);
    }
}
