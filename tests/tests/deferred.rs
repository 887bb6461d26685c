//! Softirqs, tasklets, messages to threads and calls after a grace period, in a host with traffic.

use std::time::Duration;

use gristmill_tests::{
    Build, Lab, Traffic,
    lab::{pause, until},
    traffic,
};

const PLUGIN: &str = "fixture-deferred";

/// A host with so many workers, traffic's plugins and the one under test.
fn lab(workers: u32) -> Lab {
    let lab = Lab::options().plugins(&traffic::PLUGINS).workers(workers).start();
    load(&lab);
    lab
}

fn load(lab: &Lab) {
    lab.run(&format!("plugin load {}", Build::here().fixture("deferred").display()));
}

fn act(lab: &Lab, what: &str) {
    lab.run(&format!("fixture deferred {what}"));
}

/// What the plugin counted.
fn count(lab: &Lab, name: &str) -> u64 {
    lab.run("show fixture-deferred").the("name", name).count("count")
}

/// Runs of a softirq on a thread, as the host shows them.
fn runs(lab: &Lab, softirq: &str, thread: u32) -> u64 {
    let shown = lab.run("show softirqs");
    shown.the("Softirq", softirq).count(&format!("Thread {thread}"))
}

#[test]
fn what_nodes_put_off_runs_on_their_thread_and_a_tasklet_once_for_each_scheduling() {
    for workers in [1, 2] {
        let lab = lab(workers);
        let traffic = Traffic::flat_out(&lab);
        assert!(until(|| count(&lab, "tallied") > 1000 && count(&lab, "runs-1") > 1000));
        act(&lab, "chain 1"); // A tasklet that schedules itself a hundred times.
        assert!(until(|| count(&lab, "chain") == 0));
        let number = traffic.stop_whole();
        assert!(number > 0);
        // Idle now: a run for what was last put off, and not more than there were raises.
        for thread in 1..=workers {
            let [raised, ran] =
                ["raised", "runs"].map(|what| count(&lab, &format!("{what}-{thread}")));
            assert!(
                ran <= raised && (ran > 0) == (raised > 0),
                "{ran} runs, raised {raised} times"
            );
            assert_eq!(runs(&lab, "fixture-count", thread), ran);
        }
        assert_eq!(count(&lab, "tallied"), count(&lab, "scheduled"));
        assert_eq!((count(&lab, "overlaps"), count(&lab, "refused")), (0, 1));
        let tasklets = lab.run("show tasklets");
        let tally = tasklets.the("Tasklet", "fixture-tally");
        assert_eq!((tally.text("Plugin"), tally.text("State")), (PLUGIN, "idle"));
        let [scheduled, ran] = ["Scheduled", "Runs"].map(|column| tally.count(column));
        assert_eq!((scheduled, ran), (count(&lab, "scheduled"), count(&lab, "tallied")));
        lab.finish();
    }
}

#[test]
fn the_lowest_number_runs_first() {
    let lab = lab(0);
    act(&lab, "order");
    let order = || {
        let shown = lab.run("show fixture-deferred");
        shown.tables().nth(1).unwrap().1.iter().next().unwrap().text("order").to_owned()
    };
    assert!(until(|| order().split(' ').count() == 4));
    assert_eq!(order(), "high net-tx net-rx low");
    lab.finish();
}

#[test]
fn a_thread_that_sleeps_is_woken_for_what_is_raised_on_it() {
    let lab = lab(2);
    pause(Duration::from_millis(100)); // There is nothing to do: all sleep.
    for thread in 0..=2 {
        let before = count(&lab, &format!("runs-{thread}"));
        act(&lab, &format!("raise {thread}"));
        assert!(until(|| count(&lab, &format!("runs-{thread}")) == before + 1));
    }
    let before: Vec<u64> = (0..=2).map(|at| count(&lab, &format!("runs-{at}"))).collect();
    act(&lab, "raise-all");
    assert!(until(|| (0..=2).all(|at| count(&lab, &format!("runs-{at}")) == before[at] + 1)));
    let reason = lab.refused("fixture deferred raise 9");
    assert!(reason.contains("there is no ThreadIndex(9)"), "{reason}");
    lab.finish();
}

#[test]
fn a_softirq_that_raises_itself_without_end_keeps_no_packet_from_flowing() {
    let lab = lab(1);
    let traffic = Traffic::flat_out(&lab);
    act(&lab, "starve");
    assert!(until(|| count(&lab, "starved") > 10_000));
    traffic.flows();
    let left = lab.run("show softirqs");
    let left = left.the("Softirq", "(left to the next turn)");
    assert!(left.count("Thread 0") > 0 && left.count("Thread 1") > 0);
    // Main too goes on with what it has to do, and a change of the graph finds the workers.
    lab.run("set workers 2");
    lab.run("set workers 1");
    act(&lab, "feed");
    assert!(until(|| {
        let before = count(&lab, "starved");
        pause(Duration::from_millis(20));
        count(&lab, "starved") == before
    }));
    traffic.stop_whole();
    lab.finish();
}

#[test]
fn a_tasklet_that_is_disabled_waits_and_one_that_was_killed_never_runs() {
    let lab = lab(1);
    let traffic = Traffic::flat_out(&lab);
    assert!(until(|| count(&lab, "tallied") > 100));
    act(&lab, "disable");
    act(&lab, "disable");
    let held = count(&lab, "tallied");
    pause(Duration::from_millis(50));
    assert_eq!(count(&lab, "tallied"), held, "disabling waits for the run that goes on");
    let shown = lab.run("show tasklets");
    let tally = shown.the("Tasklet", "fixture-tally");
    assert_eq!((tally.count("Disabled"), tally.text("State")), (2, "scheduled"));
    act(&lab, "enable");
    pause(Duration::from_millis(20));
    assert_eq!(count(&lab, "tallied"), held, "it was disabled twice");
    act(&lab, "enable");
    assert!(until(|| count(&lab, "tallied") > held + 100));
    let reason = lab.refused("fixture deferred enable");
    assert!(reason.contains("the tasklet is not disabled"), "{reason}");
    act(&lab, "kill");
    let last = count(&lab, "tallied");
    traffic.flows();
    assert_eq!(count(&lab, "tallied"), last);
    traffic.stop_whole();
    lab.finish();
}

#[test]
fn panics_in_what_is_put_off_are_told_and_nothing_else_stops() {
    let lab = lab(1);
    let traffic = Traffic::flat_out(&lab);
    act(&lab, "panic 1");
    act(&lab, "panic 0");
    let tells = |text: &str| until(|| lab.log().matches(text).count() == 2);
    assert!(tells("softirq fixture-panicking of fixture-deferred panicked"), "{}", lab.log());
    assert!(tells("tasklet fixture-panicking of fixture-deferred panicked"), "{}", lab.log());
    assert!(tells("a call of fixture-deferred after a grace period panicked"), "{}", lab.log());
    assert_eq!(lab.run("show tasklets").the("Tasklet", "fixture-panicking").count("Panics"), 2);
    traffic.flows();
    traffic.stop_whole();
    lab.finish();
}

#[test]
fn messages_reach_their_thread_in_order_or_another_if_it_goes() {
    let lab = lab(2);
    let traffic = Traffic::paced(&lab, 1000);
    act(&lab, "letters 1");
    act(&lab, "letters 2");
    assert!(until(|| count(&lab, "letters") > 500));
    lab.run("set workers 1");
    assert!(until(|| {
        let sent = count(&lab, "letters-sent");
        sent > 10_000 && sent == count(&lab, "letters")
    }));
    assert_eq!(count(&lab, "letters-out-of-order"), 0);
    let elsewhere = count(&lab, "letters-elsewhere");
    assert!(elsewhere < 5_000, "{elsewhere} of those to the worker that went");
    traffic.stop_whole();
    lab.finish();
}

#[test]
fn what_nodes_may_still_read_is_freed_after_a_grace_period() {
    for workers in [0, 2] {
        let lab = lab(workers);
        let traffic = Traffic::flat_out(&lab);
        for _ in 0..3 {
            act(&lab, "exchange");
        }
        assert!(until(|| count(&lab, "freed") == 3000), "{}", count(&lab, "freed"));
        assert_eq!((count(&lab, "exchanged"), count(&lab, "read-freed")), (3000, 0));
        traffic.stop_whole();
        lab.finish();
    }
}

#[test]
fn all_that_is_put_off_goes_with_its_plugin() {
    let lab = lab(1);
    let traffic = Traffic::flat_out(&lab);
    let before = lab.run("show softirqs").rows().len();
    for _ in 0..3 {
        let shown = lab.run(&format!("show plugins {PLUGIN}"));
        let named = |kind: &str, name: &str| {
            let rows = shown.rows();
            rows.iter().any(|row| row.text("Kind") == kind && row.text("Name") == name)
        };
        assert!(named("softirqs", "fixture-starve") && named("softirqs", "fixture-letters"));
        assert!(named("tasklets", "fixture-tally"));
        act(&lab, "starve");
        act(&lab, "disable");
        act(&lab, "letters 1");
        act(&lab, "exchange");
        lab.run(&format!("plugin unload {PLUGIN}"));
        let left = lab.run("show softirqs").rows().len();
        assert_eq!(left, before - 6, "the plugin's six are gone, and no others");
        assert!(lab.run("show tasklets").rows().is_empty());
        assert!(!lab.log().contains("stay behind"), "{}", lab.log());
        traffic.flows();
        load(&lab);
        assert_eq!(lab.run("show softirqs").rows().len(), before);
        assert_eq!(runs(&lab, "fixture-starve", 1), 0, "a number that is used again begins at 0");
    }
    traffic.stop_whole();
    lab.finish();
}

#[test]
fn a_name_or_a_number_that_another_has_is_refused() {
    let lab = lab(0);
    let reason = lab.refused("fixture deferred open-again");
    assert!(reason.contains("softirq 3 is fixture-net-rx of fixture-deferred"), "{reason}");
    let reason = lab.refused("fixture deferred open-name");
    assert!(reason.contains("fixture-deferred has a softirq fixture-count already"), "{reason}");
    lab.finish();
}

#[test]
fn the_host_s_own_timers_and_what_it_frees_run_as_softirqs() {
    let lab = lab(1);
    let [timers, freed] = [runs(&lab, "TIMER", 0), runs(&lab, "RCU", 0)];
    assert!(freed > 0, "loading replaced what ran before");
    lab.run(&format!("plugin load {}", Build::here().fixture("timers").display()));
    assert!(until(|| runs(&lab, "TIMER", 0) > timers + 3));
    assert!(runs(&lab, "RCU", 0) > freed);
    lab.finish();
}
