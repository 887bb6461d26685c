//! `arp-input`: learns who has which address, and answers for ours.

use std::sync::Arc;

use plugin_api::{
    Error, Frame, Node, ThreadIndex, counters, declare_node, next_nodes,
    wire::{Arp, MacAddress, arp},
};

use crate::{
    Ip4,
    icmp::is_one_host,
    ip4_resolve::{Ways, carry_out, write_frame},
};

next_nodes! {
    /// Where a packet goes from here.
    pub enum Next {
        /// Packets that waited for the answer.
        Lookup => Node("ip4-lookup"),
        /// Answers.
        Output => Node("interface-output"),
        Report => Node("ip4-icmp-error"),
        Full => Drop("ip4-neighbor-queue-full"),
        Done => DropInfo("arp-done"),
        Malformed => Drop("arp-malformed"),
        Source => Drop("arp-bad-source"),
        NoAddress => DropInfo("arp-interface-without-address"),
    }
}

counters! {
    /// Counters of `arp-input`.
    pub enum Counter {
        /// ARP requests sent.
        Requests => "arp-requests",
        /// ARP requests answered.
        Replies => "arp-replies",
    }
}

/// The node.
#[derive(Debug)]
pub struct ArpInput {
    plugin: Arc<Ip4>,
}

impl Node for ArpInput {
    const NAME: &'static str = "arp-input";
    const COUNTERS: &'static [plugin_api::abi::declaration::CounterDecl] = Counter::ALL;
    type Plugin = Ip4;
    type Next = Next;

    fn new(plugin: &Arc<Ip4>, _: ThreadIndex) -> Result<Self, Error> {
        Ok(Self { plugin: Arc::clone(plugin) })
    }

    fn dispatch(&mut self, frame: &mut Frame<'_, Next>) {
        for at in 0..frame.len() {
            let next = self.hear(frame, at);
            frame.set_next(at, next);
        }
    }
}

declare_node!(ArpInput);

const NEXTS: Ways<Next> = Ways {
    lookup: Next::Lookup,
    output: Next::Output,
    report: Next::Report,
    full: Next::Full,
    requests: Counter::Requests as usize,
};

impl ArpInput {
    fn hear(&mut self, frame: &mut Frame<'_, Next>, at: usize) -> Next {
        let now_ns = frame.now_ns();
        let packet = frame.packet(at);
        let Ok(message) = Arp::parse(packet.data()) else { return Next::Malformed };
        let Some(interface) = packet.rx_interface() else { return Next::NoAddress };
        let (sender, mac, target) =
            (message.sender_ip(), message.sender_mac(), message.target_ip());
        let is_request = message.operation() == arp::Operation::REQUEST;
        let Some(own) = self.plugin.host_mac(interface) else { return Next::NoAddress };
        let reply = arp::Message::reply_to(&message, own);
        if self.plugin.address_of(interface).is_none() {
            return Next::NoAddress;
        }
        if !mac.is_unicast() || mac == MacAddress::ZERO {
            return Next::Source;
        }
        let for_us = self.plugin.owns(interface, target);
        // A sender without an address only asks whether somebody has the one it wants (RFC 5227).
        if is_one_host(sender) && !self.plugin.owns(interface, sender) {
            let work = self.plugin.learn(now_ns, (interface, sender), mac, for_us && is_request);
            carry_out(frame, work, &NEXTS);
        }
        if for_us
            && is_request
            && let Some(mut answer) = frame.alloc()
            && write_frame(&mut answer, mac, own, &reply)
        {
            answer.packet().set_tx_interface(interface);
            frame.emit(Next::Output, answer);
            frame.count(Counter::Replies, 1);
        }
        Next::Done
    }
}
