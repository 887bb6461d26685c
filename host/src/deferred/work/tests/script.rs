//! Scripts of queueing, delaying, cancelling, running and flushing, against a model in plain vectors.

use std::collections::BTreeMap;

use proptest::prelude::*;

use crate::{
    deferred::work::{
        Kind, QueueSpec, Queued,
        core::{Core, Job, Key, Pool, Target, Wake},
    },
    time::{Nanos, Ticks},
};

const ITEMS: usize = 6;
/// Items that each queue may have at once.
const QUEUES: [usize; 3] = [1, 2, 16];

#[derive(Clone, Copy, Debug)]
enum Step {
    Queue(usize),
    Delay(usize, u64),
    Modify(usize, u64),
    /// Time passes, and the timers of all that is due go off.
    Pass(u64),
    Cancel(usize),
    /// One of those that run ends.
    Finish(usize),
    /// One of those that run is seen to be blocked.
    Block(usize),
    Flush(usize),
    FlushItem(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let item = || 0..ITEMS;
    prop_oneof![
        6 => item().prop_map(Step::Queue),
        2 => (item(), 1..5_u64).prop_map(|(item, delay)| Step::Delay(item, delay)),
        2 => (item(), 1..5_u64).prop_map(|(item, delay)| Step::Modify(item, delay)),
        3 => (1..4_u64).prop_map(Step::Pass),
        2 => item().prop_map(Step::Cancel),
        5 => (0..8_usize).prop_map(Step::Finish),
        1 => (0..8_usize).prop_map(Step::Block),
        1 => (0..QUEUES.len()).prop_map(Step::Flush),
        1 => item().prop_map(Step::FlushItem),
    ]
}

/// What is expected, found by looking through everything.
#[derive(Debug, Default)]
struct Model {
    /// Queued items in the order of queueing, each with its number.
    queued: Vec<(usize, u64)>,
    /// Of these, those that are in line, in its order.
    line: Vec<usize>,
    /// Those that run, and go in line when that ends.
    held: Vec<usize>,
    delayed: BTreeMap<usize, u64>,
    /// Item, number, blocked.
    running: Vec<(usize, u64, bool)>,
    number: u64,
}

fn queue_of(item: usize) -> usize {
    item % QUEUES.len()
}

impl Model {
    fn is_queued(&self, item: usize) -> bool {
        self.queued.iter().any(|&(other, _)| other == item)
    }

    fn is_pending(&self, item: usize) -> bool {
        self.is_queued(item) || self.delayed.contains_key(&item)
    }

    fn active(&self, queue: usize) -> usize {
        let line = self.queued.iter().filter(|(item, _)| self.is_active(*item));
        let line = line.filter(|(item, _)| queue_of(*item) == queue).count();
        line + self.running.iter().filter(|(item, ..)| queue_of(*item) == queue).count()
    }

    /// In line, or kept out of it because it runs.
    fn is_active(&self, item: usize) -> bool {
        self.line.contains(&item) || self.held.contains(&item)
    }

    fn queue(&mut self, item: usize) {
        self.number += 1;
        self.queued.push((item, self.number));
        self.fill(queue_of(item));
    }

    /// As many of a queue get in line as may.
    fn fill(&mut self, queue: usize) {
        while self.active(queue) < QUEUES[queue] {
            let waits =
                |&&(item, _): &&(usize, u64)| queue_of(item) == queue && !self.is_active(item);
            let Some(&(item, _)) = self.queued.iter().find(waits) else { return };
            self.line_up(item);
        }
    }

    fn line_up(&mut self, item: usize) {
        let runs = self.running.iter().any(|&(other, ..)| other == item);
        if runs { self.held.push(item) } else { self.line.push(item) }
    }

    fn cancel(&mut self, item: usize) -> bool {
        let was_pending = self.is_pending(item);
        self.delayed.remove(&item);
        self.queued.retain(|&(other, _)| other != item);
        self.line.retain(|&other| other != item);
        self.held.retain(|&other| other != item);
        self.fill(queue_of(item));
        was_pending
    }

    /// Who runs next: the first in line.
    fn take(&mut self) -> Option<usize> {
        if self.line.is_empty() {
            return None;
        }
        let item = self.line.remove(0);
        let at = self.queued.iter().position(|&(other, _)| other == item)?;
        let (_, number) = self.queued.remove(at);
        self.running.push((item, number, false));
        Some(item)
    }

    fn finish(&mut self, at: usize) {
        let (item, ..) = self.running.remove(at);
        if let Some(at) = self.held.iter().position(|&other| other == item) {
            self.held.remove(at);
            self.line_up(item);
        }
        self.fill(queue_of(item));
    }

    /// Numbers of what is queued or runs, of a chosen kind.
    fn under_way(&self, chosen: impl Fn(usize) -> bool) -> impl Iterator<Item = u64> {
        let queued = self.queued.iter().map(|&(item, number)| (item, number));
        let running = self.running.iter().map(|&(item, number, _)| (item, number));
        let all: Vec<_> = queued.chain(running).filter(|&(item, _)| chosen(item)).collect();
        all.into_iter().map(|(_, number)| number)
    }
}

struct Script {
    core: Core<usize>,
    queues: Vec<Key>,
    items: Vec<Key>,
    /// In the order of the model's.
    running: Vec<(Key, Job<usize>)>,
    model: Model,
    now: u64,
    limit: usize,
    /// Waits, each with what the model says that it is for.
    waits: Vec<(Target, Vec<u64>)>,
}

impl Script {
    fn new(limit: usize) -> Self {
        let mut core = Core::new(limit, 8);
        let queues: Vec<_> = QUEUES
            .iter()
            .map(|&max| {
                let max_active = u32::try_from(max).unwrap();
                core.add_queue(QueueSpec { max_active, ..QueueSpec::of_host("q", Kind::Unbound) })
            })
            .collect();
        let items = (0..ITEMS)
            .map(|item| core.add_item(queues[queue_of(item)], 0, "i", false, item).unwrap())
            .collect();
        let model = Model::default();
        let (running, waits) = (Vec::new(), Vec::new());
        Self { core, queues, items, running, model, now: 0, limit, waits }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Queue(item) => {
                let (queued, _) = self.core.enqueue(self.items[item], None).unwrap();
                assert_eq!(queued == Queued::Before, self.model.is_pending(item));
                if queued == Queued::Now {
                    self.model.queue(item);
                }
            }
            Step::Delay(item, delay) => {
                let at = self.now + delay;
                let queued = self.core.delay(self.items[item], Ticks(at), None).unwrap();
                assert_eq!(queued == Queued::Before, self.model.is_pending(item));
                if queued == Queued::Now {
                    self.model.delayed.insert(item, at);
                }
            }
            Step::Modify(item, delay) => {
                let at = self.now + delay;
                let modified = self.core.modify_delay(self.items[item], Ticks(at), None);
                assert_eq!(modified.unwrap().0, self.model.cancel(item));
                self.model.delayed.insert(item, at);
            }
            Step::Pass(time) => {
                self.now += time;
                for item in 0..ITEMS {
                    // Timers of what is not due, or not delayed, go off as well.
                    let _ = self.core.expire(self.items[item], Ticks(self.now));
                    if self.model.delayed.get(&item).is_some_and(|&at| at <= self.now) {
                        self.model.delayed.remove(&item);
                        self.model.queue(item);
                    }
                }
            }
            Step::Cancel(item) => {
                let (was_pending, dropped, _) = self.core.cancel(self.items[item]);
                assert_eq!((was_pending, dropped), (self.model.cancel(item), None));
            }
            Step::Finish(at) if !self.running.is_empty() => self.finish(at % self.running.len()),
            Step::Block(at) if !self.running.is_empty() => self.block(at % self.running.len()),
            Step::Finish(_) | Step::Block(_) => {}
            Step::Flush(queue) => {
                let color = self.core.queues.at(self.queues[queue]).colors.flush();
                let what = self.model.under_way(|item| queue_of(item) == queue).collect();
                self.waits.push((Target::Flush(self.queues[queue], color), what));
            }
            Step::FlushItem(item) => {
                let _ = self.core.hurry(self.items[item]);
                if self.model.delayed.remove(&item).is_some() {
                    self.model.queue(item);
                }
                let what = self.model.under_way(|other| other == item).collect();
                self.waits.push((self.core.flush_item(self.items[item]), what));
            }
        }
        self.run();
        self.check();
    }

    fn finish(&mut self, at: usize) {
        let (thread, job) = self.running.remove(at);
        self.model.finish(at);
        assert_eq!(self.core.finish(thread, job, Nanos(0), false).0, None);
        self.take(thread);
    }

    /// The supervisor looks, and sees one asleep; those that it saw asleep before still are.
    fn block(&mut self, at: usize) {
        let Some(looks) = self.core.survey(false) else {
            self.model.running.iter_mut().for_each(|run| run.2 = false);
            return;
        };
        self.model.running[at].2 = true;
        for look in looks {
            let of = self.running.iter().position(|(thread, _)| *thread == look.thread).unwrap();
            self.core.looked(look, self.model.running[of].2);
        }
        drop(self.core.demand_all());
    }

    /// Threads that were woken or started come.
    fn run(&mut self) {
        loop {
            let _ = self.core.starts();
            let coming = self.core.threads.keys(|thread| thread.is_coming());
            let Some(&thread) = coming.first() else { return };
            assert!(self.core.arrive(thread));
            self.take(thread);
        }
    }

    fn take(&mut self, thread: Key) {
        let blocked = self.model.running.iter().filter(|run| run.2).count();
        let may_run = self.model.running.len() - blocked < self.limit;
        let expected = if may_run { self.model.take() } else { None };
        let job = self.core.take(thread, Nanos(0));
        assert_eq!(job.as_ref().map(|job| job.work), expected);
        match job {
            Some(job) => self.running.push((thread, job)),
            None => self.core.rest(thread),
        }
        let _ = self.core.demand(0);
    }

    fn check(&self) {
        let model = &self.model;
        for (number, (&queue, &max)) in self.queues.iter().zip(&QUEUES).enumerate() {
            let of = self.core.queues.get(queue).unwrap();
            let own = |item: &usize| queue_of(*item) == number;
            let queued = model.queued.iter().filter(|(item, _)| own(item)).count();
            let running = model.running.iter().filter(|(item, ..)| own(item)).count();
            let delayed = model.delayed.keys().filter(|item| own(item)).count();
            assert_eq!((of.pending, of.running, of.delayed), (queued, running, delayed));
            assert!(running <= max);
        }
        let mut run: Vec<_> = model.running.iter().map(|run| run.0).collect();
        run.sort_unstable();
        run.dedup();
        assert_eq!(run.len(), model.running.len(), "one runs twice at once");
        for (item, &key) in self.items.iter().enumerate() {
            assert_eq!(self.core.is_pending(key), model.is_pending(item));
        }
        for (target, what) in &self.waits {
            let left = model.under_way(|_| true).any(|number| what.contains(&number));
            assert_eq!(self.core.is_settled(*target), !left, "{target:?} waits for {what:?}");
        }
        // Nobody is forgotten: what is in line is there because as many run as may, or, as these items
        // take no time, because one runs that will look for more.
        let pool: &Pool = &self.core.pools[0];
        let is_full = pool.running > pool.blocked || pool.threads == 8;
        assert!(!pool.has_backlog() || is_full, "{pool:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn a_script_has_the_outcome_of_the_plain_model(
        limit in 1..4_usize,
        steps in prop::collection::vec(step(), 1..80),
    ) {
        let mut script = Script::new(limit);
        steps.into_iter().for_each(|step| script.step(step));
        // In the end all that is queued runs.
        while !script.running.is_empty() {
            script.finish(0);
            script.run();
        }
        script.check();
        prop_assert!(script.model.queued.is_empty(), "{:?}", script.model);
        prop_assert!(!matches!(script.core.demand(0), Wake::Thread(_)));
    }
}
