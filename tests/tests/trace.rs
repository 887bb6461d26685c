//! Traces of packets through a real host: hops in order with what nodes left of them, wherever the
//! packets go, and no packet lost by it.
#![expect(clippy::unwrap_used, reason = "a test may panic where it cannot go on")]

use std::time::Duration;

use gristmill_tests::{
    Between, Build, Lab, Link, Netns, Shape, Traffic,
    between::{HOST_LEFT, LEFT, RIGHT},
    lab::{pause, until},
    need_root, need_tool,
};

/// A packet as `show trace` has it: the thread, and each hop's node and lines.
#[derive(Debug)]
struct Shown {
    thread: u32,
    hops: Vec<Hop>,
    truncated: bool,
}

#[derive(Debug)]
struct Hop {
    time: String,
    node: String,
    thread: Option<u32>,
    lines: Vec<String>,
}

impl Shown {
    fn nodes(&self) -> Vec<&str> {
        self.hops.iter().map(|hop| hop.node.as_str()).collect()
    }

    fn hop(&self, node: &str) -> &Hop {
        let found = self.hops.iter().find(|hop| hop.node == node);
        found.unwrap_or_else(|| panic!("no hop {node}: {self:#?}"))
    }

    fn has(&self, node: &str, line: &str) -> bool {
        self.hop(node).lines.iter().any(|own| own.contains(line))
    }
}

/// All packets of `show trace`.
fn traces(lab: &Lab) -> Vec<Shown> {
    let answer = lab.run("show trace max 1000");
    let (mut thread, mut packets) = (0, Vec::<Shown>::new());
    for line in answer.lines() {
        if let Some(rest) = line.strip_prefix("------------------- Start of thread ") {
            thread = rest.split(' ').next().unwrap().parse().unwrap();
        } else if line.starts_with("Packet ") {
            packets.push(Shown { thread, hops: Vec::new(), truncated: false });
        } else if let Some(line) = line.strip_prefix("  ") {
            let hop = packets.last_mut().and_then(|packet| packet.hops.last_mut()).unwrap();
            hop.lines.push(line.to_owned());
        } else if line.starts_with("trace truncated") {
            packets.last_mut().unwrap().truncated = true;
        } else if let Some((time, node)) = line.split_once(": ") {
            let (node, thread) = match node.split_once(" (thread ") {
                Some((node, thread)) => (node, thread.trim_end_matches(')').parse().ok()),
                None => (node, None),
            };
            let (time, node) = (time.to_owned(), node.to_owned());
            let hop = Hop { time, node, thread, lines: Vec::new() };
            packets.last_mut().unwrap().hops.push(hop);
        }
    }
    packets
}

/// Waits for so many packets, whose last hop is `end`.
fn wait_for(lab: &Lab, count: usize, end: &str) -> Vec<Shown> {
    let mut found = Vec::new();
    let came = until(|| {
        found = traces(lab);
        let ended = |shown: &&Shown| shown.hops.last().is_some_and(|hop| hop.node == end);
        found.iter().filter(ended).count() >= count
    });
    assert!(came, "{count} packets to {end}: {found:#?}\n{}", lab.log());
    found
}

/// A host whose generators are routed between, as in the demonstration.
fn routed(stream: &str) -> Lab {
    let lab = Lab::options().plugins(&["ethernet", "ip4", "generator"]).start();
    for command in [
        "create generator id 0",
        "create generator id 1",
        "set interface state generator0 up",
        "set interface state generator1 up",
        "set interface ip address generator0 10.0.0.1/24",
        "set interface ip address generator1 10.1.0.1/24",
        "set ip neighbor generator1 10.1.0.2 02:67:65:6e:ff:02",
        "ip route add 20.0.0.0/8 via 10.1.0.2 generator1",
    ] {
        lab.run(command);
    }
    lab.run(&format!("generator stream generator0 name flow source 10.0.0.2 {stream} rate 5000"));
    lab
}

/// A host with cross-connected generators, the fixture, and what it is a feature of.
fn crossed(workers: u32) -> (Lab, String) {
    let fixture = Build::here().fixture("trace").display().to_string();
    let lab = Lab::options().workers(workers).plugins(&["ethernet", "generator", &fixture]).start();
    Traffic::paced(&lab, 1_000).stop_whole();
    (lab, fixture)
}

fn feature(lab: &Lab, name: &str) {
    lab.run(&format!("set interface feature generator0 {name} arc device-input"));
}

#[test]
fn a_routed_packet_is_shown_hop_by_hop_with_what_each_node_left() {
    let lab = routed("destination 20.0.0.1 size 64");
    lab.run("trace add generator0-input 3");
    lab.run("generator start generator0");
    let shown = wait_for(&lab, 3, "generator1-output");
    pause(Duration::from_millis(100));
    assert_eq!(traces(&lab).len(), 3, "3 were asked for, and thousands came");
    let nodes = [
        "generator0-input",
        "ethernet-input",
        "ip4-input",
        "ip4-lookup",
        "ip4-rewrite",
        "generator1-output",
    ];
    for packet in &shown {
        assert_eq!((packet.nodes(), packet.truncated), (nodes.to_vec(), false));
        assert!(packet.thread == 1 && packet.hops.iter().all(|hop| hop.thread.is_none()));
        let times: Vec<&str> = packet.hops.iter().map(|hop| hop.time.as_str()).collect();
        assert!(times.is_sorted() && times[0].len() == "00:00:00:000000".len(), "{times:?}");
        assert!(packet.has("generator0-input", "rx: generator0 queue 0, 64 bytes"), "{packet:#?}");
        assert!(packet.has("ethernet-input", ", type 0x0800"), "{packet:#?}");
        assert!(packet.has("ip4-input", "UDP: 10.0.0.2 -> 20.0.0.1, ttl 64"), "{packet:#?}");
        assert!(packet.has("ip4-lookup", "adjacency "), "{packet:#?}");
        assert!(packet.has("ip4-rewrite", "header 026"), "{packet:#?}");
        assert!(packet.has("ip4-rewrite", "ttl 63"), "{packet:#?}");
        assert!(packet.has("generator1-output", "tx: queue "), "{packet:#?}");
        assert!(packet.has("generator1-output", "sent"), "{packet:#?}");
    }
    lab.run("clear trace");
    assert!(traces(&lab).is_empty());
    lab.run("trace add ip4-lookup 2");
    let later = wait_for(&lab, 2, "generator1-output");
    assert!(later.iter().all(|packet| packet.nodes()[0] == "ip4-lookup"), "{later:#?}");
    assert!(later[0].has("ip4-lookup", "rx: generator0"), "{later:#?}");
    lab.run("generator stop generator0");
    pause(Duration::from_millis(100));
    assert_eq!(lab.run("show generator").the("stream", "flow").count("lost"), 0);
    lab.finish();
}

#[test]
fn a_packet_that_is_dropped_says_by_whom_and_why() {
    let lab = routed("destination 20.0.0.1 size 64");
    lab.run("set ip neighbor generator1 10.1.0.2 02:67:65:6e:ff:02");
    lab.run("set interface state generator1 down");
    lab.run("trace add ip4-input 1");
    lab.run("generator start generator0");
    let shown = wait_for(&lab, 1, "error-drop");
    lab.run("generator stop generator0");
    let before = shown[0].nodes()[shown[0].hops.len() - 2].to_owned();
    let last = &shown[0].hops.last().unwrap().lines;
    let errors = lab.run("show errors");
    let rows = errors.rows();
    let row = rows.iter().find(|row| row.text("Node") == before && row.count("Count") > 0);
    let reason = row.expect("it is counted").text("Reason");
    assert_eq!(last[..2], ["rx: generator0".to_owned(), format!("{before}: {reason}")]);
    assert!(shown[0].has(&before, &format!("drop: {reason}")), "{shown:#?}");
    lab.finish();
}

#[test]
fn a_trace_goes_on_with_the_packet_to_other_workers_to_main_and_back() {
    let fixture = Build::here().fixture("handoff").display().to_string();
    let plugins = ["ethernet", "generator", "handoff", &fixture];
    let lab = Lab::options().workers(2).plugins(&plugins).start();
    Traffic::paced(&lab, 1_000).stop_whole();
    feature(&lab, "fixture-around");
    lab.run("trace add generator0-input 20");
    let traffic = Traffic::paced(&lab, 5_000);
    let shown = wait_for(&lab, 20, "generator1-output");
    traffic.stop_whole();
    for packet in &shown {
        let other = 3 - packet.thread;
        let stations = ["fixture-around", "fixture-around-2", "fixture-around-3"];
        let nodes =
            [&["generator0-input"][..], &stations, &["ethernet-input", "generator1-output"]];
        assert_eq!(packet.nodes(), nodes.concat(), "{packet:#?}");
        let elsewhere = |thread: u32| Some(thread).filter(|&thread| thread != packet.thread);
        let threads: Vec<_> = packet.hops.iter().map(|hop| hop.thread).collect();
        let at = [packet.thread, packet.thread, other, 0, 1, 1];
        assert_eq!(threads, at.map(elsewhere), "{packet:#?}");
        for (station, to) in stations.into_iter().zip([other, 0, 1]) {
            assert!(packet.has(station, &format!("handed to thread {to}")), "{packet:#?}");
        }
    }
    lab.finish();
}

#[test]
fn the_records_of_a_plugin_that_is_unloaded_stay_and_lose_their_text() {
    let (lab, fixture) = crossed(1);
    feature(&lab, "fixture-shown");
    lab.run("trace add fixture-shown 5");
    let traffic = Traffic::paced(&lab, 20_000);
    let shown = wait_for(&lab, 5, "generator1-output");
    assert!(shown[0].has("fixture-shown", "the fixture saw 64 bytes"), "{shown:#?}");
    lab.run("trace add fixture-shown 900");
    lab.run("plugin unload fixture-trace");
    let shown = traces(&lab);
    assert!(shown[0].has("fixture-shown", "40000000"), "{:#?}", shown[0]);
    lab.run(&format!("plugin load {fixture}"));
    feature(&lab, "fixture-shown");
    traffic.flows();
    assert!(traces(&lab)[0].has("fixture-shown", "40000000"), "another load does not read it");
    lab.run("clear trace");
    lab.run("trace add fixture-shown 1");
    let shown = wait_for(&lab, 1, "generator1-output");
    assert!(shown[0].has("fixture-shown", "the fixture saw 64 bytes"), "{shown:#?}");
    traffic.stop_whole();
    lab.finish();
}

#[test]
fn plugins_come_and_go_and_workers_too_while_packets_are_traced_and_none_is_lost() {
    let (lab, fixture) = crossed(1);
    let traffic = Traffic::paced(&lab, 50_000);
    for round in 0..6 {
        feature(&lab, "fixture-shown");
        feature(&lab, "fixture-copies");
        lab.run("trace add generator0-input 50");
        lab.run("trace add error-drop 20");
        lab.run(&format!("set workers {}", 1 + round % 3));
        traffic.flows();
        lab.run("plugin unload fixture-trace");
        traces(&lab);
        lab.run(&format!("plugin load {fixture}"));
        if round % 2 == 1 {
            lab.run("clear trace");
        }
    }
    lab.run("clear trace");
    lab.run("set workers 2");
    lab.run("trace add generator0-input 10");
    let shown = wait_for(&lab, 10, "generator1-output");
    lab.run("set workers 1");
    let threads = |shown: &[Shown]| shown.iter().map(|packet| packet.thread).collect::<Vec<_>>();
    let after = traces(&lab);
    assert_eq!(threads(&after), threads(&shown), "what a worker kept outlives it");
    traffic.stop_whole();
    lab.finish();
}

#[test]
fn what_cannot_be_traced_is_refused_with_the_reason() {
    let (lab, _) = crossed(1);
    let refused = lab.try_run("trace add no-such-node 3").unwrap_err().message;
    assert!(refused.contains("no-such-node") && refused.contains("trace add"), "{refused}");
    let refused = lab.refused("trace add ethernet-input 0");
    assert!(refused.contains("0 packets: ask for 1 to 1000"), "{refused}");
    lab.run("trace add ethernet-input 999");
    let refused = lab.refused("trace add ethernet-input 2");
    assert!(refused.contains("2 packets: 1 more can be traced, of 1000"), "{refused}");
    assert!(lab.run("show trace").lines().contains(&"No packets in trace buffer"));
    lab.run("clear trace");
    lab.run("trace add ethernet-input 1000");
    lab.finish();
}

#[test]
fn a_record_that_cannot_be_shown_is_shown_in_hexadecimal_and_the_host_goes_on() {
    let (lab, _) = crossed(1);
    feature(&lab, "fixture-not-shown");
    lab.run("trace add generator0-input 1");
    let traffic = Traffic::paced(&lab, 1_000);
    let shown = wait_for(&lab, 1, "generator1-output");
    let lines = &shown[0].hop("fixture-not-shown").lines;
    assert_eq!(*lines, ["(the node's formatter panicked)", "0d"]);
    assert!(lab.log().contains("record 13 cannot be shown"), "{}", lab.log());
    traffic.stop_whole();
    lab.finish();
}

#[test]
fn a_trace_goes_on_with_copies_and_with_packets_that_a_node_holds() {
    let (lab, _) = crossed(1);
    feature(&lab, "fixture-copies");
    lab.run("trace add generator0-input 1");
    let traffic = Traffic::paced(&lab, 1_000);
    let shown = wait_for(&lab, 1, "generator1-output");
    let packet = &shown[0];
    assert!(packet.has("error-drop", "fixture-copies: fixture-copy"), "{packet:#?}");
    assert!(packet.has("fixture-copies", "the fixture saw 64 bytes"), "{packet:#?}");
    traffic.stop_whole();

    lab.run("set interface feature generator0 fixture-copies arc device-input disable");
    feature(&lab, "fixture-holds");
    lab.run("clear trace");
    lab.run("trace add generator0-input 1");
    let traffic = Traffic::paced(&lab, 1_000);
    let shown = wait_for(&lab, 1, "generator1-output");
    let holds: Vec<_> = shown[0].hops.iter().filter(|hop| hop.node == "fixture-holds").collect();
    assert_eq!(holds.len(), 2, "when it came and when it went: {shown:#?}");
    assert!(holds[0].lines.contains(&"kept by the node".to_owned()), "{shown:#?}");
    lab.run("set interface feature generator0 fixture-holds arc device-input disable");
    let account = traffic.stop();
    assert!(account.duplicated == 0, "{account:?}");
    lab.finish();
}

#[test]
fn the_kernels_pings_are_traced_from_tap_to_tap() {
    if !(need_root() && need_tool("ip") && need_tool("ping")) {
        return;
    }
    let between = Between::start(Shape::of(Link::Tap));
    let ping = |from: &Netns, to: &str| from.try_run(&format!("ping -n -c 1 -W 5 {to}"));
    assert!(ping(&between.left, RIGHT).status.success());
    let lab = &between.lab;
    lab.run("trace add tap0-input 10");
    assert!(ping(&between.left, RIGHT).status.success());
    assert!(until(|| traces(lab).iter().any(|packet| packet.nodes().contains(&"tap1-output"))));
    let shown = traces(lab);
    let request = shown.iter().find(|packet| packet.nodes().contains(&"tap1-output"));
    let request = request.expect("the request is routed");
    assert!(request.has("tap0-input", "rx: tap0 queue 0, 98 bytes"), "{request:#?}");
    let came = format!("ICMP: {LEFT} -> {RIGHT}, ttl 64, length 84");
    assert!(request.has("ip4-input", &came), "{request:#?}");
    assert!(request.has("tap1-output", "sent"), "{request:#?}");

    lab.run("clear trace");
    lab.run("trace add ip4-local 1");
    assert!(ping(&between.left, HOST_LEFT).status.success());
    assert!(until(|| traces(lab).iter().any(|packet| packet.nodes().contains(&"tap0-output"))));
    between.finish();
}
