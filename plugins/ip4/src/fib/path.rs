//! Paths: where a route leads, and who says so.

use std::{fmt, net::Ipv4Addr};

use plugin_api::InterfaceIndex;

/// One of the ways a route leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Path {
    /// To a neighbour on the link of an interface.
    Neighbor {
        /// The neighbour.
        next_hop: Ipv4Addr,
        /// Its link.
        interface: InterfaceIndex,
    },
    /// To wherever the route of `next_hop` leads.
    Recursive {
        /// Looked up in the same table.
        next_hop: Ipv4Addr,
    },
    /// The destinations themselves are on the link.
    Attached {
        /// The link.
        interface: InterfaceIndex,
    },
    /// To this host.
    Local,
    /// Nowhere.
    Drop,
}

impl Path {
    /// The interface it names.
    pub const fn interface(self) -> Option<InterfaceIndex> {
        match self {
            Self::Neighbor { interface, .. } | Self::Attached { interface } => Some(interface),
            Self::Recursive { .. } | Self::Local | Self::Drop => None,
        }
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Neighbor { next_hop, interface } => {
                write!(f, "via {next_hop} interface {interface}")
            }
            Self::Recursive { next_hop } => write!(f, "via {next_hop}"),
            Self::Attached { interface } => write!(f, "attached interface {interface}"),
            Self::Local => f.write_str("local"),
            Self::Drop => f.write_str("drop"),
        }
    }
}

/// Who wants a route; of several for a prefix, the last in this order has its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Source {
    /// Always there: multicast and reserved addresses are dropped.
    Special,
    /// A neighbour whose hardware address is known.
    Neighbor,
    /// The operator, or another plugin.
    Static,
    /// An address of an interface.
    Interface,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Special => "special",
            Self::Neighbor => "neighbor",
            Self::Static => "static",
            Self::Interface => "interface",
        })
    }
}
