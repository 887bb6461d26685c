//! A worker that does not come to the barrier: the change fails by name, and later it works.

use std::time::Duration;

use gristmill_tests::{Build, Lab, Traffic, lab::pause, traffic};

/// A host whose worker hangs for two seconds from now on.
fn hung(lab: &Lab) {
    lab.run("fixture hang");
    pause(Duration::from_millis(20)); // The next packet is a millisecond away at most.
}

/// It is not given up: that is another test's.
const CONFIG: &str = "[host]\ntrust-writable-plugins = true\n[watchdog]\nhang-ms = 0\n";

fn lab() -> Lab {
    let lab = Lab::options().plugins(&traffic::PLUGINS).config(CONFIG).start();
    let file = Build::here().fixture("hang").display().to_string();
    lab.run(&format!("plugin load {file}"));
    lab
}

fn names_the_culprit(reason: &str) {
    let culprit = "thread 1 did not come to the barrier within 100";
    assert!(reason.contains(culprit), "{reason}");
    let doing = "it has been in node \"fixture-hang\" of fixture-hang for ";
    assert!(reason.contains(doing), "{reason}");
}

#[test]
fn a_load_that_a_hanging_node_holds_up_fails_by_name_and_works_later() {
    let lab = lab();
    let traffic = Traffic::paced(&lab, 1000);
    hung(&lab);
    let before = lab.run("show graph");
    names_the_culprit(&lab.refused("plugin load null"));
    assert_eq!(lab.run("show graph"), before);
    assert!(lab.run("show plugins").find("Plugin", "null").is_none());
    traffic.flows(); // It hangs no more.
    lab.run("plugin load null");
    lab.run("create null");
    traffic.flows();
    traffic.stop_whole();
    lab.finish();
}

#[test]
fn an_unload_that_a_hanging_node_holds_up_changes_nothing_and_works_later() {
    let lab = lab();
    lab.run("plugin load null");
    let traffic = Traffic::paced(&lab, 1000);
    hung(&lab);
    let before = lab.run("show graph");
    names_the_culprit(&lab.refused("plugin unload fixture-hang"));
    assert_eq!(lab.run("show graph"), before);
    assert!(lab.run("show plugins").find("Plugin", "fixture-hang").is_some());
    traffic.flows();
    lab.run("plugin unload fixture-hang");
    lab.run("plugin unload null");
    traffic.flows();
    traffic.stop_whole();
    lab.finish();
}

#[test]
fn what_needs_no_barrier_is_answered_while_a_worker_hangs() {
    let lab = lab();
    let traffic = Traffic::paced(&lab, 1000);
    hung(&lab);
    let received = traffic.account().received;
    for command in ["show version", "show threads", "show runtime", "show interface", "show node"] {
        lab.run(command);
    }
    assert_eq!(traffic.account().received, received, "it hangs still");
    traffic.flows();
    traffic.stop_whole();
    lab.finish();
}

#[test]
fn an_interface_stays_as_it_was_where_its_change_is_held_up() {
    let lab = lab();
    lab.run("plugin load null");
    lab.run("create null id 5");
    let traffic = Traffic::paced(&lab, 1000);
    hung(&lab);
    let state = |lab: &Lab| lab.run("show interface").the("Name", "null5").text("State").to_owned();
    names_the_culprit(&lab.refused("set interface state null5 up"));
    assert_eq!(state(&lab), "down");
    traffic.flows();
    lab.run("set interface state null5 up");
    assert_eq!(state(&lab), "up");
    traffic.stop_whole();
    lab.finish();
}
