//! A host with nothing to do: 1,000 processes wait, receive queues are waited for, and nobody is woken.

use std::{fs, path::PathBuf, time::Duration};

use gristmill_tests::{
    Between, Build, Lab, Link, Shape, between::RIGHT, lab::pause, need_root, need_tool, rest,
};

/// How long it is watched.
const WATCHED: Duration = Duration::from_secs(5);
/// Wake-ups while two commands are answered: the socket, the session's process, the log.
const ANSWERS: u64 = 40;

/// Voluntary switches, and ticks on a processor, of all threads of a process.
fn used(pid: u32) -> (u64, u64) {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("the kernel tells of a thread");
    let of = tasks.map(|task| of_task(task.expect("the kernel tells of a thread").path()));
    of.fold((0, 0), |sum, task| (sum.0 + task.0, sum.1 + task.1))
}

fn of_task(task: PathBuf) -> (u64, u64) {
    let status = fs::read_to_string(task.join("status")).expect("the kernel tells of a thread");
    let switches = status
        .lines()
        .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"))
        .expect("the kernel tells of a thread");
    let stat = fs::read_to_string(task.join("stat")).expect("the kernel tells of a thread");
    let (_, behind_name) = stat.rsplit_once(')').expect("the kernel tells of a thread");
    let times = behind_name.split_whitespace().skip(11).take(2); // utime and stime
    (
        switches.trim().parse().expect("the kernel tells of a thread"),
        times.map(|ticks| ticks.parse::<u64>().expect("a number")).sum(),
    )
}

fn sleeps(lab: &Lab) -> u64 {
    lab.run("show threads").sum("Sleeps")
}

/// 1,000 processes of a plugin, half of which wait for a time too, wake nobody.
fn nobody_is_woken(workers: u32) {
    let lab = Lab::options().plugins(&["ethernet", "ip4"]).workers(workers).start();
    lab.run(&format!("plugin load {}", Build::here().fixture("crowd").display()));
    lab.run("fixture crowd sleep 1000");
    let shown = lab.run("show process");
    let sleepers = shown.rows().iter().filter(|row| row.text("Name") == "sleeper").count();
    assert_eq!(sleepers, 1000);
    let before_sleeps = sleeps(&lab);
    pause(Duration::from_millis(6_500)); // Work threads without work stay for 5 s.

    let (switches, ticks) = used(lab.pid());
    pause(WATCHED);
    let (switches_after, ticks_after) = used(lab.pid());

    let woken = switches_after - switches;
    assert!(woken <= 2, "{woken} wake-ups in {WATCHED:?} in which nothing happened");
    let ran = ticks_after - ticks; // 500 are a core.
    assert!(ran <= 10, "{ran} ticks of a processor in {WATCHED:?} in which nothing happened");
    let slept = sleeps(&lab) - before_sleeps;
    assert!(slept <= ANSWERS, "{slept} sleeps, though nothing but two commands happened");
    lab.finish();
}

#[test]
fn a_thousand_processes_that_wait_wake_nobody() {
    nobody_is_woken(0);
}

#[test]
fn a_thousand_processes_that_wait_wake_nobody_with_a_worker() {
    nobody_is_woken(1);
}

/// Of a host whose queues have `mode` no thread is woken while no packet comes, and a packet that
/// comes then is answered.
fn no_thread_is_woken(link: Link, mode: &str) {
    if !(need_root() && need_tool("ip") && need_tool("ping")) {
        return;
    }
    let between = Between::start(Shape { workers: 2, ..Shape::of(link) });
    let lab = &between.lab;
    let [left, right] = link.interfaces();
    lab.run(&format!("set interface rx-placement {left} main"));
    lab.run(&format!("set interface rx-placement {right} worker 2"));
    for interface in [left, right] {
        lab.run(&format!("set interface rx-mode {interface} {mode}"));
    }
    let ping = format!("ping -n -c 3 -i 0.01 -w 20 {RIGHT}");
    between.left.run(&ping);
    pause(Duration::from_secs(8)); // Neighbours ask once more whether the other is there.

    let before = rest::used(lab);
    pause(WATCHED);
    let after = rest::used(lab);

    for (thread, (before, after)) in before.into_iter().zip(after).enumerate() {
        // Main answers two commands.
        let (woken, most) = (after.waited - before.waited, if thread == 0 { ANSWERS } else { 2 });
        assert!(woken <= most, "{link:?}, {mode}: thread {thread} woke {woken} times");
        let ran = after.ran - before.ran;
        assert!(ran < WATCHED / 500, "{link:?}, {mode}: thread {thread} ran for {ran:?}");
    }
    between.left.run(&ping);
    between.finish();
}

#[test]
fn queues_that_are_waited_for_wake_no_thread() {
    no_thread_is_woken(Link::Tap, "interrupt");
    no_thread_is_woken(Link::Veth, "interrupt");
}

#[test]
fn adaptive_queues_wake_no_thread_that_has_no_load() {
    no_thread_is_woken(Link::Tap, "adaptive");
    no_thread_is_woken(Link::Veth, "adaptive");
}
