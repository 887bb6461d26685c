//! The demonstration, and what it says at its end.
#![expect(clippy::unwrap_used, reason = "a test may panic where it cannot go on")]

use gristmill_tests::{
    Lab,
    demo::{User, run, summary},
    need_root, need_tool,
};
use serde_json::Value;

/// Runs it for three seconds and checks all that it says.
fn checked(user: User, workers: u32) {
    let output = run(user, &["--seconds", "3", "--json", "--workers", &workers.to_string()]);
    let summary = summary(&output);
    let count =
        |field: &str| summary[field].as_u64().unwrap_or_else(|| panic!("{field}: {summary}"));
    assert_eq!((count("lost"), count("duplicated")), (0, 0), "{summary}");
    assert_eq!(count("sent"), count("received"), "{summary}");
    assert!(count("sent") > 100_000, "flat out is more than that: {summary}");
    assert_eq!(count("threads"), u64::from(workers) + 1, "{summary}");

    let mpps = summary["mpps"].as_f64().unwrap();
    let by_count = f64::from(u32::try_from(count("received")).unwrap()) / 3e6;
    assert!((mpps / by_count - 1.0).abs() < 0.2, "{by_count} Mpps in three seconds: {summary}");

    for field in ["total_us", "workers_held_us", "stall_us"] {
        let time = summary["plugin_load"][field].as_f64();
        assert!(time.is_some_and(|time| (0.0..3e6).contains(&time)), "{field}: {summary}");
    }
    let load = &summary["plugin_load"];
    assert!(load["total_us"].as_f64() > load["workers_held_us"].as_f64(), "{summary}");

    check_nodes(summary["nodes"].as_array().unwrap(), count("sent"));
}

fn check_nodes(nodes: &[Value], sent: u64) {
    for node in nodes {
        assert!(node["calls"].as_u64() > Some(0) && node["vectors"].as_u64() > Some(0), "{node}");
        assert!(node["plugin"].is_string(), "{node}");
        assert!(node["clocks_per_packet"].as_f64() > Some(0.0), "{node}");
    }
    let vectors = |name: &str, plugin: &str| {
        let node = nodes.iter().find(|node| node["name"] == name);
        let node = node.unwrap_or_else(|| panic!("{name} is not among the nodes: {nodes:?}"));
        assert_eq!(node["plugin"], plugin, "{node}");
        node["vectors"].as_u64().unwrap()
    };
    assert_eq!(vectors("ethernet-input", "ethernet"), sent);
    for name in ["ip4-input", "ip4-lookup", "ip4-rewrite"] {
        assert_eq!(vectors(name, "ip4"), sent, "{name}");
    }
    let counted = vectors("mirror-count", "mirror-count");
    assert!(counted > 0 && counted < sent, "from a third of the time on: {counted} of {sent}");
}

#[test]
fn nothing_is_lost_where_main_forwards() {
    checked(User::Same, 0);
}

#[test]
fn nothing_is_lost_with_one_worker() {
    checked(User::Same, 1);
}

#[test]
fn nothing_is_lost_with_two_workers() {
    checked(User::Same, 2);
}

#[test]
fn it_needs_no_privilege() {
    if need_root() && need_tool("setpriv") {
        checked(User::Nobody, 1);
    }
}

#[test]
fn without_json_it_prints_a_table_and_a_summary() {
    let output = run(User::Same, &["--seconds", "1", "--workers", "1"]);
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    for part in
        ["mirror-count was loaded into the running graph", "lost 0  duplicated 0", "Clocks/Pkt"]
    {
        assert!(text.contains(part), "{part:?} is missing: {text}");
    }
    assert!(!text.contains('\x1b'), "no escape sequences but on a terminal: {text}");
}

#[test]
fn it_takes_commands_where_a_socket_is_asked_for() {
    let mut lab = Lab::options().arguments(&["demo", "--seconds", "3"]).start();
    lab.run("plugin load null");
    assert!(lab.run("show plugins").find("Plugin", "null").is_some());
    let status = lab.wait();
    assert!(status.success(), "{status}: {}", lab.log());
}
