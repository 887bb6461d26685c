//! Pools of threads: how many of them run at once, and who is woken, started or ended.

use std::sync::Arc;

use super::{Core, Key, List, Slab};
use crate::{deferred::work::parker::Parker, time::Nanos};

/// Items that take as long are worth waking a thread for, which takes about as long itself.
const LONG: Nanos = Nanos::from_micros(10);
/// So many in line are, however short.
const MANY: usize = 64;

/// The threads of one kind of queues, or of the queues bound to one forwarding thread.
#[derive(Debug)]
pub(in super::super) struct Pool {
    /// The forwarding thread that it is bound to.
    pub(in super::super) bound: Option<u32>,
    /// Where its threads run; `None` where all unbound ones do.
    pub(in super::super) cpu: Option<u32>,
    /// Items that run at once, those that are blocked aside.
    pub(in super::super) limit: usize,
    pub(in super::super) threads: usize,
    pub(in super::super) running: usize,
    /// Of those that run, the ones that were asleep when they were last looked at.
    pub(in super::super) blocked: usize,
    /// Items in line.
    pub(super) ready: List,
    /// Threads that have nothing to do, the last one first.
    idle: Vec<Key>,
    /// Threads on their way, each for an item.
    waking: usize,
    /// Nanoseconds that its items take, the last ones most.
    usual: u64,
    /// It has all the threads that it may have, and more to do; told.
    pub(in super::super) exhausted: bool,
    /// A thread could not be started; told.
    pub(in super::super) starved: bool,
}

/// What a thread is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum ThreadState {
    /// On its way, for an item.
    Coming,
    /// Between two items.
    Between,
    Idle,
    Running(Key),
}

/// A thread of a pool.
#[derive(Debug)]
pub(in super::super) struct Thread {
    pub(in super::super) pool: usize,
    pub(in super::super) state: ThreadState,
    /// The kernel's number of it; 0 before it runs.
    pub(in super::super) tid: u32,
    pub(in super::super) parker: Arc<Parker>,
    /// What its item waits for.
    pub(super) waits: Option<super::Target>,
    blocked: bool,
}

/// Who is to be woken.
#[derive(Clone, Debug)]
#[must_use = "somebody has to be woken"]
pub(in super::super) enum Wake {
    Nobody,
    Thread(Arc<Parker>),
    Supervisor,
}

/// A thread that is to be looked at, and the run that it is at.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Look {
    pub(in super::super) thread: Key,
    pub(in super::super) tid: u32,
    sequence: u64,
}

impl Thread {
    /// Whether it is on its way.
    pub(in super::super) fn is_coming(&self) -> bool {
        self.state == ThreadState::Coming
    }
}

impl Pool {
    pub(in super::super) fn new(bound: Option<u32>, cpu: Option<u32>, limit: usize) -> Self {
        Self {
            bound,
            cpu,
            limit,
            threads: 0,
            running: 0,
            blocked: 0,
            ready: List::default(),
            idle: Vec::new(),
            waking: 0,
            usual: LONG.0,
            exhausted: false,
            starved: false,
        }
    }

    pub(super) fn may_run(&self) -> bool {
        self.running - self.blocked < self.limit
    }

    /// Whether items wait that nobody is on the way for.
    pub(in super::super) fn has_backlog(&self) -> bool {
        self.ready.len() > self.waking
    }

    /// Threads that have nothing to do.
    pub(in super::super) fn idle(&self) -> usize {
        self.idle.len()
    }
}

impl<W> Core<W> {
    /// Nothing yet, but the pool of the unbound queues.
    pub(in super::super) fn new(limit: usize, max_threads: usize) -> Self {
        Self {
            items: Slab::new(),
            queues: Slab::new(),
            pools: vec![Pool::new(None, None, limit)],
            threads: Slab::new(),
            starts: Vec::new(),
            watching: false,
            max_threads,
            lasting: 0,
            sequence: 0,
        }
    }

    /// Who is to be woken so that a pool's items are taken.
    pub(in super::super) fn demand(&mut self, pool: usize) -> Wake {
        let most = self.max_threads + self.lasting;
        let of = &mut self.pools[pool];
        if !of.has_backlog() {
            return Wake::Nobody;
        }
        if of.waking > 0 {
            return Wake::Nobody; // Who comes wakes the next, if items are still in line then.
        }
        if of.running - of.blocked < of.limit {
            if let Some(thread) = of.idle.pop() {
                of.waking += 1;
                let thread = self.threads.at(thread);
                thread.state = ThreadState::Coming;
                return Wake::Thread(Arc::clone(&thread.parker));
            }
            if of.threads < most {
                of.threads += 1;
                of.waking += 1;
                let thread = Thread {
                    pool,
                    state: ThreadState::Coming,
                    tid: 0,
                    parker: Arc::default(),
                    waits: None,
                    blocked: false,
                };
                self.starts.push(self.threads.insert(thread));
                self.watching = true;
                return Wake::Supervisor;
            }
        }
        if std::mem::replace(&mut self.watching, true) { Wake::Nobody } else { Wake::Supervisor }
    }

    /// As [`demand`](Self::demand), where a thread of the pool is awake that will look for more: short
    /// items are left to it, and to the supervisor, in case it does not come.
    pub(in super::super) fn demand_more(&mut self, pool: usize) -> Wake {
        let of = &self.pools[pool];
        let is_little = of.usual < LONG.0 && of.ready.len() < MANY;
        if of.running == of.blocked || !is_little {
            return self.demand(pool);
        }
        let is_watched = !of.has_backlog() || std::mem::replace(&mut self.watching, true);
        if is_watched { Wake::Nobody } else { Wake::Supervisor }
    }

    /// All who are to be woken so that items are taken, of all pools; others are to be started.
    pub(in super::super) fn demand_all(&mut self) -> Vec<Wake> {
        let mut wakes = Vec::new();
        for pool in 0..self.pools.len() {
            loop {
                let starts = self.starts.len();
                let wake = self.demand(pool);
                let is_woken = matches!(wake, Wake::Thread(_));
                if is_woken {
                    wakes.push(wake);
                } else if self.starts.len() == starts {
                    break; // As many as may be are on their way.
                }
            }
        }
        wakes
    }

    /// Threads that are to be started.
    pub(in super::super) fn starts(&mut self) -> Vec<Key> {
        std::mem::take(&mut self.starts)
    }

    /// A thread was not started.
    pub(in super::super) fn not_started(&mut self, thread: Key) {
        if let Some(thread) = self.threads.remove(thread) {
            let of = &mut self.pools[thread.pool];
            of.threads -= 1;
            of.waking -= 1;
        }
    }

    /// A thread has arrived that was woken or started. False if it was neither.
    pub(in super::super) fn arrive(&mut self, thread: Key) -> bool {
        let own = self.threads.at(thread);
        if !own.is_coming() {
            return false;
        }
        own.state = ThreadState::Between;
        let pool = own.pool;
        self.pools[pool].waking -= 1;
        true
    }

    /// A thread has nothing to do. One of a pool stays awake for a moment, and is the next to be woken.
    pub(in super::super) fn rest(&mut self, thread: Key) {
        let awake = |other: &Thread| other.state == ThreadState::Idle && other.parker.spins();
        let pool = self.threads.at(thread).pool;
        let last = self.pools[pool].idle.last();
        let is_one = last.is_some_and(|&last| self.threads.get(last).is_some_and(awake));
        let own = self.threads.at(thread);
        own.state = ThreadState::Idle;
        let idle = &mut self.pools[pool].idle;
        if is_one {
            idle.insert(idle.len() - 1, thread);
        } else {
            own.parker.announce_spin();
            idle.push(thread);
        }
    }

    /// A thread had nothing to do for long: whether it ends.
    pub(in super::super) fn leave(&mut self, thread: Key) -> bool {
        let own = self.threads.at(thread);
        let (pool, state) = (own.pool, own.state);
        if state == ThreadState::Coming {
            return false; // Woken at the last moment.
        }
        let of = &mut self.pools[pool];
        of.idle.retain(|&idle| idle != thread);
        of.threads -= 1;
        self.threads.remove(thread);
        true
    }

    /// A thread does not run its item any more.
    pub(super) fn release(&mut self, thread: Key, took: Nanos) {
        let own = self.threads.at(thread);
        own.state = ThreadState::Between;
        let blocked = std::mem::take(&mut own.blocked);
        let of = &mut self.pools[own.pool];
        of.running -= 1;
        of.blocked -= usize::from(blocked);
        of.usual = (of.usual * 7 + took.0) / 8;
    }

    /// Whom to look at: threads that run, of pools with items in line. `None`, and looking is over,
    /// if no pool has any, unless it is to go on all the same.
    pub(in super::super) fn survey(&mut self, goes_on: bool) -> Option<Vec<Look>> {
        for of in &mut self.pools {
            if !of.has_backlog() {
                (of.exhausted, of.starved) = (false, false);
            }
        }
        if self.starts.is_empty() && !self.pools.iter().any(Pool::has_backlog) {
            self.watching = goes_on;
            // What is not looked at is not known to be blocked.
            let blocked = self.threads.keys(|thread| thread.blocked);
            blocked.into_iter().for_each(|thread| self.set_blocked(thread, false));
            return goes_on.then(Vec::new);
        }
        let looked_at = |thread: &Thread| self.pools[thread.pool].has_backlog();
        let running = self.threads.iter().filter(|(_, thread)| looked_at(thread));
        let look = |(key, thread): (Key, &Thread)| match thread.state {
            ThreadState::Running(item) => {
                let sequence = self.items.get(item)?.run?.sequence;
                Some(Look { thread: key, tid: thread.tid, sequence })
            }
            _ => None,
        };
        Some(running.filter_map(look).collect())
    }

    /// Notes whether a thread that was looked at is blocked, if it is still at the same run.
    pub(in super::super) fn looked(&mut self, look: Look, blocked: bool) {
        let Some(thread) = self.threads.get(look.thread) else { return };
        let ThreadState::Running(item) = thread.state else { return };
        let run = self.items.get(item).and_then(|item| item.run);
        if run.is_some_and(|run| run.sequence == look.sequence) {
            self.set_blocked(look.thread, blocked);
        }
    }

    fn set_blocked(&mut self, thread: Key, blocked: bool) {
        let own = self.threads.at(thread);
        if std::mem::replace(&mut own.blocked, blocked) != blocked {
            let of = &mut self.pools[own.pool];
            of.blocked = if blocked { of.blocked + 1 } else { of.blocked - 1 };
        }
    }

    /// Pools that have more to do than all the threads that they may have, and were not told of.
    pub(in super::super) fn exhausted(&mut self) -> Vec<usize> {
        let mut found = Vec::new();
        for (at, of) in self.pools.iter_mut().enumerate() {
            let most = self.max_threads + self.lasting;
            let all = of.threads >= most && of.running == of.threads;
            if all && of.may_run() && of.has_backlog() && !of.exhausted {
                of.exhausted = true;
                found.push(at);
            }
        }
        found
    }

    /// The pool of the queues that are bound to a forwarding thread, made if it is not there.
    pub(in super::super) fn bound_pool(&mut self, thread: u32, cpu: Option<u32>) -> usize {
        if let Some(at) = self.pools.iter().position(|of| of.bound == Some(thread)) {
            self.pools[at].cpu = cpu;
            return at;
        }
        self.pools.push(Pool::new(Some(thread), cpu, 1));
        self.pools.len() - 1
    }
}
