//! `ip4-icmp-error`: tells the sender what went wrong with its packet, and drops it.

use std::{sync::Arc, time::Duration};

use plugin_api::{
    Buffer, Error, Frame, Node, Packet, ThreadIndex, abi::buffer::FLAG_LOCALLY_ORIGINATED,
    declare_node, next_nodes, wire::Ipv4,
};

use crate::{
    Ip4,
    icmp::{ERROR_HEADERS, Kind, QUOTE_MAX, RateLimit, Unreachable, may_report, write_error},
};

/// Errors a second from each thread, and at once. The rate is the default that Linux documents for
/// `icmp_msgs_per_sec`; the burst is ours.
const PER_SECOND: u32 = 1_000;
const BURST: u32 = 200;

/// What went wrong; travels in the packet's scratch from the node that found it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Report {
    /// The hops are used up.
    TtlExceeded,
    /// There is no route.
    NetworkUnreachable,
    /// The next hop does not answer.
    HostUnreachable,
    /// Too large for the link of the next hop.
    FragmentationNeeded {
        /// What the link takes.
        mtu: u16,
    },
}

/// Notes in the packet what went wrong with it, for this node.
pub(crate) fn report<N>(packet: &mut Packet<'_>, what: Report, next: N) -> N {
    packet.scratch()[0] = match what {
        Report::TtlExceeded => 1,
        Report::NetworkUnreachable => 2,
        Report::HostUnreachable => 3,
        Report::FragmentationNeeded { mtu } => 4 | u64::from(mtu) << 16,
    };
    next
}

next_nodes! {
    /// Where a packet goes from here.
    pub enum Next {
        /// The error, to the sender.
        Lookup => Node("ip4-lookup"),
        TtlExceeded => DropInfo("ip4-ttl-expired"),
        NetworkUnreachable => DropInfo("ip4-no-route"),
        HostUnreachable => DropInfo("ip4-host-unreachable"),
        FragmentationNeeded => DropInfo("ip4-fragmentation-needed"),
        Unknown => Drop("ip4-unknown-report"),
    }
}

/// The node.
#[derive(Debug)]
pub struct Ip4IcmpError {
    plugin: Arc<Ip4>,
    rate: RateLimit,
}

impl Node for Ip4IcmpError {
    const NAME: &'static str = "ip4-icmp-error";
    type Plugin = Ip4;
    type Next = Next;

    fn new(plugin: &Arc<Ip4>, _: ThreadIndex) -> Result<Self, Error> {
        Ok(Self { plugin: Arc::clone(plugin), rate: RateLimit::new(PER_SECOND, BURST) })
    }

    fn dispatch(&mut self, frame: &mut Frame<'_, Next>) {
        let now = Duration::from_nanos(frame.now_ns());
        for at in 0..frame.len() {
            let mut packet = frame.packet(at);
            packet.rewind_to_l3();
            let (kind, next) = what(packet.scratch()[0]);
            if let Some(kind) = kind
                && self.is_due(&packet, now)
                && let Some(source) =
                    packet.rx_interface().and_then(|own| self.plugin.address_of(own))
            {
                let (mut copy, len) = ([0; QUOTE_MAX], packet.len().min(QUOTE_MAX));
                copy[..len].copy_from_slice(&packet.data()[..len]);
                let quote = &copy[..len];
                if let Some(error) = frame.alloc().and_then(|own| build(own, kind, source, quote)) {
                    frame.emit(Next::Lookup, error);
                }
            }
            frame.set_next(at, next);
        }
    }
}

declare_node!(Ip4IcmpError);

impl Ip4IcmpError {
    fn is_due(&mut self, packet: &Packet<'_>, now: Duration) -> bool {
        Ipv4::parse_first(packet.data(), packet.total_len())
            .is_ok_and(|ip| may_report(&ip, true) && self.rate.allow(now))
    }
}

fn what(scratch: u64) -> (Option<Kind>, Next) {
    let unreachable = |why| Some(Kind::Unreachable(why));
    match scratch & 0xffff {
        1 => (Some(Kind::TtlExceeded), Next::TtlExceeded),
        2 => (unreachable(Unreachable::Network), Next::NetworkUnreachable),
        3 => (unreachable(Unreachable::Host), Next::HostUnreachable),
        4 => {
            let mtu = u16::try_from(scratch >> 16 & 0xffff).unwrap_or(0);
            (unreachable(Unreachable::FragmentationNeeded { mtu }), Next::FragmentationNeeded)
        }
        _ => (None, Next::Unknown),
    }
}

/// The error about the packet that begins with `quote`.
fn build(mut own: Buffer, kind: Kind, source: std::net::Ipv4Addr, quote: &[u8]) -> Option<Buffer> {
    let mut packet = own.packet();
    if !packet.resize(ERROR_HEADERS + quote.len()) {
        return None;
    }
    let bytes = packet.data_mut();
    bytes[ERROR_HEADERS..].copy_from_slice(quote);
    write_error(bytes, kind, source).ok()?;
    packet.set_flags(FLAG_LOCALLY_ORIGINATED);
    packet.mark_l3();
    Some(own)
}
