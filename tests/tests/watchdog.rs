//! Who holds a thread is named while it does and after; who overflows its stack is named too.
#![expect(clippy::unwrap_used, reason = "a test may panic where it cannot go on")]

use std::{fs, os::unix::process::ExitStatusExt, process::Command, time::Duration};

use gristmill_tests::{Build, Lab, Traffic, lab::pause, traffic};

/// What a report gets to be written, less than what a fixture spins if nobody releases it.
const PATIENCE: Duration = Duration::from_secs(9);
const TRUSTING: &str = "[host]\ntrust-writable-plugins = true\n";

fn lab(config: &str) -> Lab {
    let lab = Lab::options().plugins(&traffic::PLUGINS).config(config).start();
    load(&lab);
    lab
}

fn load(lab: &Lab) {
    let file = Build::here().fixture("stuck").display().to_string();
    lab.run(&format!("plugin load {file}"));
}

/// Waits for a line of the log with all of `parts`, in this order; gives the lines from there on.
fn logged(lab: &mut Lab, parts: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    lab.eventually(PATIENCE, |lab| {
        let log = lab.log();
        let has = |line: &&str| {
            let mut rest = *line;
            parts.iter().all(|part| match rest.split_once(part) {
                Some((_, after)) => {
                    rest = after;
                    true
                }
                None => false,
            })
        };
        found = log.lines().skip_while(|line| !has(line)).map(str::to_owned).collect();
        !found.is_empty()
    });
    assert!(!found.is_empty(), "nothing says {parts:?}: {}", lab.log());
    found
}

fn release(lab: &Lab) {
    fs::write(lab.directory().join("release"), "").unwrap();
}

/// Traces are written below what they belong to, one line after the other.
fn has_trace(lab: &mut Lab, report: &str, function: &str) {
    logged(lab, &["  0: "]);
    let mut lines = Vec::new();
    let traced = lab.eventually(PATIENCE, |lab| {
        lines = lab.log().lines().map(str::to_owned).collect();
        let at = lines.iter().position(|line| line.contains(report)).unwrap();
        lines[at..].iter().any(|line| line.contains(function))
    });
    assert!(traced, "{function} is not in the trace: {lines:#?}");
}

fn count(lab: &Lab, process: &str, column: &str) -> u64 {
    lab.run(&format!("show process {process}")).the("Name", process).count(column)
}

#[test]
fn a_process_that_holds_main_is_told_while_it_does_and_after_and_is_counted() {
    let mut lab = lab(TRUSTING);
    assert_eq!(count(&lab, "fixture-patient", "Overruns"), 0);
    lab.run("fixture tell fixture-busy spin");

    let stuck = "process \"fixture-busy\" of plugin fixture-stuck";
    let lines = logged(&mut lab, &[stuck, "has held main for", "ms ("]);
    assert!(!lines[0].contains("held main for 0 ms"), "{}", lines[0]);
    has_trace(&mut lab, stuck, "spin_until_released");
    release(&lab);

    logged(&mut lab, &["process fixture-busy of fixture-stuck held main for", "without a wait"]);
    assert!(count(&lab, "fixture-busy", "Overruns") >= 1);
    assert!(count(&lab, "fixture-busy", "Max-Hold") >= 10_000);
    let told = lab.log().matches(stuck).count();
    assert_eq!(told, 1, "one report of one piece of work: {}", lab.log());
    assert!(!lab.log().contains("\"fixture-good\""), "{}", lab.log());
    lab.finish();
}

#[test]
fn a_node_that_holds_a_worker_is_told_while_it_does_and_after() {
    let mut lab = lab(TRUSTING);
    let account = {
        let traffic = Traffic::paced(&lab, 1000);
        lab.run("fixture hold node");
        traffic.account()
    };
    assert_eq!(account.duplicated, 0);

    let stuck = "node fixture-stuck of plugin fixture-stuck has held worker 1 for";
    logged(&mut lab, &[stuck, "ms ("]);
    has_trace(&mut lab, stuck, "spin_until_released");
    release(&lab);

    logged(&mut lab, &["node fixture-stuck of plugin fixture-stuck held worker 1 for", "ms"]);
    lab.run("generator stop generator0");
    lab.finish();
}

#[test]
fn a_command_that_holds_main_is_told_by_its_session_with_where_it_is() {
    let mut lab = lab(TRUSTING);
    let words = lab.client(&["fixture hold main"]);
    let mut client = Command::new(&words[0]).args(&words[1..]).spawn().unwrap();

    let session = "process \"cli-session\" of the host has held main for";
    logged(&mut lab, &[session]);
    has_trace(&mut lab, session, "spin_until_released");
    release(&lab);

    assert!(client.wait().unwrap().success());
    lab.finish();
}

#[test]
fn a_process_with_a_longer_time_of_its_own_is_not_told_and_nobody_is_where_it_is_off() {
    let off = format!("{TRUSTING}[watchdog]\nthreshold-ms = 0\n");
    for (config, process) in [(TRUSTING, "fixture-patient"), (off.as_str(), "fixture-busy")] {
        let lab = lab(config);
        lab.run(&format!("fixture tell {process} spin-shortly"));
        while count(&lab, process, "Max-Hold") < 60_000 {
            pause(Duration::from_millis(5));
        }
        assert!(!lab.log().contains("has held"), "{}", lab.log());
        let overruns = count(&lab, process, "Overruns");
        assert_eq!(overruns > 0, process == "fixture-busy", "{}", lab.log());
        lab.finish();
    }
}

#[test]
fn processes_are_shown_with_what_they_wait_for() {
    let mut lab = lab(TRUSTING);
    let shown = lab.run("show process");
    let mut names = shown.column("Name");
    names.sort_unstable();
    assert_eq!(names, ["cli-session", "fixture-busy", "fixture-good", "fixture-patient"]);
    assert_eq!(shown.the("Name", "cli-session").text("State"), "running");
    let row = shown.the("Name", "fixture-good");
    assert_eq!((row.text("Plugin"), row.count("Stack")), ("fixture-stuck", 128));
    let suspends = row.count("Suspends");
    pause(Duration::from_millis(20));
    assert!(count(&lab, "fixture-good", "Suspends") > suspends);
    let waits = |lab: &mut Lab| {
        let shown = lab.run("show process fixture-good"); // It may be ready at this moment.
        shown.text(0, "Waiting-For") == "order, clock"
    };
    assert!(lab.eventually(PATIENCE, waits), "{}", lab.run("show process").json());
    let reason = lab.refused("show process nobody");
    assert!(reason.contains("no process is called \"nobody\""), "{reason}");
    lab.finish();
}

#[test]
fn a_process_that_overflows_its_stack_is_named_and_ends_the_host() {
    let mut lab = Lab::options().config(TRUSTING).plugins(&traffic::PLUGINS).start();
    load(&lab);
    let _ = lab.try_run("fixture tell fixture-busy recurse"); // The answer may come too late.

    let status = lab.wait();

    assert_eq!(status.signal(), Some(11), "{}", lab.log());
    let version = env!("CARGO_PKG_VERSION");
    let told = format!(
        "process \"fixture-busy\" of plugin fixture-stuck {version} overflowed its stack of 128 KiB"
    );
    assert!(lab.log().contains(&told), "{}", lab.log());
}
