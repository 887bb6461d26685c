//! What it costs to start 10,000 coroutines that suspend themselves, and to have them.

use std::fs;

use corosensei::{Yielder, stack::DefaultStack};
use gristmill::process::{Coroutine, Stack, StackPool, Suspend};

use crate::{ROUNDS, nanoseconds, report};

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

/// Bytes of this process that are in memory.
fn resident() -> f64 {
    let statm = fs::read_to_string("/proc/self/statm").expect("it is mounted");
    let pages = statm.split_whitespace().nth(1).expect("the second number");
    let pages: u32 = pages.parse().expect("a number");
    f64::from(pages) * rustix::param::page_size() as f64
}
