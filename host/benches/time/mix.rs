//! Steady state: timers restarted at random while time advances, so that whatever an operation
//! leaves behind is paid for.

use crate::linked::Linked;
use crate::peers::{Delay, Heap, Nexus, Ours, Timers};
use crate::{ROUNDS, Random, SIZES, measure, report};

/// A time-out in ticks: 60 s of 100 ms.
const TIME_OUT: u64 = 600;
/// Restarts of each timer per time-out: e^-4.6 = 1 % get none and expire.
const RESTARTS: f64 = 4.6;
/// Ticks of a round: with a warm-up of two, more than ten time-outs in all.
const ROUND: u64 = TIME_OUT + TIME_OUT / 4;

/// How long a timer is started for.
#[derive(Clone, Copy)]
enum Intervals {
    /// Always the time-out, as TCP's.
    Constant,
    /// Up to twice the time-out.
    Uniform,
}

pub(crate) fn run() {
    for (name, intervals) in [("tcp-mix", Intervals::Constant), ("uniform", Intervals::Uniform)] {
        for size in SIZES {
            let mut ours = Steady::<Ours>::new(size, intervals);
            let mut delay = Steady::<Delay>::new(size, intervals);
            let mut nexus = Steady::<Nexus>::new(size, intervals);
            let mut heap = Steady::<Heap>::new(size, intervals);
            let mut linked = Steady::<Linked>::new(size, intervals);
            let mut least = [f64::INFINITY; 5];
            for _ in 0..ROUNDS {
                let round =
                    [ours.round(), delay.round(), nexus.round(), heap.round(), linked.round()];
                for (least, figure) in least.iter_mut().zip(round) {
                    *least = least.min(figure);
                }
            }
            let peers = [
                ("delay-queue", least[1]),
                ("nexus-timer", least[2]),
                ("heap", least[3]),
                ("linked-wheel", least[4]),
            ];
            report(&format!("wheel/{name}/{size}"), least[0], &peers);
        }
    }
}

struct Steady<T> {
    timers: T,
    size: u32,
    intervals: Intervals,
    now: u64,
    random: Random,
    expired: Vec<u32>,
    /// Restarts that the fraction per tick still owes.
    owed: f64,
}

impl<T: Timers> Steady<T> {
    fn new(size: u32, intervals: Intervals) -> Self {
        let mut steady = Self {
            timers: T::new(size),
            size,
            intervals,
            now: 0,
            random: Random(0x9E37_79B9_7F4A_7C15),
            expired: Vec::new(),
            owed: 0.0,
        };
        for object in 0..size {
            let interval = 1 + steady.random.below(TIME_OUT);
            steady.timers.start(object, interval);
        }
        steady.advance(2 * TIME_OUT);
        steady
    }

    fn round(&mut self) -> f64 {
        let operations = f64::from(self.size) * RESTARTS * ROUND as f64 / TIME_OUT as f64;
        measure(operations as usize, || self.advance(ROUND))
    }

    fn advance(&mut self, ticks: u64) {
        for _ in 0..ticks {
            self.owed += f64::from(self.size) * RESTARTS / TIME_OUT as f64;
            while self.owed >= 1.0 {
                self.owed -= 1.0;
                let object = self.random.below(u64::from(self.size)) as u32;
                let interval = self.interval();
                self.timers.update(object, interval);
            }
            self.now += 1;
            self.timers.advance(self.now, &mut self.expired);
            while let Some(object) = self.expired.pop() {
                let interval = self.interval();
                self.timers.start(object, interval);
            }
        }
    }

    fn interval(&mut self) -> u64 {
        match self.intervals {
            Intervals::Constant => TIME_OUT,
            Intervals::Uniform => 1 + self.random.below(2 * TIME_OUT),
        }
    }
}
