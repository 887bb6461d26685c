//! Workers come and go while packets flow: none is missing and none comes twice.

use std::fs;

use gristmill_tests::{Build, Lab, Traffic, lab::until, traffic};
use rustix::process::Signal;

fn lab(workers: u32) -> Lab {
    Lab::options().plugins(&traffic::PLUGINS).workers(workers).start()
}

/// Indices of the threads that `show threads` lists.
fn threads(lab: &Lab) -> Vec<u64> {
    lab.run("show threads").rows().iter().map(|row| row.count("Thread")).collect()
}

fn received_by_nodes(lab: &Lab) -> u64 {
    lab.run("show node").the("Name", "ethernet-input").count("Vectors")
}

#[test]
fn no_packet_is_missing_while_workers_come_and_go() {
    let lab = lab(1);
    let traffic = Traffic::flat_out(&lab);
    let mut counted = 0;
    for workers in [2, 3, 1, 0, 1, 4, 2, 0, 3, 1] {
        lab.run(&format!("set workers {workers}"));
        traffic.flows();
        assert_eq!(threads(&lab), (0..=workers).collect::<Vec<_>>());
        let now = received_by_nodes(&lab);
        assert!(now > counted, "statistics of threads that have gone stay: {now} < {counted}");
        counted = now;
    }
    let sent = traffic.stop_whole();
    assert!(sent > 10_000, "{sent} packets");
    assert_eq!(lab.run("show errors").rows().len(), 0);
    lab.finish();
}

#[test]
fn a_queue_goes_to_a_worker_that_is_there_and_to_main_where_none_is() {
    let lab = lab(2);
    let traffic = Traffic::paced(&lab, 1000);
    let serving = || {
        let answer = lab.run("show threads");
        let rows = answer.rows().into_iter().filter(|row| row.count("Queues") > 0);
        rows.map(|row| row.count("Thread")).collect::<Vec<_>>()
    };
    assert_eq!(serving(), [1, 2]);
    for (workers, expected) in [(1, vec![1]), (0, vec![0]), (2, vec![1, 2])] {
        lab.run(&format!("set workers {workers}"));
        traffic.flows();
        assert_eq!(serving(), expected);
    }
    traffic.stop_whole();
    lab.finish();
}

#[test]
fn as_many_workers_as_there_can_be_and_no_more() {
    let lab = lab(0);
    lab.run("set workers 63");
    assert_eq!(threads(&lab).len(), 64);
    let refused = lab.refused("set workers 64");
    assert!(refused.contains("there can be 63 workers at most, and 64 are asked for"), "{refused}");
    assert_eq!(threads(&lab).len(), 64);
    lab.run("set workers 1");
    assert_eq!(threads(&lab), [0, 1]);
    lab.finish();
}

/// A host that gives a worker up after 300 ms.
fn hasty() -> Lab {
    let config = "[host]\ntrust-writable-plugins = true\n[watchdog]\nhang-ms = 300\n";
    let lab = Lab::options().plugins(&traffic::PLUGINS).config(config).start();
    let file = Build::here().fixture("hang").display().to_string();
    lab.run(&format!("plugin load {file}"));
    lab
}

#[test]
fn the_host_forwards_on_without_a_worker_whose_node_does_not_come_back() {
    let lab = hasty();
    let traffic = Traffic::paced(&lab, 10_000);
    lab.run("fixture hang ms 5000");
    assert!(until(|| threads(&lab) == [0, 2, 1]), "{}", lab.log());
    traffic.flows();
    assert!(!lab.log().contains("came back"), "it does not wait for the node");
    let given_up = lab.run("show threads").row(2).text("State").to_owned();
    assert_eq!(given_up, "given up: node \"fixture-hang\" of fixture-hang");
    lab.run("plugin load null"); // The barrier does not wait for it either.
    lab.run("create null");
    let lost = lab.run("show errors").the("Reason", "thread-given-up").count("Count");
    assert!(lost > 0, "the packets that the node had");

    assert!(until(|| threads(&lab) == [0, 2]), "{}", lab.log());
    assert!(lab.log().contains("worker 1 came back and has ended"), "{}", lab.log());
    traffic.flows();
    let account = traffic.stop();
    let errors = lab.run("show errors");
    let lost = errors.the("Reason", "thread-given-up");
    assert_eq!(lost.text("Node"), "fixture-hang");
    assert_eq!((account.lost, account.duplicated), (lost.count("Count"), 0), "{}", errors.json());
    lab.run("plugin unload fixture-hang");
    lab.run("set workers 2");
    assert_eq!(threads(&lab), [0, 1, 2], "its index is free again");
    lab.finish();
}

#[test]
fn a_host_ends_while_a_worker_is_stuck() {
    let mut lab = hasty();
    let traffic = Traffic::paced(&lab, 1000);
    lab.run("fixture hang ms 60000");
    assert!(until(|| threads(&lab) == [0, 2, 1]), "{}", lab.log());
    traffic.flows();
    lab.end(Signal::TERM);
    let log = lab.log();
    assert!(log.contains("lost with workers that are stuck"), "{log}");
    assert!(log.contains("worker 1 is given up: node \"fixture-hang\" of fixture-hang"), "{log}");
}

/// CPUs that a thread of a host may run on, as the kernel lists them.
fn allowed(lab: &Lab, thread: usize) -> String {
    let tid = lab.run("show threads").rows()[thread].count("TID");
    let path = format!("/proc/{}/task/{tid}/status", lab.pid());
    let status = fs::read_to_string(&path).expect("a thread of a host that runs has a status");
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    list.unwrap_or_else(|| panic!("{path} lists no CPUs: {status}")).trim().to_owned()
}

#[test]
fn threads_run_where_and_as_the_configuration_says_and_those_without_a_core_beside_main() {
    let all = fs::read_to_string("/proc/self/status").unwrap();
    if !all.contains("Cpus_allowed_list:\t0-") {
        return; // On one CPU there is no other.
    }
    let host = "[host]\ntrust-writable-plugins = true\nscheduler-policy = \"batch\"\n";
    let pinned = format!("{host}main-core = 0\ncorelist-workers = \"1\"\n");
    let lab = Lab::options().config(&pinned).start();
    let policies = |lab: &Lab| -> Vec<String> {
        let threads = lab.run("show threads");
        threads.rows().iter().map(|row| row.text("Policy").to_owned()).collect()
    };
    assert_eq!(policies(&lab), ["other", "batch"]);
    assert_eq!([0, 1].map(|thread| allowed(&lab, thread)), ["0", "1"]);
    lab.run("set workers 2"); // More than there are cores for.
    assert!(!allowed(&lab, 2).starts_with('0'), "{}", allowed(&lab, 2));
    assert_eq!(policies(&lab), ["other", "batch", "batch"]);
    lab.finish();
}
