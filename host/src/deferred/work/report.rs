//! What `show workqueues` shows.

use super::{
    Kind, WorkQueues,
    core::{Item, Place},
};
use crate::time::Nanos;

/// A queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueReport {
    /// What it is called.
    pub name: String,
    /// Whose it is.
    pub plugin: String,
    /// What its items may do at once, and where.
    pub kind: Kind,
    /// Items of it in execution at once.
    pub max_active: usize,
    /// Items that are queued.
    pub pending: usize,
    /// Items that wait for their delay.
    pub delayed: usize,
    /// Items that run.
    pub running: usize,
    /// Runs that have ended.
    pub done: u64,
    /// Of these, by a panic.
    pub panicked: u64,
    /// The longest of them.
    pub longest: Nanos,
    /// For how long the one runs that has run for longest.
    pub running_for: Option<Nanos>,
}

/// A pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolReport {
    /// The forwarding thread that it is bound to.
    pub bound: Option<u32>,
    /// The CPU that its threads are pinned to.
    pub cpu: Option<u32>,
    /// Its threads.
    pub threads: usize,
    /// Those that run an item.
    pub running: usize,
    /// Of these, those that were asleep when somebody last looked.
    pub blocked: usize,
    /// Those that have nothing to do.
    pub idle: usize,
    /// Items that run at once, those that are blocked aside.
    pub limit: usize,
    /// Threads at most.
    pub max: usize,
}

/// An item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ItemReport {
    /// What it is called.
    pub name: String,
    /// The forwarding thread that it is bound to.
    pub bound: Option<u32>,
    /// `idle`, `delayed`, `queued`, `running`, or `running, queued`.
    pub state: &'static str,
    /// Runs that have ended.
    pub runs: u64,
    /// Of these, by a panic.
    pub panicked: u64,
    /// The longest of them.
    pub longest: Nanos,
    /// For how long it runs.
    pub running_for: Option<Nanos>,
}

impl WorkQueues {
    /// All queues, in the order of their names.
    pub fn queues(&self) -> Vec<QueueReport> {
        let now = self.shared.now();
        let state = self.shared.state.lock();
        let mut reports: Vec<_> = state
            .core
            .queues
            .iter()
            .map(|(key, queue)| {
                let runs = state.core.items.of(key).filter_map(|(_, item)| item.run);
                QueueReport {
                    name: queue.name.to_string(),
                    plugin: queue.plugin.to_string(),
                    kind: queue.kind,
                    max_active: queue.max_active,
                    pending: queue.pending,
                    delayed: queue.delayed,
                    running: queue.running,
                    done: queue.done,
                    panicked: queue.panicked,
                    longest: queue.longest,
                    running_for: runs.map(|run| Nanos(now.0.saturating_sub(run.began.0))).max(),
                }
            })
            .collect();
        drop(state);
        reports.sort_by(|one, other| (&one.name, &one.plugin).cmp(&(&other.name, &other.plugin)));
        reports
    }

    /// All pools, the unbound one first.
    pub fn pools(&self) -> Vec<PoolReport> {
        let state = self.shared.state.lock();
        let core = &state.core;
        let report = |pool: &super::core::Pool| PoolReport {
            bound: pool.bound,
            cpu: pool.cpu,
            threads: pool.threads,
            running: pool.running,
            blocked: pool.blocked,
            idle: pool.idle(),
            limit: pool.limit,
            max: core.max_threads,
        };
        core.pools.iter().map(report).collect()
    }

    /// The items of the queues of that name.
    pub fn items(&self, queue: &str) -> Vec<ItemReport> {
        let now = self.shared.now();
        let state = self.shared.state.lock();
        let core = &state.core;
        let queues = core.queues.iter().filter(|(_, own)| *own.name == *queue);
        let items = queues.flat_map(|(key, _)| core.items.of(key));
        let report = |(_, item): (_, &Item<_>)| ItemReport {
            name: item.name.to_string(),
            bound: core.pools[item.pool].bound,
            state: match (item.run.is_some(), item.place) {
                (false, Place::Idle) => "idle",
                (false, Place::Delayed(_)) => "delayed",
                (false, _) => "queued",
                (true, Place::Idle) => "running",
                (true, Place::Delayed(_)) => "running, delayed",
                (true, _) => "running, queued",
            },
            runs: item.runs,
            panicked: item.panics,
            longest: item.longest,
            running_for: item.run.map(|run| Nanos(now.0.saturating_sub(run.began.0))),
        };
        items.map(report).collect()
    }
}
