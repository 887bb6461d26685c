//! Neighbours: which hardware address a next hop has (ARP, RFC 826), as a state machine.
//!
//! ```text
//!            packet                 answer                    aged
//!  unknown ────────> resolving ───────────────> reachable ──────────> probing
//!     ^                  │ no answer                ^                    │ │
//!     │                  v                          └──── answer ────────┘ │
//!     └── hold time ── failed <───────────────────────── no answer ────────┘
//! ```
//! Nothing here sends or frees anything: what has to be done is appended to a list of [`Action`]s.
//! Every buffer handed in comes out again, in `Resolved`, `Failed` or `Refused`. Time is an
//! argument, counted from whenever.

mod action;

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    time::Duration,
};

use plugin_api::{
    InterfaceIndex,
    wire::{Ip4Prefix, MacAddress},
};

pub use self::action::{Action, Key, Limits, Neighbor, Refused, State};

/// The neighbours of all interfaces.
#[derive(Debug)]
pub struct Neighbors {
    limits: Limits,
    entries: HashMap<Key, Entry>,
    /// When something is due, one entry for each neighbour that is not static.
    due: BTreeSet<(Duration, Key)>,
    resolving: usize,
    waiting: usize,
}

#[derive(Debug)]
struct Entry {
    state: State,
    /// Meaningful but in `Resolving` and `Failed`.
    mac: MacAddress,
    since: Duration,
    /// When to ask again, to ask at all, or to forget.
    due: Duration,
    probes: u32,
    /// Empty but in `Resolving`.
    waiting: VecDeque<u32>,
}

impl Neighbors {
    /// No neighbours.
    pub fn new(limits: Limits) -> Self {
        Self { limits, entries: HashMap::new(), due: BTreeSet::new(), resolving: 0, waiting: 0 }
    }

    /// A packet needs the hardware address of `key`, which its adjacency does not have.
    pub fn packet(&mut self, now: Duration, key: Key, buffer: u32, actions: &mut Vec<Action>) {
        let Some(entry) = self.entries.get_mut(&key) else {
            return self.first_packet(now, key, buffer, actions);
        };
        match entry.state {
            // The answer came while the packet was on its way here.
            State::Reachable | State::Probing | State::Static => {
                actions.push(Action::Resolved { key, mac: entry.mac, waiting: vec![buffer] });
            }
            State::Failed => actions.push(Action::Refused { buffer, why: Refused::Unreachable }),
            State::Resolving => {
                entry.waiting.push_back(buffer);
                self.waiting += 1;
                let full = entry.waiting.len() > self.limits.waiting_per_neighbor_max
                    || self.waiting > self.limits.waiting_max;
                if full && let Some(oldest) = entry.waiting.pop_front() {
                    self.waiting -= 1;
                    actions.push(Action::Refused { buffer: oldest, why: Refused::QueueFull });
                }
            }
        }
    }

    fn first_packet(&mut self, now: Duration, key: Key, buffer: u32, actions: &mut Vec<Action>) {
        let why = if self.entries.len() >= self.limits.neighbors_max
            || self.resolving >= self.limits.resolving_max
        {
            Some(Refused::TableFull)
        } else if self.waiting >= self.limits.waiting_max {
            Some(Refused::QueueFull)
        } else {
            None
        };
        if let Some(why) = why {
            actions.push(Action::Refused { buffer, why });
            return;
        }
        self.resolving += 1;
        self.waiting += 1;
        self.insert(
            key,
            Entry {
                state: State::Resolving,
                mac: MacAddress::ZERO,
                since: now,
                due: now + self.limits.probe_interval,
                probes: 1,
                waiting: VecDeque::from([buffer]),
            },
        );
        actions.push(probe(key, MacAddress::BROADCAST));
    }

    /// An ARP message says that `key` has `mac`.
    ///
    /// `create` says whether to remember a neighbour nobody looked for: one that asked for an
    /// address of ours (RFC 826), as it will want an answer; not any other.
    pub fn learn(
        &mut self,
        now: Duration,
        key: Key,
        mac: MacAddress,
        create: bool,
        actions: &mut Vec<Action>,
    ) {
        if mac.is_multicast() || mac == MacAddress::ZERO {
            return;
        }
        let Some(entry) = self.take(key) else {
            if create && self.entries.len() < self.limits.neighbors_max {
                self.insert_reachable(now, key, mac);
                actions.push(Action::Resolved { key, mac, waiting: Vec::new() });
            }
            return;
        };
        match entry.state {
            State::Static => self.insert(key, entry),
            State::Reachable | State::Probing if entry.mac == mac => {
                self.insert_reachable(now, key, mac);
            }
            _ => {
                self.insert_reachable(now, key, mac);
                actions.push(Action::Resolved { key, mac, waiting: entry.waiting.into() });
            }
        }
    }

    /// The operator says that `key` has `mac`, whatever ARP says.
    ///
    /// Returns `false`, and nothing has changed, if there are too many neighbours.
    pub fn set_static(
        &mut self,
        now: Duration,
        key: Key,
        mac: MacAddress,
        actions: &mut Vec<Action>,
    ) -> bool {
        if !self.entries.contains_key(&key) && self.entries.len() >= self.limits.neighbors_max {
            return false;
        }
        let waiting = self.take(key).map(|old| old.waiting.into()).unwrap_or_default();
        let state = State::Static;
        let due = Duration::MAX;
        self.insert(
            key,
            Entry { state, mac, since: now, due, probes: 0, waiting: VecDeque::new() },
        );
        actions.push(Action::Resolved { key, mac, waiting });
        true
    }

    /// Forgets a neighbour; `false` if it is not known.
    pub fn remove(&mut self, key: Key, actions: &mut Vec<Action>) -> bool {
        let Some(entry) = self.take(key) else { return false };
        match entry.state {
            State::Resolving => {
                actions.push(Action::Failed { key, waiting: entry.waiting.into() });
            }
            State::Failed => {}
            State::Reachable | State::Probing | State::Static => actions.push(Action::Lost { key }),
        }
        true
    }

    /// Forgets the neighbours of an interface that are in `prefix`.
    pub fn remove_all(
        &mut self,
        interface: InterfaceIndex,
        prefix: Ip4Prefix,
        actions: &mut Vec<Action>,
    ) {
        let is_in = |key: &&Key| key.0 == interface && prefix.contains(key.1);
        let mut keys: Vec<Key> = self.entries.keys().filter(is_in).copied().collect();
        keys.sort_unstable();
        for key in keys {
            self.remove(key, actions);
        }
    }

    /// Does what is due at `now`: asks again, gives up, asks whether aged neighbours are there.
    pub fn tick(&mut self, now: Duration, actions: &mut Vec<Action>) {
        while let Some(&(due, key)) = self.due.first().filter(|&&(due, _)| due <= now) {
            let Some(entry) = self.take(key) else {
                self.due.remove(&(due, key));
                continue;
            };
            self.expire(now, key, entry, actions);
        }
    }

    fn expire(&mut self, now: Duration, key: Key, entry: Entry, actions: &mut Vec<Action>) {
        let again = now + self.limits.probe_interval;
        match entry.state {
            State::Resolving if entry.probes < self.limits.probes_max => {
                self.resolving += 1;
                self.waiting += entry.waiting.len();
                self.insert(key, Entry { due: again, probes: entry.probes + 1, ..entry });
                actions.push(probe(key, MacAddress::BROADCAST));
            }
            State::Probing if entry.probes < self.limits.probes_max => {
                actions.push(probe(key, entry.mac));
                self.insert(key, Entry { due: again, probes: entry.probes + 1, ..entry });
            }
            State::Resolving => {
                actions.push(Action::Failed { key, waiting: entry.waiting.into() });
                self.insert_failed(now, key);
            }
            State::Probing => {
                actions.push(Action::Lost { key });
                self.insert_failed(now, key);
            }
            State::Reachable => {
                actions.push(probe(key, entry.mac));
                let state = State::Probing;
                self.insert(key, Entry { state, since: now, due: again, probes: 1, ..entry });
            }
            // Forgotten; the next packet asks anew.
            State::Failed | State::Static => {}
        }
    }

    /// When [`tick`](Self::tick) has something to do.
    pub fn next_due(&self) -> Option<Duration> {
        self.due.first().map(|&(due, _)| due)
    }

    /// The hardware address of `key`, if it is known.
    pub fn mac(&self, key: Key) -> Option<MacAddress> {
        self.entries.get(&key).and_then(Entry::known_mac)
    }

    /// Number of neighbours, whatever their state.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are no neighbours.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Packets that wait.
    pub fn waiting(&self) -> usize {
        self.waiting
    }

    /// All neighbours, by interface and address.
    pub fn list(&self) -> Vec<Neighbor> {
        let show = |(&key, entry): (&Key, &Entry)| Neighbor {
            key,
            state: entry.state,
            mac: entry.known_mac(),
            since: entry.since,
            waiting: entry.waiting.len(),
        };
        let mut list: Vec<_> = self.entries.iter().map(show).collect();
        list.sort_unstable_by_key(|neighbor| neighbor.key);
        list
    }

    fn insert_reachable(&mut self, now: Duration, key: Key, mac: MacAddress) {
        let due = now + self.limits.reachable;
        let state = State::Reachable;
        self.insert(
            key,
            Entry { state, mac, since: now, due, probes: 0, waiting: VecDeque::new() },
        );
    }

    fn insert_failed(&mut self, now: Duration, key: Key) {
        let due = now + self.limits.failed_hold;
        let (state, mac) = (State::Failed, MacAddress::ZERO);
        self.insert(
            key,
            Entry { state, mac, since: now, due, probes: 0, waiting: VecDeque::new() },
        );
    }

    fn insert(&mut self, key: Key, entry: Entry) {
        if entry.state != State::Static {
            self.due.insert((entry.due, key));
        }
        self.entries.insert(key, entry);
    }

    /// Takes a neighbour out, and its packets off the counts.
    fn take(&mut self, key: Key) -> Option<Entry> {
        let entry = self.entries.remove(&key)?;
        self.due.remove(&(entry.due, key));
        self.waiting -= entry.waiting.len();
        self.resolving -= usize::from(entry.state == State::Resolving);
        Some(entry)
    }
}

impl Entry {
    fn known_mac(&self) -> Option<MacAddress> {
        match self.state {
            State::Reachable | State::Probing | State::Static => Some(self.mac),
            State::Resolving | State::Failed => None,
        }
    }
}

fn probe((interface, target): Key, destination: MacAddress) -> Action {
    Action::Probe { interface, target, destination }
}
