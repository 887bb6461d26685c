//! `flows-meter`: counts packets under their flows, as a feature on the arc `ip4-unicast`.

use std::sync::Arc;

use plugin_api::{
    Error, Frame, Node, ThreadIndex, abi::frame::FRAME_SIZE, declare_feature, declare_node,
    next_nodes, wire::Ipv4,
};

use crate::{Flows, key::Key, table::Seen, thread::ThreadFlows};

next_nodes! {
    /// Where a packet goes from here.
    pub enum Next { Onward => Feature }
}

/// The node; one on each thread.
#[derive(Debug)]
pub struct FlowsMeter {
    plugin: Arc<Flows>,
    thread: Arc<ThreadFlows>,
    /// Reused from one frame to the next.
    seen: Box<[Seen; FRAME_SIZE]>,
}

impl Node for FlowsMeter {
    const NAME: &'static str = "flows-meter";
    type Plugin = Flows;
    type Next = Next;

    fn new(plugin: &Arc<Flows>, thread: ThreadIndex) -> Result<Self, Error> {
        let thread = plugin.thread(thread);
        let seen = Box::new([Seen::default(); FRAME_SIZE]);
        Ok(Self { plugin: Arc::clone(plugin), thread, seen })
    }

    fn dispatch(&mut self, frame: &mut Frame<'_, Next>) {
        let seed = self.plugin.seed();
        let mut slots = self.seen.iter_mut();
        frame.enqueue_each(|packet| {
            if let Ok(ip) = Ipv4::parse_first(packet.data(), packet.total_len())
                && let Some(slot) = slots.next()
            {
                let key = Key::of(&ip);
                *slot = Seen { key, hash: seed.hash(key), bytes: ip.total_len().into() };
            }
            Next::Onward
        });
        let seen = FRAME_SIZE - slots.len();
        let (now_ns, timeouts) = (frame.now_ns(), self.plugin.timeouts());
        self.thread.count(now_ns, timeouts, &self.seen[..seen], frame.len() - seen);
    }
}

declare_node!(FlowsMeter);
// Off until an operator turns it on for an interface.
declare_feature!(FlowsMeter, arc: "ip4-unicast");

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use plugin_api::{
        testing::{NodeBench, create},
        wire::Protocol,
    };

    use super::*;
    use crate::key::testing::{packet, udp};

    fn bench(settings: &[(&str, &str)]) -> NodeBench<FlowsMeter> {
        NodeBench::new(create(settings).unwrap())
    }

    /// Packets and bytes of each flow shown, in the order of their keys.
    fn counts(bench: &NodeBench<FlowsMeter>) -> Vec<(Key, u64, u64)> {
        let shown = bench.plugin().shown();
        let flows = shown.iter().flat_map(|(_, shown, _)| shown.flows());
        let mut all: Vec<_> = flows.map(|(flow, _)| (flow.key, flow.packets, flow.bytes)).collect();
        all.sort_unstable();
        all
    }

    #[test]
    fn packets_are_counted_under_their_flow_and_go_on_unchanged() {
        let mut bench = bench(&[]);
        let sent = [packet(udp(1), 4), packet(udp(2), 0), packet(udp(1), 100), packet(udp(1), 4)];

        let out = bench.run(sent.clone());

        assert_eq!(out.nexts, [Some(0); 4]);
        assert_eq!(out.packets, sent);
        assert_eq!(counts(&bench), [(udp(1), 3, 28 + 124 + 28), (udp(2), 1, 24)]);
    }

    #[test]
    fn directions_ports_and_protocols_are_flows_of_their_own() {
        let (a, b) = (Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2));
        let keys = [
            Key::new(Protocol::TCP, (a, 1), (b, 2)),
            Key::new(Protocol::TCP, (b, 2), (a, 1)),
            Key::new(Protocol::UDP, (a, 1), (b, 2)),
            Key::new(Protocol::UDP, (a, 1), (b, 3)),
            Key::new(Protocol::ICMP, (a, 0), (b, 0)),
            Key::new(Protocol(47), (a, 0), (b, 0)),
        ];
        let mut bench = bench(&[]);
        bench.run(keys.map(|key| packet(key, 0)));
        let mut expected = keys.map(|key| (key, 1, 24));
        expected.sort_unstable();
        assert_eq!(counts(&bench), expected);
    }

    #[test]
    fn what_has_no_header_or_finds_no_room_goes_on_and_is_counted_as_not_tracked() {
        let mut bench = bench(&[("flows-max", "1")]);

        let out = bench.run([packet(udp(1), 0), packet(udp(2), 0), vec![0x45; 19], Vec::new()]);

        assert_eq!(out.nexts, [Some(0); 4]);
        assert_eq!(counts(&bench), [(udp(1), 1, 24)]);
        assert_eq!(bench.plugin().shown()[0].1.totals.not_tracked.get(), 3);
    }

    #[test]
    fn cleared_flows_begin_anew() {
        let mut bench = bench(&[]);
        bench.run([packet(udp(1), 0), packet(udp(2), 0)]);
        bench.plugin().clear();
        assert!(counts(&bench).is_empty());
        bench.run([packet(udp(2), 0)]);
        assert_eq!(counts(&bench), [(udp(2), 1, 24)]);
        assert_eq!(bench.plugin().shown()[0].1.totals.started.get(), 1);
    }
}
