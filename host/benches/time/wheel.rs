//! Single operations on 10^3, 10^5 and 10^6 timers, an idle tick, and all timers in one slot.

use crate::linked::Linked;
use crate::peers::{Delay, Heap, Nexus, Ours, Timers};
use crate::{ROUNDS, Random, SIZES, clock, line, measure, report};

/// What is measured, in this order, and VPP's figure at 10^6: clocks at 2 GHz, in nanoseconds.
const OPERATIONS: [(&str, Option<f64>); 7] = [
    ("start", Some(60.0)),
    ("update", Some(32.0)),
    ("update-random", None),
    ("stop-start-random", Some(488.0)),
    ("idle-tick", Some(25.0)),
    ("expire", Some(346.0)),
    ("stop-random", None),
];
/// Clocks in a nanosecond, where VPP's figures were recorded.
const VPP_GHZ: f64 = 2.0;
const NAMES: [&str; 5] = ["ours", "delay-queue", "nexus-timer", "heap", "linked-wheel"];

pub(crate) fn run() {
    let clocks_per_ns = clock::clocks_per_ns();
    for size in SIZES {
        let mut least = [[f64::INFINITY; OPERATIONS.len()]; NAMES.len()];
        for _ in 0..ROUNDS {
            let round = [
                operations::<Ours>(size),
                operations::<Delay>(size),
                operations::<Nexus>(size),
                operations::<Heap>(size),
                operations::<Linked>(size),
            ];
            for (least, figure) in least.as_flattened_mut().iter_mut().zip(round.as_flattened()) {
                *least = least.min(*figure);
            }
        }
        for (operation, (name, vpp)) in OPERATIONS.iter().enumerate() {
            let mut peers: Vec<_> =
                (1..NAMES.len()).map(|peer| (NAMES[peer], least[peer][operation])).collect();
            peers.extend(vpp.filter(|_| size == 1_000_000).map(|figure| ("vpp-recorded", figure)));
            report(&format!("wheel/{name}/{size}"), least[0][operation], &peers);
            if let Some(vpp) = vpp.filter(|_| size == 1_000_000) {
                let clocks = least[0][operation] * clocks_per_ns;
                line(&format!("wheel/{name}-clocks/{size}"), "vpp-recorded", clocks, vpp * VPP_GHZ);
            }
        }
    }
}

fn operations<T: Timers>(size: u32) -> [f64; OPERATIONS.len()] {
    let count = size as usize;
    let range = u64::from(size / 5).clamp(1_000, 200_000);
    // Enough passes for a figure where there are few timers.
    let passes = (100_000 / count).max(1);
    let mut random = Random(u64::from(size));
    let order = random.permutation(size);
    let mut timers = T::new(size);
    let mut expired = Vec::with_capacity(count);

    // Once over all of the memory, so that nobody's figure has the kernel's page faults in it.
    (0..size).for_each(|object| timers.start(object, 1 + random.below(range)));
    (0..size).for_each(|object| timers.stop(object));
    timers.advance(range, &mut expired);
    assert!(expired.is_empty(), "all were stopped");

    let start = measure(count, || {
        (0..size).for_each(|object| timers.start(object, 1 + random.below(range)));
    });
    let update = measure(count * passes, || {
        (0..passes).for_each(|_| {
            (0..size).for_each(|object| timers.update(object, 1 + random.below(range)));
        });
    });
    let update_random = measure(count * passes, || {
        (0..passes).for_each(|_| {
            order.iter().for_each(|&object| timers.update(object, 1 + random.below(range)));
        });
    });
    let stop_start = measure(count * passes, || {
        (0..passes).for_each(|_| {
            order.iter().for_each(|&object| {
                timers.stop(object);
                timers.start(object, 1 + random.below(range));
            });
        });
    });
    // From here on what was left behind is paid for.
    let expire = measure(count, || {
        (1..=range).for_each(|now| timers.advance(range + now, &mut expired));
    });
    assert_eq!(expired.len(), count, "every timer expires once");

    expired.clear();
    (0..size).for_each(|object| timers.start(object, 60_000 + random.below(range)));
    let idle_ticks = 20_000;
    timers.advance(2 * range + 1, &mut expired);
    let idle = measure(idle_ticks, || {
        let from = 2 * range + 2;
        (from..from + idle_ticks as u64).for_each(|now| timers.advance(now, &mut expired));
    });
    assert!(expired.is_empty(), "nothing is due");
    let stop = measure(count, || order.iter().for_each(|&object| timers.stop(object)));
    [start, update, update_random, stop_start, idle, expire, stop]
}

/// All timers expire on the same tick.
pub(crate) fn run_one_slot() {
    const SIZE: u32 = 1_000_000;
    let mut least = [[f64::INFINITY; 2]; NAMES.len()];
    for _ in 0..ROUNDS {
        let round = [
            one_slot::<Ours>(SIZE),
            one_slot::<Delay>(SIZE),
            one_slot::<Nexus>(SIZE),
            one_slot::<Heap>(SIZE),
            one_slot::<Linked>(SIZE),
        ];
        for (least, figure) in least.as_flattened_mut().iter_mut().zip(round.as_flattened()) {
            *least = least.min(*figure);
        }
    }
    for (operation, name) in ["start", "expire"].iter().enumerate() {
        let peers: Vec<_> =
            (1..NAMES.len()).map(|peer| (NAMES[peer], least[peer][operation])).collect();
        report(&format!("wheel/one-slot-{name}/{SIZE}"), least[0][operation], &peers);
    }
}

fn one_slot<T: Timers>(size: u32) -> [f64; 2] {
    let mut timers = T::new(size);
    let mut expired = Vec::with_capacity(size as usize);
    (0..size).for_each(|object| timers.start(object, 1));
    timers.advance(1, &mut expired);
    expired.clear();
    let start = measure(size as usize, || {
        (0..size).for_each(|object| timers.start(object, 300));
    });
    let expire = measure(size as usize, || {
        (2..=301).for_each(|now| timers.advance(now, &mut expired));
    });
    assert_eq!(expired.len(), size as usize, "every timer expires once");
    [start, expire]
}
