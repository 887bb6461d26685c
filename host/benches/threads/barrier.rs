//! An empty stop of the workers, by how many they are and what they do.

use gristmill::{engine::Caller, time::Nanos};

use crate::{
    figures::Figures,
    nanoseconds, processors, report,
    traffic::{Traffic, WORKERS, Work, longest_turn},
};

const STOPS: usize = 2_000;
/// Between two stops: workers that have nothing to do are asleep again.
const BETWEEN: Nanos = Nanos(1_000_000);
/// What the peer took with one worker when it was measured, which was awake, idle or forwarding: half
/// of the stops, and all but one of a hundred.
const VPP: [(Work, [f64; 2]); 2] = [(Work::Polling, [2.3, 4.4]), (Work::Forwarding, [24.0, 38.0])];
const PERCENTILES: [(&str, f64); 2] = [("p50", 0.5), ("p99", 0.99)];

/// What stops cost.
#[derive(Default)]
struct Stops {
    wait: Figures,
    hold: Figures,
    stall: Figures,
    whole: Figures,
    turn: Figures,
}

pub(crate) fn run() {
    let none = measure(0, Work::Asleep);
    for work in [Work::Asleep, Work::Polling, Work::Forwarding] {
        let how = format!("{work:?}").to_lowercase();
        let mut one: Option<Stops> = None;
        for workers in 1..=WORKERS {
            if workers >= processors() {
                println!("# barrier: with {workers} workers one and main share a processor");
            }
            let stops = measure(workers, work);
            for (at, (percentile, part)) in PERCENTILES.into_iter().enumerate() {
                let what = format!("barrier/whole-us-{how}-{workers}-workers-{percentile}");
                report(&what, "0-workers", stops.whole.at(part), none.whole.at(part));
                if let Some(one) = &one {
                    report(&what, "1-worker", stops.whole.at(part), one.whole.at(part));
                    continue;
                }
                for (_, figures) in VPP.iter().filter(|(peers, _)| *peers == work) {
                    report(&what, "vpp-recorded", stops.whole.at(part), figures[at]);
                }
            }
            one.get_or_insert(stops);
        }
    }
}

fn measure(workers: usize, work: Work) -> Stops {
    let mut traffic = Traffic::boot(workers, work);
    let host = traffic.host;
    let mut stops = Stops::default();
    let mut left = STOPS;
    traffic.running.run(&mut |_, _| {
        longest_turn();
        let whole = nanoseconds(|| {
            let stopped = host.stop_workers(Caller::host("bench"), |_| ());
            let ((), pause) = stopped.expect("the workers come");
            stops.wait.add(pause.wait.0);
            stops.hold.add(pause.hold.0);
            stops.stall.add(pause.stall.0);
        });
        #[expect(clippy::cast_possible_truncation, reason = "whole nanoseconds")]
        #[expect(clippy::cast_sign_loss, reason = "time goes on")]
        stops.whole.add(whole as u64);
        stops.turn.add(longest_turn());
        left -= 1;
        (left > 0).then(|| Nanos(host.now().0 + BETWEEN.0))
    });
    traffic.end();
    println!(
        "# barrier, {workers} workers {work:?}, us p50 / p99 / max: wait {}, hold {}, stall {}, whole {}, \
         turns that end meanwhile {}",
        stops.wait, stops.hold, stops.stall, stops.whole, stops.turn
    );
    stops
}
