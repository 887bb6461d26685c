//! `show timers` and `show timers statistics` in a host whose plugin has timers of each kind.
#![expect(clippy::unwrap_used, reason = "a test may panic where it cannot go on")]

use std::time::Duration;

use gristmill_tests::{Build, Lab, Traffic, lab::pause, traffic};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(10);
const SOURCE: &str = include_str!("../fixtures/timers.rs");

fn lab(plugins: &[&str]) -> Lab {
    let lab = Lab::options().plugins(plugins).start();
    lab.run(&format!("plugin load {}", Build::here().fixture("timers").display()));
    lab
}

/// The title of `show timers statistics`, and the periodic timer's row as it re-arms itself.
fn beat(lab: &Lab) -> (String, Option<Value>) {
    let answer = lab.run("show timers statistics");
    let title = answer.tables().next().unwrap().0.to_owned();
    let line = SOURCE.lines().position(|line| line.contains("Here the beat is started")).unwrap();
    let site = format!("fixtures/timers.rs:{}", line + 1);
    let row = answer.rows().into_iter().find(|row| row.text("Started-By").ends_with(&site));
    let row = row.map(|row| {
        assert_eq!(row.text("Plugin"), "fixture-timers");
        assert_eq!(row.text("Function"), "fixture-beat");
        assert_eq!(row.count("Thread"), 0);
        let [started, expired] = ["Started", "Expired"].map(|column| row.count(column));
        serde_json::json!([started, expired])
    });
    (title, row)
}

fn expired(row: Option<&Value>) -> u64 {
    row.map_or(0, |row| row[1].as_u64().unwrap())
}

#[test]
fn the_statistics_name_who_started_what_until_they_are_stopped() {
    let mut lab = lab(&[]);
    assert_eq!(beat(&lab).1, None, "nobody asked for a sample");
    lab.run("show timers statistics start");
    assert!(lab.eventually(PATIENCE, |lab| expired(beat(lab).1.as_ref()) >= 3));
    let (title, _) = beat(&lab);
    assert!(title.starts_with("sample of ") && title.contains(" ms, going on"), "{title}");
    lab.run("show timers statistics stop");
    let stopped = beat(&lab);
    assert!(stopped.0.contains(" ms, stopped"), "{}", stopped.0);
    pause(Duration::from_millis(50));
    assert_eq!(beat(&lab), stopped);
    lab.finish();
}

#[test]
fn a_sample_of_a_period_ends_by_itself() {
    let mut lab = lab(&[]);
    lab.run("show timers statistics 200ms");
    assert!(lab.eventually(PATIENCE, |lab| beat(lab).0.contains("stopped")));
    let (title, row) = beat(&lab);
    assert!(title.starts_with("sample of 200 ms, stopped"), "{title}");
    let count = expired(row.as_ref());
    assert!((1..=41).contains(&count), "{count} in 200 ms, every 5 ms");
    pause(Duration::from_millis(50));
    assert_eq!(beat(&lab), (title, row));
    let reason = lab.refused("show timers statistics stop 200ms");
    assert!(reason.contains("takes no period"), "{reason}");
    lab.finish();
}

#[test]
fn each_thread_says_what_is_pending_and_whether_it_is_idle() {
    let mut lab = lab(&[]);
    // The deferrable timer is in `All` alone; the periodic one is, but for a moment, in both.
    assert!(lab.eventually(PATIENCE, |lab| {
        let answer = lab.run("show timers");
        let main = answer.row(0);
        assert_eq!(main.count("All"), main.count("Active") + 1);
        assert_eq!(main.count("Thread"), 0);
        let next = main.cell("Next [ms]");
        main.count("Active") == 1 && next.as_u64().is_some_and(|next| next <= 5)
    }));
    // Main answers, so it is not idle; the worker has nothing to do.
    let idle = |lab: &mut Lab| lab.run("show timers").row(1).cell("Idle") == &Value::Bool(true);
    assert!(lab.eventually(PATIENCE, idle));
    assert_eq!(lab.run("show timers").row(0).cell("Idle"), &Value::Bool(false));
    lab.finish();
}

#[test]
fn a_plugin_that_is_unloaded_takes_its_pending_timers_along() {
    let lab = lab(&[]);
    assert!(lab.run("show timers").sum("All") >= 1);
    lab.run("plugin unload fixture-timers");
    assert_eq!(lab.run("show timers").sum("All"), 0);
    lab.finish();
}

#[test]
fn the_function_that_runs_is_named_with_its_thread() {
    let mut lab = lab(&traffic::PLUGINS);
    let traffic = Traffic::paced(&lab, 1000);
    lab.run("fixture slow");
    let mut seen = false;
    for _ in 0..1000 {
        let answer = lab.run("show timers");
        seen = answer.find("Running", "fixture-slow").is_some_and(|row| row.count("Thread") == 1);
        if seen {
            break;
        }
        pause(Duration::from_millis(2));
    }
    assert!(seen, "{}", lab.run("show timers").json());
    traffic.flows();
    traffic.stop_whole();
    let runs = |lab: &mut Lab| lab.run("show timers").find("Running", "fixture-slow").is_none();
    assert!(lab.eventually(PATIENCE, runs));
    lab.finish();
}
