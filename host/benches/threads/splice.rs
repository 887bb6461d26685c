//! For how long changes of the graph hold the workers, by the graph's size.

use std::fmt;

use gristmill::{engine::Pause, host::Host, time::Nanos};

use crate::{
    disturbance::Disturbance,
    figures::Figures,
    nanoseconds, processors, report,
    traffic::{Change, NODES_AT_LEAST, Traffic, WORKERS, Work, featured, longest_turn, resize},
};

const SIZES: [usize; 3] = [NODES_AT_LEAST, 100, 1_000];
/// Loads in graphs of each size, and as many replacements and unloads.
const LOADS: usize = 1_000;
/// Of those, between two changes of the size: all sizes take turns.
const BLOCK: usize = 50;
/// From the end of a change to the next.
const BETWEEN: Nanos = Nanos(200_000);
/// What the peer holds its workers for each node that it adds to 500 to 1,600, the least and the most.
const VPP: [(&str, f64); 2] = [("vpp-recorded", 200.0), ("vpp-recorded-most", 500.0)];
/// What is aimed at: for how long at most in 99 of 100 changes.
const GOAL_US: f64 = 20.0;
const PARTS: [(&str, f64); 3] = [("p50", 0.5), ("p99", 0.99), ("max", 1.0)];

/// What changes of one kind in graphs of one size cost.
#[derive(Default)]
struct Costs {
    all: Sample,
    /// Those during which the kernel took no forwarding thread off its processor.
    undisturbed: Sample,
}

#[derive(Default)]
struct Sample {
    wait: Figures,
    hold: Figures,
    stall: Figures,
    /// From the request to the end, with all that is done while the workers run.
    whole: Figures,
    /// The longest turn of a worker since the change before.
    turn: Figures,
    /// Stalls longer than the longest turn and the hold.
    beyond: usize,
}

pub(crate) fn run() {
    for workers in 1..=WORKERS {
        if workers >= processors() {
            println!("# splice: with {workers} workers one and main share a processor");
        }
        let costs = measure(workers);
        for (size, costs) in SIZES.iter().zip(&costs) {
            for (change, Costs { all, undisturbed }) in Change::ALL.iter().zip(costs) {
                let what = format!("# splice, {workers} workers, {size} nodes, {change:?}");
                println!("{what}, {LOADS} changes, {all}");
                let count = undisturbed.hold.len();
                let figures = if count > 0 { undisturbed.to_string() } else { String::new() };
                println!("{what}, {count} undisturbed {figures}");
            }
        }
        compare(workers, &costs);
    }
}

/// The same changes in graphs of several sizes, against the goals, and against the peer.
fn compare(workers: usize, costs: &[[Costs; 3]; SIZES.len()]) {
    let [least, .., most] = costs;
    let size = format!("{workers}-workers-{}-nodes", SIZES[SIZES.len() - 1]);
    for (change, (most, least)) in Change::ALL.iter().zip(most.iter().zip(least)) {
        let change = format!("{change:?}").to_lowercase();
        compare_samples(&change, &size, &most.all, &least.all);
        let (most, least) = (&most.undisturbed, &least.undisturbed);
        if most.hold.len() > 0 && least.hold.len() > 0 {
            compare_samples(&format!("undisturbed-{change}"), &size, most, least);
        }
    }
}

fn compare_samples(change: &str, size: &str, most: &Sample, least: &Sample) {
    for (percentile, part) in PARTS {
        let what = format!("splice/{change}-hold-us-{percentile}-{size}");
        report(&what, "10-nodes", most.hold.at(part), least.hold.at(part));
        if percentile == "p99" {
            report(&what, "goal", most.hold.at(part), GOAL_US);
        }
        for (peer, figure) in VPP.iter().filter(|_| percentile == "p50") {
            report(&what, peer, most.hold.at(part), *figure);
        }
        let what = format!("splice/{change}-stall-us-{percentile}-{size}");
        report(&what, "10-nodes", most.stall.at(part), least.stall.at(part));
    }
    let per_million = |sample: &Sample| sample.beyond as f64 * 1e6 / sample.hold.len() as f64;
    let what = format!("splice/{change}-stalls-beyond-{size}");
    report(&what, "10-nodes", per_million(most), per_million(least));
}

fn measure(workers: usize) -> [[Costs; 3]; SIZES.len()] {
    let mut traffic = Traffic::boot(workers, Work::Forwarding);
    let host = traffic.host;
    let mut costs = <[[Costs; 3]; SIZES.len()]>::default();
    let (mut made, mut seen) = (0, 0);
    traffic.running.run(&mut |_, _| {
        let (load, kind) = (made / Change::ALL.len(), made % Change::ALL.len());
        let (block, in_block) = (load / BLOCK, load % BLOCK);
        let size = block % SIZES.len();
        if kind == 0 && in_block == 0 {
            assert!(made == 0 || featured() > seen, "no packet met what was loaded");
            seen = featured();
            if load == LOADS * SIZES.len() {
                return None;
            }
            resize(host, SIZES[size]);
        }
        costs[size][kind].make(host, Change::ALL[kind]);
        made += 1;
        Some(Nanos(host.now().0 + BETWEEN.0))
    });
    traffic.end();
    costs
}

impl Costs {
    /// Makes a change, and notes what it cost.
    fn make(&mut self, host: &Host, change: Change) {
        let before = Disturbance::now(host);
        let mut pause = Pause::default();
        let whole = nanoseconds(|| pause = change.make(host));
        let undisturbed = before == Disturbance::now(host);
        let turn = longest_turn();
        self.all.add(&pause, whole, turn);
        if undisturbed {
            self.undisturbed.add(&pause, whole, turn);
        }
    }
}

impl Sample {
    fn add(&mut self, pause: &Pause, whole: f64, turn: u64) {
        self.wait.add(pause.wait.0);
        self.hold.add(pause.hold.0);
        self.stall.add(pause.stall.0);
        #[expect(clippy::cast_possible_truncation, reason = "whole nanoseconds")]
        #[expect(clippy::cast_sign_loss, reason = "time goes on")]
        self.whole.add(whole as u64);
        self.turn.add(turn);
        self.beyond += usize::from(pause.stall.0 > turn + pause.hold.0);
    }
}

impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { wait, hold, stall, whole, turn, beyond } = self;
        write!(
            f,
            "us p50 / p99 / max: wait {wait}, hold {hold}, stall {stall} ({beyond} beyond turn and \
             hold), longest turn {turn}, whole {whole}"
        )
    }
}
