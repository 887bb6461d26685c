//! Packets handed from thread to thread: none lost and none out of order, or dropped and counted.

use std::time::Duration;

use gristmill_tests::{Answer, Build, Lab, Traffic, lab::pause};
use rustix::process::Signal;

/// What the host gets to fill a ring.
const PATIENCE: Duration = Duration::from_secs(10);

/// A host with so much room in each ring, whose generators have seen their first packets.
fn lab(workers: u32, ring_size: u32) -> Lab {
    let config =
        format!("[host]\ntrust-writable-plugins = true\n[handoff]\nring-size = {ring_size}\n");
    let fixture = Build::here().fixture("handoff").display().to_string();
    let plugins = ["ethernet", "generator", "handoff", &fixture];
    let lab = Lab::options().workers(workers).config(&config).plugins(&plugins).start();
    Traffic::paced(&lab, 1_000).stop_whole();
    lab
}

/// The thread that receives the generator's packets.
fn receiving_thread(lab: &Lab) -> u64 {
    let runtime = lab.run("show runtime");
    let threads = (0..).zip(runtime.tables());
    let polls = |(thread, (_, rows)): (u64, (&str, gristmill_tests::answer::Rows<'_>))| {
        let is_it = rows
            .iter()
            .any(|row| row.text("Name") == "generator0-input" && row.count("Vectors") > 0);
        is_it.then_some(thread)
    };
    threads.into_iter().find_map(polls).expect("one of the threads receives")
}

/// Packets that arrived after one with a higher number.
fn reordered(lab: &Lab) -> u64 {
    lab.run("show generator").the("stream", "flow").count("reordered")
}

/// What a node sent to a thread: packets, and congestion drops.
fn sent(handoff: &Answer, node: &str, to: u64) -> [u64; 2] {
    let (_, rows) = handoff.tables().nth(1).expect("a table of nodes");
    let own = rows.iter().filter(|row| row.text("Node") == node && row.count("To") == to);
    own.fold([0, 0], |[packets, drops], row| {
        [packets + row.count("Sent"), drops + row.count("Congestion-Drops")]
    })
}

/// What `show handoff` says of a thread's ring.
fn ring(handoff: &Answer, thread: u64, column: &str) -> u64 {
    let (_, rows) = handoff.tables().next().expect("a table of rings");
    let own = rows.iter().find(|row| row.count("Thread") == thread);
    own.unwrap_or_else(|| panic!("no ring {thread}: {}", handoff.json())).count(column)
}

/// Packets dropped by a node for a reason.
fn dropped(lab: &Lab, node: &str, reason: &str) -> u64 {
    let errors = lab.run("show errors");
    let rows = errors.rows().into_iter();
    let own = rows.filter(|row| row.text("Node") == node && row.text("Reason") == reason);
    own.map(|row| row.count("Count")).sum()
}

#[test]
fn packets_go_from_worker_to_worker_to_main_and_back_whole_and_in_order() {
    let lab = lab(2, 4096);
    lab.run("set interface feature generator0 fixture-around arc device-input");
    let before = reordered(&lab);
    let traffic = Traffic::paced(&lab, 20_000);
    pause(Duration::from_secs(1));
    let all = traffic.stop_whole();
    assert_eq!(reordered(&lab), before);

    let handoff = lab.run("show handoff");
    let other = 3 - receiving_thread(&lab);
    assert_eq!(sent(&handoff, "fixture-around", other), [all, 0]);
    assert_eq!(sent(&handoff, "fixture-around-2", 0), [all, 0]);
    assert_eq!(sent(&handoff, "fixture-around-3", 1), [all, 0]);
    let received = [0, 1, 2].map(|thread| ring(&handoff, thread, "Packets"));
    assert_eq!((received[0], received[1] + received[2]), (all, 2 * all), "{}", handoff.json());
    assert_eq!([0, 1, 2].map(|thread| ring(&handoff, thread, "Waiting")), [0; 3]);
    lab.finish();
}

#[test]
fn no_packet_is_missing_where_a_node_is_unloaded_that_hands_packets_off() {
    let lab = lab(2, 16_384);
    let fixture = Build::here().fixture("handoff").display().to_string();
    let traffic = Traffic::paced(&lab, 100_000);
    for _ in 0..20 {
        lab.run("set interface feature generator0 fixture-aside arc device-input");
        traffic.flows();
        lab.run("plugin unload fixture-handoff");
        lab.run(&format!("plugin load {fixture}"));
    }
    traffic.stop_whole();
    lab.finish();
}

#[test]
fn flows_are_spread_over_the_workers_and_each_stays_in_order() {
    let lab = lab(3, 4096);
    assert!(lab.refused("set interface handoff generator0 workers 1-4").contains("no thread 4"));
    lab.run("set interface handoff generator0 workers 1-3 symmetrical");
    let shown = lab.run("show interface handoff");
    let row = shown.the("interface", "generator0");
    assert_eq!((row.text("workers"), row.text("present")), ("1,2,3", "1,2,3"));

    let before = reordered(&lab);
    let traffic = Traffic::paced(&lab, 10_000); // All of one flow.
    pause(Duration::from_millis(500));
    traffic.stop_whole();
    assert_eq!(reordered(&lab), before);
    let own = receiving_thread(&lab);
    let to_others = |handoff: &Answer| {
        let others = [1, 2, 3].into_iter().filter(|&thread| thread != own);
        others.map(|thread| sent(handoff, "worker-handoff", thread)[0]).collect::<Vec<_>>()
    };
    let one = to_others(&lab.run("show handoff"));
    assert!(one.contains(&0), "one flow, one worker: {one:?}");

    let traffic = Traffic::start(&lab, "rate 10000 destinations 1000 order random");
    pause(Duration::from_millis(500));
    let all = traffic.stop_whole();
    let many = to_others(&lab.run("show handoff"));
    for (many, one) in many.iter().zip(&one) {
        let share = many - one;
        assert!(share > all / 4 && share < all / 2, "{share} of {all}");
    }

    // Off, and on again while packets flow.
    let traffic = Traffic::start(&lab, "rate 10000 destinations 1000 order random");
    for _ in 0..3 {
        lab.run("set interface handoff generator0 disable");
        assert!(lab.run("show interface handoff").rows().is_empty());
        traffic.flows();
        lab.run("set interface handoff generator0");
        traffic.flows();
    }
    lab.run("plugin unload handoff");
    traffic.flows();
    lab.run("plugin load handoff");
    lab.run("set interface handoff generator0 workers 0");
    pause(Duration::from_millis(100));
    traffic.stop_whole();
    assert!(sent(&lab.run("show handoff"), "worker-handoff", 0)[0] > 0, "to main, too");
    lab.finish();
}

#[test]
fn no_packet_is_missing_while_the_workers_that_packets_are_handed_to_come_and_go() {
    let lab = lab(3, 4096);
    lab.run("set interface handoff generator0");
    let traffic = Traffic::start(&lab, "rate 10000 destinations 1000 order random");
    for workers in [1, 3, 2, 3] {
        lab.run(&format!("set workers {workers}"));
        let present = if workers == 1 { "1" } else { "1,2,3" };
        let shown = lab.run("show interface handoff");
        assert!(present.starts_with(shown.text(0, "present")), "{}", shown.json());
        traffic.flows();
        pause(Duration::from_millis(100));
    }
    traffic.stop_whole();
    lab.finish();
}

#[test]
fn what_a_slow_worker_has_no_room_for_is_counted_and_then_all_goes_through_again() {
    let lab = lab(2, 32);
    let to = 3 - receiving_thread(&lab);
    lab.run(&format!("set interface handoff generator0 workers {to}"));
    lab.run("set interface feature generator0 fixture-slow arc device-input");
    lab.run("fixture slow 3000");
    let traffic = Traffic::paced(&lab, 50_000);
    pause(Duration::from_secs(1));
    let account = traffic.stop();
    lab.run("fixture slow 0");
    let handoff = lab.run("show handoff");
    let [through, congested] = sent(&handoff, "worker-handoff", to);
    assert!(congested > 0, "{account:?} {}", handoff.json());
    assert_eq!((through, congested), (account.received, account.lost), "{account:?}");
    assert_eq!(account.sent, account.received + congested);
    assert_eq!(ring(&handoff, to, "Packets"), through);
    assert_eq!(ring(&handoff, to, "Ring-Size"), 32);
    assert_eq!(dropped(&lab, "worker-handoff", "handoff-congestion"), congested);

    // 64 ms of packets have room: none is dropped.
    let traffic = Traffic::paced(&lab, 500);
    pause(Duration::from_secs(1));
    let all = traffic.stop_whole();
    assert_eq!(sent(&lab.run("show handoff"), "worker-handoff", to), [through + all, congested]);
    lab.finish();
}

#[test]
fn a_host_that_ends_with_packets_in_its_rings_leaves_none_behind() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut lab = lab(2, 256);
        let to = 3 - receiving_thread(&lab);
        lab.run(&format!("set interface handoff generator0 workers {to}"));
        lab.run("set interface feature generator0 fixture-slow arc device-input");
        lab.run("fixture slow 2000");
        Traffic::flat_out(&lab);
        let full = |lab: &mut Lab| ring(&lab.run("show handoff"), to, "Waiting") > 100;
        assert!(lab.eventually(PATIENCE, full), "{}", lab.run("show handoff").json());
        lab.end(signal);
    }
}
