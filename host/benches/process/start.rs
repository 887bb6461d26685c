//! What it costs to start 10,000 coroutines, or processes, that suspend themselves, and to have them.

use std::fs;

use corosensei::{Yielder, stack::DefaultStack};
use gristmill::{
    graph::Owner,
    process::{Body, Coroutine, Ending, Processes, Request, Stack, StackPool, Suspend},
    time::Clock,
};

use crate::{ROUNDS, nanoseconds, pass, report, spec};

const COUNT: usize = 10_000;

type Crate = corosensei::Coroutine<u32, u32, u32>;

pub(crate) fn run() {
    let mut time = [f64::INFINITY; 3];
    let mut memory = [f64::INFINITY; 2];
    let mut pool = StackPool::new(COUNT);
    for _ in 0..ROUNDS {
        let mut ours = Vec::with_capacity(COUNT);
        let before = resident();
        let taken = nanoseconds(|| {
            ours.extend((0..COUNT).map(|_| begun(Stack::new(Stack::DEFAULT).expect("memory"))));
        });
        time[0] = time[0].min(taken);
        memory[0] = memory[0].min(resident() - before);
        ours.into_iter().for_each(end);

        let mut pooled = Vec::with_capacity(COUNT);
        let taken = nanoseconds(|| {
            pooled.extend((0..COUNT).map(|_| begun(pool.take(Stack::DEFAULT).expect("memory"))));
        });
        time[1] = time[1].min(taken);
        for mut coroutine in pooled {
            coroutine.resume(1);
            pool.give(coroutine.into_stack().expect("its body has ended"));
        }

        let mut peers = Vec::with_capacity(COUNT);
        let before = resident();
        let taken = nanoseconds(|| peers.extend((0..COUNT).map(|_| begun_of_crate())));
        time[2] = time[2].min(taken);
        memory[1] = memory[1].min(resident() - before);
        for mut peer in peers {
            peer.resume(1);
        }
    }
    let [new, pooled, peer] = time;
    report("start/10000", "corosensei", new, peer);
    report("start/10000", "pooled", new, pooled);
    report("start/10000", "one-second", new, 1e9);
    report("resident/10000", "corosensei", memory[0], memory[1]);
    report("resident/10000", "200-mb", memory[0], 200e6);
    let [started, resident] = processes();
    report("start-processes/10000", "coroutines", started, new);
    report("start-processes/10000", "one-second", started, 1e9);
    report("resident-process/10000", "coroutine", resident, memory[0] / COUNT as f64);
    report("resident-process/10000", "20-kb", resident, 20e3);
}

/// Waits for an event that does not happen.
struct Waits(&'static Processes);

impl Body for Waits {
    fn run(&mut self) -> Ending {
        while self.0.wait(Request { events: 1, ..Request::default() }).is_ok() {}
        Ending::Cancelled
    }
}

/// The least nanoseconds until all processes wait, and the most bytes of memory for each: later rounds
/// have the allocator's memory of the first.
fn processes() -> [f64; 2] {
    let (mut least, mut most) = (f64::INFINITY, 0_f64);
    for _ in 0..ROUNDS {
        let mut clock = Clock::calibrate();
        let processes: &'static Processes = Box::leak(Box::new(Processes::new(clock.thread())));
        let before = resident();
        let taken = nanoseconds(|| {
            for _ in 0..COUNT {
                processes.spawn(spec("waits", 128 << 10), Box::new(Waits(processes)));
            }
            while processes.has_work() {
                pass(processes, clock.read(), |_| ());
            }
        });
        least = least.min(taken);
        most = most.max((resident() - before) / COUNT as f64);
        processes.revoke(Owner(1), |_| ());
    }
    [least, most]
}

fn begun(stack: Stack) -> Coroutine<u32, u32, u32> {
    let mut coroutine =
        Coroutine::new(stack, |suspend: &Suspend<u32, u32>, input| suspend.suspend(input) + 1);
    coroutine.resume(1);
    coroutine
}

fn begun_of_crate() -> Crate {
    let stack = DefaultStack::new(Stack::DEFAULT).expect("memory");
    let mut coroutine =
        Crate::with_stack(stack, |yielder: &Yielder<u32, u32>, input| yielder.suspend(input) + 1);
    coroutine.resume(1);
    coroutine
}

fn end(mut coroutine: Coroutine<u32, u32, u32>) {
    coroutine.resume(1);
}

/// How much this machine has to do beside.
pub(crate) fn load() -> String {
    let load = fs::read_to_string("/proc/loadavg").expect("it is mounted");
    load.split_whitespace().next().expect("the first number").to_owned()
}

/// Bytes of this process that are in memory.
fn resident() -> f64 {
    let statm = fs::read_to_string("/proc/self/statm").expect("it is mounted");
    let pages = statm.split_whitespace().nth(1).expect("the second number");
    let pages: u32 = pages.parse().expect("a number");
    f64::from(pages) * rustix::param::page_size() as f64
}
