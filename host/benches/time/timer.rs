//! The dynamic timers' base beside the classic cascade.

use gristmill::time::timer::{Key, TimerBase};

use crate::cascade::Cascade;
use crate::{ROUNDS, Random, SIZES, measure, report};

const OPERATIONS: [&str; 5] = ["add", "mod-later", "mod-random", "expire", "idle-hour"];
/// An hour of ticks.
const HOUR: u64 = 3_600_000;

pub(crate) fn run() {
    for size in SIZES {
        let mut least = [[f64::INFINITY; OPERATIONS.len()]; 2];
        for _ in 0..ROUNDS {
            let round = [ours(size), cascade(size)];
            for (least, figure) in least.as_flattened_mut().iter_mut().zip(round.as_flattened()) {
                *least = least.min(*figure);
            }
        }
        for (operation, name) in OPERATIONS.iter().enumerate() {
            let peers = [("cascade", least[1][operation])];
            report(&format!("timer/{name}/{size}"), least[0][operation], &peers);
        }
    }
}

fn range(size: u32) -> u64 {
    u64::from(size / 5).clamp(1_000, 200_000)
}

fn ours(size: u32) -> [f64; OPERATIONS.len()] {
    let (count, range) = (size as usize, range(size));
    let mut random = Random(u64::from(size));
    let order = random.permutation(size);
    let mut base = TimerBase::<[u64; 3]>::new();
    let mut keys: Vec<Key> = Vec::with_capacity(count);
    // Once over all of the memory, as the cascade's is when it is made.
    keys.extend((0..size).map(|_| base.insert(1, false, [1; 3])));
    assert!(keys.drain(..).all(|key| base.remove(key).is_some()));
    while base.pop(1).is_some() {}
    let add = measure(count, || {
        keys.extend(
            (0..size)
                .map(|timer| base.insert(1 + random.below(range), false, [u64::from(timer); 3])),
        );
    });
    let later = measure(count, || {
        for &timer in &order {
            assert!(base.modify(keys[timer as usize], 1 + range + random.below(range)).is_some());
        }
    });
    let anywhere = measure(count, || {
        for &timer in &order {
            assert!(base.modify(keys[timer as usize], 1 + random.below(2 * range)).is_some());
        }
    });
    let mut expired = 0;
    let expire = measure(count, || {
        for now in 1..=2 * range {
            while base.pop(now).is_some() {
                expired += 1;
            }
        }
    });
    assert_eq!(expired, count, "every timer expires once");
    let now = 2 * range;
    base.insert(now + 2 * HOUR, false, [1; 3]);
    let idle = measure(1, || assert!(base.pop(now + HOUR).is_none()));
    [add, later, anywhere, expire, idle]
}

fn cascade(size: u32) -> [f64; OPERATIONS.len()] {
    let (count, range) = (size as usize, range(size));
    let mut random = Random(u64::from(size));
    let order = random.permutation(size);
    let mut base = Cascade::new(size);
    let add = measure(count, || {
        (0..size).for_each(|timer| base.modify(timer, 1 + random.below(range) as u32));
    });
    let later = measure(count, || {
        for &timer in &order {
            base.modify(timer, (1 + range + random.below(range)) as u32);
        }
    });
    let anywhere = measure(count, || {
        for &timer in &order {
            base.modify(timer, 1 + random.below(2 * range) as u32);
        }
    });
    let mut expired = 0;
    let expire = measure(count, || {
        (0..2 * range).for_each(|_| base.tick(|_, _| expired += 1));
    });
    assert_eq!(expired, count, "every timer expires once");
    base.modify(0, (2 * range + 2 * HOUR) as u32);
    let idle = measure(1, || (0..HOUR).for_each(|_| base.tick(|_, _| expired += 1)));
    [add, later, anywhere, expire, idle]
}
