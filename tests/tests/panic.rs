//! A node that panics: its packets have an owner, and the host forwards on.

use std::time::Duration;

use gristmill_tests::{Answer, Build, Lab, Traffic, traffic};

const NODE: &str = "fixture-panicking-node";
/// Buffers that a generator's queue keeps at hand for its next packets.
const RESERVE: u64 = 256;
/// Packets to be lost in panics, so many that it shows if they are not freed.
const LOST: u64 = 10 * RESERVE;

/// What is counted under `column` for the node.
fn counted(answer: &Answer, name: &str, column: &str) -> u64 {
    let rows = answer.rows().into_iter().filter(|row| row.text(name) == NODE);
    rows.map(|row| row.count(column)).sum()
}

#[test]
fn a_panicking_node_drops_what_it_did_not_decide_on_and_the_host_forwards_on() {
    let mut lab = Lab::options().plugins(&traffic::PLUGINS).start();
    Traffic::flat_out(&lab).stop_whole();
    let idle = lab.buffers_in_use();
    let file = Build::here().fixture("panicking-node").display().to_string();
    lab.run(&format!("plugin load {file}"));

    // A third of them are of the length that it cannot bear.
    let traffic = Traffic::start(&lab, "sizes 98 100 rate 5000");
    while traffic.account().lost < LOST {
        traffic.flows();
    }
    let account = traffic.stop();

    assert!(account.received > 0 && account.duplicated == 0, "{account:?}");
    let errors = lab.run("show errors");
    assert_eq!(counted(&errors, "Node", "Count"), account.lost, "{}", errors.json());
    let runtime = lab.run("show runtime");
    let panics = counted(&runtime, "Name", "Panics");
    assert!(0 < panics && panics <= account.lost, "{}", runtime.json());
    let log = lab.log();
    let said = |text: &str| log.lines().any(|line| line.contains("error") && line.contains(text));
    assert!(said("panicked at tests/fixtures/panicking_node.rs:"), "{log}");
    assert!(said("a packet of 99 bytes"), "{log}");
    assert!(said(&format!("node {NODE} of plugin {NODE} panicked")), "{log}");
    let back = lab.eventually(Duration::from_secs(5), |lab| {
        lab.buffers_in_use() <= idle + RESERVE // To the last one they come back at the end.
    });
    assert!(back, "{idle} buffers were in use, now {}", lab.buffers_in_use());

    // Those it can bear pass, and once it is gone all do.
    assert!(Traffic::start(&lab, "size 64").stop_whole() > 0);
    lab.run(&format!("plugin unload {NODE}"));
    assert!(Traffic::start(&lab, "sizes 98 100").stop_whole() > 0);
    lab.finish();
}
