//! What the packet path reads of the forwarding base.

use std::net::Ipv4Addr;

use super::balance::BalanceReader;
use crate::{
    adjacency::{Adjacency, AdjacencyIndex, AdjacencyReader},
    table::{Leaf, Lookup},
};

/// The reading side.
///
/// Context: any thread, also while routes change. A leaf or an adjacency index that it gave means
/// something until the next grace period.
#[derive(Clone, Debug)]
pub struct Forwarder {
    pub(super) lookup: Lookup,
    pub(super) balances: BalanceReader,
    pub(super) adjacencies: AdjacencyReader,
}

impl Forwarder {
    /// The leaf of the route to `destination`.
    #[inline(always)]
    pub fn lookup(&self, destination: Ipv4Addr) -> Leaf {
        self.lookup.lookup(destination)
    }

    /// The leaves of the routes to `N` destinations; see [`Lookup::lookup_each`].
    #[inline(always)]
    pub fn lookup_each<const N: usize>(&self, destinations: [Ipv4Addr; N]) -> [Leaf; N] {
        self.lookup.lookup_each(destinations)
    }

    /// The adjacency for a packet whose route has `leaf`; `hash` is asked if there is a choice.
    #[inline(always)]
    pub fn pick(&self, leaf: Leaf, hash: impl FnOnce() -> u32) -> AdjacencyIndex {
        self.balances.pick(leaf, hash)
    }

    /// An adjacency as it is now.
    #[inline(always)]
    pub fn adjacency(&self, index: AdjacencyIndex) -> Adjacency {
        self.adjacencies.read(index)
    }
}
