//! What belongs to a worker that goes, or is stuck, goes on elsewhere: dynamic timers, watched descriptors,
//! packets that others have handed to it. And a worker that is only slow stays.

use std::time::Duration;

use gristmill_tests::{
    Build, Lab, Traffic,
    lab::{pause, until},
    traffic,
};

/// Nanoseconds between two beats of the fixture's timer.
const PERIOD: u64 = 2_000_000;

fn fixture(name: &str) -> String {
    Build::here().fixture(name).display().to_string()
}

/// Indices of the threads that `show threads` lists, those that are stuck last.
fn threads(lab: &Lab) -> Vec<u64> {
    lab.run("show threads").rows().iter().map(|row| row.count("Thread")).collect()
}

fn shown(lab: &Lab, column: &str) -> u64 {
    lab.run("show fixture-handed-on").count(0, column)
}

/// Threads that came and went, as the plugin was told.
fn notices(lab: &Lab) -> String {
    lab.run("show fixture-handed-on").lines().join(" ")
}

/// The thread that watches the pipe.
fn watcher(lab: &Lab) -> Option<u64> {
    lab.run("show files").find("Name", "fixture-pipe").map(|row| row.count("Thread"))
}

/// Timer and pipe go on: each beat in its time, and each number after the one before.
fn goes_on(lab: &Lab) {
    let before = lab.run("show fixture-handed-on");
    let grown = || {
        let now = lab.run("show fixture-handed-on");
        let grew = |column: &str| now.count(0, column) > before.count(0, column) + 20;
        grew("beats") && grew("arrived")
    };
    assert!(until(grown), "{}\n{}", before.json(), lab.log());
    let now = lab.run("show fixture-handed-on");
    assert_eq!(now.count(0, "wrong"), 0, "{}", now.json());
    let [beats, ns] = ["beats", "ns"].map(|column| now.count(0, column) - before.count(0, column));
    assert!(beats <= ns / PERIOD + 3, "{beats} beats in {ns} ns: some came twice");
}

/// Timer and pipe stand still.
fn is_still(lab: &Lab) -> bool {
    let counts = |lab: &Lab| [shown(lab, "beats"), shown(lab, "arrived")];
    let before = counts(lab);
    pause(Duration::from_millis(30));
    counts(lab) == before
}

/// A host with two workers, of which the second beats and reads.
fn placed(config: &str, plugins: &[&str]) -> Lab {
    let config = format!("[host]\ntrust-writable-plugins = true\n{config}");
    let own = fixture("handed-on");
    let all: Vec<&str> = traffic::PLUGINS.iter().chain(plugins).copied().chain([&*own]).collect();
    let lab = Lab::options().workers(2).config(&config).plugins(&all).start();
    lab.run("fixture place 2");
    goes_on(&lab);
    assert_eq!((shown(&lab, "started-on"), watcher(&lab)), (2, Some(2)));
    lab
}

#[test]
fn timers_and_descriptors_go_on_when_their_worker_ends_and_obey_the_old_handles() {
    let lab = placed("", &[]);
    let traffic = Traffic::paced(&lab, 10_000);
    lab.run("set workers 1");
    assert_eq!((threads(&lab), watcher(&lab)), (vec![0, 1], Some(1)));
    goes_on(&lab);
    assert_eq!(notices(&lab), "-2");

    lab.run("fixture handle pause");
    assert!(is_still(&lab));
    lab.run("fixture handle resume");
    goes_on(&lab);

    lab.run("set workers 2");
    assert_eq!((threads(&lab), watcher(&lab)), (vec![0, 1, 2], Some(1)), "they stay");
    goes_on(&lab);
    lab.run("set workers 0");
    assert_eq!((threads(&lab), watcher(&lab)), (vec![0], Some(0)));
    goes_on(&lab);
    lab.run("set workers 2");
    goes_on(&lab);
    assert_eq!(notices(&lab), "-2 +2 -1 -2 +1 +2");

    let answer = lab.run("fixture handle remove");
    assert_eq!((answer.lines(), watcher(&lab)), (vec!["was pending"], None));
    assert!(is_still(&lab));
    assert_eq!(shown(&lab, "wrong"), 0);
    traffic.stop_whole();
    lab.run("plugin unload fixture-handed-on");
    lab.finish();
}

#[test]
fn what_a_stuck_worker_had_goes_on_elsewhere_while_it_is_stuck() {
    let hang = fixture("hang");
    let config = "[watchdog]\nhang-ms = 300\n[handoff]\nring-size = 4096\n";
    let lab = placed(config, &["handoff", &hang]);
    Traffic::paced(&lab, 1000).stop_whole();
    lab.run("set interface rx-placement generator0 queue 0 worker 1");
    lab.run("set interface handoff generator0 workers 2");
    let traffic = Traffic::paced(&lab, 3000);
    lab.run("fixture hang ms 6000");
    assert!(until(|| threads(&lab) == [0, 1, 3, 2]), "{}", lab.log());

    goes_on(&lab);
    assert!(watcher(&lab).is_some_and(|thread| thread != 2), "{}", lab.run("show files").json());
    lab.run("fixture handle pause");
    assert!(is_still(&lab));
    lab.run("fixture handle resume");
    goes_on(&lab);
    traffic.flows();
    assert_eq!(notices(&lab), "+3");
    assert!(!lab.log().contains("came back"), "all that while it was stuck");

    // Main and the two others forwarded what worker 1 had handed to it and it had not come to.
    let handoff = lab.run("show handoff");
    let rescued = |row: &gristmill_tests::answer::Row<'_>| row.count("To") == 2;
    let (_, nodes) = handoff.tables().nth(1).expect("a table of nodes");
    let to: u64 = nodes.iter().filter(rescued).map(|row| row.count("Sent")).sum();
    let taken = lab.run("show errors").the("Reason", "thread-given-up").count("Count");
    assert!(to > taken + 300, "{to} were handed to worker 2, and {taken} were in its node");
    let account = traffic.stop();
    assert_eq!((account.lost, account.duplicated), (taken, 0), "{}", handoff.json());

    assert!(until(|| threads(&lab) == [0, 1, 3]), "{}", lab.log());
    assert_eq!(notices(&lab), "+3 -2");
    goes_on(&lab);
    lab.finish();
}

#[test]
fn changes_that_a_slow_worker_holds_up_fail_by_name_and_work_later() {
    let (hang, own) = (fixture("hang"), fixture("handed-on"));
    let config = "[host]\ntrust-writable-plugins = true\n[barrier]\ndeadline-ms = 100\n\
                  [watchdog]\nhang-ms = 0\n";
    let plugins = ["ethernet", "generator", &hang, &own];
    let lab = Lab::options().config(config).plugins(&plugins).start();
    let traffic = Traffic::paced(&lab, 1000);
    let look = |lab: &Lab| (lab.run("show graph"), threads(lab), lab.run("show plugins"));
    let before = look(&lab);
    for change in ["plugin load null", "set workers 2", "set workers 0"] {
        lab.run("fixture hang ms 600");
        pause(Duration::from_millis(20)); // The next packet is a millisecond away at most.
        let reason = lab.refused(change);
        let culprit = "thread 1 did not come to the barrier within ";
        let doing = "it has been in node \"fixture-hang\" of fixture-hang for ";
        assert!(reason.contains(culprit) && reason.contains(doing), "{change}: {reason}");
        assert_eq!(look(&lab), before, "{change}");
        traffic.flows();
        assert_eq!(notices(&lab), "", "{change}: nobody came or went");
    }
    assert!(lab.run("show barrier").sum("Late") >= 3);
    lab.run("set workers 2");
    lab.run("plugin load null");
    lab.run("set workers 0");
    assert_eq!((threads(&lab), notices(&lab)), (vec![0], "+2 -1 -2".to_owned()));
    traffic.flows();
    traffic.stop_whole();
    lab.finish();
}
