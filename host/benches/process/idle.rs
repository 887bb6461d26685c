//! A host with 1,000 processes that wait while nothing happens: wake-ups and processor time.
//!
//! The host is this program again, in a process of its own that does nothing else.

use std::{
    env, fs,
    io::{BufRead, BufReader, Write, stdin, stdout},
    process::{Command, Stdio},
    time::Duration,
};

use gristmill::{
    boot::boot,
    config::Config,
    host::Host,
    process::{Request, WATCHDOG},
    time::Nanos,
};

use crate::{report, start::load};

/// Asks for the host.
pub(crate) const CHILD: &str = "idle-host";
const COUNT: usize = 1_000;
/// How long the host is watched.
const WATCHED: Duration = Duration::from_secs(10);
/// What the peer did when it was measured: wake-ups a second, and hundredths of a core.
const VPP_WAKE_UPS: f64 = 115.0;
const VPP_PERCENT: f64 = 2.6;
/// Hundredths of a core that are aimed at.
const GOAL: f64 = 0.2;

pub(crate) fn run() {
    for (how, timeout) in [("events", false), ("timeouts", true)] {
        let (wake_ups, percent) = watch(timeout);
        // The peer's figures in the columns, though ours may be 0.
        report(&format!("idle/{COUNT}-{how}-wake-ups"), "vpp-recorded", wake_ups, VPP_WAKE_UPS);
        report(&format!("idle/{COUNT}-{how}-percent"), "vpp-recorded", percent, VPP_PERCENT);
        report(&format!("idle/{COUNT}-{how}-percent"), "goal", percent, GOAL);
    }
}

/// Wake-ups a second of all threads of an idle host, and how many hundredths of a core it uses.
fn watch(timeout: bool) -> (f64, f64) {
    let mut host = Command::new(env::current_exe().expect("a process knows its executable"))
        .args([CHILD, if timeout { "timeouts" } else { "events" }])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program starts again");
    let mut line = String::new();
    BufReader::new(host.stdout.take().expect("piped")).read_line(&mut line).expect("it is up");
    pause(Duration::from_secs(1)); // It has come to rest.
    let before = Used::of(host.id());
    pause(WATCHED);
    let after = Used::of(host.id());
    println!("# load average {}; {before:?} to {after:?}", load());
    drop(host.stdin.take());
    host.kill().expect("it is our child");
    host.wait().expect("it is our child");
    let seconds = WATCHED.as_secs_f64();
    let wake_ups = (after.switches - before.switches) as f64 / seconds;
    let per_second = rustix::param::clock_ticks_per_second() as f64;
    let percent = (after.ticks - before.ticks) as f64 / per_second / seconds * 100.0;
    (wake_ups, percent)
}

fn pause(time: Duration) {
    #[expect(clippy::disallowed_methods, reason = "nothing is to happen")]
    std::thread::sleep(time);
}

/// What the threads of a process have used.
#[derive(Debug)]
struct Used {
    /// Ticks on a processor, in user and system mode.
    ticks: u64,
    /// Waits that have ended or go on.
    switches: u64,
}

impl Used {
    fn of(pid: u32) -> Self {
        let mut used = Self { ticks: 0, switches: 0 };
        for task in fs::read_dir(format!("/proc/{pid}/task")).expect("it runs") {
            let task = task.expect("it runs").path();
            let stat = fs::read_to_string(task.join("stat")).expect("it runs");
            let (_, stat) = stat.rsplit_once(')').expect("a name in parentheses");
            let times = stat.split_whitespace().skip(11).take(2); // utime and stime
            used.ticks += times.map(|time| time.parse::<u64>().expect("a number")).sum::<u64>();
            let status = fs::read_to_string(task.join("status")).expect("it runs");
            let switches = status
                .lines()
                .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"))
                .expect("the kernel counts them");
            used.switches += switches.trim().parse::<u64>().expect("a number");
        }
        used
    }
}

/// The host that is watched; ends when it is killed.
pub(crate) fn host(how: &str) {
    let timeout = (how == "timeouts").then_some(Nanos::from_secs(100));
    let mut running = boot(Config { workers: 0, ..Config::default() }).expect("a host");
    let host: &'static Host = running.main.control.host;
    for _ in 0..COUNT {
        host.spawn("sleeper", WATCHDOG, move |cx| {
            loop {
                cx.wait(Request { events: 1, timeout, end_of: None })?;
            }
        });
    }
    // Ends with whoever started it, even if that was killed.
    std::thread::spawn(|| {
        let _ = stdin().read_line(&mut String::new());
        std::process::exit(0);
    });
    writeln!(stdout(), "up").expect("somebody waits for it");
    running.run(&mut |_, _| Some(Nanos(u64::MAX)));
    running.end();
}
