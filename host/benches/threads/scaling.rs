//! What two forwarding threads forward, against one.

use std::fs;

use gristmill::{host::Host, time::Nanos};

use crate::{
    ROUNDS, processors, report,
    traffic::{Traffic, WORKERS, Work, sunk},
};

/// How long is measured.
const WINDOW: Nanos = Nanos(300_000_000);
/// After workers have come or gone.
const SETTLES: Nanos = Nanos(50_000_000);
/// What the peer forwarded with one worker and with two, in millions of packets a second.
const VPP: [f64; 2] = [8.43, 18.0];

/// What was counted up to a moment.
struct Counted {
    packets: u64,
    now: Nanos,
    /// Nanoseconds that the workers ran.
    ran: u64,
}

impl Counted {
    fn now(host: &Host) -> Self {
        let ran = host.workers().iter().filter_map(|&worker| ran(host, worker)).sum();
        Self { packets: sunk(), now: host.now(), ran }
    }
}

/// Nanoseconds that a worker has run, as the kernel counts.
fn ran(host: &Host, worker: u32) -> Option<u64> {
    let tid = host.thread(worker)?.tid.load(std::sync::atomic::Ordering::Relaxed);
    let stat = fs::read_to_string(format!("/proc/self/task/{tid}/schedstat")).ok()?;
    stat.split(' ').next()?.parse().ok()
}

pub(crate) fn run() {
    if processors() <= WORKERS {
        println!("# scaling: main sleeps; what else runs shares the workers' processors");
    }
    let [one, two] = measure();
    report("scaling/2-workers-mpps", "1-worker", two.0, one.0);
    report("scaling/2-workers-mpps-per-cpu", "1-worker", two.1 * 2.0, one.1);
    report("scaling/2-workers-to-1-mpps", "vpp-recorded", two.0 / one.0, VPP[1] / VPP[0]);
}

/// What is done next.
enum Next {
    /// Have the workers that this window is for.
    Workers,
    Begin,
    End(Counted),
}

/// The most of all rounds with one worker and with two, which take turns: millions of packets a
/// second, and for each second that a worker ran.
fn measure() -> [(f64, f64); 2] {
    let mut traffic = Traffic::boot(1, Work::Forwarding);
    let host = traffic.host;
    let mut most = [(0.0_f64, 0.0_f64); 2];
    let (mut window, mut next) = (0, Next::Workers);
    traffic.running.run(&mut |control, _| {
        let at = window % 2;
        let (then, pause) = match &next {
            Next::Workers if window == 2 * ROUNDS => return None,
            Next::Workers => {
                let workers = u32::try_from(at + 1).expect("few");
                control.set_workers(workers).expect("workers come and go");
                (Next::Begin, SETTLES)
            }
            Next::Begin => (Next::End(Counted::now(host)), WINDOW),
            Next::End(before) => {
                let after = Counted::now(host);
                let packets = (after.packets - before.packets) as f64 * 1e3;
                let rate = packets / (after.now.0 - before.now.0) as f64;
                let per_cpu = packets / (after.ran - before.ran) as f64;
                most[at] = (most[at].0.max(rate), most[at].1.max(per_cpu));
                window += 1;
                (Next::Workers, Nanos(0))
            }
        };
        next = then;
        Some(Nanos(host.now().0 + pause.0))
    });
    traffic.end();
    most
}
