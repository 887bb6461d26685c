//! What can be said about neighbours: limits, states, and what there is to do.

use std::{net::Ipv4Addr, time::Duration};

use plugin_api::{InterfaceIndex, wire::MacAddress};

/// Whose neighbour, and its address.
pub type Key = (InterfaceIndex, Ipv4Addr);

/// Limits and times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Neighbours known or looked for.
    pub neighbors_max: usize,
    /// Neighbours looked for at the same time.
    pub resolving_max: usize,
    /// Packets that wait for one neighbour; the oldest make room.
    pub waiting_per_neighbor_max: usize,
    /// Packets that wait in all.
    pub waiting_max: usize,
    /// Requests before giving up.
    pub probes_max: u32,
    /// Between two requests.
    pub probe_interval: Duration,
    /// How long packets to a neighbour that did not answer are refused at once.
    pub failed_hold: Duration,
    /// How long an answer counts.
    pub reachable: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            neighbors_max: 65_536,
            resolving_max: 1024,
            waiting_per_neighbor_max: 32,
            waiting_max: 4096,
            probes_max: 3,
            probe_interval: Duration::from_secs(1),
            failed_hold: Duration::from_secs(1),
            reachable: Duration::from_secs(1200),
        }
    }
}

/// Something for the caller to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Ask for the hardware address of `target`: of everyone, or of who had it last.
    Probe {
        /// Where to ask.
        interface: InterfaceIndex,
        /// Whom.
        target: Ipv4Addr,
        /// Where the request goes: broadcast, or the address known so far.
        destination: MacAddress,
    },
    /// The hardware address is known, or another one than before: complete the adjacency, then
    /// send the packets that waited, oldest first.
    Resolved {
        /// Who.
        key: Key,
        /// Its hardware address.
        mac: MacAddress,
        /// Packets that waited.
        waiting: Vec<u32>,
    },
    /// The hardware address is no longer known: the adjacency is incomplete again.
    Lost {
        /// Who.
        key: Key,
    },
    /// The neighbour did not answer: drop these packets (host unreachable).
    Failed {
        /// Who.
        key: Key,
        /// Packets that waited.
        waiting: Vec<u32>,
    },
    /// Drop this packet.
    Refused {
        /// Which.
        buffer: u32,
        /// Why.
        why: Refused,
    },
}

/// Why a packet cannot wait for its neighbour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Refused {
    /// Too many packets wait already; this one has waited longest.
    QueueFull,
    /// Too many neighbours are known or looked for.
    TableFull,
    /// The neighbour did not answer a moment ago.
    Unreachable,
}

/// How well a neighbour is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// Asked, not answered.
    Resolving,
    /// Answered.
    Reachable,
    /// Answered long ago, asked again.
    Probing,
    /// Did not answer.
    Failed,
    /// Set by the operator.
    Static,
}

/// A neighbour, for people to see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Neighbor {
    /// Who.
    pub key: Key,
    /// How well it is known.
    pub state: State,
    /// Its hardware address, if known.
    pub mac: Option<MacAddress>,
    /// When it came into this state.
    pub since: Duration,
    /// Packets that wait for it.
    pub waiting: usize,
}
