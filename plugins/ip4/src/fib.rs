//! The forwarding information base: routes, and where they lead at the moment.
//!
//! ```text
//! address ──Table──> Leaf ──balance──> AdjacencyIndex ──> Adjacency
//!          (longest          (flow hash, if the           (rewrite,
//!           prefix)           route has more paths)        interface)
//! ```
//! [`Fib`] is the writing side, used on one thread; [`Forwarder`] the reading side, used on any
//! while routes change. A route is a prefix, a [`Source`] that wants it, and [`Path`]s.

mod address;
mod balance;
mod forwarder;
mod path;
mod path_list;

#[cfg(test)]
mod tests;

use std::{collections::HashMap, net::Ipv4Addr};

use plugin_api::{
    InterfaceIndex,
    wire::{Ip4Prefix, MacAddress},
};

use self::path_list::PathLists;
pub use self::{
    address::{AddressError, InterfaceAddress},
    balance::PATHS_MAX,
    forwarder::Forwarder,
    path::{Path, Source},
};
use crate::{
    adjacency::{Adjacencies, AdjacencyIndex, Link},
    arena::Full,
    table::{Leaf, Table},
};

/// The writing side.
#[derive(Debug)]
pub struct Fib {
    table: Table,
    lists: PathLists,
    /// Routes of sources that others outrank; none is empty.
    outranked: HashMap<Ip4Prefix, Vec<(Source, Leaf)>>,
    addresses: Vec<InterfaceAddress>,
    in_grace: bool,
}

/// A route that packets take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Which destinations.
    pub prefix: Ip4Prefix,
    /// Who wants it.
    pub source: Source,
    /// Where it leads.
    pub paths: Vec<Path>,
    /// What that comes to.
    pub adjacencies: Vec<AdjacencyIndex>,
}

/// Why a route was not changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RouteError {
    /// No memory is left for it.
    #[error(transparent)]
    Full(#[from] Full),
    /// Too many paths.
    #[error("a route has at most {PATHS_MAX} paths")]
    TooManyPaths,
    /// There is no such route.
    #[error("there is no static route {0}")]
    NoRoute(Ip4Prefix),
    /// It does not have this path.
    #[error("the route {0} has no such path")]
    NoPath(Ip4Prefix),
}

impl Fib {
    /// A base with the routes that are always there: multicast, reserved and unspecified addresses
    /// are dropped.
    ///
    /// # Errors
    /// None in practice: everything is empty.
    pub fn new() -> Result<Self, Full> {
        let mut fib = Self {
            table: Table::new(),
            lists: PathLists::new()?,
            outranked: HashMap::new(),
            addresses: Vec::new(),
            in_grace: false,
        };
        for (first, len) in [([0, 0, 0, 0], 8), ([127, 0, 0, 0], 8), ([224, 0, 0, 0], 3)] {
            if let Ok(prefix) = Ip4Prefix::new(Ipv4Addr::from(first), len) {
                fib.set(prefix, Source::Special, &[Path::Drop])?;
            }
        }
        Ok(fib)
    }

    /// A reader.
    pub fn forwarder(&self) -> Forwarder {
        Forwarder {
            lookup: self.table.reader(),
            balances: self.lists.balances.reader(),
            adjacencies: self.lists.adjacencies.reader(),
        }
    }

    /// Adds a path to the static route of `prefix`, making the route if there is none; a path it
    /// has already is not added again.
    ///
    /// # Errors
    /// [`RouteError::Full`], [`RouteError::TooManyPaths`]; nothing has changed.
    pub fn add_path(&mut self, prefix: Ip4Prefix, path: Path) -> Result<(), RouteError> {
        let mut paths = self.paths(prefix, Source::Static).unwrap_or_default().to_vec();
        if let Err(place) = paths.binary_search(&path) {
            if paths.len() == PATHS_MAX {
                return Err(RouteError::TooManyPaths);
            }
            paths.insert(place, path);
            self.set(prefix, Source::Static, &paths)?;
        }
        Ok(())
    }

    /// Gives the static route of `prefix` these paths instead of those it has.
    ///
    /// # Errors
    /// [`RouteError::Full`], [`RouteError::TooManyPaths`]; nothing has changed.
    pub fn set_paths(&mut self, prefix: Ip4Prefix, paths: &[Path]) -> Result<(), RouteError> {
        let mut paths = paths.to_vec();
        paths.sort_unstable();
        paths.dedup();
        if paths.len() > PATHS_MAX {
            return Err(RouteError::TooManyPaths);
        }
        Ok(self.set(prefix, Source::Static, &paths)?)
    }

    /// Removes a path of the static route of `prefix`; with the last path goes the route.
    ///
    /// # Errors
    /// [`RouteError::NoRoute`], [`RouteError::NoPath`]; nothing has changed.
    pub fn remove_path(&mut self, prefix: Ip4Prefix, path: Path) -> Result<(), RouteError> {
        let paths = self.paths(prefix, Source::Static).ok_or(RouteError::NoRoute(prefix))?;
        let mut paths = paths.to_vec();
        let place = paths.binary_search(&path).map_err(|_| RouteError::NoPath(prefix))?;
        paths.remove(place);
        Ok(self.set(prefix, Source::Static, &paths)?)
    }

    /// Removes the static route of `prefix`.
    ///
    /// # Errors
    /// [`RouteError::NoRoute`]; nothing has changed.
    pub fn remove_route(&mut self, prefix: Ip4Prefix) -> Result<(), RouteError> {
        self.paths(prefix, Source::Static).ok_or(RouteError::NoRoute(prefix))?;
        Ok(self.set(prefix, Source::Static, &[])?)
    }

    /// Tells what is known of an interface: before its first address, and at every change.
    ///
    /// # Errors
    /// [`Full`].
    pub fn set_link(&mut self, interface: InterfaceIndex, link: Link) -> Result<(), Full> {
        self.lists.adjacencies.set_link(interface, link)
    }

    /// Forgets an interface with its addresses, neighbours and all paths by it.
    ///
    /// # Errors
    /// [`Full`]; some of it may still be there.
    pub fn remove_interface(&mut self, interface: InterfaceIndex) -> Result<(), Full> {
        let own = |address: &InterfaceAddress| address.interface == interface;
        while let Some(place) = self.addresses.iter().position(own) {
            let old = self.addresses.remove(place);
            self.update_link_routes(old)?;
        }
        let affected = self.lists.by_interface(interface);
        let outranked = self
            .outranked
            .iter()
            .flat_map(|(&prefix, routes)| routes.iter().map(move |&(_, leaf)| (prefix, leaf)));
        let all = self.table.routes().into_iter().chain(outranked);
        let routes: Vec<_> = all.filter(|(_, leaf)| affected.contains(leaf)).collect();
        for (prefix, leaf) in routes {
            let Some(list) = self.lists.get(leaf) else { continue };
            let stay = |path: &&Path| path.interface() != Some(interface);
            let (source, paths) = (list.source, list.paths.iter().filter(stay).copied());
            let paths: Vec<_> = paths.collect();
            self.set(prefix, source, &paths)?;
        }
        self.lists.adjacencies.remove_link(interface)
    }

    /// A neighbour's hardware address is known: its adjacency is complete from now on, and if it
    /// is on the interface's prefix it gets a route of its own.
    ///
    /// # Errors
    /// [`Full`].
    pub fn neighbor_resolved(
        &mut self,
        interface: InterfaceIndex,
        next_hop: Ipv4Addr,
        mac: MacAddress,
    ) -> Result<(), Full> {
        let on_link =
            |own: &InterfaceAddress| own.interface == interface && own.prefix.contains(next_hop);
        if self.addresses.iter().any(on_link) {
            let path = Path::Neighbor { next_hop, interface };
            self.set(Ip4Prefix::host(next_hop), Source::Neighbor, &[path])?;
        }
        self.lists.adjacencies.set_mac((interface, next_hop), Some(mac))
    }

    /// A neighbour's hardware address is no longer known.
    ///
    /// # Errors
    /// [`Full`].
    pub fn neighbor_lost(
        &mut self,
        interface: InterfaceIndex,
        next_hop: Ipv4Addr,
    ) -> Result<(), Full> {
        self.lists.adjacencies.set_mac((interface, next_hop), None)?;
        let prefix = Ip4Prefix::host(next_hop);
        let path = Path::Neighbor { next_hop, interface };
        if self.paths(prefix, Source::Neighbor) == Some(&[path]) {
            self.set(prefix, Source::Neighbor, &[])?;
        }
        Ok(())
    }

    /// Number of prefixes with a route.
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether there are no routes; there always are.
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// All routes that packets take, by address, shorter prefixes first.
    pub fn routes(&self) -> Vec<Route> {
        let routes = self.table.routes().into_iter();
        routes.filter_map(|(prefix, leaf)| self.route(prefix, leaf)).collect()
    }

    /// The route that packets to `destination` take.
    pub fn route_to(&self, destination: Ipv4Addr) -> Option<Route> {
        let (prefix, leaf) = self.table.longest_match(destination, 32)?;
        self.route(prefix, leaf)
    }

    /// The adjacencies and links.
    pub fn adjacencies(&self) -> &Adjacencies {
        &self.lists.adjacencies
    }

    /// The longest-prefix-match table, for its figures.
    pub fn table(&self) -> &Table {
        &self.table
    }

    /// Begins a grace period for what readers no longer find; `false` if there is nothing to wait
    /// for, or one is under way.
    ///
    /// The caller then makes sure that no packet is left that was looked up before now, and calls
    /// [`end_grace`](Self::end_grace).
    pub fn begin_grace(&mut self) -> bool {
        if self.in_grace {
            return false;
        }
        // All of them, not up to the first that has something.
        self.in_grace = self.table.begin_grace()
            | self.lists.balances.begin_grace()
            | self.lists.adjacencies.begin_grace();
        self.in_grace
    }

    /// No packet is left that was looked up before the grace period began.
    pub fn end_grace(&mut self) {
        self.table.end_grace();
        self.lists.balances.end_grace();
        self.lists.adjacencies.end_grace();
        self.in_grace = false;
    }

    /// Things that wait for a grace period.
    pub fn waiting(&self) -> usize {
        self.table.waiting() + self.lists.balances.waiting() + self.lists.adjacencies.waiting()
    }

    fn route(&self, prefix: Ip4Prefix, leaf: Leaf) -> Option<Route> {
        let list = self.lists.get(leaf)?;
        Some(Route {
            prefix,
            source: list.source,
            paths: list.paths.to_vec(),
            adjacencies: list.adjacencies.clone(),
        })
    }

    /// The paths `source` wants for `prefix`.
    fn paths(&self, prefix: Ip4Prefix, source: Source) -> Option<&[Path]> {
        let winner = self.table.get(prefix).and_then(|leaf| self.lists.get(leaf));
        let outranked = self.outranked.get(&prefix).into_iter().flatten();
        let others = outranked.filter_map(|&(_, leaf)| self.lists.get(leaf));
        let mut all = winner.into_iter().chain(others);
        all.find(|list| list.source == source).map(|list| &*list.paths)
    }

    /// Sets what `source` wants for `prefix`: sorted paths, none to want nothing.
    fn set(&mut self, prefix: Ip4Prefix, source: Source, paths: &[Path]) -> Result<(), Full> {
        if paths.is_empty() {
            return self.unset(prefix, source);
        }
        let new = self.lists.hold(&self.table, source, paths)?;
        let winner = self.table.get(prefix);
        let rank = winner.and_then(|leaf| self.lists.get(leaf)).map(|list| list.source);
        if rank.is_some_and(|rank| rank > source) {
            let others = self.outranked.entry(prefix).or_default();
            let place = others.iter().position(|other| other.0 == source);
            let old = place.map(|place| others.swap_remove(place).1);
            others.push((source, new));
            if let Some(old) = old {
                self.lists.release(old);
            }
            return Ok(());
        }
        if let Err(Full) = self.table.insert(prefix, new) {
            self.lists.release(new);
            return Err(Full);
        }
        match (winner, rank) {
            (Some(old), Some(rank)) if rank < source => {
                self.outranked.entry(prefix).or_default().push((rank, old));
            }
            (Some(old), _) => self.lists.release(old),
            (None, _) => {}
        }
        self.lists.route_changed(&self.table, prefix)
    }

    fn unset(&mut self, prefix: Ip4Prefix, source: Source) -> Result<(), Full> {
        let Some(winner) = self.table.get(prefix) else { return Ok(()) };
        let wins = self.lists.get(winner).is_some_and(|list| list.source == source);
        if !wins {
            let others = self.outranked.get_mut(&prefix);
            let place = others.and_then(|others| {
                let place = others.iter().position(|other| other.0 == source)?;
                Some(others.swap_remove(place).1)
            });
            if let Some(old) = place {
                self.lists.release(old);
                self.tidy_outranked(prefix);
            }
            return Ok(());
        }
        let next = self.outranked.get(&prefix).and_then(|others| others.iter().max().copied());
        match next {
            Some((_, leaf)) => self.table.insert(prefix, leaf)?,
            None => self.table.remove(prefix)?,
        };
        if let Some(others) = self.outranked.get_mut(&prefix) {
            others.retain(|&other| Some(other) != next);
            self.tidy_outranked(prefix);
        }
        self.lists.release(winner);
        self.lists.route_changed(&self.table, prefix)
    }

    fn tidy_outranked(&mut self, prefix: Ip4Prefix) {
        if self.outranked.get(&prefix).is_some_and(Vec::is_empty) {
            self.outranked.remove(&prefix);
        }
    }
}
