//! How often the workers are stopped: once for many changes, never for a look, not at all before they
//! begin, and not so often that they starve.

use std::{
    io::{Write, stderr},
    time::Duration,
};

use gristmill_tests::{Answer, Build, Lab, Traffic, traffic};

/// Interfaces of a batch.
const MANY: u64 = 1000;
/// Changes of a burst.
const BURST: u32 = 200;
/// On a machine that others use too, the best of so many bursts counts.
const BURSTS: usize = 5;
const PATIENCE: Duration = Duration::from_secs(10);

fn fixture(name: &str) -> String {
    Build::here().fixture(name).display().to_string()
}

fn lab() -> Lab {
    let lab = Lab::options().plugins(&traffic::PLUGINS).start();
    lab.run(&format!("plugin load {}", fixture("batches")));
    lab
}

/// All stops since the start, of all callers.
fn all_stops(lab: &Lab) -> u64 {
    lab.run("show barrier").sum("Stops")
}

/// Stops of the fixture.
fn stops(lab: &Lab, what: &str) -> u64 {
    let shown = lab.run("show barrier");
    let own = |row: &gristmill_tests::answer::Row<'_>| {
        row.text("For") == what && row.text("Plugin") == "fixture-batches"
    };
    shown.rows().into_iter().find(own).map_or(0, |row| row.count("Stops"))
}

#[test]
fn a_thousand_interfaces_made_and_taken_up_in_a_batch_cost_one_stop() {
    let lab = lab();
    let traffic = Traffic::flat_out(&lab);
    let before = all_stops(&lab);
    let answer = lab.run(&format!("fixture batch {MANY}"));
    assert_eq!((all_stops(&lab) - before, stops(&lab, "batch")), (1, 1));
    assert_eq!(answer.count(0, "told-early"), 0, "nobody is told of what may not come to be");
    assert_eq!(answer.count(0, "told"), MANY + 1);

    let shown = lab.run("show interface");
    for number in 0..MANY {
        assert_eq!(shown.the("Name", &format!("batch{number}")).text("State"), "up");
    }
    assert_eq!(shown.the("Name", "inner").text("State"), "down", "the batch in the batch");
    traffic.flows();
    traffic.flows();
    let nodes = lab.run("show node");
    let last = nodes.the("Name", &format!("batch{}-input", MANY - 1));
    assert!(last.count("Calls") > 0, "its thread polls the last one");
    assert!(nodes.the("Name", "fixture-other").count("Vectors") > 0, "the feature is on, too");
    traffic.stop_whole();
    lab.finish();
}

/// A batch that comes to nothing leaves the host as it was.
fn leaves_nothing(outcome: &str) {
    let lab = lab();
    let traffic = Traffic::flat_out(&lab);
    let look = |lab: &Lab| {
        ["show graph", "show interface", "show features", "show fixture-batches"].map(|command| {
            let answer = lab.run(command);
            let names = |row: gristmill_tests::answer::Row<'_>| row.text("Name").to_owned();
            if command == "show interface" {
                // Without its counters, which traffic moves.
                return serde_json::json!(answer.rows().into_iter().map(names).collect::<Vec<_>>());
            }
            answer.json().clone()
        })
    };
    let (before, stopped) = (look(&lab), all_stops(&lab));
    let reason = lab.refused(&format!("fixture batch 100 {outcome}"));
    let expected =
        if outcome == "give-up" { "given up after all" } else { "the batch was given up" };
    assert!(reason.contains(expected), "{reason}");
    assert_eq!(look(&lab), before);
    assert_eq!(all_stops(&lab), stopped, "and nobody was stopped for it");

    traffic.flows();
    lab.run("fixture batch 100"); // The names are free, and the next batch is a batch of its own.
    assert_eq!(stops(&lab, "batch"), 1);
    traffic.stop_whole();
    lab.finish();
}

#[test]
fn a_batch_that_is_given_up_leaves_nothing() {
    leaves_nothing("give-up");
}

#[test]
fn a_batch_that_panics_leaves_nothing_and_the_host_runs_on() {
    leaves_nothing("panic");
}

#[test]
fn commands_that_show_never_stop_the_workers() {
    let plugins = ["ethernet", "generator", "ip4", "null", "handoff", "flows", "mirror-count"];
    let lab = Lab::options().plugins(&plugins).workers(2).start();
    let traffic = Traffic::flat_out(&lab);
    let commands = lab.run("show ?");
    let commands = commands.column("Command");
    assert!(commands.len() > 20, "{commands:?}");
    let before = all_stops(&lab);
    assert!(before > 0, "the interfaces were made");
    for _ in 0..3 {
        for command in &commands {
            lab.run(command);
        }
    }
    lab.run("show node ethernet-input");
    lab.run("show interface generator0");
    lab.run("show runtime all");
    assert_eq!(all_stops(&lab), before, "{commands:?}");
    traffic.stop_whole();
    lab.finish();
}

/// Packets in a millisecond.
fn rate(burst: &Answer) -> f64 {
    burst.row(0).number("packets") / burst.row(0).number("ns") * 1e6
}

#[test]
fn a_burst_of_changes_does_not_starve_the_traffic() {
    let lab = lab();
    lab.run("fixture batch 0"); // Alone with the interface that changes.
    let traffic = Traffic::flat_out(&lab);
    let mut best = 0.0_f64;
    for _ in 0..BURSTS {
        let undisturbed = rate(&lab.run("fixture burst 0"));
        let burst = lab.run(&format!("fixture burst {BURST}"));
        let share = rate(&burst) / undisturbed;
        let ms = burst.row(0).number("ns") / 1e6;
        let _ = writeln!(
            stderr(),
            "{BURST} changes in {ms:.1} ms: {share:.2} of {undisturbed:.0} packets/ms"
        );
        best = best.max(share);
    }
    assert!(best > 0.1, "{best:.2} of the traffic is left");
    let shown = lab.run("show barrier");
    let row = shown.the("For", "interface");
    assert!(row.count("Stops") >= u64::from(BURST), "{}", shown.json());
    assert!(row.count("Held-Down") > 0, "{}", shown.json());
    traffic.stop_whole();
    lab.finish();
}

#[test]
fn no_worker_runs_before_all_that_is_done_at_start_is_done() {
    let changes = "create null\nset interface state null0 up\nset interface state null0 down\n";
    let lines = "comment nothing\n".repeat(200);
    let script = format!("{changes}{lines}fixture look\n");
    let plugins = ["ethernet", "null", &fixture("startup")];
    let mut lab = Lab::options().plugins(&plugins).workers(2).script(&script).start();
    let shown = |lab: &Lab, column: &str| lab.run("show fixture-startup").count(0, column);
    assert_eq!((shown(&lab, "start"), shown(&lab, "look")), (0, 0));
    assert!(lab.eventually(PATIENCE, |lab| shown(lab, "now") > 0), "then they run");
    // Those before there were workers: of the host's own nodes, and of main's.
    let barrier = lab.run("show barrier");
    assert_eq!(barrier.column("For"), ["add worker", "start"], "{}", barrier.json());
    assert_eq!((barrier.sum("Stops"), barrier.sum("Held-Down")), (2, 0), "{}", barrier.json());
    lab.run("fixture look");
    assert!(shown(&lab, "look") > 0, "the fixture would have seen it");
    lab.finish();
}

#[test]
fn workers_come_and_go_at_start_too() {
    for (given, wanted) in [(1, 3), (3, 1), (2, 0)] {
        let script = format!("set workers {wanted}\ncreate null\n");
        let mut lab = Lab::options().plugins(&["null"]).workers(given).script(&script).start();
        let ended = |lab: &mut Lab| lab.run("show threads").rows().len() == wanted + 1;
        assert!(lab.eventually(PATIENCE, ended), "{}", lab.log());
        lab.run("create null");
        lab.finish();
    }
}
