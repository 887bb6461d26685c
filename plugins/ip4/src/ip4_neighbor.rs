//! `ip4-neighbor`: sends what the neighbours' timer wants sent. A timer has no frame; this node,
//! dispatched before the inputs, has. It is also where a thread says that it has done with the
//! routes of the turn before: no packet that was looked up then is left.

use std::sync::Arc;

use plugin_api::{
    Error, Frame, GraceReader, Node, NodeKind, ThreadIndex, counters, declare_node, next_nodes,
};

use crate::{
    Ip4,
    ip4_resolve::{Ways, carry_out},
};

next_nodes! {
    /// Where a packet goes from here.
    pub enum Next {
        Lookup => Node("ip4-lookup"),
        Output => Node("interface-output"),
        Report => Node("ip4-icmp-error"),
        Full => Drop("ip4-neighbor-queue-full"),
    }
}

counters! {
    /// Counters of `ip4-neighbor`.
    pub enum Counter {
        /// ARP requests sent.
        Requests => "arp-requests",
    }
}

/// The node.
#[derive(Debug)]
pub struct Ip4Neighbor {
    plugin: Arc<Ip4>,
    grace: GraceReader,
}

impl Node for Ip4Neighbor {
    const NAME: &'static str = "ip4-neighbor";
    const KIND: NodeKind = NodeKind::PreInput;
    const COUNTERS: &'static [plugin_api::abi::declaration::CounterDecl] = Counter::ALL;
    type Plugin = Ip4;
    type Next = Next;

    fn new(plugin: &Arc<Ip4>, thread: ThreadIndex) -> Result<Self, Error> {
        let (_, grace) = plugin.reader(thread);
        Ok(Self { plugin: Arc::clone(plugin), grace })
    }

    fn dispatch(&mut self, frame: &mut Frame<'_, Next>) {
        self.grace.leave();
        let work = self.plugin.take_outbox();
        if !work.is_empty() {
            carry_out(frame, work, &NEXTS);
        }
    }
}

declare_node!(Ip4Neighbor);

const NEXTS: Ways<Next> = Ways {
    lookup: Next::Lookup,
    output: Next::Output,
    report: Next::Report,
    full: Next::Full,
    requests: Counter::Requests as usize,
};
