//! Path lists: the paths of routes, shared by all routes that have the same.
//!
//! A list is one leaf of the table. What its paths lead to is worked out once, and again when the
//! route of a next hop changes; a million routes with one list follow by one store.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    mem,
    net::Ipv4Addr,
};

use plugin_api::{InterfaceIndex, wire::Ip4Prefix};

use super::{
    Path, Source,
    balance::{Balances, PATHS_MAX},
};
use crate::{
    adjacency::{Adjacencies, AdjacencyIndex},
    arena::Full,
    table::{Leaf, Table},
};

/// The lists in use.
#[derive(Debug)]
pub(super) struct PathLists {
    by_paths: HashMap<(Source, Box<[Path]>), Leaf>,
    /// By leaf.
    lists: Vec<Option<PathList>>,
    /// Lists with recursive paths, by next hop.
    recursive: BTreeMap<Ipv4Addr, BTreeSet<Leaf>>,
    pub(super) balances: Balances,
    pub(super) adjacencies: Adjacencies,
}

/// The paths of some routes.
#[derive(Debug)]
pub(super) struct PathList {
    pub(super) source: Source,
    /// Sorted, each once, at least one.
    pub(super) paths: Box<[Path]>,
    /// Routes that have it.
    routes: usize,
    /// What the paths lead to; each is held.
    pub(super) adjacencies: Vec<AdjacencyIndex>,
    /// Lists that recursive paths lead through.
    through: Vec<Leaf>,
}

/// What paths lead to, and through which lists.
#[derive(Debug, Default)]
struct Resolved {
    adjacencies: Vec<AdjacencyIndex>,
    through: Vec<Leaf>,
}

impl PathLists {
    pub(super) fn new() -> Result<Self, Full> {
        Ok(Self {
            by_paths: HashMap::new(),
            lists: Vec::new(),
            recursive: BTreeMap::new(),
            balances: Balances::new()?,
            adjacencies: Adjacencies::new()?,
        })
    }

    /// The list of a leaf that is in the table.
    pub(super) fn get(&self, leaf: Leaf) -> Option<&PathList> {
        self.lists.get(leaf.index() as usize)?.as_ref()
    }

    /// The leaf for these sorted paths, held by one more route.
    pub(super) fn hold(
        &mut self,
        table: &Table,
        source: Source,
        paths: &[Path],
    ) -> Result<Leaf, Full> {
        let key = (source, Box::from(paths));
        if let Some(&leaf) = self.by_paths.get(&key) {
            if let Some(list) = self.get_mut(leaf) {
                list.routes += 1;
            }
            return Ok(leaf);
        }
        let Resolved { adjacencies, through } = self.resolve(table, paths, None)?;
        let leaf = match self.balances.take(&adjacencies) {
            Ok(leaf) => leaf,
            Err(Full) => {
                self.release_adjacencies(&adjacencies);
                return Err(Full);
            }
        };
        for next_hop in recursive_next_hops(paths) {
            self.recursive.entry(next_hop).or_default().insert(leaf);
        }
        let index = leaf.index() as usize;
        if self.lists.len() <= index {
            self.lists.resize_with(index + 1, || None);
        }
        let paths = key.1.clone();
        self.lists[index] = Some(PathList { source, paths, routes: 1, adjacencies, through });
        self.by_paths.insert(key, leaf);
        Ok(leaf)
    }

    /// One route has the list no more; the last to say so removes it.
    pub(super) fn release(&mut self, leaf: Leaf) {
        let Some(place) = self.lists.get_mut(leaf.index() as usize) else { return };
        let Some(list) = place else { return };
        list.routes -= 1;
        if list.routes > 0 {
            return;
        }
        let Some(list) = place.take() else { return };
        for next_hop in recursive_next_hops(&list.paths) {
            if let Some(lists) = self.recursive.get_mut(&next_hop) {
                lists.remove(&leaf);
                if lists.is_empty() {
                    self.recursive.remove(&next_hop);
                }
            }
        }
        self.release_adjacencies(&list.adjacencies);
        self.by_paths.remove(&(list.source, list.paths));
        self.balances.retire(leaf);
    }

    /// The lists that have a path by `interface`.
    pub(super) fn by_interface(&self, interface: InterfaceIndex) -> BTreeSet<Leaf> {
        let names = |paths: &[Path]| paths.iter().any(|path| path.interface() == Some(interface));
        self.by_paths.iter().filter(|((_, paths), _)| names(paths)).map(|(_, &leaf)| leaf).collect()
    }

    /// The route of `prefix` has changed: works out anew what leads through it.
    ///
    /// Cost: O(log n) if no next hop is in `prefix`.
    pub(super) fn route_changed(&mut self, table: &Table, prefix: Ip4Prefix) -> Result<(), Full> {
        let next_hops = self.recursive.range(prefix.first()..=prefix.last());
        let mut queue: VecDeque<Leaf> = next_hops.flat_map(|(_, lists)| lists).copied().collect();
        if queue.is_empty() {
            return Ok(());
        }
        // Lists that lead through each other settle at once; this ends what does not.
        let all: usize = self.recursive.values().map(BTreeSet::len).sum();
        for _ in 0..16 + 4 * all {
            let Some(leaf) = queue.pop_front() else { break };
            if self.resolve_again(table, leaf)? {
                queue.extend(self.leading_through(leaf));
            }
        }
        Ok(())
    }

    /// Works out where a list leads; whether that has changed.
    fn resolve_again(&mut self, table: &Table, leaf: Leaf) -> Result<bool, Full> {
        let Some(list) = self.get(leaf) else { return Ok(false) };
        let (paths, before) = (list.paths.clone(), list.adjacencies.clone());
        let Resolved { adjacencies, through } = self.resolve(table, &paths, Some(leaf))?;
        if adjacencies != before
            && let Err(Full) = self.balances.set(leaf, &adjacencies)
        {
            self.release_adjacencies(&adjacencies);
            return Err(Full);
        }
        let changed = adjacencies != before;
        let Some(list) = self.get_mut(leaf) else { return Ok(false) };
        list.through = through;
        let old = mem::replace(&mut list.adjacencies, adjacencies);
        self.release_adjacencies(&old);
        Ok(changed)
    }

    /// What `paths` of the list `own` lead to; each adjacency is held.
    fn resolve(
        &mut self,
        table: &Table,
        paths: &[Path],
        own: Option<Leaf>,
    ) -> Result<Resolved, Full> {
        let mut resolved = Resolved::default();
        for &path in paths {
            if let Err(Full) = self.resolve_path(table, path, own, &mut resolved) {
                self.release_adjacencies(&resolved.adjacencies);
                return Err(Full);
            }
        }
        // Paths that lead nowhere are left out as long as one leads somewhere.
        if resolved.adjacencies.iter().any(|&index| index != AdjacencyIndex::UNRESOLVED) {
            resolved.adjacencies.retain(|&index| index != AdjacencyIndex::UNRESOLVED);
        }
        let surplus = resolved.adjacencies.split_off(resolved.adjacencies.len().min(PATHS_MAX));
        self.release_adjacencies(&surplus);
        Ok(resolved)
    }

    fn resolve_path(
        &mut self,
        table: &Table,
        path: Path,
        own: Option<Leaf>,
        resolved: &mut Resolved,
    ) -> Result<(), Full> {
        let index = match path {
            Path::Neighbor { next_hop, interface } => self.adjacencies.hold(interface, next_hop)?,
            Path::Attached { interface } => self.adjacencies.hold_glean(interface)?,
            Path::Local => AdjacencyIndex::LOCAL,
            Path::Drop => AdjacencyIndex::DROP,
            Path::Recursive { next_hop } => {
                return self.resolve_next_hop(table, next_hop, own, resolved);
            }
        };
        resolved.adjacencies.push(index);
        Ok(())
    }

    fn resolve_next_hop(
        &mut self,
        table: &Table,
        next_hop: Ipv4Addr,
        own: Option<Leaf>,
        resolved: &mut Resolved,
    ) -> Result<(), Full> {
        let leaf = table.longest_match(next_hop, 32).map(|(_, leaf)| leaf);
        resolved.through.extend(leaf);
        let list =
            leaf.filter(|&leaf| !self.leads_through(leaf, own)).and_then(|leaf| self.get(leaf));
        let Some(list) = list else {
            resolved.adjacencies.push(AdjacencyIndex::UNRESOLVED);
            return Ok(());
        };
        let (paths, further) = (list.paths.clone(), list.adjacencies.clone());
        for path in &paths {
            let interface = match path {
                Path::Neighbor { interface, next_hop } => Some((*interface, *next_hop)),
                Path::Attached { interface } => Some((*interface, next_hop)),
                _ => None,
            };
            let index = match interface {
                Some((interface, next_hop)) => self.adjacencies.hold(interface, next_hop)?,
                None => AdjacencyIndex::UNRESOLVED,
            };
            // What a recursive path leads to is added below, once for all of them.
            if !matches!(path, Path::Recursive { .. }) {
                resolved.adjacencies.push(index);
            }
        }
        if paths.iter().any(|path| matches!(path, Path::Recursive { .. })) {
            for index in further {
                let usable = !index.is_built_in();
                self.adjacencies.hold_again(index);
                resolved.adjacencies.push(if usable { index } else { AdjacencyIndex::UNRESOLVED });
            }
        }
        Ok(())
    }

    /// Whether `leaf` is `own` or leads through it.
    fn leads_through(&self, leaf: Leaf, own: Option<Leaf>) -> bool {
        let Some(own) = own else { return false };
        let (mut seen, mut queue) = (BTreeSet::new(), vec![leaf]);
        while let Some(leaf) = queue.pop() {
            if leaf == own {
                return true;
            }
            if seen.insert(leaf) {
                queue.extend(self.get(leaf).iter().flat_map(|list| &list.through));
            }
        }
        false
    }

    /// The lists that lead straight through `leaf`.
    fn leading_through(&self, leaf: Leaf) -> Vec<Leaf> {
        let lists = self.recursive.values().flatten().copied();
        let through =
            |&other: &Leaf| self.get(other).is_some_and(|list| list.through.contains(&leaf));
        lists.filter(through).collect()
    }

    fn release_adjacencies(&mut self, adjacencies: &[AdjacencyIndex]) {
        adjacencies.iter().for_each(|&index| self.adjacencies.release(index));
    }

    fn get_mut(&mut self, leaf: Leaf) -> Option<&mut PathList> {
        self.lists.get_mut(leaf.index() as usize)?.as_mut()
    }
}

fn recursive_next_hops(paths: &[Path]) -> impl Iterator<Item = Ipv4Addr> + '_ {
    paths.iter().filter_map(|path| match path {
        Path::Recursive { next_hop } => Some(*next_hop),
        _ => None,
    })
}
