//! `ip4-resolve`: packets whose neighbour's hardware address is not known wait here while it is
//! asked for.

use std::{net::Ipv4Addr, sync::Arc};

use plugin_api::{
    Buffer, Error, Frame, GraceReader, Node, ThreadIndex,
    abi::buffer::FLAG_LOCALLY_ORIGINATED,
    counters, declare_node, next_nodes,
    wire::{Arp, EtherType, Ipv4, MacAddress, arp, ethernet},
};

use crate::{
    Ip4,
    adjacency::{AdjacencyIndex, Kind},
    fib::Forwarder,
    ip4_icmp_error::{Report, report},
    router::Work,
};

next_nodes! {
    /// Where a packet goes from here.
    pub enum Next {
        /// Whose neighbour is known by now.
        Lookup => Node("ip4-lookup"),
        /// ARP requests.
        Output => Node("interface-output"),
        Report => Node("ip4-icmp-error"),
        Full => Drop("ip4-neighbor-queue-full"),
        Malformed => Drop("ip4-malformed"),
    }
}

counters! {
    /// Counters of `ip4-resolve`.
    pub enum Counter {
        /// ARP requests sent.
        Requests => "arp-requests",
    }
}

/// The node.
#[derive(Debug)]
pub struct Ip4Resolve {
    plugin: Arc<Ip4>,
    forwarder: Forwarder,
    grace: GraceReader,
}

impl Node for Ip4Resolve {
    const NAME: &'static str = "ip4-resolve";
    const COUNTERS: &'static [plugin_api::abi::declaration::CounterDecl] = Counter::ALL;
    type Plugin = Ip4;
    type Next = Next;

    fn new(plugin: &Arc<Ip4>, thread: ThreadIndex) -> Result<Self, Error> {
        let (forwarder, grace) = plugin.reader(thread);
        Ok(Self { plugin: Arc::clone(plugin), forwarder, grace })
    }

    fn dispatch(&mut self, frame: &mut Frame<'_, Next>) {
        let now_ns = frame.now_ns();
        for at in 0..frame.len() {
            let packet = frame.packet(at);
            let Ok(ip) = Ipv4::parse_first(packet.data(), packet.total_len()) else {
                frame.set_next(at, Next::Malformed);
                continue;
            };
            let destination = ip.destination();
            self.grace.enter();
            let adjacency = self.forwarder.adjacency(AdjacencyIndex(packet.adjacency()));
            let target = match adjacency.kind {
                Kind::Glean => destination,
                Kind::Incomplete => adjacency.next_hop,
                _ => {
                    frame.set_next(at, Next::Lookup); // Something has changed meanwhile.
                    continue;
                }
            };
            let key = (adjacency.interface, target);
            let buffer = frame.take(at);
            let work = self.plugin.resolve(now_ns, key, buffer);
            carry_out(frame, work, &NEXTS);
        }
    }
}

declare_node!(Ip4Resolve);

const NEXTS: Ways<Next> = Ways {
    lookup: Next::Lookup,
    output: Next::Output,
    report: Next::Report,
    full: Next::Full,
    requests: Counter::Requests as usize,
};

/// The nexts of a node that can carry out [`Work`].
pub(crate) struct Ways<N> {
    pub(crate) lookup: N,
    pub(crate) output: N,
    pub(crate) report: N,
    pub(crate) full: N,
    /// The node's counter of ARP requests.
    pub(crate) requests: usize,
}

/// Sends, forwards or drops what the neighbour table says.
pub(crate) fn carry_out<N: plugin_api::NextNodes>(
    frame: &mut Frame<'_, N>,
    work: Vec<Work>,
    ways: &Ways<N>,
) {
    for work in work {
        match work {
            Work::Probe { interface, target, destination, source } => {
                if let Some(mut request) =
                    frame.alloc().and_then(|own| ask(own, source, target, destination))
                {
                    request.packet().set_tx_interface(interface);
                    frame.emit(ways.output, request);
                    frame.count(ways.requests, 1);
                }
            }
            Work::Forward(buffers) => {
                buffers.into_iter().for_each(|buffer| frame.emit(ways.lookup, buffer));
            }
            Work::Unreachable(buffers) => {
                for mut buffer in buffers {
                    report(&mut buffer.packet(), Report::HostUnreachable, ());
                    frame.emit(ways.report, buffer);
                }
            }
            Work::Drop(buffer) => frame.emit(ways.full, buffer),
        }
    }
}

/// An ARP request in an Ethernet frame.
fn ask(
    mut own: Buffer,
    (mac, address): (MacAddress, Ipv4Addr),
    target: Ipv4Addr,
    destination: MacAddress,
) -> Option<Buffer> {
    let request = arp::Message::request(mac, address, target);
    write_frame(&mut own, destination, mac, &request).then_some(own)
}

/// Writes an ARP message with its Ethernet header; `false` if the buffer is too small.
pub(crate) fn write_frame(
    own: &mut Buffer,
    destination: MacAddress,
    source: MacAddress,
    message: &arp::Message,
) -> bool {
    let mut packet = own.packet();
    if !packet.resize(ethernet::HEADER + arp::LEN) {
        return false;
    }
    packet.set_flags(FLAG_LOCALLY_ORIGINATED);
    packet.mark_l2();
    let Some((header, body)) = packet.data_mut().split_first_chunk_mut() else { return false };
    let Some(body) = body.first_chunk_mut() else { return false };
    ethernet::emit(header, destination, source, EtherType::ARP);
    message.emit(body);
    debug_assert!(Arp::parse(body).is_ok(), "we understand what we write");
    true
}
