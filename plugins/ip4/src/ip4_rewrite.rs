//! `ip4-rewrite`: one hop less, the adjacency's header in front, and out.

use std::sync::Arc;

use plugin_api::{
    Error, Frame, GraceReader, Node, Packet, ThreadIndex, TraceFormat,
    abi::buffer::FLAG_LOCALLY_ORIGINATED, declare_node, next_nodes, wire::Ipv4Mut,
};

use crate::{
    Ip4,
    adjacency::{AdjacencyIndex, Kind},
    fib::Forwarder,
    ip4_icmp_error::{Report, report},
    trace::Rewritten,
};

next_nodes! {
    /// Where a packet goes from here.
    pub enum Next {
        Output => Node("interface-output"),
        Report => Node("ip4-icmp-error"),
        /// The neighbour was lost since the lookup.
        Resolve => Node("ip4-resolve"),
        Malformed => Drop("ip4-malformed"),
        NoRoom => Drop("ip4-no-headroom"),
        TooBig => Drop("ip4-needs-fragmentation"),
    }
}

/// The node.
#[derive(Debug)]
pub struct Ip4Rewrite {
    forwarder: Forwarder,
    grace: GraceReader,
}

impl Node for Ip4Rewrite {
    const NAME: &'static str = "ip4-rewrite";
    const TRACE: TraceFormat = TraceFormat::of::<Rewritten>();
    type Plugin = Ip4;
    type Next = Next;

    fn new(plugin: &Arc<Ip4>, thread: ThreadIndex) -> Result<Self, Error> {
        let (forwarder, grace) = plugin.reader(thread);
        Ok(Self { forwarder, grace })
    }

    fn dispatch(&mut self, frame: &mut Frame<'_, Next>) {
        self.grace.enter();
        let forwarder = &self.forwarder;
        frame.enqueue_each(|packet| rewrite(forwarder, packet));
        frame.trace_each(|packet| {
            let adjacency = forwarder.adjacency(AdjacencyIndex(packet.adjacency()));
            Rewritten::of(packet, adjacency.header())
        });
    }
}

declare_node!(Ip4Rewrite);

#[inline(always)]
fn rewrite(forwarder: &Forwarder, packet: &mut Packet<'_>) -> Next {
    let adjacency = forwarder.adjacency(AdjacencyIndex(packet.adjacency()));
    if adjacency.kind != Kind::Complete {
        return Next::Resolve;
    }
    let (total, originated) = (packet.total_len(), packet.flags() & FLAG_LOCALLY_ORIGINATED != 0);
    let Ok(mut ip) = Ipv4Mut::parse_first(packet.data_mut(), total) else {
        return Next::Malformed;
    };
    if total > adjacency.mtu as usize {
        let dont_fragment = ip.view().dont_fragment();
        let mtu = u16::try_from(adjacency.mtu).unwrap_or(u16::MAX);
        return match dont_fragment {
            true => report(packet, Report::FragmentationNeeded { mtu }, Next::Report),
            false => Next::TooBig,
        };
    }
    if !originated {
        if ip.view().ttl() <= 1 {
            return report(packet, Report::TtlExceeded, Next::Report);
        }
        ip.decrement_ttl();
    }
    let header = adjacency.header();
    let Some(room) = packet.prepend(header.len()) else { return Next::NoRoom };
    room.copy_from_slice(header);
    packet.set_tx_interface(adjacency.interface);
    Next::Output
}
