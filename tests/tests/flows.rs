//! Flows are counted while packets cross a host, end when their time is over, and cost an idle host
//! nothing.
#![expect(clippy::unwrap_used, reason = "a test may panic where it cannot go on")]

use std::time::Duration;

use gristmill_tests::{
    Answer, Between, Flood, Lab, Link, Shape,
    answer::Row,
    between::{LEFT, RIGHT},
    lab::pause,
    need_root, need_tool,
};

/// What the host gets to see packets, or to end flows of a second.
const PATIENCE: Duration = Duration::from_secs(10);
/// Datagrams of one flow, and bytes of each with its UDP and IPv4 headers.
const DATAGRAMS: u64 = 200;
const DATAGRAM: u64 = 20 + 8 + 100;
/// Bytes of a transfer by TCP.
const TRANSFER: usize = 1 << 20;
/// Bytes of an Ethernet header, and of a whole ARP packet with it.
const ETHERNET: u64 = 14;
const ARP: u64 = 42;

/// A host between two networks that forwards; with `flows` on both sides once it is loaded.
fn between(workers: u32) -> Option<Between> {
    let can = need_root() && need_tool("ip");
    can.then(|| Between::start(Shape { workers, ..Shape::of(Link::Tap) }))
}

/// Loads the plugin and turns it on for both interfaces.
fn load(lab: &Lab) {
    lab.run("plugin load flows");
    for interface in Link::Tap.interfaces() {
        lab.run(&format!("set interface feature {interface} flows-meter arc ip4-unicast"));
    }
}

/// Sends datagrams from left to right; gives the port they come from.
fn send(between: &Between) -> u64 {
    let (sender, receiver) = (between.left.udp(LEFT), between.right.udp(RIGHT));
    receiver.set_read_timeout(Some(PATIENCE)).unwrap();
    let to = receiver.local_addr().unwrap();
    for _ in 0..DATAGRAMS {
        sender.send_to(&[7; 100], to).unwrap();
        assert_eq!(receiver.recv(&mut [0; 200]).unwrap(), 100);
    }
    sender.local_addr().unwrap().port().into()
}

/// The flow of that protocol with that source port.
fn flow<'a>(flows: &'a Answer, protocol: &str, port: u64) -> Option<Row<'a>> {
    let is_it =
        |row: &Row<'_>| row.text("protocol") == protocol && row.count("source-port") == port;
    flows.rows().into_iter().find(is_it)
}

/// The flow of those datagrams is here, whole.
fn counted(flows: &Answer, port: u64) {
    let row = flow(flows, "udp", port).unwrap_or_else(|| panic!("{}", flows.json()));
    assert_eq!((row.text("source"), row.text("destination")), (LEFT, RIGHT));
    assert_eq!((row.count("packets"), row.count("bytes")), (DATAGRAMS, DATAGRAMS * DATAGRAM));
}

/// Packets and bytes that came in by the left interface.
fn received(between: &Between) -> [u64; 2] {
    between.interface("tap0", |row| [row.count("rx-packets"), row.count("rx-bytes")])
}

/// The flows, and what had come in by the left interface both before and after they were read.
fn at_rest(between: &Between) -> (Answer, [u64; 2]) {
    for _ in 0..50 {
        pause(Duration::from_millis(100)); // The last of a connection's end.
        let before = received(between);
        let flows = between.lab.run("show flows limit 1000");
        if received(between) == before {
            return (flows, before);
        }
    }
    panic!("packets come without an end: {}", between.lab.run("show flows").json())
}

/// Packets and bytes of all flows from the left.
fn metered(flows: &Answer) -> [u64; 2] {
    let rows = flows.rows().into_iter().filter(|row| row.text("source") == LEFT);
    rows.fold([0, 0], |[packets, bytes], row| {
        [packets + row.count("packets"), bytes + row.count("bytes")]
    })
}

#[test]
fn loaded_into_traffic_it_loses_none_and_counts_each_packet_and_byte() {
    let Some(between) = between(1) else { return };
    let lab = &between.lab;
    let flood = Flood::between((&between.left, "left", LEFT), (&between.right, "right", RIGHT));
    let account = flood.paced(1_000, || {
        pause(Duration::from_millis(200));
        load(lab);
        pause(Duration::from_millis(300));
        assert!(!lab.run("show flows").rows().is_empty(), "the flood is a flow");
    });
    assert_eq!((account.missing, account.twice), (0, 0), "{account:?}");

    lab.run("clear flows");
    let before = received(&between);
    let port = send(&between);
    let bytes = vec![3; TRANSFER];
    assert_eq!(between.left.transfer(&between.right, RIGHT, &bytes).len(), TRANSFER);
    let (flows, after) = at_rest(&between);
    counted(&flows, port);
    let tcp: Vec<_> =
        flows.rows().into_iter().filter(|row| row.text("protocol") == "tcp").collect();
    assert_eq!(tcp.len(), 2, "one for each direction: {tcp:?}");
    assert!(tcp.iter().any(|row| row.count("bytes") > TRANSFER as u64), "{tcp:?}");
    // All that came in is IPv4, and counted, or ARP.
    let [packets, bytes] = metered(&flows);
    let [all_packets, all_bytes] = [after[0] - before[0], after[1] - before[1]];
    let arps = all_packets - packets;
    assert!(arps < 10, "{arps} of {all_packets} packets are not counted");
    assert_eq!(all_bytes, bytes + packets * ETHERNET + arps * ARP);

    let row = flow(&flows, "udp", port).unwrap();
    assert!(row.number("first-seen-ago-s") >= row.number("last-seen-ago-s"));
    assert!((1.0..=15.0).contains(&row.number("expires-in-s")), "{row:?}");
    assert_eq!(lab.run("show flows limit 1").rows().len(), 1);
    between.finish();
}

#[test]
fn flows_end_on_time_on_a_host_that_sleeps_and_are_remembered() {
    for workers in [0, 1] {
        let Some(mut between) = between(workers) else { return };
        load(&between.lab);
        assert!(between.lab.refused("set flows timeout idle 0").contains("idle = 0: must be 1"));
        between.lab.run("set flows timeout idle 1 active 100");
        let port = send(&between);
        let gone = between.lab.eventually(PATIENCE, |lab| lab.run("show flows").rows().is_empty());
        assert!(gone, "{}", between.lab.run("show flows").json());
        let ended = between.lab.run("show flows ended");
        counted(&ended, port);
        let row = flow(&ended, "udp", port).unwrap();
        assert_eq!(row.text("reason"), "idle");
        // A second of silence and at most a tick; the rest is for a machine with other work.
        let late = row.number("last-seen-ago-s") - row.number("ended-ago-s");
        assert!((1.0..1.5).contains(&late), "ended {late} s after its last packet");
        let summary = between.lab.run("show flows summary");
        assert_eq!((summary.sum("flows"), summary.sum("not-tracked")), (0, 0));
        assert_eq!(summary.sum("ended-idle"), summary.sum("started"));

        // A flow of several seconds does not keep the threads awake.
        between.lab.run("set flows timeout idle 60");
        send(&between);
        let (turns, sleeps) = turns_of_a_second(&between.lab);
        assert!(turns < 20_000, "{workers} workers: {turns} turns in an idle second");
        assert!(sleeps > 0, "{workers} workers");
        between.finish();
    }
}

/// Turns and sleeps of all threads while nothing happens for a second.
fn turns_of_a_second(lab: &Lab) -> (u64, u64) {
    let counts = || {
        let threads = lab.run("show threads");
        (threads.sum("Turns"), threads.sum("Sleeps"))
    };
    let before = counts();
    pause(Duration::from_secs(1));
    let after = counts();
    (after.0 - before.0, after.1 - before.1)
}

#[test]
fn what_is_unloaded_leaves_nothing_behind_and_can_come_again() {
    let Some(between) = between(1) else { return };
    let lab = &between.lab;
    for _ in 0..2 {
        assert!(lab.refused("show flows").contains("show"), "there is no such command");
        load(lab);
        let port = send(&between);
        counted(&lab.run("show flows"), port);
        lab.run("plugin unload flows");
        let nodes = lab.run("show node");
        assert!(!nodes.json().to_string().contains("flows"), "{}", nodes.json());
        let features = lab.run("show features");
        assert!(!features.json().to_string().contains("flows"), "{}", features.json());
        let timers = lab.run("show timers");
        assert!(!timers.json().to_string().contains("flows"), "{}", timers.json());
        send(&between);
    }
    between.finish();
}

#[test]
fn a_setting_that_does_not_do_is_named() {
    let config = "[host]\ntrust-writable-plugins = true\n[plugin.flows]\nflows-max = 0\n";
    let mut lab = Lab::options().config(config).plugins(&["ethernet", "ip4", "flows"]).spawn();
    assert_eq!(lab.wait().code(), Some(1));
    assert!(lab.log().contains("flows-max = 0: must be 1 to 4194304"), "{}", lab.log());
}
