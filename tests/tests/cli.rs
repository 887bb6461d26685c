//! The host and its client as their users meet them: exit codes, JSON, signals, bad input.
#![expect(clippy::unwrap_used, reason = "a test may panic where it cannot go on")]

use std::{fs, os::unix::fs::PermissionsExt, path::Path, process::Command, time::Duration};

use gristmill_tests::{Build, Lab};
use rustix::process::Signal;
use serde_json::json;

/// How to call the host's own commands that need arguments, or that do something; the others,
/// which only show, are called as they are.
const CALLS: [(&str, &str); 27] = [
    ("clear barrier", "clear barrier"),
    ("clear errors", "clear errors"),
    ("clear logging", "clear logging"),
    ("clear punt", "clear punt"),
    ("clear runtime", "clear runtime"),
    ("clear trace", "clear trace"),
    ("comment", "comment nothing"),
    ("exec", "exec more.script"),
    ("exit", "exit"),
    ("help", "help show node"),
    ("plugin list", "plugin list"),
    ("plugin load", "plugin load pcap"),
    ("plugin unload", "plugin unload pcap"),
    ("q", "q"),
    ("quit", "quit"),
    ("resolve", "resolve localhost"),
    ("set interface feature", "set interface feature null7 fixture-tally arc fixture-tally"),
    ("set interface rx-mode", "set interface rx-mode generator0 polling"),
    ("set interface rx-placement", "set interface rx-placement generator0 queue 0 main"),
    ("set interface state", "set interface state null7 up"),
    ("set logging class", "set logging class acme/flows level debug rate 5"),
    ("set logging file", "set logging file off"),
    ("set punt tap", "set punt tap null7"),
    ("set workers", "set workers 2"),
    ("show node", "show node error-drop"),
    ("trace add", "trace add error-drop 3"),
    ("watch", "watch 100ms times 1 show version"),
];

fn output(lab: &Lab, arguments: &[&str]) -> (i32, String, String) {
    let output = lab.output(&lab.client(arguments));
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn the_client_ends_with_0_if_it_worked_1_if_it_did_not_and_2_if_there_is_no_host() {
    let mut lab = Lab::options().plugins(&["null"]).start();
    let (code, out, err) = output(&lab, &["show", "version"]);
    assert_eq!((code, err.as_str()), (0, ""));
    assert!(out.starts_with("gristmill v") && out.ends_with(")\n"), "{out}");
    let (code, out, err) = output(&lab, &["show", "nothing"]);
    assert_eq!((code, out.as_str()), (1, ""));
    assert!(err.contains("unknown input `nothing'"), "{err}");
    let (code, out, err) = output(&lab, &["create null id 0"]);
    assert_eq!((code, out.as_str(), err.as_str()), (0, "null0\n", ""));
    let (code, _, err) = output(&lab, &["create null id 0"]);
    assert_eq!((code, err.contains("null0")), (1, true), "a plugin's own reason: {err}");
    lab.end(Signal::TERM);
    let (code, out, err) = output(&lab, &["show", "version"]);
    assert_eq!((code, out.as_str()), (2, ""));
    assert!(err.contains(lab.socket().to_str().unwrap()), "{err}");
}

#[test]
fn json_has_the_cells_typed_under_the_names_of_their_columns() {
    let lab = Lab::options().plugins(&["null"]).start();
    lab.run("create null");
    let answer = lab.run("show interface");
    let table = &answer.json()["tables"][0];
    let columns = table["columns"].as_array().unwrap();
    let names: Vec<&str> = columns.iter().map(|column| column["name"].as_str().unwrap()).collect();
    let row = table["rows"][0].as_object().unwrap();
    assert_eq!(row.keys().count(), names.len());
    assert!(names.iter().all(|name| row.contains_key(*name)), "{table}");
    assert_eq!(
        (&row["Name"], &row["Idx"], &row["State"], &row["rx-packets"]),
        (&json!("null0"), &json!(0), &json!("down"), &json!(0))
    );
    assert_eq!(lab.run("show version").json()["tables"], json!([]));
    assert_eq!(lab.run("show version").lines().len(), 1);
    let report = lab.run("plugin load generator");
    assert!(report.row(0).number("total") > 0.0, "a load says what it cost: {report:?}");
    lab.finish();
}

#[test]
fn every_command_of_the_host_runs() {
    let plain = Lab::options().plugins(&["null"]).start();
    plain.run("plugin unload null");
    let answer = plain.run("?");
    let commands = answer.column("Command");
    plain.finish();
    let stale = CALLS.iter().filter(|(known, _)| !commands.contains(known)).collect::<Vec<_>>();
    assert!(stale.is_empty(), "no longer commands of the host: {stale:?}");

    // With plugins, whose commands share words with the host's.
    let tally = Build::here().fixture("tally").display().to_string();
    let script = "create null id 7\nset interface state null7 up\ncreate generator\n";
    let plugins = ["ethernet", "null", "generator", &tally];
    let lab = Lab::options().plugins(&plugins).script(script).start();
    fs::write(lab.directory().join("more.script"), "comment nothing\nshow version\n").unwrap();
    for command in commands {
        let call = CALLS.iter().find(|(known, _)| *known == command).map(|(_, call)| *call);
        assert!(
            call.is_some() || command.starts_with("show "),
            "`{command}' is new: say above how to call it"
        );
        lab.run(call.unwrap_or(command));
        lab.run(&format!("help {command}"));
    }
    lab.finish();
}

#[test]
fn a_name_is_asked_of_the_resolver_by_a_work_thread_and_the_reason_is_said_if_there_is_none() {
    let lab = Lab::options().plugins(&["null"]).start();
    let answer = lab.run("resolve localhost");
    let addresses = answer.column("Address");
    assert!(addresses.iter().all(|address| ["127.0.0.1", "::1"].contains(address)));
    assert!(!addresses.is_empty());
    assert_eq!(lab.run("resolve 127.0.0.7").text(0, "Family"), "ip4");
    let no_name = "x".repeat(70); // Too long a label to be asked for.
    let reason = lab.refused(&format!("resolve {no_name}"));
    let expected = format!("resolve: the resolver has no address of \"{no_name}\": ");
    assert!(reason.contains(&expected), "{reason}");
    assert_eq!(lab.run("show workqueues").the("Name", "system").count("Done"), 3);
    lab.finish();
}

#[test]
fn both_signals_end_the_host_cleanly_and_take_its_socket_away() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut lab = Lab::options().plugins(&["ethernet", "generator", "null"]).start();
        assert_eq!(fs::metadata(lab.socket()).unwrap().permissions().mode() & 0o777, 0o660);
        lab.run("create generator");
        lab.run("set interface state generator0 up");
        lab.run("generator stream generator0 name flow");
        lab.run("generator start");
        lab.end(signal);
        assert!(!lab.socket().exists());
    }
}

#[test]
fn a_host_ends_at_once_though_its_threads_sleep() {
    for workers in [0, 1, 3] {
        let lab = Lab::options().workers(workers).plugins(&["null"]).start();
        let threads = lab.run("show threads");
        assert_eq!(u32::try_from(threads.rows().len()), Ok(workers + 1));
        lab.finish();
    }
}

#[test]
fn a_bad_line_of_the_configuration_is_named_by_file_line_and_column() {
    for (config, place) in [
        ("[host]\nworkers = \"many\"\n", "gristmill.toml:2:11"),
        ("[host]\nworkers = 1\n\n[cli\n", "gristmill.toml:4:5"),
        ("[host]\n  wrokers = 1\n", "gristmill.toml:2:3"),
    ] {
        let mut lab = Lab::options().config(config).spawn();
        let status = lab.wait();
        assert_eq!(status.code(), Some(1));
        let log = lab.log();
        assert_eq!(log.lines().count(), 1, "{log}");
        assert!(log.contains(&format!("{place}: ")), "not {place}: {log}");
    }
}

#[test]
fn a_bad_line_of_the_start_script_is_named_by_file_and_line() {
    let script = "# nothing\n\nshow version\nshow nothing\n";
    let mut lab = Lab::options().script(script).plugins(&["null"]).spawn();
    assert_eq!(lab.wait().code(), Some(1));
    assert!(lab.log().contains("start.script:4: show: unknown input `nothing'"), "{}", lab.log());
}

#[test]
fn a_plugin_that_is_asked_for_and_does_not_load_ends_the_host() {
    let mut lab = Lab::options().plugins(&["nowhere"]).spawn();
    assert_eq!(lab.wait().code(), Some(1));
    assert!(lab.log().contains("no plugin nowhere: looked for libnowhere_plugin.so in"));
    assert!(!lab.socket().exists());
}

#[test]
fn a_second_host_does_not_take_the_first_ones_socket() {
    let first = Lab::options().plugins(&["null"]).start();
    let socket = first.socket().to_str().unwrap();
    let config = first.directory().join("gristmill.toml");
    let second = Command::new(Build::here().host())
        .arg("--config")
        .arg(&config)
        .args(["--plugin", "null", "--workers", "0", "--cli-socket", socket])
        .output()
        .unwrap();
    assert_eq!(second.status.code(), Some(1));
    let said = String::from_utf8_lossy(&second.stderr);
    assert!(said.contains(socket), "{said}");
    first.run("show version");
    first.finish();
}

#[test]
fn the_socket_of_a_host_that_was_killed_is_taken_over() {
    let mut killed = Lab::options().plugins(&["null"]).start();
    killed.signal(Signal::KILL);
    assert!(!killed.wait().success());
    let socket = killed.socket().to_str().unwrap().to_owned();
    assert!(Path::new(&socket).exists());
    let mut next = Lab::options().plugins(&["null"]).socket(&socket).spawn();
    let patience = Duration::from_secs(10);
    assert!(next.eventually(patience, |next| next.try_run("show version").is_ok()));
    next.finish();
}
