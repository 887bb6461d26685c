//! `ip4-local`: packets to addresses of this host.

use std::sync::Arc;

use plugin_api::{
    Error, Frame, Node, Packet, ThreadIndex, abi::buffer::FLAG_LOCALLY_ORIGINATED, counters,
    declare_node, next_nodes,
};

use crate::{
    Ip4,
    icmp::{NotAnswered, echo_reply},
};

next_nodes! {
    /// Where a packet goes from here.
    pub enum Next {
        /// The reply, to where it came from.
        Lookup => Node("ip4-lookup"),
        Punt => Node("error-punt"),
        Malformed => Drop("ip4-icmp-malformed"),
        Checksum => Drop("ip4-icmp-bad-checksum"),
        Source => Drop("ip4-bad-source"),
    }
}

counters! {
    /// Counters of `ip4-local`.
    pub enum Counter {
        /// Echo requests answered.
        EchoReplies => "echo-replies",
    }
}

/// The node.
#[derive(Debug)]
pub struct Ip4Local;

impl Node for Ip4Local {
    const NAME: &'static str = "ip4-local";
    const COUNTERS: &'static [plugin_api::abi::declaration::CounterDecl] = Counter::ALL;
    type Plugin = Ip4;
    type Next = Next;

    fn new(_: &Arc<Ip4>, _: ThreadIndex) -> Result<Self, Error> {
        Ok(Self)
    }

    fn dispatch(&mut self, frame: &mut Frame<'_, Next>) {
        let mut replies = 0;
        frame.enqueue_each(|packet| {
            let next = deliver(packet);
            replies += u64::from(next == Next::Lookup);
            next
        });
        frame.count(Counter::EchoReplies, replies);
    }
}

declare_node!(Ip4Local);

fn deliver(packet: &mut Packet<'_>) -> Next {
    let total = packet.total_len();
    match echo_reply(packet.data_mut(), total) {
        Ok(()) => {
            packet.set_flags(packet.flags() | FLAG_LOCALLY_ORIGINATED);
            packet.set_flow_hash(0);
            Next::Lookup
        }
        Err(NotAnswered::OtherMessage) => Next::Punt,
        Err(NotAnswered::Checksum) => Next::Checksum,
        Err(NotAnswered::NotOneHost) => Next::Source,
        Err(_) => Next::Malformed,
    }
}
