//! A worker that does not come back from a device: what the device has stays with it, and the rest of
//! the host goes on.

use gristmill_tests::{Build, Lab, Traffic, lab::until, traffic};

/// A host that gives a worker up after 300 ms, with an interface that can hang.
fn lab() -> Lab {
    let config = "[host]\ntrust-writable-plugins = true\n[watchdog]\nhang-ms = 300\n";
    let fixture = Build::here().fixture("stuck_device").display().to_string();
    let plugins = [&traffic::PLUGINS[..], &[&fixture]].concat();
    let lab = Lab::options().plugins(&plugins).config(config).start();
    lab.run("fixture create stuck");
    lab.run("set interface state stuck0 up");
    lab
}

fn threads(lab: &Lab) -> Vec<u64> {
    lab.run("show threads").rows().iter().map(|row| row.count("Thread")).collect()
}

fn placed(lab: &Lab, interface: &str) -> u64 {
    lab.run("show interface rx-placement").the("Interface", interface).count("Thread")
}

#[test]
fn the_queues_of_a_device_that_holds_a_worker_stay_with_it_and_no_other_thread_calls_it() {
    let lab = lab();
    let traffic = Traffic::paced(&lab, 1000);
    assert_eq!(placed(&lab, "stuck0"), 1);
    lab.run("fixture hang rx ms 6000");
    assert!(until(|| threads(&lab) == [0, 2, 1]), "{}", lab.log());
    traffic.flows();
    assert_eq!(placed(&lab, "generator0"), 2);
    for change in ["set workers 2", "set workers 0", "set workers 1"] {
        lab.run(change);
        assert_eq!(placed(&lab, "stuck0"), 1, "{change}");
        traffic.flows();
    }
    let refused = lab.refused("set interface rx-placement stuck0 main");
    assert!(refused.contains("a thread that was given up is stuck in the device"), "{refused}");

    assert!(until(|| !threads(&lab).contains(&1)), "{}", lab.log());
    assert!(until(|| placed(&lab, "stuck0") == threads(&lab)[1]), "it is served again");
    assert_eq!(traffic.stop().duplicated, 0);
    lab.finish();
}

#[test]
fn who_sends_where_a_thread_is_stuck_in_sending_drops_and_counts_and_main_does_not_wait_for_it() {
    let lab = lab();
    let traffic = Traffic::paced(&lab, 1000);
    lab.run("set interface l2 xconnect generator0 stuck0");
    lab.run("fixture hang tx ms 6000");
    assert!(until(|| threads(&lab) == [0, 2, 1]), "{}", lab.log());
    let stuck = || {
        let errors = lab.run("show errors");
        errors.find("Reason", "tx-stuck").map_or(0, |row| row.count("Count"))
    };
    assert!(until(|| stuck() > 0), "{}", lab.run("show errors").json());
    lab.run("set interface rx-placement generator0 main");
    let before = stuck();
    assert!(until(|| stuck() > before), "main drops what it cannot send");

    assert!(until(|| threads(&lab) == [0, 2]), "{}", lab.log());
    let sent = || lab.run("show interface").the("Name", "stuck0").count("tx-packets");
    let before = sent();
    assert!(until(|| sent() > before), "the queue is free again");
    assert_eq!(traffic.stop().duplicated, 0);
    lab.finish();
}
