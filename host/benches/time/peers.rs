//! What the wheel is measured against, behind one face: timers by object number, ticks of 1 ms.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use plugin_api::wheel::{Expiry, TimerHandle, Wheel16t2w512sl};
use tokio_util::time::{DelayQueue, delay_queue};

/// Timers of objects 0, 1, 2…, started in this order, each with one timer.
pub(crate) trait Timers {
    fn new(size: u32) -> Self;
    /// Starts the timer of an object that has none running.
    fn start(&mut self, object: u32, interval: u64);
    fn stop(&mut self, object: u32);
    fn update(&mut self, object: u32, interval: u64);
    /// Advances to a tick and appends the objects whose timers expired.
    fn advance(&mut self, now: u64, expired: &mut Vec<u32>);
}

/// Ours.
pub(crate) struct Ours {
    wheel: Wheel16t2w512sl,
    handles: Vec<Option<TimerHandle>>,
    expired: Vec<Expiry<16>>,
}

impl Timers for Ours {
    fn new(size: u32) -> Self {
        Self {
            wheel: Wheel16t2w512sl::with_capacity(0, size as usize),
            handles: vec![None; size as usize],
            expired: Vec::new(),
        }
    }

    fn start(&mut self, object: u32, interval: u64) {
        self.handles[object as usize] = self.wheel.start(object, 0, interval).ok();
    }

    fn stop(&mut self, object: u32) {
        if let Some(handle) = self.handles[object as usize] {
            self.wheel.stop(handle);
        }
    }

    fn update(&mut self, object: u32, interval: u64) {
        if let Some(handle) = self.handles[object as usize] {
            self.wheel.update(handle, interval).expect("the interval is within reach");
        }
    }

    fn advance(&mut self, now: u64, expired: &mut Vec<u32>) {
        if self.wheel.expire(now, &mut self.expired) > 0 {
            expired.extend(self.expired.drain(..).map(Expiry::object));
        }
    }
}

/// `tokio_util`'s, on a clock that stands still until it is advanced.
pub(crate) struct Delay {
    runtime: tokio::runtime::Runtime,
    queue: DelayQueue<u32>,
    keys: Vec<Option<delay_queue::Key>>,
    origin: tokio::time::Instant,
    now: u64,
}

impl Delay {
    fn at(&self, interval: u64) -> tokio::time::Instant {
        self.origin + Duration::from_millis(self.now + interval)
    }
}

impl Timers for Delay {
    fn new(size: u32) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("a runtime without input and output always starts");
        let (queue, origin) = {
            let _inside = runtime.enter();
            (DelayQueue::with_capacity(size as usize), tokio::time::Instant::now())
        };
        Self { runtime, queue, keys: vec![None; size as usize], origin, now: 0 }
    }

    fn start(&mut self, object: u32, interval: u64) {
        let at = self.at(interval);
        let _inside = self.runtime.enter();
        self.keys[object as usize] = Some(self.queue.insert_at(object, at));
    }

    fn stop(&mut self, object: u32) {
        if let Some(key) = self.keys[object as usize].take() {
            self.queue.remove(&key);
        }
    }

    fn update(&mut self, object: u32, interval: u64) {
        if let Some(key) = self.keys[object as usize] {
            self.queue.reset_at(&key, self.at(interval));
        }
    }

    fn advance(&mut self, now: u64, expired: &mut Vec<u32>) {
        let step = Duration::from_millis(now - self.now);
        self.runtime.block_on(tokio::time::advance(step));
        self.now = now;
        let _inside = self.runtime.enter();
        let mut context = Context::from_waker(Waker::noop());
        while let Poll::Ready(Some(item)) = self.queue.poll_expired(&mut context) {
            let object = item.into_inner();
            self.keys[object as usize] = None;
            expired.push(object);
        }
    }
}

/// `nexus_timer`'s hierarchical wheel.
pub(crate) struct Nexus {
    wheel: nexus_timer::Wheel<u32>,
    handles: Vec<Option<nexus_timer::TimerHandle<u32>>>,
    origin: Instant,
    now: u64,
}

impl Nexus {
    fn at(&self, interval: u64) -> Instant {
        self.origin + Duration::from_millis(self.now + interval)
    }
}

impl Timers for Nexus {
    fn new(size: u32) -> Self {
        #[expect(clippy::disallowed_methods, reason = "any origin will do")]
        let origin = Instant::now();
        let wheel = nexus_timer::Wheel::unbounded(size as usize, origin);
        Self { wheel, handles: (0..size).map(|_| None).collect(), origin, now: 0 }
    }

    fn start(&mut self, object: u32, interval: u64) {
        let at = self.at(interval);
        self.handles[object as usize] = Some(self.wheel.schedule(at, object));
    }

    fn stop(&mut self, object: u32) {
        if let Some(handle) = self.handles[object as usize].take() {
            self.wheel.cancel(handle);
        }
    }

    fn update(&mut self, object: u32, interval: u64) {
        let at = self.at(interval);
        if let Some(handle) = self.handles[object as usize].take() {
            self.handles[object as usize] = Some(self.wheel.reschedule(handle, at));
        }
    }

    fn advance(&mut self, now: u64, expired: &mut Vec<u32>) {
        self.now = now;
        let before = expired.len();
        self.wheel.poll_and_rebalance(self.at(0), expired);
        for &object in &expired[before..] {
            if let Some(handle) = self.handles[object as usize].take() {
                self.wheel.free(handle);
            }
        }
    }
}

impl Drop for Nexus {
    fn drop(&mut self) {
        for handle in self.handles.drain(..).flatten() {
            self.wheel.cancel(handle);
        }
    }
}

/// A binary heap; what is stopped or restarted leaves an entry behind that is skipped later.
pub(crate) struct Heap {
    heap: BinaryHeap<Reverse<(u64, u32, u32)>>,
    generations: Vec<u32>,
    now: u64,
}

impl Timers for Heap {
    fn new(size: u32) -> Self {
        let heap = BinaryHeap::with_capacity(size as usize);
        Self { heap, generations: vec![0; size as usize], now: 0 }
    }

    fn start(&mut self, object: u32, interval: u64) {
        let generation = self.generations[object as usize];
        self.heap.push(Reverse((self.now + interval, object, generation)));
    }

    fn stop(&mut self, object: u32) {
        self.generations[object as usize] += 1;
    }

    fn update(&mut self, object: u32, interval: u64) {
        self.stop(object);
        self.start(object, interval);
    }

    fn advance(&mut self, now: u64, expired: &mut Vec<u32>) {
        self.now = now;
        while let Some(&Reverse((deadline, object, generation))) = self.heap.peek() {
            if deadline > now {
                return;
            }
            self.heap.pop();
            if self.generations[object as usize] == generation {
                self.generations[object as usize] += 1;
                expired.push(object);
            }
        }
    }
}
