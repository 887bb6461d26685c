//! Plugins come and go while packets flow flat out, and none is missing.

use gristmill_tests::{Build, Lab, Traffic, traffic};

const ROUNDS: usize = 100;
/// Rounds after which the process has all the mappings that it will ever need.
const SETTLED: usize = 3;

fn lab(workers: u32) -> Lab {
    Lab::options().plugins(&traffic::PLUGINS).workers(workers).start()
}

/// Loads and unloads `file` again and again, with `use_it` in between.
fn reload(lab: &Lab, name: &str, file: &str, use_it: impl Fn(&Traffic<'_>)) {
    let traffic = Traffic::flat_out(lab);
    let nodes = lab.run("show graph");
    let mut settled = 0;
    for round in 0..ROUNDS {
        if round == SETTLED {
            settled = lab.mappings();
        }
        let report = lab.run(&format!("plugin load {file}"));
        assert_eq!(report.text(0, "plugin"), name);
        use_it(&traffic);
        lab.run(&format!("plugin unload {name}"));
    }
    assert_eq!(lab.run("show graph"), nodes, "what was there before is there after");
    traffic.flows();
    traffic.stop_whole();
    let grown = lab.mappings().saturating_sub(settled);
    // Stacks of a few work threads, and their arenas of the allocator, are there at one time and not at
    // another; an image alone has four, and if each stayed that would be hundreds.
    assert!(grown < 20, "{grown} mappings more after {} rounds", ROUNDS - SETTLED);
}

#[test]
fn a_device_class_comes_and_goes_a_hundred_times() {
    let lab = lab(1);
    reload(&lab, "null", "null", |_| ());
    assert!(lab.run("show plugins").find("Plugin", "null").is_none());
    lab.finish();
}

#[test]
fn a_feature_takes_over_the_edge_and_gives_it_back_a_hundred_times() {
    let lab = lab(1);
    let file = Build::here().fixture("tally").display().to_string();
    reload(&lab, "fixture-tally", &file, |traffic| {
        traffic.flows();
        traffic.flows();
        let counted = lab.run("show fixture-tally").count(0, "packets");
        assert!(counted > 0, "packets go through the feature");
    });
    lab.finish();
}

#[test]
fn a_feature_comes_and_goes_where_main_forwards_and_where_two_workers_do() {
    for workers in [0, 2] {
        let lab = lab(workers);
        let file = Build::here().fixture("tally").display().to_string();
        let traffic = Traffic::flat_out(&lab);
        for _ in 0..10 {
            lab.run(&format!("plugin load {file}"));
            traffic.flows();
            lab.run("plugin unload fixture-tally");
        }
        traffic.stop_whole();
        lab.finish();
    }
}

#[test]
fn a_plugin_loaded_again_has_forgotten_everything() {
    let lab = lab(1);
    let file = Build::here().fixture("tally").display().to_string();
    lab.run(&format!("plugin load {file}"));
    let traffic = Traffic::paced(&lab, 10_000);
    traffic.flows();
    traffic.stop_whole();
    assert!(lab.run("show fixture-tally").count(0, "packets") > 0);
    lab.run("plugin unload fixture-tally");
    lab.run(&format!("plugin load {file}"));
    assert_eq!(lab.run("show fixture-tally").count(0, "packets"), 0);
    lab.finish();
}

#[test]
fn a_plugin_with_an_interface_stays_until_the_interface_is_gone() {
    let lab = lab(1);
    lab.run("plugin load null");
    lab.run("create null");
    lab.run("create null");
    let traffic = Traffic::flat_out(&lab);
    let reason = lab.refused("plugin unload null");
    assert!(reason.contains("null is in use: interface null0, interface null1"), "{reason}");
    assert!(lab.run("show plugins").find("Plugin", "null").is_some());
    traffic.stop_whole();
    lab.finish();
}

#[test]
fn plugins_that_packets_go_through_are_not_unloaded_under_them() {
    let lab = lab(1);
    let traffic = Traffic::flat_out(&lab);
    let reason = lab.refused("plugin unload generator");
    assert!(reason.contains("interface generator0, interface generator1"), "{reason}");
    let reason = lab.refused("plugin unload ethernet");
    assert!(reason.contains("interface generator0"), "{reason}");
    let reason = lab.refused("plugin unload nowhere");
    assert!(reason.contains("no plugin \"nowhere\" is loaded"), "{reason}");
    traffic.flows();
    traffic.stop_whole();
    lab.finish();
}
