//! Clocks per packet of `ethernet-input`, at vectors of 1, 32 and 256.
#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

use gristmill_ethernet::{Ethernet, ethernet_input::EthernetInput, interfaces::Mode};
use plugin_api::{
    Config, InterfaceIndex, NextIndex, Plugin as _,
    testing::{NodeBench, TestPacket, host},
};

const ROUNDS: u32 = 20_000;
const OURS: [u8; 6] = [2, 0, 0, 0, 0, 1];
const ROUTED: InterfaceIndex = InterfaceIndex(1);
const CROSSED: InterfaceIndex = InterfaceIndex(2);

fn main() {
    println!("{:<28} {:>7} {:>12}", "frame", "vector", "clocks/pkt");
    for vector in [1, 32, 256] {
        run("all IPv4, one interface", vector, |_| packet(0x0800, ROUTED));
        run("IPv4 and ARP in turn", vector, |at| {
            packet(if at % 2 == 0 { 0x0800 } else { 0x0806 }, ROUTED)
        });
        run("all cross-connected", vector, |_| packet(0x0800, CROSSED));
    }
}

fn packet(ethertype: u16, interface: InterfaceIndex) -> TestPacket {
    let mut bytes = [&OURS[..], &[2; 6], &ethertype.to_be_bytes()].concat();
    bytes.resize(64, 0x45);
    TestPacket::new(bytes).received_on(interface)
}

fn run(name: &str, vector: usize, packet: impl Fn(usize) -> TestPacket) {
    let ethernet = Ethernet::create(host(), &Config::default()).expect("it needs no service");
    ethernet.interfaces.set(ROUTED, Mode::l3(OURS));
    ethernet.interfaces.set(CROSSED, Mode::CrossConnect { peer: ROUTED });
    for (ethertype, next) in [(0x0800, 8), (0x0806, 9)] {
        ethernet.types.set(ethertype, NextIndex(next)).expect("a small number");
    }
    let packets: Vec<TestPacket> = (0..vector).map(packet).collect();

    let clocks = NodeBench::<EthernetInput>::new(ethernet).clocks(&packets, ROUNDS);

    println!("{name:<28} {vector:>7} {clocks:>12.1}");
}
