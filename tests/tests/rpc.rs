//! Calls of a plugin to main, in a host that forwards.

use std::time::Duration;

use gristmill_tests::{Build, Lab, Traffic, lab::pause, traffic};

/// Looks until everything has happened.
const LOOKS: usize = 1000;

fn lab(workers: u32) -> Lab {
    Lab::options().plugins(&traffic::PLUGINS).workers(workers).start()
}

fn count(lab: &Lab, name: &str) -> u64 {
    lab.run("show fixture-rpc").count(0, name)
}

/// Whether each of the counts comes to more than a hundred.
fn eventually(lab: &Lab, names: &[&str]) -> bool {
    (0..LOOKS).any(|_| {
        pause(Duration::from_millis(20));
        names.iter().all(|name| count(lab, name) > 100)
    })
}

/// A count that the host keeps.
fn counted(lab: &Lab, name: &str) -> u64 {
    lab.run("show rpc").the("Calls", name).count("Count")
}

#[test]
fn calls_from_threads_and_nodes_run_on_main_in_order_and_end_when_their_plugin_goes() {
    for workers in [1, 2] {
        let lab = lab(workers);
        let traffic = Traffic::flat_out(&lab);
        let file = Build::here().fixture("rpc").display().to_string();
        lab.run(&format!("plugin load {file}"));
        lab.run("fixture rpc start");
        let all = ["ran", "waited", "at-barrier", "from-node", "replies", "must-not-wait"];
        assert!(eventually(&lab, &all), "{}", lab.run("show fixture-rpc").json());
        for name in ["out-of-order", "elsewhere", "moved-at-barrier"] {
            assert_eq!(count(&lab, name), 0, "{name}");
        }
        assert_eq!(count(&lab, "panicked"), 1);
        assert_eq!(counted(&lab, "panicked"), 1);
        assert!(counted(&lab, "waits") > 0, "a queue that is full holds its senders up");
        let at_barrier = count(&lab, "at-barrier"); // First, as both grow.
        assert!(counted(&lab, "with barrier") >= at_barrier);
        assert!(lab.log().contains("a call of fixture-rpc to main panicked"), "{}", lab.log());

        // Calls are under way, and threads wait for main, which waits for them.
        lab.run("plugin unload fixture-rpc");
        let log = lab.log();
        let line =
            log.lines().find(|line| line.contains("ended 5 ")).expect("it says how it ended");
        assert!(line.contains(" cancelled 5 "), "{line}");
        let word = |name: &str| {
            let mut words = line.split(' ').skip_while(|word| *word != name);
            words.nth(1).and_then(|word| word.parse::<u64>().ok()).expect("a number")
        };
        assert!(word("ran") <= word("sent"), "{line}");
        // The plugin's own and those of a node on each thread, each of which may be about to call; the
        // calls that waited, of which there were many, hold nothing any more.
        let nodes = u64::from(workers) + 1;
        assert!((nodes + 1..=2 * nodes + 1).contains(&word("owners")), "{line}");
        assert!(counted(&lab, "discarded") > 0);
        traffic.flows();
        traffic.stop_whole();

        // And again, with fresh state.
        lab.run(&format!("plugin load {file}"));
        assert_eq!(count(&lab, "ran"), 0);
        lab.run("fixture rpc start");
        assert!(eventually(&lab, &["ran"]));
        lab.finish(); // It ends though the threads call.
    }
}

#[test]
fn a_call_is_answered_though_main_sleeps() {
    let lab = Lab::options().plugins(&["ethernet", "null"]).workers(0).start();
    let file = Build::here().fixture("rpc").display().to_string();
    lab.run(&format!("plugin load {file}"));
    lab.run("fixture rpc start");
    assert!(eventually(&lab, &["waited"]));
    lab.run("plugin unload fixture-rpc");
    lab.finish();
}
