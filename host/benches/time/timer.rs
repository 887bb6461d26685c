//! The dynamic timers beside the classic cascade: a thread's base, like with like, and the whole,
//! with its locks and counted references.

use std::num::NonZeroU64;
use std::sync::Arc;

use gristmill::time::Ticks;
use gristmill::time::timer::{Key, Timer, TimerBase, TimerFunction, Timers};
use plugin_api::ThreadIndex;

use crate::cascade::Cascade;
use crate::{ROUNDS, Random, SIZES, measure, report};

const OPERATIONS: [&str; 8] = [
    "add",
    "mod-later",
    "mod-random",
    "del-add-random",
    "expire",
    "idle-hour",
    "steady-time-outs",
    "steady-random",
];
/// An hour of ticks.
const HOUR: u64 = 3_600_000;
/// Ticks of the steady state.
const STEADY: u64 = 2_000;

/// Timers 0, 1, 2…
trait Dynamic {
    /// What the owner of a timer keeps of it, and comes with.
    type Handle: Copy;

    fn new(size: u32) -> Self;
    /// What a timer has that is not pending.
    fn handle(&mut self, timer: u32) -> Self::Handle;
    /// Starts a timer that is not pending.
    fn add(&mut self, handle: Self::Handle, timer: u32, deadline: u64) -> Self::Handle;
    /// Moves a pending timer.
    fn modify(&mut self, handle: Self::Handle, deadline: u64);
    fn delete(&mut self, handle: Self::Handle);
    /// Goes on to the next tick, and collects what expires.
    fn tick(&mut self, now: u64, expired: &mut Vec<u32>);
    /// As many ticks at which nothing expires.
    fn sleep(&mut self, now: u64, ticks: u64);
}

pub(crate) fn run() {
    for size in SIZES {
        let mut least = [[f64::INFINITY; OPERATIONS.len()]; 3];
        // Few timers take little time, and more rounds to find the least.
        for _ in 0..ROUNDS * (100_000 / size as usize).clamp(1, 20) {
            let round =
                [operations::<Base>(size), operations::<Cascade>(size), operations::<Whole>(size)];
            for (least, figure) in least.as_flattened_mut().iter_mut().zip(round.as_flattened()) {
                *least = least.min(*figure);
            }
        }
        let [base, cascade, whole] = least;
        for (operation, name) in OPERATIONS.iter().enumerate() {
            let peers = [("cascade", cascade[operation])];
            report(&format!("timer/{name}/{size}"), base[operation], &peers);
        }
        for (operation, name) in OPERATIONS.iter().enumerate() {
            let peers = [("cascade", cascade[operation])];
            report(&format!("timer-api/{name}/{size}"), whole[operation], &peers);
        }
    }
}

fn operations<T: Dynamic>(size: u32) -> [f64; OPERATIONS.len()] {
    let count = size as usize;
    let range = u64::from(size / 5).clamp(1_000, 200_000);
    let mut random = Random(u64::from(size));
    let mut timers = T::new(size);
    let mut expired = Vec::with_capacity(count);
    let mut handles: Vec<_> = (0..size).map(|timer| timers.handle(timer)).collect();

    // Once over all of the memory, so that nobody's figure has the kernel's page faults in it.
    let mut all = |timers: &mut T, deadline: &mut dyn FnMut() -> u64| {
        for (timer, handle) in (0..).zip(&mut handles) {
            *handle = timers.add(*handle, timer, deadline());
        }
    };
    all(&mut timers, &mut || 1);
    timers.tick(1, &mut expired);
    expired.clear();

    let add = measure(count, || all(&mut timers, &mut || 2 + random.below(range)));
    // Their owners come in random order, each with its handle.
    let order = random.permutation(size);
    let mut owners: Vec<_> = order.iter().map(|&timer| (timer, handles[timer as usize])).collect();
    let later = measure(count, || {
        for (_, handle) in &owners {
            timers.modify(*handle, 2 + range + random.below(range));
        }
    });
    let anywhere = measure(count, || {
        owners.iter().for_each(|(_, handle)| timers.modify(*handle, 2 + random.below(2 * range)));
    });
    let again = measure(count, || {
        for (timer, handle) in &mut owners {
            timers.delete(*handle);
            *handle = timers.add(*handle, *timer, 2 + random.below(2 * range));
        }
    });
    let expire = measure(count, || {
        (2..=1 + 2 * range).for_each(|now| timers.tick(now, &mut expired));
    });
    assert_eq!(expired.len(), count, "every timer expires once");

    let mut now = 1 + 2 * range;
    for (timer, handle) in owners {
        handles[timer as usize] = handle;
    }
    handles[0] = timers.add(handles[0], 0, now + 2 * HOUR);
    let idle = measure(1, || timers.sleep(now, HOUR));
    timers.delete(handles[0]);
    now += HOUR;

    for (timer, handle) in (0..).zip(&mut handles) {
        *handle = timers.add(*handle, timer, now + 1 + random.below(range));
    }
    let mut mix = Mix { timers, handles, now, random, range };
    let restarts = (count / 250).max(1);
    mix.run(STEADY / 2, restarts, true);
    let time_outs = measure(STEADY as usize * restarts, || mix.run(STEADY, restarts, true));
    let anyhow = measure(STEADY as usize * restarts, || mix.run(STEADY, restarts, false));
    [add, later, anywhere, again, expire, idle, time_outs, anyhow]
}

/// Timers that are moved all the time, and started again when they expire.
struct Mix<T: Dynamic> {
    timers: T,
    handles: Vec<T::Handle>,
    now: u64,
    random: Random,
    range: u64,
}

impl<T: Dynamic> Mix<T> {
    /// Each tick moves as many timers: to the end of the same time-out, or anywhere; then one in
    /// four is deleted and started anew.
    fn run(&mut self, ticks: u64, restarts: usize, time_outs: bool) {
        let mut expired = Vec::new();
        for _ in 0..ticks {
            for restart in 0..restarts {
                let timer = self.random.below(self.handles.len() as u64) as u32;
                let handle = self.handles[timer as usize];
                let deadline = self.deadline(time_outs);
                if restart % 4 == 0 && !time_outs {
                    self.timers.delete(handle);
                    self.handles[timer as usize] = self.timers.add(handle, timer, deadline);
                } else {
                    self.timers.modify(handle, deadline);
                }
            }
            self.now += 1;
            self.timers.tick(self.now, &mut expired);
            for timer in expired.drain(..) {
                let (handle, deadline) = (self.handles[timer as usize], self.deadline(time_outs));
                self.handles[timer as usize] = self.timers.add(handle, timer, deadline);
            }
        }
    }

    fn deadline(&mut self, time_outs: bool) -> u64 {
        let within = self.random.below(2 * self.range);
        self.now + 1 + if time_outs { self.range } else { within }
    }
}

/// As the base has it in the host: a pointer, and a word.
type Value = (NonZeroU64, u64);

fn value(timer: u32) -> Value {
    (NonZeroU64::MIN, timer.into())
}

/// A thread's base.
struct Base(TimerBase<Value>);

impl Dynamic for Base {
    type Handle = Key;

    fn new(_: u32) -> Self {
        Self(TimerBase::new())
    }

    fn handle(&mut self, _: u32) -> Key {
        let key = self.0.insert(1, false, value(0));
        self.0.remove(key);
        key
    }

    fn add(&mut self, _: Key, timer: u32, deadline: u64) -> Key {
        self.0.insert(deadline, false, value(timer))
    }

    fn modify(&mut self, key: Key, deadline: u64) {
        assert!(self.0.modify(key, deadline), "it is pending");
    }

    fn delete(&mut self, key: Key) {
        assert!(self.0.remove(key).is_some(), "it is pending");
    }

    fn tick(&mut self, now: u64, expired: &mut Vec<u32>) {
        // As the whole does it: nothing is due on most ticks.
        if now < self.0.quiet_until() {
            return;
        }
        while let Some((_, timer)) = self.0.pop(now) {
            expired.push(timer as u32);
        }
    }

    fn sleep(&mut self, now: u64, ticks: u64) {
        assert!(self.0.pop(now + ticks).is_none(), "nothing is due");
    }
}

impl Dynamic for Cascade {
    type Handle = u32;

    fn new(size: u32) -> Self {
        Self::new(size)
    }

    fn handle(&mut self, timer: u32) -> u32 {
        timer
    }

    fn add(&mut self, timer: u32, _: u32, deadline: u64) -> u32 {
        self.modify(timer, deadline as u32);
        timer
    }

    fn modify(&mut self, timer: u32, deadline: u64) {
        self.modify(timer, deadline as u32);
    }

    fn delete(&mut self, timer: u32) {
        self.delete(timer);
    }

    fn tick(&mut self, _: u64, expired: &mut Vec<u32>) {
        self.tick(|_, timer| expired.push(timer));
    }

    fn sleep(&mut self, _: u64, ticks: u64) {
        (0..ticks).for_each(|_| self.tick(|_, _| panic!("nothing is due")));
    }
}

/// All of what a plugin's call goes through, but for the plugin's boundary.
struct Whole {
    timers: Timers<Number>,
    made: Vec<Arc<Timer<Number>>>,
}

struct Number(u32);

impl TimerFunction for Number {
    fn owner(&self) -> String {
        "bench".to_owned()
    }

    fn name(&self) -> String {
        self.0.to_string()
    }
}

const THREAD: ThreadIndex = ThreadIndex(0);

impl Dynamic for Whole {
    type Handle = u32;

    fn new(size: u32) -> Self {
        let made = (0..size).map(|timer| Arc::new(Timer::new(Number(timer)))).collect();
        Self { timers: Timers::new(1, Ticks(0)), made }
    }

    fn handle(&mut self, timer: u32) -> u32 {
        timer
    }

    fn add(&mut self, timer: u32, _: u32, deadline: u64) -> u32 {
        let added = self.timers.add(THREAD, &self.made[timer as usize], Ticks(deadline));
        added.expect("it is not pending");
        timer
    }

    fn modify(&mut self, timer: u32, deadline: u64) {
        let started = self.timers.modify(THREAD, &self.made[timer as usize], Ticks(deadline));
        assert!(started.was_pending, "it is pending");
    }

    fn delete(&mut self, timer: u32) {
        assert!(self.timers.delete(&self.made[timer as usize]), "it is pending");
    }

    fn tick(&mut self, now: u64, expired: &mut Vec<u32>) {
        self.timers.expire(THREAD, Ticks(now), |timer| expired.push(timer.function().0));
    }

    fn sleep(&mut self, now: u64, ticks: u64) {
        let count = self.timers.expire(THREAD, Ticks(now + ticks), |_| {});
        assert_eq!(count, 0, "nothing is due");
    }
}
