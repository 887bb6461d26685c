//! A plugin's file that takes long to read holds up its own load, and nothing else.
#![expect(clippy::unwrap_used, reason = "a test may panic where it cannot go on")]

use std::{
    fs::{self, OpenOptions},
    path::PathBuf,
    process::{Child, Command, Output, Stdio},
    time::Duration,
};

use gristmill_tests::{Answer, Build, Lab, Traffic, lab::pause, traffic};
use rustix::process::Signal;
use tempfile::TempDir;

/// Just under what a plugin's file may have.
const LENGTH: u64 = 250 << 20;

/// The fixture, in a file of many zeros that are read, hashed and copied; in memory, to spare disks.
fn slow_file() -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir_in("/dev/shm").unwrap();
    let path = directory.path().join("libslow_plugin.so");
    fs::copy(Build::here().fixture("tally"), &path).unwrap();
    OpenOptions::new().write(true).open(&path).unwrap().set_len(LENGTH).unwrap();
    (directory, path)
}

/// A client that has the host load it.
fn begin(lab: &Lab, path: &std::path::Path) -> Child {
    let words = lab.client(&["--json", &format!("plugin load {}", path.display())]);
    let mut client = Command::new(&words[0]);
    client.args(&words[1..]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    client.spawn().unwrap()
}

/// Waits until that many loads have left main to themselves.
fn wait_for_items(lab: &Lab, running: u64) {
    while lab.run("show workqueues").the("Name", "system").count("Running") < running {
        pause(Duration::from_millis(1));
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn main_forwards_and_answers_others_while_a_file_is_read() {
    let (_directory, path) = slow_file();
    for workers in [0, 1] {
        let lab = Lab::options().plugins(&traffic::PLUGINS).workers(workers).start();
        lab.run("plugin load null"); // So that the queue is there to be looked at.
        lab.run("resolve localhost");
        let traffic = Traffic::paced(&lab, 2_000);
        let mut client = begin(&lab, &path);
        wait_for_items(&lab, 1);
        let mut answers = 0;
        let mut longest = 0;
        while client.try_wait().unwrap().is_none() {
            let shown = lab.run("show process cli-session");
            if shown.rows().len() == 2 {
                longest = longest
                    .max(shown.rows().iter().map(|row| row.count("Max-Hold")).max().unwrap());
                answers += 1;
            }
            traffic.flows();
        }
        let Output { status, stdout, stderr } = client.wait_with_output().unwrap();
        assert!(status.success(), "{}", text(&stderr));
        let report = Answer::parse("plugin load", &text(&stdout));
        let us = |column: &str| report.row(0).number(column);
        let elsewhere = us("inspect");
        assert!(elsewhere > 50_000.0 && us("total") > elsewhere + us("map"), "{}", report.json());
        assert!(answers >= 3, "{answers} answers in {elsewhere} us");
        #[expect(clippy::cast_precision_loss, reason = "less than a minute")]
        let longest = longest as f64;
        assert!(longest < elsewhere / 2.0, "a session held main for {longest} of {elsewhere} us");
        assert!(traffic.stop_whole() > 0);
        assert_eq!(lab.run("plugin list").the("Plugin", "fixture-tally").text("State"), "loaded");
        assert!(!lab.log().contains("held"), "{}", lab.log());
        lab.finish();
    }
}

#[test]
fn of_two_loads_of_the_same_plugin_one_wins_and_the_other_is_told() {
    let (_directory, path) = slow_file();
    let lab = Lab::options().plugins(&traffic::PLUGINS).start();
    let fast = Build::here().fixture("tally").display().to_string();
    lab.run("resolve localhost");
    let clients = [begin(&lab, &path), begin(&lab, &path)];
    wait_for_items(&lab, 2);
    // A third one, in a script, is read by main at once: it overtakes both, and goes.
    let script = lab.directory().join("fast.script");
    fs::write(&script, format!("plugin load {fast}\nplugin unload fixture-tally\n")).unwrap();
    lab.run(&format!("exec {}", script.display()));
    let outputs = clients.map(|client| client.wait_with_output().unwrap());
    let (told, won): (Vec<_>, Vec<_>) = outputs.iter().partition(|output| !output.status.success());
    assert_eq!((won.len(), told.len()), (1, 1), "{outputs:?}");
    let reason = text(&told[0].stderr);
    assert!(reason.contains("plugin fixture-tally 0.1.0 is loaded already"), "{reason}");
    assert_eq!(reason.trim_end().lines().count(), 1, "{reason}");
    lab.run("plugin unload fixture-tally");

    // And one that overtakes one stays.
    let client = begin(&lab, &path);
    wait_for_items(&lab, 1);
    fs::write(&script, format!("plugin load {fast}\n")).unwrap();
    lab.run(&format!("exec {}", script.display()));
    let output = client.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("is loaded already"), "{}", text(&output.stderr));
    let file = lab.run("plugin list").the("Plugin", "fixture-tally").text("File").to_owned();
    assert_eq!(file, fast);
    lab.finish();
}

#[test]
fn a_host_ends_while_a_file_is_read() {
    let (_directory, path) = slow_file();
    let mut lab = Lab::options().plugins(&traffic::PLUGINS).start();
    lab.run("resolve localhost");
    let client = begin(&lab, &path);
    wait_for_items(&lab, 1);
    lab.end(Signal::TERM);
    let output = client.wait_with_output().unwrap();
    assert!(!output.status.success());
    assert!(!lab.log().contains("fixture-tally"), "{}", lab.log());
}
