//! What is queued, delayed, running: bookkeeping alone, nothing runs or waits in here.
//!
//! ```text
//!            delay                 its time                    take                 finish
//!  idle ───────────▶ delayed ───────────────▶ queued ───────────────▶ (taken) running ─────▶
//!    │                                          ▲   inactive: its queue has as many as it may
//!    └──────────────── enqueue ─────────────────┘   ready:    in line for a thread of the pool
//!                                                   held:     it runs, and goes on after that
//! ```
//! An item is *pending* from being queued or delayed until it is taken or cancelled; it may be
//! pending and running. Within a pool, ready items are taken in the order in which they became so.

mod pools;
mod queues;
mod slab;
mod waits;

use std::sync::Arc;

pub(super) use pools::{Look, Pool, Wake};
use pools::{Thread, ThreadState};
use queues::Queue;
pub use queues::QueueSpec;
pub(super) use slab::Key;
use slab::{Link, Linked, List, Slab};
pub(super) use waits::Target;

use super::WorkError;
use crate::{
    graph::Owner,
    time::{Nanos, Ticks},
};

/// Where an item stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Idle,
    Delayed(Ticks),
    Inactive,
    Ready,
    Held,
}

/// A run of an item.
#[derive(Clone, Copy, Debug)]
pub(super) struct Run {
    pub(super) thread: Key,
    pub(super) began: Nanos,
    color: u64,
    sequence: u64,
}

/// An item, which does `W`.
#[derive(Debug)]
pub(super) struct Item<W> {
    pub(super) name: Arc<str>,
    pub(super) queue: Key,
    pub(super) pool: usize,
    pub(super) place: Place,
    pub(super) run: Option<Run>,
    pub(super) runs: u64,
    pub(super) panics: u64,
    pub(super) longest: Nanos,
    /// Not there while it runs.
    work: Option<W>,
    /// It is forgotten when it has run or was cancelled.
    once: bool,
    /// It is forgotten when it has run.
    gone: bool,
    /// Those who wait for it to be cancelled: it is not queued meanwhile.
    cancelling: u32,
    /// Of the time that it was queued last.
    color: u64,
    sequence: u64,
    link: Link,
}

impl<W> Linked for Item<W> {
    fn link(&mut self) -> &mut Link {
        &mut self.link
    }
}

/// What a thread is to do.
#[derive(Debug)]
pub(super) struct Job<W> {
    pub(super) item: Key,
    pub(super) queue: Key,
    pub(super) work: W,
}

/// Whether an item was queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Queued {
    /// It is now.
    Now,
    /// It was pending before.
    Before,
}

/// All items, queues, pools and threads.
#[derive(Debug)]
pub(super) struct Core<W> {
    pub(super) items: Slab<Item<W>>,
    pub(super) queues: Slab<Queue>,
    pub(super) pools: Vec<Pool>,
    pub(super) threads: Slab<Thread>,
    /// Threads to be started.
    starts: Vec<Key>,
    /// Somebody looks at the pools until none of them has a backlog.
    watching: bool,
    pub(super) max_threads: usize,
    /// Queues that last.
    lasting: usize,
    sequence: u64,
}

impl<W> Core<W> {
    /// Makes an item of a queue, whose threads are a pool's; the work comes back if it is closed.
    pub(super) fn add_item(
        &mut self,
        queue: Key,
        pool: usize,
        name: &str,
        once: bool,
        work: W,
    ) -> Result<Key, (WorkError, W)> {
        let Some(of) = self.queues.get_mut(queue).filter(|of| !of.closed) else {
            return Err((WorkError::Closed, work));
        };
        of.items += 1;
        if *of.last_name != *name {
            of.last_name = name.into(); // The next one is called the same, most often.
        }
        Ok(self.items.insert(Item {
            name: Arc::clone(&of.last_name),
            queue,
            pool,
            place: Place::Idle,
            run: None,
            runs: 0,
            panics: 0,
            longest: Nanos(0),
            work: Some(work),
            once,
            gone: false,
            cancelling: 0,
            color: 0,
            sequence: 0,
            link: Link::default(),
        }))
    }

    /// Whether an item takes work; `from` is the queue whose item the caller is.
    fn admit(&self, item: Key, from: Option<Key>) -> Result<Place, WorkError> {
        let own = self.items.get(item).ok_or(WorkError::Closed)?;
        let queue = self.queues.get(own.queue).ok_or(WorkError::Closed)?;
        if own.gone || own.cancelling > 0 || queue.closed {
            return Err(WorkError::Closed);
        }
        if queue.draining > 0 && from != Some(own.queue) && own.place == Place::Idle {
            return Err(WorkError::Draining);
        }
        Ok(own.place)
    }

    /// Queues an item, unless it is pending.
    pub(super) fn enqueue(
        &mut self,
        item: Key,
        from: Option<Key>,
    ) -> Result<(Queued, Wake), WorkError> {
        if self.admit(item, from)? != Place::Idle {
            return Ok((Queued::Before, Wake::Nobody));
        }
        Ok((Queued::Now, self.activate(item)))
    }

    /// Has an item be queued at `deadline`, unless it is pending.
    pub(super) fn delay(
        &mut self,
        item: Key,
        deadline: Ticks,
        from: Option<Key>,
    ) -> Result<Queued, WorkError> {
        if self.admit(item, from)? != Place::Idle {
            return Ok(Queued::Before);
        }
        self.put_off(item, deadline);
        Ok(Queued::Now)
    }

    /// As [`delay`](Self::delay), pending or not; whether it was.
    pub(super) fn modify_delay(
        &mut self,
        item: Key,
        deadline: Ticks,
        from: Option<Key>,
    ) -> Result<(bool, Wake), WorkError> {
        let was_pending = self.admit(item, from)? != Place::Idle;
        let wake = if was_pending { self.withdraw(item) } else { Wake::Nobody };
        self.put_off(item, deadline);
        Ok((was_pending, wake))
    }

    fn put_off(&mut self, item: Key, deadline: Ticks) {
        let own = self.items.at(item);
        own.place = Place::Delayed(deadline);
        let queue = own.queue;
        self.queues.at(queue).delayed += 1;
    }

    /// Queues an item whose delay has passed by `now`.
    pub(super) fn expire(&mut self, item: Key, now: Ticks) -> Wake {
        match self.items.get(item).map(|own| own.place) {
            Some(Place::Delayed(deadline)) if !now.is_before(deadline) => self.hurry(item),
            _ => Wake::Nobody, // Cancelled, or put off further, while its timer went off.
        }
    }

    /// Queues an item at once that waits for its delay.
    pub(super) fn hurry(&mut self, item: Key) -> Wake {
        let queue = match self.items.get(item) {
            Some(own) if matches!(own.place, Place::Delayed(_)) => own.queue,
            _ => return Wake::Nobody,
        };
        self.queues.at(queue).delayed -= 1;
        self.activate(item)
    }

    fn activate(&mut self, item: Key) -> Wake {
        self.sequence += 1;
        let own = self.items.at(item);
        own.sequence = self.sequence;
        let (queue, pool) = (own.queue, own.pool);
        let of = self.queues.at(queue);
        own.color = of.colors.add();
        of.pending += 1;
        if of.active < of.max_active {
            of.active += 1;
            return if self.line_up(item) { self.demand_more(pool) } else { Wake::Nobody };
        }
        own.place = Place::Inactive;
        of.inactive.push_back(&mut self.items, item);
        Wake::Nobody
    }

    /// Puts an item in line; false if it runs, and so waits for the end of that: it never runs on
    /// two threads at once.
    fn line_up(&mut self, item: Key) -> bool {
        let own = self.items.at(item);
        let (pool, runs) = (own.pool, own.run.is_some());
        own.place = if runs { Place::Held } else { Place::Ready };
        if !runs {
            self.pools[pool].ready.push_back(&mut self.items, item);
        }
        !runs
    }

    /// Takes an item back that is pending: idle again, or gone if it was to run once.
    pub(super) fn withdraw(&mut self, item: Key) -> Wake {
        let Some(own) = self.items.get_mut(item) else { return Wake::Nobody };
        let (place, queue, pool) = (own.place, own.queue, own.pool);
        own.place = Place::Idle;
        let (color, of) = (own.color, self.queues.at(queue));
        match place {
            Place::Idle => return Wake::Nobody,
            Place::Delayed(_) => {
                of.delayed -= 1;
                return Wake::Nobody;
            }
            Place::Inactive => of.inactive.remove(&mut self.items, item),
            Place::Ready => self.pools[pool].ready.remove(&mut self.items, item),
            Place::Held => {}
        }
        of.pending -= 1;
        of.colors.remove(color);
        if place == Place::Inactive {
            return Wake::Nobody;
        }
        of.active -= 1;
        self.promote(queue).map_or(Wake::Nobody, |pool| self.demand(pool))
    }

    /// Cancels an item; whether it was pending, and what is to be dropped.
    pub(super) fn cancel(&mut self, item: Key) -> (bool, Option<W>, Wake) {
        let was_pending = self.is_pending(item);
        let wake = self.withdraw(item);
        let once = self.items.get(item).is_some_and(|own| own.once);
        (was_pending, if once { self.forget(item) } else { None }, wake)
    }

    /// Whether an item is queued or delayed.
    pub(super) fn is_pending(&self, item: Key) -> bool {
        self.items.get(item).is_some_and(|own| own.place != Place::Idle)
    }

    /// Keeps an item from being queued while it is waited for, or lets it be queued again.
    pub(super) fn set_cancelling(&mut self, item: Key, on: bool) {
        if let Some(own) = self.items.get_mut(item) {
            own.cancelling = if on { own.cancelling + 1 } else { own.cancelling - 1 };
        }
    }

    /// Ends an item: cancelled, and gone as soon as it does not run. What is to be dropped.
    pub(super) fn remove_item(&mut self, item: Key) -> (Option<W>, Wake) {
        let wake = self.withdraw(item);
        (self.forget(item), wake)
    }

    /// Forgets an item that is not pending, now or when its run ends.
    fn forget(&mut self, item: Key) -> Option<W> {
        let own = self.items.get_mut(item)?;
        own.gone = true;
        if own.run.is_some() {
            return None;
        }
        let own = self.items.remove(item)?;
        self.queues.at(own.queue).items -= 1;
        self.forget_queue(own.queue);
        own.work
    }

    /// Takes the next item of a pool, if it may run one more.
    pub(super) fn take(&mut self, thread: Key, now: Nanos) -> Option<Job<W>> {
        let pool = self.threads.at(thread).pool;
        if !self.pools[pool].may_run() {
            return None;
        }
        let item = self.pools[pool].ready.pop_front(&mut self.items)?;
        let own = self.items.at(item);
        own.place = Place::Idle;
        let (color, sequence) = (own.color, own.sequence);
        own.run = Some(Run { thread, began: now, color, sequence });
        let (queue, work) = (own.queue, own.work.take().expect("it is there while none runs"));
        let of = self.queues.at(queue);
        of.pending -= 1;
        of.running += 1;
        self.pools[pool].running += 1;
        self.threads.at(thread).state = ThreadState::Running(item);
        Some(Job { item, queue, work })
    }

    /// A thread has done its job: what is to be dropped, and a pool that an item got ready in.
    pub(super) fn finish(
        &mut self,
        thread: Key,
        job: Job<W>,
        now: Nanos,
        panicked: bool,
    ) -> (Option<W>, Option<usize>) {
        let Job { item, queue, work } = job;
        let own = self.items.at(item);
        let run = own.run.take().expect("it ran");
        let took = now.since(run.began);
        self.release(thread, took);
        let own = self.items.at(item);
        own.runs += 1;
        own.panics += u64::from(panicked);
        own.longest = own.longest.max(took);
        let place = own.place;
        let ends = own.gone || (own.once && place == Place::Idle);
        let of = self.queues.at(queue);
        of.running -= 1;
        of.done += 1;
        of.panicked += u64::from(panicked);
        of.longest = of.longest.max(took);
        of.active -= 1;
        of.colors.remove(run.color);
        self.items.at(item).work = Some(work);
        if place == Place::Held {
            self.line_up(item); // Behind the others, or one that queues itself would hold them up.
        }
        let ready_in = self.promote(queue);
        (if ends { self.forget(item) } else { None }, ready_in)
    }

    /// Lets an item of a queue get ready in the place of one that is done; in which pool.
    fn promote(&mut self, queue: Key) -> Option<usize> {
        let of = self.queues.at(queue);
        if of.active >= of.max_active {
            return None;
        }
        let item = of.inactive.pop_front(&mut self.items)?;
        of.active += 1;
        let pool = self.items.at(item).pool;
        self.line_up(item).then_some(pool)
    }

    /// Items of an owner that run: name and queue.
    pub(super) fn running_of(&self, owner: Owner) -> Vec<String> {
        let of = |item: &Item<W>| {
            self.queues.get(item.queue).filter(|of| of.owner == owner && !of.lasting)
        };
        let running = self.items.iter().filter(|(_, item)| item.run.is_some());
        running
            .filter_map(|(_, item)| Some(format!("{} of queue {}", item.name, of(item)?.name)))
            .collect()
    }
}
