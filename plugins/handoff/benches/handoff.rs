//! Clocks per packet of `worker-handoff` at vectors of 256: hashing and sorting out; the rings are
//! the host's, and the bench has none.
#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

use std::net::Ipv4Addr;

use gristmill_handoff::{Choice, WorkerHandoff, WorkerHandoffs};
use plugin_api::{
    InterfaceIndex, ThreadSet,
    testing::{NodeBench, TestPacket, create},
    wire::{
        EtherType, FlowSense, MacAddress, Protocol, ethernet,
        ipv4::{self, Header},
    },
};

const ROUNDS: u32 = 4_000;
const INTERFACE: InterfaceIndex = InterfaceIndex(0);

fn main() {
    println!("{:<34} {:>10}", "256 packets of 256 flows", "clocks/pkt");
    for (what, threads) in [
        ("all stay on the thread", 0b10),
        ("to one other thread", 0b100),
        ("over three workers", 0b1110),
    ] {
        let plugin = create::<WorkerHandoffs>(&[]).expect("it needs no settings");
        let threads = Some(ThreadSet::from_bits(threads));
        let choice = Choice { threads, sense: FlowSense::Directed };
        plugin.choose(INTERFACE, Some(choice)).expect("there is room");
        let mut bench = NodeBench::<WorkerHandoff>::new(plugin);
        let packets: Vec<TestPacket> = (0..=255).map(packet).collect();
        println!("{what:<34} {:>10.1}", bench.clocks(&packets, ROUNDS));
    }
}

fn packet(flow: u8) -> TestPacket {
    let mut bytes = [0; 60];
    let (header, rest) = bytes.split_first_chunk_mut().expect("room for a header");
    ethernet::emit(header, MacAddress::ZERO, MacAddress::ZERO, EtherType::IP4);
    let (source, destination) = (Ipv4Addr::new(10, 0, 0, flow), Ipv4Addr::new(10, 0, 1, 1));
    let ip = Header::new(Protocol::UDP, source, destination, 60 - ethernet::HEADER - ipv4::HEADER);
    ip.emit(rest.first_chunk_mut().expect("room for a header")).expect("it is short");
    TestPacket::new(bytes).received_on(INTERFACE)
}
