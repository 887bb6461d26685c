//! How receive queues are served: polled, waited for, or what suits the load; on which thread; and
//! nodes that are called at their times and when they are marked.

use std::{
    io::{Write as _, stderr},
    time::Duration,
};

use gristmill_tests::{
    Answer, Between, Build, Flood, Lab, Link, Shape,
    between::{LEFT, RIGHT},
    flood::Account,
    lab::pause,
    need_root, need_tool,
};

/// How long the capacity is measured.
const MEASURED: Duration = Duration::from_millis(700);
/// Times that a flood is tried, half as fast each, where the kernel drops.
const TRIES: u32 = 3;
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two changes under traffic.
const BETWEEN: Duration = Duration::from_millis(30);

fn can_run() -> bool {
    need_root() && need_tool("ip") && need_tool("ping")
}

fn start(link: Link, workers: u32) -> Between {
    Between::start(Shape { workers, ..Shape::of(link) })
}

/// The states of the host's queues, the left interface's first.
fn states(lab: &Lab) -> Vec<String> {
    let shown = lab.run("show interface rx-placement");
    shown.column("State").into_iter().map(str::to_owned).collect()
}

/// The threads of the host's queues.
fn threads(answer: &Answer) -> Vec<u64> {
    answer.rows().iter().map(|row| row.count("Thread")).collect()
}

/// So many pings to the other side, all answered, however late: more threads may poll than there are
/// processors.
fn answered(between: &Between, count: u32) {
    let ping = format!("ping -n -c {count} -i 0.01 -w 20 {RIGHT}");
    let told = between.left.run(&ping);
    let all =
        told.contains(&format!("{count} packets transmitted, {count} received, 0% packet loss"));
    let shown = |what: &str| between.lab.run(what).json().to_string();
    assert!(
        all,
        "{told}{}\n{}\n{}",
        shown("show interface rx-placement"),
        shown("show interface"),
        shown("show errors")
    );
}

/// Numbered datagrams cross the host at a fifth of what it can while something changes.
fn flooded(between: &Between, meanwhile: impl Fn(&Lab)) {
    let flood = Flood::between((&between.left, "left", LEFT), (&between.right, "right", RIGHT));
    let capacity = flood.capacity(MEASURED);
    let mut pace = capacity / 5;
    let mut account = Account::default();
    for _ in 0..TRIES {
        account = flood.paced(pace, || meanwhile(&between.lab));
        if account.kernel_drops == 0 {
            break;
        }
        pace /= 2;
    }
    let _ = writeln!(stderr(), "{:?}: {capacity}/s; {account:?}", between.link);
    let sent = account.sent;
    assert!(sent > 1_000, "{account:?}");
    let whole = Account { sent, received: sent, ..Account::default() };
    assert_eq!(account, whole, "{}", between.lab.run("show errors").json());
}

#[test]
fn modes_change_under_traffic_and_no_datagram_is_missing() {
    if !can_run() {
        return;
    }
    for (link, workers) in [(Link::Tap, 1), (Link::Veth, 0)] {
        let between = start(link, workers);
        flooded(&between, |lab| {
            for mode in ["interrupt", "polling", "adaptive", "interrupt", "adaptive", "polling"] {
                for interface in link.interfaces() {
                    pause(BETWEEN);
                    lab.run(&format!("set interface rx-mode {interface} {mode}"));
                }
                let shown = lab.run("show interface rx-placement");
                assert_eq!(shown.column("Mode"), [mode; 2]);
                let fixed = if mode == "adaptive" { None } else { Some(mode) };
                assert!(fixed.is_none_or(|state| {
                    pause(BETWEEN);
                    states(lab) == [state; 2]
                }));
            }
        });
        between.finish();
    }
}

#[test]
fn a_flood_has_an_adaptive_queue_polled_and_when_it_ends_it_is_waited_for() {
    if !can_run() {
        return;
    }
    for workers in [0, 1] {
        let mut between = start(Link::Tap, workers);
        assert!(between.lab.eventually(PATIENCE, |lab| states(lab) == ["interrupt"; 2]));
        let switches = |lab: &Lab| lab.run("show interface rx-placement tap0").count(0, "Switches");
        assert_eq!(switches(&between.lab), 0, "a few packets are no load");
        let flood = Flood::between((&between.left, "left", LEFT), (&between.right, "right", RIGHT));
        flood.capacity(MEASURED);
        drop(flood);
        let flooded = switches(&between.lab);
        assert!(flooded >= 2, "to polling and back: {flooded}");
        let shown = between.lab.run("show interface rx-placement");
        assert!(between.lab.eventually(PATIENCE, |lab| states(lab) == ["interrupt"; 2]));
        let _ = writeln!(stderr(), "{workers} workers: {}", shown.json());
        let switched = switches(&between.lab);
        answered(&between, 20);
        assert_eq!(switches(&between.lab), switched, "pings are no load");
        between.finish();
    }
}

#[test]
fn queues_are_placed_on_main_and_workers_and_all_of_them_forward() {
    if !can_run() {
        return;
    }
    for workers in [0, 2] {
        let between = start(Link::Tap, workers);
        let lab = &between.lab;
        answered(&between, 5);
        let placed = |left: &str, right: &str| {
            for (interface, place) in Link::Tap.interfaces().into_iter().zip([left, right]) {
                lab.run(&format!("set interface rx-placement {interface} queue 0 {place}"));
            }
            threads(&lab.run("show interface rx-placement"))
        };
        assert_eq!(placed("main", "main"), [0, 0]);
        for mode in ["polling", "interrupt", "adaptive"] {
            for interface in Link::Tap.interfaces() {
                lab.run(&format!("set interface rx-mode {interface} {mode}"));
            }
            answered(&between, 5);
            if workers == 2 {
                assert_eq!(placed("main", "worker 2"), [0, 2]);
                answered(&between, 5);
                assert_eq!(placed("worker 2", "worker 1"), [2, 1]);
                answered(&between, 5);
                assert_eq!(placed("main", "main"), [0, 0]);
            }
        }
        // What is refused changes nothing.
        for (command, reason) in [
            ("tap0 worker 9", "there is no thread 9"),
            ("tap0 queue 4 main", "there is no rx queue 4 of \"tap0\": it has 1"),
            ("tap0", "say where"),
            ("tap0 worker 1 main", "say where"),
            ("tap0 worker 0", "say where"),
        ] {
            let told = lab.refused(&format!("set interface rx-placement {command}"));
            assert!(told.contains(reason), "{command}: {told}");
        }
        assert_eq!(threads(&lab.run("show interface rx-placement")), [0, 0]);
        between.finish();
    }
}

#[test]
fn queues_are_placed_elsewhere_under_traffic_and_no_datagram_is_missing() {
    if !can_run() {
        return;
    }
    for link in [Link::Tap, Link::Veth] {
        let between = start(link, 2);
        flooded(&between, |lab| {
            for place in ["main", "worker 2", "worker 1", "main", "worker 1", "worker 2"] {
                for interface in link.interfaces() {
                    pause(BETWEEN);
                    lab.run(&format!("set interface rx-placement {interface} {place}"));
                }
            }
        });
        assert_eq!(threads(&between.lab.run("show interface rx-placement")), [2, 2]);
        between.finish();
    }
}

#[test]
fn queues_go_with_workers_that_come_and_go_and_no_datagram_is_missing() {
    if !can_run() {
        return;
    }
    let between = start(Link::Tap, 1);
    between.lab.run("set interface rx-placement tap1 main");
    flooded(&between, |lab| {
        for workers in [2, 0, 3, 1] {
            pause(BETWEEN);
            lab.run(&format!("set workers {workers}"));
            let placed = threads(&lab.run("show interface rx-placement"));
            assert_eq!((placed[0] > 0, placed[1]), (workers > 0, 0), "{workers}: {placed:?}");
        }
    });
    answered(&between, 5);
    between.finish();
}

#[test]
fn nodes_are_shown_as_each_thread_dispatches_them() {
    if !can_run() {
        return;
    }
    let mut between = start(Link::Tap, 1);
    between.lab.run("set interface rx-mode tap0 polling");
    between.lab.run("set interface rx-placement tap1 main");
    assert!(between.lab.eventually(PATIENCE, |lab| states(lab) == ["polling", "interrupt"]));
    let shown = between.lab.run("show runtime all");
    let state = |thread: usize, node: &str| {
        let (_, rows) = shown.tables().nth(thread).unwrap();
        let row = rows.iter().find(|row| row.text("Name") == node).unwrap();
        row.text("State").to_owned()
    };
    for (node, main, worker) in [
        ("tap0-input", "disabled", "polling"),
        ("tap1-input", "interrupt", "disabled"),
        ("ip4-lookup", "active", "active"),
        ("ip4-neighbor", "polling", "polling"),
    ] {
        assert_eq!((state(0, node), state(1, node)), (main.into(), worker.into()), "{node}");
    }
    between.finish();
}

#[test]
fn a_queue_without_a_descriptor_can_only_be_polled() {
    let lab = Lab::options().plugins(&["generator", "null"]).start();
    lab.run("create generator");
    lab.run("create null");
    for mode in ["interrupt", "adaptive"] {
        let told = lab.refused(&format!("set interface rx-mode generator0 {mode}"));
        let reason = format!(
            "rx queue 0 of \"generator0\" cannot be {mode}: it has no descriptor to wait for"
        );
        assert!(told.contains(&reason), "{told}");
    }
    lab.run("set interface rx-mode generator0 polling");
    let shown = lab.run("show interface rx-placement");
    assert_eq!((shown.text(0, "Mode"), shown.text(0, "State")), ("polling", "disabled"));
    assert_eq!(shown.rows().len(), 1, "null0 receives nothing");
    let told = lab.refused("set interface rx-mode null0 polling");
    assert!(told.contains("interface \"null0\" has no rx queue"), "{told}");
    lab.finish();
}

fn sched(lab: &Lab, thread: u32, column: &str) -> u64 {
    lab.run("show fixture-sched").count(thread as usize, column)
}

#[test]
fn a_sched_node_is_called_at_its_times_on_every_thread_and_splices_do_not_disturb_it() {
    let mut lab = Lab::options().workers(2).plugins(&["null"]).start();
    lab.run(&format!("plugin load {}", Build::here().fixture("sched").display()));
    for _ in 0..10 {
        lab.run("create null"); // A splice.
    }
    for thread in 0..3 {
        assert!(lab.eventually(PATIENCE, |lab| sched(lab, thread, "Calls") == 21));
    }
    pause(Duration::from_millis(50));
    let shown = lab.run("show fixture-sched");
    let _ = writeln!(stderr(), "{}", shown.json());
    for thread in 0..3 {
        assert_eq!((shown.count(thread, "Calls"), shown.count(thread, "Early")), (21, 0));
        let latest = Duration::from_nanos(shown.count(thread, "Latest"));
        assert!(latest < Duration::from_secs(1), "{latest:?}");
    }
    // Marked, on one thread and on all.
    lab.run("fixture mark beat thread 2");
    assert!(lab.eventually(PATIENCE, |lab| sched(lab, 2, "Calls") == 22));
    lab.run("fixture mark beat");
    for (thread, calls) in [(0, 22), (1, 22), (2, 23)] {
        assert!(lab.eventually(PATIENCE, |lab| sched(lab, thread, "Calls") == calls));
    }
    assert!(lab.refused("fixture mark beat thread 7").contains("there is no"));
    lab.run("plugin unload fixture-sched");
    lab.finish();
}

#[test]
fn an_input_is_dispatched_when_it_is_marked_and_its_thread_sleeps_meanwhile() {
    let mut lab = Lab::options().workers(1).plugins(&["null"]).start();
    lab.run(&format!("plugin load {}", Build::here().fixture("sched").display()));
    let refused = lab.run("show fixture-sched");
    assert!(refused.lines()[0].contains("\"fixture-nothing\" is neither"), "{refused:?}");
    assert_eq!((sched(&lab, 0, "Dispatches"), sched(&lab, 1, "Dispatches")), (0, 0));
    assert!(lab.eventually(PATIENCE, |lab| sched(lab, 1, "Calls") == 21));
    for (times, thread) in [(1, 0), (2, 1), (3, 1)] {
        lab.run(&format!("fixture mark bell thread {thread}"));
        let expected = times - u64::from(thread);
        assert!(lab.eventually(PATIENCE, |lab| sched(lab, thread, "Dispatches") == expected));
    }
    // By a thread of the plugin's own, which the worker cannot keep up with or sleeps before.
    lab.run("fixture mark bell thread 1 times 10000");
    assert!(lab.eventually(PATIENCE, |lab| sched(lab, 1, "Asked") == 10_000));
    pause(Duration::from_millis(20));
    let dispatched = sched(&lab, 1, "Dispatches") - 2;
    assert!((1..=10_000).contains(&dispatched), "{dispatched}");
    let shown = lab.run("show runtime all");
    assert_eq!(shown.the("Name", "fixture-bell").text("State"), "interrupt");
    assert_eq!(shown.the("Name", "fixture-beat").text("Kind"), "sched");
    lab.run("plugin unload fixture-sched");
    lab.finish();
}
