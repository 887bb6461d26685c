//! The log in a file, and what is done while nobody takes it.

use std::{fs, os::unix::fs::PermissionsExt};

use gristmill_tests::{Build, Lab, lab::until};

fn config(file: &str) -> String {
    format!("[host]\ntrust-writable-plugins = true\n[log]\nfile = \"{file}\"\n")
}

fn load_and_unload(lab: &Lab) {
    lab.run(&format!("plugin load {}", Build::here().fixture("tally").display()));
    lab.run("plugin unload fixture-tally");
}

#[test]
fn the_log_is_in_its_file_from_the_first_line_to_the_last_across_a_rotation() {
    let mut lab = Lab::options().config(&config("host.log")).plugins(&["null"]).start();
    let (path, moved) = (lab.directory().join("host.log"), lab.directory().join("host.log.1"));
    let read = |path: &std::path::Path| fs::read_to_string(path).unwrap_or_default();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o137, 0);
    load_and_unload(&lab);
    assert!(until(|| read(&path).contains("fixture-tally unloaded")), "{}", read(&path));
    fs::rename(&path, &moved).unwrap();
    assert_eq!(lab.run(&format!("set logging file {}", path.display())).lines().len(), 1);
    load_and_unload(&lab);
    assert!(until(|| read(&path).contains("fixture-tally unloaded")), "{}", read(&path));
    let queues = lab.run("show workqueues");
    assert!(queues.find("Name", "log").is_some() && queues.find("Name", "log-file").is_some());
    lab.run("set logging file off");
    load_and_unload(&lab);
    lab.run(&format!("set logging file {}", path.display()));
    load_and_unload(&lab);
    lab.end(rustix::process::Signal::TERM);

    let count = |text: &str| text.matches("fixture-tally unloaded").count();
    assert_eq!((count(&read(&moved)), count(&read(&path)), count(&lab.log())), (1, 2, 4));
    assert!(read(&moved).lines().next().unwrap().contains("null"), "{}", read(&moved));
    assert!(!lab.log().contains("does not end"), "{}", lab.log());
}

#[test]
fn a_log_file_that_cannot_be_opened_is_said_and_ends_the_start_but_no_host_that_runs() {
    let mut lab = Lab::options().config(&config("none/host.log")).plugins(&["null"]).spawn();
    assert_eq!(lab.wait().code(), Some(1));
    let log = lab.log();
    assert!(log.contains("cannot open the log file ") && log.contains("No such file"), "{log}");

    let lab = Lab::options().plugins(&["null"]).start();
    let refused = lab.refused("set logging file none.log");
    assert!(refused.contains("begins with `/'"), "{refused}");
    let refused = lab.refused("set logging file /dev/null");
    assert!(refused.contains("/dev/null is not a regular file"), "{refused}");
    lab.finish();
}
