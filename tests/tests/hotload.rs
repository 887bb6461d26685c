//! A plugin is loaded into a graph that forwards, and taken out again: no packet is missing, and
//! none comes twice.

use std::{
    io::{Write, stderr},
    time::Duration,
};

use gristmill_tests::{
    Between, Flood, Lab, Link, Shape, Traffic,
    between::{LEFT, RIGHT},
    flood::Account,
    lab::pause,
    need_root, need_tool,
};

/// How long as many datagrams are sent as can be, to learn how many that are.
const MEASURED: Duration = Duration::from_millis(700);
/// Time between loading and unloading.
const BETWEEN: Duration = Duration::from_millis(200);
/// Of a flood of which the kernel itself dropped something, nothing can be said: so often it is
/// tried, half as fast each time.
const TRIES: u32 = 3;

/// Loads the plugin and unloads it, so often; it must have counted each time.
fn in_and_out(lab: &Lab, times: u32) {
    for _ in 0..times {
        pause(BETWEEN);
        lab.run("plugin load mirror-count");
        pause(BETWEEN);
        let counted = lab.run("show mirror-count");
        assert!(counted.the("protocol", "udp").count("packets") > 0, "packets go through it");
        lab.run("plugin unload mirror-count");
    }
}

/// Numbered datagrams cross the host at a fifth of what it can while the plugin comes and goes.
fn flooded(link: Link, workers: u32) {
    if !(need_root() && need_tool("ip")) {
        return;
    }
    let between = Between::start(Shape { workers, ..Shape::of(link) });
    let flood = Flood::between((&between.left, "left", LEFT), (&between.right, "right", RIGHT));
    let capacity = flood.capacity(MEASURED);
    assert!(capacity > 1_000, "{link:?}: only {capacity} datagrams a second");
    between.lab.run("clear errors");

    let mut pace = capacity / 5;
    let mut account = Account::default();
    for _ in 0..TRIES {
        account = flood.paced(pace, || in_and_out(&between.lab, 5));
        if account.kernel_drops == 0 {
            break;
        }
        let _ = writeln!(stderr(), "at {pace} a second the kernel dropped: {account:?}");
        pace /= 2;
    }
    let _ = writeln!(stderr(), "{link:?}, {workers} workers: {capacity}/s; {account:?}");
    let sent = account.sent;
    assert!(sent > 1_000, "{account:?}");
    let whole = Account { sent, received: sent, ..Account::default() };
    assert_eq!(account, whole, "{}", between.lab.run("show errors").json());
    let drops = between.lab.run("show errors");
    let drops: Vec<_> =
        drops.rows().into_iter().filter(|row| row.text("Severity") != "info").collect();
    assert!(drops.is_empty(), "{drops:?}");
    between.finish();
}

#[test]
fn no_datagram_between_taps_is_missing_where_main_forwards() {
    flooded(Link::Tap, 0);
}

#[test]
fn no_datagram_between_taps_is_missing_with_one_worker() {
    flooded(Link::Tap, 1);
}

#[test]
fn no_datagram_between_taps_is_missing_with_two_workers() {
    flooded(Link::Tap, 2);
}

#[test]
fn no_datagram_between_veths_is_missing_with_one_worker() {
    flooded(Link::Veth, 1);
}

#[test]
fn no_datagram_between_veths_is_missing_with_two_workers() {
    flooded(Link::Veth, 2);
}

/// What the test above would see if packets were missing.
#[test]
fn datagrams_to_an_interface_that_is_down_are_missing_and_counted_one_by_one() {
    if !(need_root() && need_tool("ip")) {
        return;
    }
    let between = Between::start(Shape::of(Link::Tap));
    let flood = Flood::between((&between.left, "left", LEFT), (&between.right, "right", RIGHT));
    let account = flood.paced(5_000, || {
        for state in ["up", "down", "up"] {
            between.lab.run(&format!("set interface state tap1 {state}"));
            pause(BETWEEN);
        }
    });
    let errors = between.lab.run("show errors");
    let drops = errors.rows().into_iter().filter(|row| row.text("Severity") != "info");
    let dropped: u64 = drops.map(|row| row.count("Count")).sum();
    assert!(account.missing > 0, "{account:?}");
    assert_eq!((account.missing, account.twice), (dropped, 0), "{account:?}: {}", errors.json());
    between.finish();
}

/// Packets cross ip4 flat out, over several routes.
const ROUTED: &str = "\
create generator id 0
create generator id 1
set interface state generator0 up
set interface state generator1 up
set interface ip address generator0 10.0.0.1/24
set interface ip address generator1 10.1.0.1/24
set ip neighbor generator1 10.1.0.2 02:67:65:6e:ff:02
set ip neighbor generator1 10.1.0.3 02:67:65:6e:ff:03
ip route add 20.0.0.0/8 via 10.1.0.2 generator1
ip route add 20.0.128.0/17 via 10.1.0.3 generator1
";

#[test]
fn no_packet_is_missing_flat_out_where_main_one_and_two_workers_forward() {
    for workers in [0, 1, 2] {
        let options = Lab::options().plugins(&["ethernet", "ip4", "generator"]);
        let lab = options.workers(workers).script(ROUTED).start();
        let stream = "source 10.0.0.2 destination 20.0.0.1 destinations 65536 sizes 64 1500";
        let traffic = Traffic::start(&lab, stream);
        in_and_out(&lab, 8);
        traffic.flows();
        let sent = traffic.stop_whole();
        assert!(sent > 100_000, "{workers} workers: {sent} packets");
        let errors = lab.run("show errors");
        assert_eq!(errors.rows().len(), 0, "{workers} workers: {}", errors.json());
        lab.finish();
    }
}
