//! `ethernet-input`: to the node of the EtherType, or across.

use std::{
    fmt::{self, Display},
    sync::Arc,
};

use plugin_api::{
    Error, Frame, NextIndex, NextNodes as _, Node, Packet, ThreadIndex, TraceFormat, declare_node,
    next_nodes, trace_record,
    wire::{EtherType, Ethernet as Header, MacAddress},
};

use crate::{Ethernet, ethertypes::EtherTypes, interfaces::Mode};

/// Bytes of an Ethernet header: destination, source, EtherType.
const HEADER: usize = 14;

next_nodes! {
    /// Where a packet goes from here, if not to the node that registered its EtherType.
    pub enum Next {
        Output => Node("interface-output"),
        Punt => Node("error-punt"),
        UnknownType => Drop("ethernet-unknown-type"),
        UnknownVlan => Drop("ethernet-vlan-unknown"),
        NotForUs => Drop("ethernet-not-for-us"),
        TooShort => Drop("ethernet-too-short"),
        UnknownInterface => Drop("ethernet-unknown-interface"),
        Unconnected => Drop("ethernet-xconnect-no-peer"),
    }
}

trace_record! {
    /// What is left of a traced packet.
    #[derive(Debug)]
    pub struct Seen { source: MacAddress, destination: MacAddress, ethertype: EtherType }
}

impl Seen {
    fn of(packet: &Packet<'_>) -> Option<Self> {
        let header = Header::parse(packet.data()).ok()?;
        let (source, destination) = (header.source(), header.destination());
        Some(Self { source, destination, ethertype: header.ethertype() })
    }
}

impl Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { source, destination, ethertype } = self;
        write!(f, "{source} -> {destination}, type {:#06x}", ethertype.0)
    }
}

/// The node; all instances read the plugin's tables.
#[derive(Debug)]
pub struct EthernetInput(Arc<Ethernet>);

impl Node for EthernetInput {
    const NAME: &'static str = "ethernet-input";
    const TRACE: TraceFormat = TraceFormat::of::<Seen>();
    type Plugin = Ethernet;
    type Next = Next;

    fn new(plugin: &Arc<Ethernet>, _: ThreadIndex) -> Result<Self, Error> {
        Ok(Self(Arc::clone(plugin)))
    }

    fn dispatch(&mut self, frame: &mut Frame<'_, Next>) {
        let Ethernet { interfaces, types, .. } = &*self.0;
        frame.trace_each(Seen::of);
        frame.enqueue_each_numbered(|packet| {
            packet.mark_l2();
            let mode = packet.rx_interface().map_or(Mode::Absent, |rx| interfaces.mode(rx));
            match mode {
                Mode::L3 { mac } => classify(packet, mac, types),
                Mode::CrossConnect { peer } => {
                    packet.set_tx_interface(peer);
                    Next::Output.number()
                }
                Mode::Absent => Next::UnknownInterface.number(),
                Mode::Unconnected => Next::Unconnected.number(),
            }
        });
    }
}

declare_node!(EthernetInput);

/// Finds the node for a packet that an interface with the address `mac` received.
#[inline(always)]
fn classify(packet: &mut Packet<'_>, mac: u64, types: &EtherTypes) -> NextIndex {
    let Some(header) = packet.data().first_chunk::<HEADER>() else {
        return Next::TooShort.number();
    };
    let [a, b, c, d, e, f, .., high, low] = *header;
    let destination = u64::from_be_bytes([0, 0, a, b, c, d, e, f]);
    let is_group = a & 1 != 0;
    if destination != mac && !is_group && mac != 0 {
        return Next::NotForUs.number();
    }
    let route = types.route(u16::from_be_bytes([high, low]));
    if route.strips_header() {
        packet.advance(HEADER);
    }
    route.next()
}

#[cfg(test)]
mod tests {
    use plugin_api::{
        Config, InterfaceIndex, Plugin as _,
        testing::{NodeBench, TestPacket, host},
    };

    use super::*;

    const OURS: [u8; 6] = [2, 0, 0, 0, 0, 1];
    const THEIRS: [u8; 6] = [2, 0, 0, 0, 0, 2];
    const ROUTED: InterfaceIndex = InterfaceIndex(1);
    const CROSSED: InterfaceIndex = InterfaceIndex(2);
    const IP4: u16 = 11;

    fn bench() -> NodeBench<EthernetInput> {
        let plugin = Ethernet::create(host(), &Config::default()).unwrap();
        plugin.interfaces.set(ROUTED, Mode::l3(OURS));
        plugin.interfaces.set(CROSSED, Mode::CrossConnect { peer: ROUTED });
        plugin.types.set(0x0800, NextIndex(IP4)).unwrap();
        NodeBench::new(plugin)
    }

    fn packet(destination: [u8; 6], ethertype: u16) -> Vec<u8> {
        [&destination[..], &THEIRS, &ethertype.to_be_bytes(), b"payload"].concat()
    }

    fn next_of(destination: [u8; 6], ethertype: u16) -> Option<u16> {
        let packet = TestPacket::new(packet(destination, ethertype)).received_on(ROUTED);
        bench().run([packet]).nexts[0]
    }

    #[test]
    fn a_registered_type_goes_to_its_node_without_the_header() {
        let out = bench().run([TestPacket::new(packet(OURS, 0x0800)).received_on(ROUTED)]);
        assert_eq!(out.nexts, [Some(IP4)]);
        assert_eq!(out.packets, [b"payload"]);
    }

    #[test]
    fn a_traced_packet_leaves_its_addresses_and_its_type() {
        let mut bench = bench();
        bench.trace(true);
        let short = TestPacket::new(vec![0; 13]).received_on(ROUTED);
        let whole = TestPacket::new(packet(OURS, 0x0800)).received_on(ROUTED);
        let out = bench.run([whole, short]);
        let seen = "02:00:00:00:00:02 -> 02:00:00:00:00:01, type 0x0800".to_owned();
        assert_eq!(out.traces, [Some(seen), None]);
    }

    #[test]
    fn only_group_addresses_and_our_own_are_for_us() {
        assert_eq!(next_of([0xff; 6], 0x0800), Some(IP4));
        assert_eq!(next_of([1, 0, 0x5e, 0, 0, 1], 0x0800), Some(IP4));
        assert_eq!(next_of(THEIRS, 0x0800), Some(Next::NotForUs.index()));
    }

    #[test]
    fn an_interface_without_an_address_takes_everything() {
        let mut bench = bench();
        bench.plugin().interfaces.set(ROUTED, Mode::l3([0; 6]));
        let out = bench.run([TestPacket::new(packet(THEIRS, 0x0800)).received_on(ROUTED)]);
        assert_eq!(out.nexts, [Some(IP4)]);
    }

    #[test]
    fn what_is_unknown_is_dropped_whole_for_its_reason() {
        assert_eq!(next_of(OURS, 0x86dd), Some(Next::UnknownType.index()));
        assert_eq!(next_of(OURS, 46), Some(Next::UnknownType.index()), "an 802.3 length");
        assert_eq!(next_of(OURS, 0x8100), Some(Next::UnknownVlan.index()));

        let out = bench().run([TestPacket::new(packet(OURS, 0x86dd)).received_on(ROUTED)]);
        assert_eq!(out.packets, [packet(OURS, 0x86dd)]);
    }

    #[test]
    fn a_packet_of_no_interface_or_no_header_is_dropped() {
        let mut bench = bench();
        let out = bench.run([
            TestPacket::new(packet(OURS, 0x0800)),
            TestPacket::new(packet(OURS, 0x0800)).received_on(InterfaceIndex(77)),
            TestPacket::new(packet(OURS, 0x0800)).received_on(InterfaceIndex(u32::MAX - 1)),
            TestPacket::new(&packet(OURS, 0x0800)[..13]).received_on(ROUTED),
            TestPacket::new([]).received_on(ROUTED),
        ]);
        let [nowhere, short] = [Next::UnknownInterface, Next::TooShort].map(|n| Some(n.index()));
        assert_eq!(out.nexts, [nowhere, nowhere, nowhere, short, short]);
    }

    #[test]
    fn a_cross_connected_packet_leaves_by_the_peer_untouched() {
        let mut bench = bench();
        let sent = packet(THEIRS, 0x1234);

        let out = bench.run([TestPacket::new(sent.clone()).received_on(CROSSED)]);

        assert_eq!(out.nexts, [Some(Next::Output.index())]);
        assert_eq!(out.tx_interfaces, [Some(ROUTED)]);
        assert_eq!(out.packets, [sent]);

        bench.plugin().interfaces.remove(ROUTED);
        let out = bench.run([TestPacket::new(packet(OURS, 0x0800)).received_on(CROSSED)]);
        assert_eq!(out.nexts, [Some(Next::Unconnected.index())]);
    }

    #[test]
    fn packets_of_one_frame_go_their_own_ways() {
        let out = bench().run([
            TestPacket::new(packet(OURS, 0x0800)).received_on(ROUTED),
            TestPacket::new(packet(OURS, 0x0800)).received_on(CROSSED),
            TestPacket::new(packet(OURS, 0x8100)).received_on(ROUTED),
        ]);
        let nexts = [IP4, Next::Output.index(), Next::UnknownVlan.index()].map(Some);
        assert_eq!(out.nexts, nexts);
    }
}
