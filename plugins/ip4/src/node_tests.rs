//! The nodes on the SDK's bench: packets in, nexts and packets out.

use std::{net::Ipv4Addr, sync::Arc};

use plugin_api::{
    InterfaceIndex, NextNodes, Notice, Plugin, ThreadIndex,
    testing::{NodeBench, TestPacket, create},
    wire::{Ip4Prefix, Ipv4, MacAddress, Protocol, ipv4::Header},
};

use crate::{
    Ip4, Ip4Input, Ip4Local, Ip4Lookup, Ip4Rewrite,
    adjacency::{AdjacencyIndex, Link},
    fib::{InterfaceAddress, Path},
    ip4_input, ip4_local, ip4_lookup, ip4_rewrite,
};

const OWN: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const NEIGHBOR: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
const FAR: Ipv4Addr = Ipv4Addr::new(20, 0, 0, 5);
const MAC: MacAddress = MacAddress([2, 0, 0, 0, 0, 1]);
const NEIGHBOR_MAC: MacAddress = MacAddress([2, 0, 0, 0, 0, 2]);
const PORT: InterfaceIndex = InterfaceIndex(3);

fn packet(destination: Ipv4Addr, ttl: u8) -> Vec<u8> {
    let mut bytes = vec![0; 20];
    let header = Header { ttl, ..Header::new(Protocol::UDP, NEIGHBOR, destination, 16) };
    header.emit(bytes.first_chunk_mut().unwrap()).unwrap();
    bytes.extend_from_slice(&[0x55; 16]);
    bytes
}

/// A router with one interface, a neighbour on it, and a route through that.
fn router() -> Ip4 {
    let plugin = create::<Ip4>(&[]).unwrap();
    let prefix = Ip4Prefix::new(OWN, 24).unwrap();
    let link = Link { mac: MAC, mtu: 1500, is_l3: false };
    plugin.change_routes(|fib| fib.set_link(PORT, link)).unwrap();
    plugin.add_address(InterfaceAddress { interface: PORT, address: OWN, prefix }).unwrap();
    plugin.set_neighbor((PORT, NEIGHBOR), Some(NEIGHBOR_MAC)).unwrap();
    let path = Path::Neighbor { next_hop: NEIGHBOR, interface: PORT };
    let far = Ip4Prefix::new(FAR, 8).unwrap();
    plugin.change_routes(|fib| fib.add_path(far, path)).unwrap();
    plugin
}

#[test]
fn what_is_no_whole_right_packet_is_dropped_by_its_fault() {
    let mut bench = NodeBench::<Ip4Input>::new(router());
    let good = packet(FAR, 64);
    let padded = [good.as_slice(), &[0; 10]].concat();
    let mut checksum = good.clone();
    checksum[10] ^= 1;
    let mut version = good.clone();
    version[0] = 0x65;
    let cut = good[..30].to_vec();
    let out = bench.run([good.clone(), padded, checksum, version, cut, good[..10].to_vec()]);
    use ip4_input::Next::{Checksum, Length, Lookup, Short, Version};
    let expected =
        [Lookup, Lookup, Checksum, Version, Length, Short].map(|next| Some(next.index()));
    assert_eq!(out.nexts, expected);
    assert_eq!(out.packets[1], good, "the padding is cut off");
}

#[test]
fn a_destination_leads_to_its_longest_route() {
    let mut bench = NodeBench::<Ip4Lookup>::new(router());
    let to = |address: [u8; 4]| packet(address.into(), 64);
    let out = bench.run([
        to([20, 9, 9, 9]),
        to([10, 0, 0, 1]),
        to([10, 0, 0, 7]),
        to([30, 0, 0, 1]),
        to([224, 0, 0, 5]),
        to([10, 0, 0, 2]),
    ]);
    use ip4_lookup::Next::{Drop, Local, Report, Resolve, Rewrite};
    let expected = [Rewrite, Local, Resolve, Report, Drop, Rewrite].map(|next| Some(next.index()));
    assert_eq!(out.nexts, expected);
}

#[test]
fn a_rewritten_packet_has_one_hop_less_and_its_neighbours_address_in_front() {
    let plugin = router();
    let adjacency = plugin.router.lock().fib.route_to(FAR).unwrap().adjacencies[0];
    let mut bench = NodeBench::<Ip4Rewrite>::new(plugin);
    let sent = |bytes: Vec<u8>, adjacency: AdjacencyIndex| {
        TestPacket::new(bytes).with_adjacency(adjacency.0)
    };
    let out = bench.run([
        sent(packet(FAR, 64), adjacency),
        sent(packet(FAR, 1), adjacency),
        sent(packet(FAR, 64), AdjacencyIndex::NO_ROUTE),
    ]);
    use ip4_rewrite::Next::{Output, Report, Resolve};
    assert_eq!(out.nexts, [Output, Report, Resolve].map(|next| Some(next.index())));
    assert_eq!(out.tx_interfaces[0], Some(PORT));
    let (header, ip) = out.packets[0].split_at(14);
    assert_eq!(header[..6], NEIGHBOR_MAC.0);
    assert_eq!(header[6..], [&MAC.0[..], &[0x08, 0x00]].concat());
    let ip = Ipv4::parse(ip).unwrap();
    assert_eq!((ip.ttl(), ip.checksum_ok()), (63, true));
}

#[test]
fn what_is_ours_and_no_echo_request_is_the_operating_systems() {
    let mut bench = NodeBench::<Ip4Local>::new(router());
    let out = bench.run([packet(OWN, 64)]);
    assert_eq!(out.nexts, [Some(ip4_local::Next::Punt.index())]);
    assert_eq!(bench.counter(ip4_local::Counter::EchoReplies), 0);
}

#[test]
fn a_thread_that_goes_while_it_reads_holds_no_memory_up() {
    let ip4 = Arc::new(create::<Ip4>(&[]).unwrap());
    let (_, mut reader) = ip4.reader(ThreadIndex(1));
    reader.enter();
    let grace = ip4.grace.begin();
    drop(reader); // With the nodes of its thread.
    assert!(!ip4.grace.is_over(grace));
    ip4.notify(Notice::ThreadRemoved(ThreadIndex(1)));
    assert!(ip4.grace.is_over(grace));
}

#[test]
fn traced_packets_leave_addresses_ttl_length_and_the_adjacency() {
    let plugin = Arc::new(router());
    let mut input = NodeBench::<Ip4Input>::sharing(Arc::clone(&plugin));
    input.trace(true);
    let came = "UDP: 10.0.0.2 -> 20.0.0.5, ttl 64, length 36";
    let out = input.run([packet(FAR, 64), vec![0; 3]]);
    assert_eq!(out.traces, [Some(came.to_owned()), None]);

    let mut lookup = NodeBench::<Ip4Lookup>::sharing(Arc::clone(&plugin));
    lookup.trace(true);
    let out = lookup.run([packet(FAR, 64)]);
    let adjacency = out.traces[0].as_ref().unwrap().strip_prefix("adjacency ").unwrap().to_owned();
    let (adjacency, rest) = adjacency.split_once('\n').unwrap();
    assert_eq!(rest, came);

    let mut rewrite = NodeBench::<Ip4Rewrite>::sharing(plugin);
    rewrite.trace(true);
    let chosen = adjacency.parse().unwrap();
    let sent = [64, 1].map(|ttl| TestPacket::new(packet(FAR, ttl)).with_adjacency(chosen));
    let out = rewrite.run(sent);
    let header = "0200000000020200000000010800";
    let expected = format!(
        "adjacency {chosen}, tx interface 3, header {header}\n\
         UDP: 10.0.0.2 -> 20.0.0.5, ttl 63, length 36"
    );
    assert_eq!(out.traces[0].as_ref(), Some(&expected));
    let reported = out.traces[1].as_ref().unwrap();
    assert!(reported.ends_with("ttl 1, length 36") && !reported.contains("header"), "{reported}");
}
