//! A thread of a pool: takes an item, runs it, takes the next.

use std::{
    cell::Cell,
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Duration,
};

use rustix::thread::{gettid, sched_setaffinity};

use super::{
    Shared,
    core::{Job, Key, Wake},
    facility::Work,
    parker::Parker,
};

/// How long a thread stays that has nothing to do.
const IDLE: Duration = Duration::from_secs(5);

/// What the calling thread runs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Execution {
    /// Whose thread it is.
    facility: usize,
    pub(super) thread: Key,
    pub(super) queue: Key,
}

thread_local! {
    static CURRENT: Cell<Option<Execution>> = const { Cell::new(None) };
}

impl Shared {
    /// The item that the calling thread runs.
    pub(super) fn current(self: &Arc<Self>) -> Option<Execution> {
        CURRENT.get().filter(|execution| execution.facility == Arc::as_ptr(self).addr())
    }

    /// Starts a thread of a pool.
    pub(super) fn start_thread(
        self: &Arc<Self>,
        thread: Key,
        pool: usize,
        name: String,
        parker: Arc<Parker>,
    ) -> io::Result<()> {
        let shared = Arc::clone(self);
        let run = move || shared.run_thread(thread, pool, &parker);
        std::thread::Builder::new().name(name).spawn(run).map(drop)
    }

    fn run_thread(self: &Arc<Self>, own: Key, pool: usize, parker: &Parker) {
        parker.settle();
        let mut clock = self.thread_clock();
        self.settle_thread(own, pool);
        let mut done: Option<(Job<Box<dyn Work>>, bool)> = None;
        let mut kicked = true;
        loop {
            let now = clock.read(); // Once per item.
            let (mut dropped, mut ready_in) = (None, None);
            let mut state = self.state.lock();
            if let Some((job, panicked)) = done.take() {
                (dropped, ready_in) = state.core.finish(own, job, now, panicked);
                self.tell_waiters(&mut state);
            } else if !state.core.arrive(own) {
                if (state.ending || !kicked) && state.core.leave(own) {
                    return;
                }
                drop(state);
                kicked = parker.wait(&mut clock, IDLE);
                continue;
            }
            let job = state.core.take(own, now);
            if job.is_none() {
                state.core.rest(own);
            }
            let more = state.core.demand_more(pool);
            let other = ready_in.filter(|&other| other != pool);
            let other = other.map_or(Wake::Nobody, |other| state.core.demand(other));
            let is_ending = state.ending;
            drop(state);
            self.wake(more);
            self.wake(other);
            drop(dropped);
            match job {
                Some(job) => done = Some(self.run(own, job)),
                None => kicked = is_ending || parker.wait(&mut clock, IDLE),
            }
        }
    }

    fn run(
        self: &Arc<Self>,
        thread: Key,
        mut job: Job<Box<dyn Work>>,
    ) -> (Job<Box<dyn Work>>, bool) {
        let facility = Arc::as_ptr(self).addr();
        CURRENT.set(Some(Execution { facility, thread, queue: job.queue }));
        let ran = catch_unwind(AssertUnwindSafe(|| job.work.run()));
        CURRENT.set(None);
        let panicked = !ran.unwrap_or_else(|payload| {
            std::mem::forget(payload); // Dropping it might panic again.
            false
        });
        if panicked {
            self.tell_panic(job.item);
        }
        (job, panicked)
    }

    fn settle_thread(&self, own: Key, pool: usize) {
        let tid = gettid().as_raw_nonzero().get().unsigned_abs();
        let place = {
            let mut state = self.state.lock();
            state.core.threads.at(own).tid = tid;
            state.place_of(pool)
        };
        if let Some(place) = place
            && let Err(error) = sched_setaffinity(None, &place)
        {
            self.warn(&format!("a work thread runs where it likes: {error}"));
        }
    }
}
