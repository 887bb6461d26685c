//! Processes of a plugin, in a host that forwards.

use std::{
    io::{Write, stderr},
    process::Stdio,
    time::Duration,
};

use gristmill_tests::{
    Between, Build, Flood, Lab, Link, Shape, Traffic,
    between::{LEFT, RIGHT},
    flood::Account,
    lab::pause,
    need_root, need_tool, traffic,
};

const PATIENCE: Duration = Duration::from_secs(300);

fn load(lab: &Lab) {
    lab.run(&format!("plugin load {}", Build::here().fixture("processes").display()));
}

fn lab(workers: u32) -> Lab {
    let plugins = [traffic::PLUGINS[0], "ip4", traffic::PLUGINS[1]];
    let lab = Lab::options().plugins(&plugins).workers(workers).start();
    load(&lab);
    lab
}

/// A count of the fixture's.
fn count(lab: &Lab, name: &str) -> u64 {
    let shown = lab.run("show fixture-processes");
    let (_, rows) = shown.tables().nth(1).expect("two tables");
    rows.iter().find(|row| row.text("name") == name).expect(name).count("count")
}

/// What was sent and what was taken of it, by sender.
fn events(lab: &Lab) -> Vec<(String, u64, u64)> {
    let shown = lab.run("show fixture-processes");
    let (_, rows) = shown.tables().next().expect("two tables");
    let of = rows
        .iter()
        .map(|row| (row.text("sender").to_owned(), row.count("sent"), row.count("taken")));
    of.collect()
}

/// Whether something comes true while one may be patient, which is looked at now and then.
fn eventually(lab: &Lab, done: impl Fn(&Lab) -> bool) -> bool {
    (0..PATIENCE.as_millis() / 10).any(|_| {
        pause(Duration::from_millis(10));
        done(lab)
    })
}

/// Events from threads, nodes of workers and of main, a timer, a descriptor, an interval timer and
/// the future arrive whole and in order.
fn events_from_everywhere(workers: u32) {
    let each: u64 =
        std::env::var("GRISTMILL_EVENTS").map_or(50_000, |each| each.parse().expect("a number"));
    let lab = lab(workers);
    let traffic = Traffic::flat_out(&lab);
    lab.run(&format!("fixture processes flood {each}"));
    let done = |lab: &Lab| {
        events(lab).iter().all(|(sender, _, taken)| match sender.as_str() {
            "thread" => *taken >= each,
            "file" => *taken >= 100,
            "delayed" => *taken >= 50,
            "timer" | "interval" => *taken >= 10,
            _ => true,
        })
    };
    assert!(eventually(&lab, done), "{}", lab.run("show fixture-processes").json());
    traffic.flows();
    traffic.stop_whole();
    let settled = |lab: &Lab| {
        let all = events(lab);
        let fixed = all.iter().filter(|(sender, ..)| sender != "timer" && sender != "interval");
        fixed.into_iter().all(|(_, sent, taken)| sent == taken)
    };
    assert!(eventually(&lab, settled), "{:?}", events(&lab));
    let all = events(&lab);
    let sent = |name: &str| all.iter().filter(|row| row.0 == name).map(|row| row.1).sum::<u64>();
    assert_eq!((sent("thread"), sent("file"), sent("delayed")), (2 * each, 100, 50));
    assert!(sent("node") > 10, "{all:?}");
    assert_eq!(count(&lab, "out-of-order"), 0);
    assert!(count(&lab, "batches") < sent("thread"), "a batch is all that has come");
    assert!(eventually(&lab, |lab| count(lab, "slept") > 10), "futures sleep");
    lab.finish();
}

#[test]
fn events_from_everywhere_arrive_whole_where_main_forwards() {
    events_from_everywhere(0);
}

#[test]
fn events_from_everywhere_arrive_whole_with_two_workers() {
    events_from_everywhere(2);
}

#[test]
fn an_unloaded_plugins_processes_are_told_unwound_and_gone() {
    let lab = lab(1);
    let traffic = Traffic::flat_out(&lab);
    lab.run("fixture processes flood 1000000000");
    for _ in 0..3 {
        pause(Duration::from_millis(50));
        assert!(lab.run("show process").find("Plugin", "fixture-processes").is_some());
        assert!(lab.run("show files").find("Name", "fixture-file").is_some());
        lab.run("plugin unload fixture-processes");
        assert!(lab.run("show process").find("Plugin", "fixture-processes").is_none());
        assert!(lab.run("show files").find("Name", "fixture-file").is_none());
        load(&lab);
        assert_eq!(count(&lab, "cancelled"), 0, "its state is fresh");
        lab.run("fixture processes flood 1000000000");
    }
    assert!(!lab.log().contains(" error "), "{}", lab.log());
    traffic.flows();
    traffic.stop_whole();
    lab.finish();
}

#[test]
fn one_time_events_and_the_ends_of_others_are_waited_for() {
    let lab = lab(1);
    lab.run("fixture processes ask 200"); // More than there are numbers of events.
    assert!(eventually(&lab, |lab| count(lab, "asked") == 200), "{}", lab.log());
    assert!(eventually(&lab, |lab| lab.run("show process").find("Name", "child").is_none()));
    assert!(!lab.log().contains(" error "), "{}", lab.log());
    lab.finish();
}

#[test]
fn a_process_that_does_not_end_is_parked_and_its_plugin_drains() {
    let lab = lab(0);
    let traffic = Traffic::flat_out(&lab);
    lab.run("fixture processes deaf");
    lab.run("plugin unload fixture-processes");
    let log = lab.log();
    assert!(
        log.contains("process deaf of fixture-processes waited on though it is to end"),
        "{log}"
    );
    let plugins = lab.run("show plugins");
    let state = plugins.the("Plugin", "fixture-processes").text("State");
    assert_eq!(state, "draining: 1 processes are parked");
    load(&lab); // Another generation of the same code.
    let plugins = lab.run("show plugins");
    let rows = plugins.rows();
    let states = rows.iter().filter(|row| row.text("Plugin") == "fixture-processes");
    assert_eq!(states.map(|row| row.text("State")).collect::<Vec<_>>(), ["loaded", state]);
    lab.run("plugin unload fixture-processes");
    traffic.flows();
    traffic.stop_whole();
    lab.finish();
}

#[test]
fn a_process_that_panics_begins_again_and_the_others_do_not_notice() {
    let lab = lab(1);
    let traffic = Traffic::flat_out(&lab);
    for runs in 1..=3 {
        assert!(eventually(&lab, |lab| count(lab, "runs") == runs), "run {runs}");
        let slept = count(&lab, "slept");
        lab.run("fixture processes fail");
        assert!(eventually(&lab, |lab| count(lab, "slept") > slept), "run {runs}");
    }
    assert!(eventually(&lab, |lab| count(lab, "runs") == 4));
    let log = lab.log();
    let lines: Vec<_> =
        log.lines().filter(|line| line.contains("process flaky of fixture-processes")).collect();
    assert_eq!(lines.len(), 3, "{log}");
    for (line, pause) in lines.iter().zip([20, 40, 80]) {
        assert!(line.contains("told to panic"), "{line}");
        assert!(line.contains(&format!("begins again in {pause} ms")), "{line}");
    }
    let shown = lab.run("show process");
    let flaky = shown.the("Name", "flaky");
    assert_eq!((flaky.count("Restarts"), flaky.text("State")), (3, "waiting"));
    traffic.flows();
    traffic.stop_whole();
    lab.finish();
}

#[test]
fn a_long_command_gives_its_slices_away_and_holds_its_plugin() {
    let lab = lab(0);
    let traffic = Traffic::flat_out(&lab);
    let words = lab.client(&["fixture", "processes", "long"]);
    let long = std::process::Command::new(&words[0])
        .args(&words[1..])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    assert!(eventually(&lab, |lab| count(lab, "long") > 1000), "it runs, and we are answered");
    let refused = lab.refused("plugin unload fixture-processes");
    assert!(refused.contains("a command of it that is not over yet"), "{refused}");
    traffic.flows(); // Main forwards, and the command is main's.
    lab.run("fixture processes stop");
    let output = long.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "told to stop\n");
    traffic.stop_whole();
    lab.run("plugin unload fixture-processes");
    lab.finish();
}

#[test]
fn a_million_routes_are_added_by_a_process_and_no_packet_is_lost() {
    if !(need_root() && need_tool("ip")) {
        return;
    }
    let routes: u64 = 1_000_000;
    let between = Between::start(Shape { workers: 0, ..Shape::of(Link::Tap) });
    load(&between.lab);
    let flood = Flood::between((&between.left, "left", LEFT), (&between.right, "right", RIGHT));
    let capacity = flood.capacity(Duration::from_millis(700));
    let right = RIGHT.split('/').next().unwrap();
    let (mut pace, mut account, mut added) = (capacity / 5, Account::default(), 0);
    for _ in 0..3 {
        account = flood.paced(pace, || {
            let lab = &between.lab;
            lab.run(&format!("fixture processes routes {routes} {right}"));
            added += routes;
            assert!(eventually(lab, |lab| count(lab, "routes") == added));
        });
        if account.kernel_drops == 0 {
            break;
        }
        pace /= 2;
    }
    let shown = between.lab.run("show process router");
    let _ = writeln!(stderr(), "{capacity}/s, paced at {pace}: {account:?}; {}", shown.json());
    let sent = account.sent;
    assert!(sent > 1_000, "{account:?}");
    assert_eq!(account, Account { sent, received: sent, ..Account::default() });
    between.finish();
}

#[test]
fn a_live_view_repeats_a_command_until_its_times_are_over() {
    let lab = lab(0);
    let words = lab.client(&["watch", "100ms", "times", "3", "show", "version"]);
    let output = lab.output(&words);
    assert!(output.status.success(), "{output:?}");
    let version = lab.output(&lab.client(&["show", "version"])).stdout;
    assert_eq!(output.stdout, version.repeat(3));
    for (command, reason) in [
        ("watch 10ms show version", "an interval is 100ms at least"),
        ("watch 1s show nonsense", "unknown input"),
    ] {
        let refused = lab.refused(command);
        assert!(refused.contains(reason), "{command}: {refused}");
    }
    lab.finish();
}

#[test]
fn a_live_view_ends_when_its_client_leaves() {
    let lab = lab(0);
    let words = lab.client(&["watch", "100ms", "show", "version"]);
    let mut client = std::process::Command::new(&words[0])
        .args(&words[1..])
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let views = |lab: &Lab| {
        lab.run("show files")
            .rows()
            .iter()
            .filter(|row| row.text("Name") == "cli-live-view")
            .count()
    };
    assert!(eventually(&lab, |lab| views(lab) == 1));
    client.kill().unwrap();
    client.wait().unwrap();
    assert!(eventually(&lab, |lab| views(lab) == 0));
    let sessions = lab.run("show process");
    let sessions = sessions.rows().iter().filter(|row| row.text("Name") == "cli-session").count();
    assert_eq!(sessions, 1, "the one that asks");
    lab.finish();
}
