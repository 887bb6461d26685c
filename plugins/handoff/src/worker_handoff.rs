//! `worker-handoff`: hashes a packet's flow and hands it to the worker of that hash, as a feature on
//! the arc `device-input`.

use std::sync::Arc;

use plugin_api::{
    Error, Frame, Node, ThreadIndex, To, declare_feature, declare_node, next_nodes, wire::flow_hash,
};

use crate::handoff::WorkerHandoffs;

next_nodes! {
    /// Where a packet goes from here, on its worker.
    pub enum Next { Onward => Feature }
}

/// The node; all instances read the plugin's table.
#[derive(Debug)]
pub struct WorkerHandoff(Arc<WorkerHandoffs>);

impl WorkerHandoff {
    /// The arc it is on.
    pub(crate) const ARC: &'static str = "device-input";
}

impl Node for WorkerHandoff {
    const NAME: &'static str = "worker-handoff";
    type Plugin = WorkerHandoffs;
    type Next = Next;

    fn new(plugin: &Arc<WorkerHandoffs>, _: ThreadIndex) -> Result<Self, Error> {
        Ok(Self(Arc::clone(plugin)))
    }

    fn dispatch(&mut self, frame: &mut Frame<'_, Next>) {
        let (plugin, here) = (&*self.0, frame.thread());
        frame.hand_off_each(plugin.handoff(), |packet| {
            let choice = packet.rx_interface().and_then(|rx| plugin.choice(rx));
            let thread = choice.and_then(|choice| {
                let hash = flow_hash(packet.data(), choice.sense);
                packet.set_flow_hash(hash);
                plugin.present(choice).choose(hash)
            });
            To { thread: thread.unwrap_or(here), next: Next::Onward }
        });
    }
}

declare_node!(WorkerHandoff);
// Off until `set interface handoff` turns it on for an interface.
declare_feature!(WorkerHandoff, arc: "device-input");

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, net::Ipv4Addr};

    use plugin_api::{
        InterfaceIndex, ThreadSet,
        testing::{NodeBench, Outcome, TestPacket, create},
        wire::{
            EtherType, FlowSense, MacAddress, Protocol, ethernet,
            ipv4::{self, Header},
        },
    };

    use super::*;
    use crate::Choice;

    const ON: InterfaceIndex = InterfaceIndex(2);
    const OTHER: InterfaceIndex = InterfaceIndex(3);
    /// The thread that the bench's node runs on.
    const HERE: u32 = 1;

    /// A UDP packet of flow `flow`, forth or back; its last byte is its number.
    fn packet(flow: u16, back: bool, number: u8) -> TestPacket {
        let (a, b) = ((Ipv4Addr::new(10, 0, 0, 1), flow), (Ipv4Addr::new(10, 0, 0, 2), 53_u16));
        let (source, destination) = if back { (b, a) } else { (a, b) };
        let mut bytes = vec![0; ethernet::HEADER + ipv4::HEADER];
        let header = bytes.first_chunk_mut().unwrap();
        ethernet::emit(header, MacAddress::ZERO, MacAddress::ZERO, EtherType::IP4);
        let header = Header::new(Protocol::UDP, source.0, destination.0, 9);
        header.emit(bytes[ethernet::HEADER..].first_chunk_mut().unwrap()).unwrap();
        bytes.extend(source.1.to_be_bytes());
        bytes.extend(destination.1.to_be_bytes());
        bytes.extend([0, 9, 0, 0, number]);
        TestPacket::new(bytes).received_on(ON)
    }

    fn bench(threads: Option<u64>, sense: FlowSense) -> NodeBench<WorkerHandoff> {
        let plugin = create::<WorkerHandoffs>(&[]).unwrap();
        let threads = threads.map(ThreadSet::from_bits);
        plugin.choose(ON, Some(Choice { threads, sense })).unwrap();
        NodeBench::new(plugin)
    }

    /// Each packet's thread, hash and number, in the order in which its thread gets it.
    fn threads(out: &Outcome) -> Vec<(u32, u32, u8)> {
        let number = |packet: &Vec<u8>| *packet.last().unwrap();
        let here = out.nexts.iter().zip(out.packets.iter().zip(&out.flow_hashes));
        let here = here.filter(|(next, _)| next.is_some());
        let here = here.map(|(_, (packet, hash))| (HERE, *hash, number(packet)));
        let away = out.handed_off.iter();
        let away = away.map(|to| (to.thread.0, to.flow_hash, number(&to.packet)));
        here.chain(away).collect()
    }

    #[test]
    fn packets_of_a_flow_go_to_one_worker_in_their_order_and_flows_to_all() {
        let mut bench = bench(None, FlowSense::Directed);
        let sent = (0..=255).map(|number| packet(u16::from(number % 40), false, number));

        let out = bench.run(sent);

        assert!(out.handed_off.iter().all(|to| to.next == 0), "all onward on the arc");
        let mut flows: BTreeMap<u8, Vec<(u32, u32, u8)>> = BTreeMap::new();
        for (thread, hash, number) in threads(&out) {
            flows.entry(number % 40).or_default().push((thread, hash, number));
        }
        assert_eq!(flows.len(), 40);
        let mut used = [0; 4];
        for packets in flows.values() {
            let (thread, hash, _) = packets[0];
            assert!(packets.iter().all(|packet| (packet.0, packet.1) == (thread, hash)));
            assert!(packets.windows(2).all(|two| two[0].2 < two[1].2), "{packets:?}");
            assert_ne!(hash, 0, "the header has the hash");
            used[thread as usize] += 1;
        }
        assert_eq!(used[0], 0, "main is no worker");
        assert!(used[1..].iter().all(|&flows| flows > 5), "{used:?}");
    }

    #[test]
    fn the_list_decides_and_threads_that_are_not_there_are_passed_over() {
        let out = bench(Some(1 << 0 | 1 << 2 | 1 << 40), FlowSense::Directed)
            .run((0..200).map(|flow| packet(flow, false, 0)));
        let used = |thread| threads(&out).iter().filter(|packet| packet.0 == thread).count();
        assert_eq!((used(1), used(3), used(0) + used(2)), (0, 0, 200));
        assert!(used(0) > 50 && used(2) > 50);

        let out = bench(Some(1 << 40), FlowSense::Directed).run([packet(1, false, 0)]);
        assert_eq!(out.nexts, [Some(0)], "nobody is there: it stays where it is");
    }

    #[test]
    fn both_directions_go_to_one_worker_if_they_are_to() {
        for (sense, together) in [(FlowSense::Symmetrical, true), (FlowSense::Directed, false)] {
            let mut bench = bench(None, sense);
            let same = (0..64_u16).filter(|&flow| {
                let way = |out: Outcome| threads(&out)[0].0;
                way(bench.run([packet(flow, false, 0)])) == way(bench.run([packet(flow, true, 0)]))
            });
            assert_eq!(same.count() == 64, together, "{sense:?}");
        }
    }

    #[test]
    fn packets_of_other_interfaces_and_of_none_stay_where_they_are() {
        let mut bench = bench(Some(1 << 2), FlowSense::Directed);
        let other = packet(1, false, 0).received_on(OTHER);
        let out = bench.run([other, TestPacket::new([]), packet(1, false, 0)]);
        assert_eq!(out.nexts, [Some(0), Some(0), None]);
        assert_eq!(out.flow_hashes, [0; 3], "what is not spread is not hashed");
        assert_eq!(out.handed_off[0].thread, ThreadIndex(2));
        bench.plugin().choose(ON, None).unwrap();
        assert_eq!(bench.run([packet(1, false, 0)]).nexts, [Some(0)]);
    }
}
