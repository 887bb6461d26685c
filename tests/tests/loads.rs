//! Two plugins come and go in turn, again and again, under flat-out traffic: no packet is missing, none
//! comes twice, and nothing is left behind.

use std::{
    collections::BTreeMap,
    io::{Write, stderr},
};

use gristmill_tests::{Build, Lab, Traffic, traffic};

/// What is loaded in turn: the fixture's file, the plugin in it, and what the plugin counts.
const PLUGINS: [(&str, &str, &str); 2] =
    [("tally", "fixture-tally", "packets"), ("volume", "fixture-volume", "bytes")];
/// Loads in which each file was mapped, and the process has all the mappings that it will ever need.
const SETTLED: usize = 6;

/// Loads of a test; `GRISTMILL_LOADS` says how many in the long tests.
fn loads() -> usize {
    std::env::var("GRISTMILL_LOADS").map_or(50, |loads| loads.parse().expect("a number"))
}

/// Calls and packets of every node that is always there.
fn statistics(lab: &Lab) -> BTreeMap<String, [u64; 2]> {
    let shown = lab.run("show node");
    let rows = shown.rows().into_iter().filter(|row| !row.text("Name").starts_with("fixture-"));
    rows.map(|row| (row.text("Name").to_owned(), ["Calls", "Vectors"].map(|of| row.count(of))))
        .collect()
}

/// Nobody's count is less than it was, and nobody is missing.
fn assert_grown(before: &BTreeMap<String, [u64; 2]>, after: &BTreeMap<String, [u64; 2]>) {
    assert_eq!(before.len(), after.len(), "{before:?}\n{after:?}");
    for (name, before) in before {
        let after = after[name];
        assert!(before[0] <= after[0] && before[1] <= after[1], "{name}: {before:?} {after:?}");
    }
}

/// One load of a plugin that packets then go through, and its end.
fn in_and_out(lab: &Lab, traffic: &Traffic<'_>, (file, name, column): (&str, &str, &str)) {
    lab.run(&format!("plugin load {}", Build::here().fixture(file).display()));
    let show = format!("show {name}");
    let counted = lab.run(&show).count(0, column);
    traffic.flows();
    traffic.flows(); // Those that the first saw may have been past the edge already.
    assert!(lab.run(&show).count(0, column) > counted, "packets go through {name}");
    lab.run(&format!("plugin unload {name}"));
}

/// What stopping the workers has cost: how many stops each row of `show barrier` has. The figures go
/// to the operator.
fn stops(lab: &Lab, what: &str) -> BTreeMap<(String, String), u64> {
    let shown = lab.run("show barrier");
    let times = ["Hold p50", "Hold p99", "Hold max", "Stall p50", "Stall p99", "Stall max"];
    for row in shown.rows() {
        let us = times.map(|time| format!("{time} {}", row.cell(&format!("{time} [us]"))));
        let (stops, caller) = (row.count("Stops"), [row.text("For"), row.text("Plugin")]);
        let _ = writeln!(stderr(), "{what}: {caller:?}: {stops} stops, us: {}", us.join(", "));
    }
    let key = |column: &str, at: usize| shown.text(at, column).to_owned();
    let rows = shown.rows().into_iter().enumerate();
    rows.map(|(at, row)| ((key("For", at), key("Plugin", at)), row.count("Stops"))).collect()
}

fn loaded_in_turn(workers: u32) {
    let lab = Lab::options().plugins(&traffic::PLUGINS).workers(workers).start();
    Traffic::flat_out(&lab).stop_whole(); // Whatever is made once is made.
    let (graph, in_use) = (lab.run("show graph"), lab.buffers_in_use());
    lab.run("clear barrier");

    let traffic = Traffic::flat_out(&lab);
    let (loads, mut seen, mut mappings) = (loads(), statistics(&lab), 0);
    for (load, plugin) in (0..loads).zip(PLUGINS.into_iter().cycle()) {
        if load == SETTLED {
            mappings = lab.mappings();
        }
        in_and_out(&lab, &traffic, plugin);
        let now = statistics(&lab);
        assert_grown(&seen, &now);
        seen = now;
    }
    let sent = traffic.stop_whole();
    let what = format!("{workers} workers, {loads} loads, {sent} packets");

    assert!(sent > 10_000, "{what}");
    assert_eq!(lab.run("show graph"), graph, "{what}: what was there before is there after");
    assert_eq!(lab.buffers_in_use(), in_use, "{what}: buffers");
    assert_eq!(lab.run("show errors").rows().len(), 0, "{what}");
    let grown = lab.mappings().saturating_sub(mappings);
    // Stacks of a few work threads, and their arenas of the allocator, are there at one time and not at
    // another; an image alone has four, and if each stayed that would be hundreds.
    assert!(grown < 20, "{what}: {grown} mappings more");
    let stops = stops(&lab, &what);
    for (at, (_, name, _)) in PLUGINS.into_iter().enumerate() {
        let own = |what: &str| stops.get(&(what.to_owned(), name.to_owned())).copied();
        let times = ((loads + 1 - at) / 2) as u64;
        assert_eq!(own("load"), Some(times), "{what}: a load is one stop: {stops:?}");
        // To see whether the workers come, and to take the nodes out.
        assert_eq!(own("unload"), Some(2 * times), "{what}: an unload is two: {stops:?}");
    }
    assert_eq!(stops.values().sum::<u64>(), 3 * loads as u64, "{what}: and no more: {stops:?}");
    lab.finish();
}

#[test]
fn two_plugins_loaded_in_turn_cost_one_worker_no_packet() {
    loaded_in_turn(1);
}

#[test]
fn two_plugins_loaded_in_turn_cost_two_workers_no_packet() {
    loaded_in_turn(2);
}
