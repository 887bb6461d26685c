//! `ip4-input`: is it a whole, right IPv4 packet?

use std::sync::Arc;

use plugin_api::{
    Error, Frame, Node, Packet, ThreadIndex, TraceFormat,
    abi::buffer::FLAG_IP4_CHECKSUM_OK,
    declare_node, next_nodes,
    wire::{Ipv4, Malformed},
};

use crate::{Ip4, trace::Came};

next_nodes! {
    /// Where a packet goes from here.
    pub enum Next {
        Lookup => Node("ip4-lookup"),
        Short => Drop("ip4-short"),
        Version => Drop("ip4-bad-version"),
        Length => Drop("ip4-bad-length"),
        Checksum => Drop("ip4-bad-checksum"),
    }
}

/// The node.
#[derive(Debug)]
pub struct Ip4Input;

impl Node for Ip4Input {
    const NAME: &'static str = "ip4-input";
    const TRACE: TraceFormat = TraceFormat::of::<Came>();
    type Plugin = Ip4;
    type Next = Next;

    fn new(_: &Arc<Ip4>, _: ThreadIndex) -> Result<Self, Error> {
        Ok(Self)
    }

    fn dispatch(&mut self, frame: &mut Frame<'_, Next>) {
        frame.trace_each(Came::of);
        frame.enqueue_each(check);
    }
}

declare_node!(Ip4Input);

#[inline(always)]
fn check(packet: &mut Packet<'_>) -> Next {
    packet.mark_l3();
    let total = packet.total_len();
    let ip = match Ipv4::parse_first(packet.data(), total) {
        Ok(ip) => ip,
        Err(Malformed::Short) => return Next::Short,
        Err(Malformed::Version) => return Next::Version,
        Err(_) => return Next::Length,
    };
    if packet.flags() & FLAG_IP4_CHECKSUM_OK == 0 && !ip.checksum_ok() {
        return Next::Checksum;
    }
    let length = usize::from(ip.total_len());
    if length < packet.len() && packet.len() == total {
        packet.resize(length); // A short Ethernet frame was padded.
    }
    Next::Lookup
}
