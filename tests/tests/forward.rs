//! The kernel's own packets through the host: TAPs and veth pairs, with `ping`, TCP and
//! `traceroute` on either side.

use std::{fs, time::Duration};

use gristmill_tests::{
    Between, Link, Netns, Shape,
    between::{HOST_LEFT, HOST_RIGHT, LEFT, RIGHT, mac},
    capture, need_root, need_tool, packet,
};

/// Bytes of a transfer.
const TRANSFER: usize = 24 << 20;
/// An address to which there is no route.
const NOWHERE: &str = "10.9.9.9";
/// An address on the right where nobody is.
const NOBODY: &str = "10.0.2.77";
/// What the host gets to notice a link's state.
const PATIENCE: Duration = Duration::from_secs(5);

/// Runs a test over both kinds of links, one after the other, if the machine can.
fn over_each(tools: &[&str], test: impl Fn(Link)) {
    if need_root() && ["ip", "ping"].iter().chain(tools).all(|tool| need_tool(tool)) {
        [Link::Tap, Link::Veth].into_iter().for_each(test);
    }
}

/// What `ping` printed, which may find nobody.
fn ping(from: &Netns, arguments: &str) -> String {
    let output = from.try_run(&format!("ping -n {arguments}"));
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// All of so many pings are answered, none twice and none damaged.
fn answered(from: &Netns, count: u32, arguments: &str) {
    let told = ping(from, &format!("-c {count} -i 0.02 -W 5 {arguments}"));
    let all = format!("{count} packets transmitted, {count} received, 0% packet loss");
    assert!(told.contains(&all), "{arguments}: {told}");
    assert!(!told.contains("DUP!") && !told.contains("wrong data"), "{arguments}: {told}");
}

#[test]
fn the_kernel_pings_the_host_and_through_it_both_ways() {
    over_each(&[], |link| {
        let between = Between::start(Shape::of(link));
        answered(&between.left, 3, HOST_LEFT);
        answered(&between.right, 3, HOST_RIGHT);
        answered(&between.left, 3, HOST_RIGHT);
        answered(&between.left, 20, RIGHT);
        answered(&between.right, 20, LEFT);
        let told = ping(&between.left, &format!("-c 1 -W 5 {RIGHT}"));
        assert!(told.contains("ttl=63"), "one hop less each way: {told}");
        between.finish();
    });
}

#[test]
fn large_pings_cross_in_fragments_of_the_kernels_making() {
    over_each(&[], |link| {
        let between = Between::start(Shape::of(link));
        for size in [1_472, 1_473, 8_000, 65_507] {
            answered(&between.left, 3, &format!("-s {size} {RIGHT}"));
        }
        answered(&between.right, 3, &format!("-s 8000 {LEFT}"));
        between.finish();
    });
}

#[test]
fn a_packet_too_large_that_must_not_be_cut_is_reported_with_the_mtu() {
    over_each(&[], |link| {
        let between = Between::start(Shape { right_mtu: 1_280, ..Shape::of(link) });
        answered(&between.left, 3, &format!("-M do -s 1252 {RIGHT}"));
        let told = ping(&between.left, &format!("-c 1 -W 2 -M do -s 1253 {RIGHT}"));
        assert!(told.contains(&format!("From {HOST_LEFT} icmp_seq=1")), "{told}");
        assert!(told.contains("Frag needed and DF set (mtu = 1280)"), "{told}");
        assert_eq!(between.dropped("ip4-icmp-error", "ip4-fragmentation-needed"), 1);
        // The kernel has learned: it cuts by itself what may be cut.
        answered(&between.left, 3, &format!("-M want -s 1400 {RIGHT}"));
        between.finish();
    });
}

/// Bytes that no compression and no repetition could come by.
fn noise(seed: u64) -> Vec<u8> {
    let mut state = seed;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    (0..TRANSFER / 8).flat_map(|_| next().to_le_bytes()).collect()
}

#[test]
fn tcp_arrives_byte_for_byte_in_both_directions() {
    over_each(&[], |link| {
        let between = Between::start(Shape::of(link));
        let (left, right) = (&between.left, &between.right);
        for (seed, from, to, address) in [(1, left, right, RIGHT), (2, right, left, LEFT)] {
            let bytes = noise(seed);
            let arrived = from.transfer(to, address, &bytes);
            assert_eq!(arrived.len(), bytes.len(), "{link:?}, seed {seed}");
            let differ = arrived.iter().zip(&bytes).position(|(a, b)| a != b);
            assert_eq!(differ, None, "{link:?}, seed {seed}: the first byte that differs");
        }
        between.finish();
    });
}

#[test]
fn ping_is_told_of_used_up_hops_and_of_what_cannot_be_reached() {
    over_each(&[], |link| {
        let between = Between::start(Shape::of(link));
        let left = &between.left;
        let from_host = format!("From {HOST_LEFT} icmp_seq=1");
        for (arguments, reason) in [
            (format!("-c 1 -W 2 -t 1 {RIGHT}"), "Time to live exceeded"),
            (format!("-c 1 -W 2 {NOWHERE}"), "Destination Net Unreachable"),
            (format!("-c 1 -W 10 {NOBODY}"), "Destination Host Unreachable"),
        ] {
            let told = ping(left, &arguments);
            assert!(told.contains(&format!("{from_host} {reason}")), "{arguments}: {told}");
        }
        let told = ping(&between.right, &format!("-c 1 -W 2 -t 1 {LEFT}"));
        assert!(told.contains(&format!("From {HOST_RIGHT} icmp_seq=1 Time to live")), "{told}");
        // One hop is enough for the host itself.
        answered(left, 3, &format!("-t 1 {HOST_LEFT}"));
        for (reason, count) in
            [("ip4-ttl-expired", 2), ("ip4-no-route", 1), ("ip4-host-unreachable", 1)]
        {
            assert_eq!(between.dropped("ip4-icmp-error", reason), count, "{reason}");
        }
        between.finish();
    });
}

/// The hops that `traceroute` shows, each from its address on.
fn traceroute(from: &Netns, arguments: &str) -> Vec<String> {
    let told = from.run(&format!("traceroute -n -q 1 -w 8 -m 4 {arguments}"));
    let hops = told.lines().skip(1);
    hops.filter_map(|hop| hop.split_once("  ").map(|(_, hop)| hop.trim().to_owned())).collect()
}

#[test]
fn traceroute_shows_the_host_and_where_the_way_ends() {
    over_each(&["traceroute"], |link| {
        let between = Between::start(Shape::of(link));
        let left = &between.left;
        for protocol in ["", "-I "] {
            let hops = traceroute(left, &format!("{protocol}{RIGHT}"));
            assert_eq!(hops.len(), 2, "{hops:?}");
            assert!(hops[0].starts_with(HOST_LEFT) && hops[1].starts_with(RIGHT), "{hops:?}");
        }
        let hops = traceroute(left, NOWHERE);
        let last = hops.last().unwrap();
        assert!(last.starts_with(HOST_LEFT) && last.ends_with("!N"), "{hops:?}");
        let hops = traceroute(left, NOBODY);
        let last = hops.last().unwrap();
        assert!(last.starts_with(HOST_LEFT) && last.ends_with("!H"), "{hops:?}");
        between.finish();
    });
}

#[test]
fn hardware_addresses_are_told_and_learned() {
    over_each(&[], |link| {
        let between = Between::start(Shape::of(link));
        answered(&between.left, 2, RIGHT);
        let sides = [
            (&between.left, "left", HOST_LEFT, LEFT),
            (&between.right, "right", HOST_RIGHT, RIGHT),
        ];
        for ((side, interface, host, own), name) in sides.into_iter().zip(link.interfaces()) {
            let host_mac = between.interface(name, |row| row.text("MAC").to_owned());
            let told = side.ip(&format!("neigh show {host}"));
            assert!(told.contains(&format!("dev {interface} lladdr {host_mac}")), "{told}");
            let neighbors = between.lab.run("show ip neighbors");
            let neighbor = neighbors.the("Address", own);
            assert_eq!(neighbor.text("Interface"), name);
            assert_eq!(neighbor.text("State"), "reachable");
            assert_eq!(neighbor.text("MAC"), mac(side, interface));
            assert_eq!(neighbor.count("Waiting"), 0);
        }
        // An address that is not ours is nobody's.
        let told = ping(&between.left, "-c 1 -W 2 10.0.1.3");
        assert!(told.contains("0 received"), "{told}");
        // A neighbour that moves is learned anew.
        between.right.ip("link set right down");
        between.right.ip("link set right address 02:00:5e:00:53:01");
        between.right.ip("link set right up");
        between.route();
        answered(&between.right, 2, HOST_RIGHT);
        answered(&between.left, 2, RIGHT);
        let neighbors = between.lab.run("show ip neighbors");
        assert_eq!(neighbors.the("Address", RIGHT).text("MAC"), "02:00:5e:00:53:01");
        between.finish();
    });
}

#[test]
fn a_link_that_goes_down_shows_and_comes_back() {
    over_each(&[], |link| {
        let mut between = Between::start(Shape::of(link));
        let [name, other] = link.interfaces();
        answered(&between.left, 2, RIGHT);
        for (state, shown) in [("down", "no-link"), ("up", "up"), ("down", "no-link"), ("up", "up")]
        {
            between.left.ip(&format!("link set left {state}"));
            let seen = between.lab.eventually(PATIENCE, |lab| {
                lab.run("show interface").the("Name", name).text("State") == shown
            });
            assert!(seen, "{link:?}: {state} does not show as {shown}: {}", between.lab.log());
            assert_eq!(between.interface(other, |row| row.text("State").to_owned()), "up");
        }
        between.route();
        answered(&between.left, 5, RIGHT);
        answered(&between.right, 5, LEFT);
        between.finish();
    });
}

/// An Ethernet frame to a host, with an echo request in it.
fn echo_request(to: packet::Mac) -> Vec<u8> {
    let [source, destination] = [[10, 0, 3, 2], [10, 0, 3, 1]];
    let ip4 = packet::Ip4 { ttl: 64, protocol: 1, id: 1, source, destination, options: &[] };
    let request = packet::icmp(8, 0, [0x47, 0x4d, 0, 1], &[7; 56]);
    packet::ethernet(to, [2, 0, 0x5e, 0, 0x53, 2], 0x800, &ip4.with(&request))
}

/// A capture is sent over a veth pair whose other end the host has, too.
#[test]
fn wrong_checksums_are_dropped_and_counted_by_reason() {
    if !(need_root() && need_tool("ip")) {
        return;
    }
    let between = Between::start(Shape::of(Link::Veth));
    let (lab, middle) = (&between.lab, between.middle.as_ref().unwrap());
    middle.join("out", middle, "in");
    for command in [
        "create host-interface name out",
        "create host-interface name in",
        "set interface state host-out up",
        "set interface state host-in up",
        "set interface ip address host-in 10.0.3.1/24",
        "set ip neighbor host-in 10.0.3.2 02:00:5e:00:53:02",
    ] {
        lab.run(command);
    }
    let mac = between.interface("host-in", |row| row.text("MAC").to_owned());
    let right = echo_request(packet::mac(&mac));
    let wrong = |at: usize| {
        let mut packet = right.clone();
        packet[at] ^= 0x10;
        packet
    };
    // The header is wrong three times, the message twice; nothing is wrong twice.
    let packets =
        [right.clone(), wrong(24), wrong(25), wrong(18), wrong(36), right.clone(), wrong(60)];
    let file = lab.directory().join("wrong.pcap");
    fs::write(&file, capture::of(&packets)).unwrap();
    lab.run(&format!("create pcap name replay input {}", file.display()));
    lab.run("set interface l2 xconnect replay host-out");
    lab.run("set interface state replay up");

    let mut between = between;
    let all = between.lab.eventually(PATIENCE, |lab| {
        lab.run("show interface").the("Name", "host-in").count("rx-packets") >= 7
    });
    assert!(all, "{}", between.lab.run("show interface").json());
    assert_eq!(between.dropped("ip4-input", "ip4-bad-checksum"), 3);
    assert_eq!(between.dropped("ip4-local", "ip4-icmp-bad-checksum"), 2);
    let replies = between.lab.run("show node ip4-local");
    assert_eq!(replies.the("Counter", "echo-replies").count("Value"), 2);
    between.finish();
}

#[test]
fn what_is_the_operating_systems_reaches_its_socket_through_the_punt_tap() {
    if !(need_root() && need_tool("ip")) {
        return;
    }
    let between = Between::start(Shape::of(Link::Tap));
    let stack = Netns::new("stack");
    let sender = between.left.udp(LEFT);
    sender.send_to(b"to nobody", format!("{HOST_LEFT}:9999")).unwrap();
    let counted = || between.dropped("error-punt", "punt-not-configured") == 1;
    let counted = (0..500).any(|_| counted()); // Each look starts a client: a second or two in all.
    assert!(counted, "without a punt interface it is dropped and counted");

    let own = between.interface("tap0", |row| row.text("MAC").to_owned());
    let stack_name = stack.name();
    between.lab.run(&format!(
        "create tap id 9 host-if-name punt host-ns {stack_name} host-mac-addr {own} \
         host-ip4-addr {HOST_LEFT}/24"
    ));
    between.lab.run("set interface state tap9 up");
    between.lab.run("set punt tap tap9");
    let receiver = stack.udp(HOST_LEFT);
    receiver.set_read_timeout(Some(PATIENCE)).unwrap();
    sender.send_to(b"to the kernel", receiver.local_addr().unwrap()).unwrap();
    let mut bytes = [0; 64];
    let (len, from) = receiver.recv_from(&mut bytes).unwrap();
    assert_eq!((&bytes[..len], from), (&b"to the kernel"[..], sender.local_addr().unwrap()));
    between.finish();
}
