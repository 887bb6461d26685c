//! `ip4-lookup`: by the longest prefix to an adjacency.

use std::sync::Arc;

use plugin_api::{
    Error, Frame, GraceReader, Node, Packet, ThreadIndex, TraceFormat, declare_node, next_nodes,
    wire::{FlowSense, Ipv4, ip4_flow_hash},
};

use crate::{
    Ip4,
    adjacency::Kind,
    fib::Forwarder,
    ip4_icmp_error::{Report, report},
    table::Leaf,
    trace::LookedUp,
};

next_nodes! {
    /// Where a packet goes from here.
    pub enum Next {
        Rewrite => Node("ip4-rewrite"),
        Local => Node("ip4-local"),
        Resolve => Node("ip4-resolve"),
        Report => Node("ip4-icmp-error"),
        Drop => DropInfo("ip4-route-drop"),
        Malformed => Drop("ip4-malformed"),
    }
}

/// The node.
#[derive(Debug)]
pub struct Ip4Lookup {
    forwarder: Forwarder,
    grace: GraceReader,
}

impl Node for Ip4Lookup {
    const NAME: &'static str = "ip4-lookup";
    const TRACE: TraceFormat = TraceFormat::of::<LookedUp>();
    type Plugin = Ip4;
    type Next = Next;

    fn new(plugin: &Arc<Ip4>, thread: ThreadIndex) -> Result<Self, Error> {
        let (forwarder, grace) = plugin.reader(thread);
        Ok(Self { forwarder, grace })
    }

    fn dispatch(&mut self, frame: &mut Frame<'_, Next>) {
        self.grace.enter();
        let forwarder = &self.forwarder;
        frame.enqueue_batches::<4>(
            |packets| {
                let destinations = packets.each_ref().map(destination);
                let leaves = forwarder.lookup_each(destinations);
                let mut leaves = leaves.into_iter();
                packets.each_mut().map(|packet| match leaves.next() {
                    Some(leaf) => forward(forwarder, leaf, packet),
                    None => Next::Malformed,
                })
            },
            |packet| forward(forwarder, forwarder.lookup(destination(packet)), packet),
        );
        frame.trace_each(LookedUp::of);
    }
}

declare_node!(Ip4Lookup);

/// The destination of a packet whose header was checked.
#[inline(always)]
fn destination(packet: &Packet<'_>) -> std::net::Ipv4Addr {
    let bytes = packet.data().get(16..20).and_then(|bytes| bytes.first_chunk::<4>());
    bytes.map_or(std::net::Ipv4Addr::UNSPECIFIED, |&bytes| bytes.into())
}

#[inline(always)]
fn forward(forwarder: &Forwarder, leaf: Leaf, packet: &mut Packet<'_>) -> Next {
    let index = forwarder.pick(leaf, || hash(packet));
    packet.set_adjacency(index.0);
    match forwarder.adjacency(index).kind {
        Kind::Complete => Next::Rewrite,
        Kind::Glean | Kind::Incomplete => Next::Resolve,
        Kind::Local => Next::Local,
        Kind::Drop => Next::Drop,
        Kind::NoRoute => report(packet, Report::NetworkUnreachable, Next::Report),
        Kind::Unresolved => report(packet, Report::HostUnreachable, Next::Report),
    }
}

/// The packet's flow hash, computed where it was not before.
fn hash(packet: &Packet<'_>) -> u32 {
    match packet.flow_hash() {
        0 => Ipv4::parse_first(packet.data(), packet.total_len())
            .map_or(1, |ip| ip4_flow_hash(&ip, FlowSense::Directed)),
        hash => hash,
    }
}
