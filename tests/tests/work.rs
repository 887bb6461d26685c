//! Work queues of a plugin in a host that forwards.

use std::time::Duration;

use gristmill_tests::{Build, Lab, Traffic, lab::pause, traffic};

/// Looks until something has happened.
const LOOKS: usize = 1_000;

fn lab(workers: u32) -> Lab {
    let lab = Lab::options().plugins(&traffic::PLUGINS).workers(workers).start();
    lab.run(&format!("plugin load {}", Build::here().fixture("work").display()));
    lab
}

fn eventually(lab: &Lab, mut done: impl FnMut(&Lab) -> bool) -> bool {
    (0..LOOKS).any(|_| {
        let is_done = done(lab);
        if !is_done {
            pause(Duration::from_millis(10));
        }
        is_done
    })
}

fn count(lab: &Lab, name: &str) -> u64 {
    lab.run("show fixture-work").count(0, name)
}

/// A column of a queue of the fixture's.
fn of_queue(lab: &Lab, queue: &str, column: &str) -> u64 {
    lab.run("show workqueues").the("Name", queue).count(column)
}

#[test]
fn nodes_timers_and_processes_have_work_done_elsewhere_and_no_packet_is_lost_meanwhile() {
    for workers in [0, 1] {
        let lab = lab(workers);
        let traffic = Traffic::paced(&lab, 2_000);
        let all = ["from-node", "refused", "from-timer"];
        assert!(eventually(&lab, |lab| all.iter().all(|name| count(lab, name) > 20)));
        for number in 1..=10 {
            lab.run(&format!("fixture work ask {number}"));
        }
        assert!(eventually(&lab, |lab| count(lab, "answers") == 110));
        assert_eq!(count(&lab, "elsewhere"), 0, "work on main, or events not on main");

        // Items that block hold up neither packets nor each other.
        for _ in 0..6 {
            lab.run("fixture work block 300");
        }
        assert!(eventually(&lab, |lab| of_queue(lab, "fixture", "Running") >= 6));
        let answer = lab.run("show workqueues");
        let pool = answer.the("Pool", "unbound");
        assert!(pool.count("Running") >= 6 && pool.count("Threads") > pool.count("Limit"));
        assert_eq!(pool.count("Max"), 64);
        assert!(answer.the("Name", "fixture").count("Running-For") > 0);
        assert!(eventually(&lab, |lab| count(lab, "blocked") == 6));
        assert!(of_queue(&lab, "fixture", "Longest") >= 300_000);

        // A command waits for work, and main forwards meanwhile.
        let turns: u64 = lab.run("fixture work wait 200").lines()[0].parse().unwrap();
        assert!(turns > 20, "{turns} frames while a command waited");
        traffic.flows();
        traffic.stop_whole();
        lab.finish();
    }
}

#[test]
fn a_delay_is_moved_cancelled_and_cut_short_by_nothing_else() {
    let lab = lab(1);
    let said = |lab: &Lab, command: &str| {
        lab.run(&format!("fixture work {command}")).lines()[0].to_owned()
    };
    assert_eq!(said(&lab, "later 3600000"), "Now");
    assert_eq!(said(&lab, "later 1"), "Before");
    assert_eq!(of_queue(&lab, "fixture", "Delayed"), 1);
    let items = lab.run("show workqueues fixture");
    assert_eq!(items.the("Item", "later").text("State"), "delayed");
    assert_eq!(said(&lab, "modify 20"), "Before");
    assert!(eventually(&lab, |lab| count(lab, "delayed") == 1));
    assert_eq!(said(&lab, "modify 3600000"), "Now");
    assert_eq!(said(&lab, "cancel"), "true");
    assert_eq!(said(&lab, "cancel"), "false");
    assert_eq!(said(&lab, "later 10"), "Now");
    assert!(eventually(&lab, |lab| count(lab, "delayed") == 2));
    pause(Duration::from_millis(30));
    assert_eq!(count(&lab, "delayed"), 2);
    assert_eq!(of_queue(&lab, "fixture", "Delayed"), 0);
    let reason = lab.refused("show workqueues nothing");
    assert!(reason.contains("no work queue"), "{reason}");
    lab.finish();
}

#[test]
fn a_panic_is_named_and_bound_items_run_on_their_threads_pool() {
    let lab = lab(1);
    lab.run("fixture work panic");
    assert!(eventually(&lab, |lab| of_queue(lab, "fixture", "Panicked") == 1));
    assert!(eventually(&lab, |lab| {
        lab.log().contains("work item panics of fixture-work panicked")
    }));
    lab.run("fixture work bound 1");
    lab.run("fixture work bound 0");
    assert!(eventually(&lab, |lab| count(lab, "on-thread") == 2));
    let answer = lab.run("show workqueues");
    assert_eq!(answer.the("Pool", "thread 1").count("Limit"), 1);
    assert_eq!(answer.the("Name", "fixture-bound").text("Kind"), "bound");
    let reason = lab.refused("fixture work bound 7");
    assert!(reason.contains("no forwarding thread 7"), "{reason}");
    lab.finish();
}

#[test]
fn a_plugin_is_unloaded_while_items_are_pending_delayed_and_running() {
    let lab = lab(1);
    let traffic = Traffic::paced(&lab, 2_000);
    lab.run("fixture work later 3600000");
    lab.run("fixture work ordered 300"); // Runs,
    lab.run("fixture work ordered 3600000"); // and this is behind it.
    lab.run("fixture work block 500");
    lab.run("plugin unload fixture-work");
    let answer = lab.run("show workqueues");
    assert_eq!(answer.find("Plugin", "fixture-work").map(|row| row.text("Name").to_owned()), None);
    assert_eq!(lab.run("show timers").sum("All"), 0);
    assert!(!lab.log().contains("stay behind"), "{}", lab.log());
    assert_eq!(lab.run("plugin list").find("Plugin", "fixture-work").map(drop), None);
    traffic.flows();
    traffic.stop_whole();

    // And again, with fresh state.
    lab.run(&format!("plugin load {}", Build::here().fixture("work").display()));
    assert_eq!(count(&lab, "blocked"), 0);
    lab.finish(); // It ends with its queues.
}

#[test]
fn what_does_not_end_keeps_its_plugin_and_is_named() {
    let lab = lab(1);
    lab.run("fixture work block 20000");
    assert!(eventually(&lab, |lab| of_queue(lab, "fixture", "Running") == 1));
    lab.run("plugin unload fixture-work");
    let log = lab.log();
    assert!(log.contains("work queues stay behind: blocks of queue fixture still runs"), "{log}");
    let state = lab.run("plugin list").the("Plugin", "fixture-work").text("State").to_owned();
    assert_eq!(state, "draining: 1 work items ran on");
    lab.finish();
}
