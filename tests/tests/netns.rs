//! The laboratory's own networks: packets of the kernel's cross them, hosts run inside them.
#![expect(clippy::unwrap_used, reason = "a test may panic where it cannot go on")]

use std::{fs, process::Command};

use gristmill_tests::{Lab, Netns, need_root, need_tool};

fn is_there(name: &str) -> bool {
    let list = Command::new("ip").args(["netns", "list"]).output().unwrap();
    String::from_utf8(list.stdout).unwrap().lines().any(|line| line.split(' ').next() == Some(name))
}

#[test]
fn joined_namespaces_ping_each_other_and_are_gone_afterwards() {
    if !(need_root() && need_tool("ip") && need_tool("ping")) {
        return;
    }
    let (left, right) = (Netns::new("left"), Netns::new("right"));
    left.join("to-right", &right, "to-left");
    left.ip("addr add 10.9.0.1/24 dev to-right");
    right.ip("addr add 10.9.0.2/24 dev to-left");
    let told = left.run("ping -c 3 -i 0.05 -W 2 10.9.0.2");
    assert!(told.contains("3 received"), "{told}");
    assert!(!left.try_run("ping -c 1 -W 1 10.9.0.3").status.success());
    assert!(right.counter("to-left", "/rx/packets") >= 3);
    assert_eq!(left.dropped("to-right") + right.dropped("to-left"), 0);
    assert!(!left.ip("addr show").contains("inet6"), "without IPv6");

    let names = [left.name().to_owned(), right.name().to_owned()];
    assert!(names.iter().all(|name| is_there(name)));
    drop((left, right));
    assert!(!names.iter().any(|name| is_there(name)));
}

#[test]
fn a_host_runs_inside_a_namespace_and_is_talked_to_from_outside() {
    if !(need_root() && need_tool("ip")) {
        return;
    }
    let inside = Netns::new("host");
    let lab = Lab::options().plugins(&["null"]).inside(&inside).start();
    let namespace = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/net")).unwrap();
    assert_ne!(namespace(&lab.pid().to_string()), namespace("self"));
    lab.run("show version");
    lab.finish();
}
