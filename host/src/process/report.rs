//! What there is to show of processes.

use super::{
    ProcessShared,
    scheduler::{Process, State},
};
use crate::{
    graph::Owner,
    sync::Arc,
    time::{Cycles, Nanos},
};

/// What is counted of a process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Times it suspended itself.
    pub suspends: u64,
    /// Times it was signalled on main; other threads' signals are counted apart.
    pub events: u64,
    /// Clocks that it ran.
    pub clocks: Cycles,
    /// The longest time that it held main without a wait.
    pub hold_max: Nanos,
    /// Times it held main longer than its watchdog allows.
    pub overruns: u64,
    /// Times it failed or panicked.
    pub failures: u64,
    /// Times it was begun again after that.
    pub restarts: u64,
    /// Most bytes of its stack that an earlier run touched.
    pub stack_used: usize,
}

/// A row of `show process`.
#[derive(Clone, Debug)]
pub struct ProcessReport {
    /// The process.
    pub process: Arc<ProcessShared>,
    /// What it is called.
    pub name: String,
    /// Whose it is.
    pub owner: Owner,
    /// What the owner is called.
    pub plugin: String,
    /// What it is doing.
    pub state: State,
    /// Usable bytes of its stack.
    pub stack_size: usize,
    /// What is counted of it.
    pub counts: Counts,
    /// Names of the events that it waits for.
    pub events: Vec<String>,
    /// When the time comes that it waits for, or that it begins again.
    pub until: Option<Nanos>,
    /// The process for whose end it waits.
    pub end_of: Option<Arc<ProcessShared>>,
}

impl Process {
    pub(super) fn report(&self) -> ProcessReport {
        use crate::sync::Ordering;
        let mut counts = self.counts;
        counts.events += self.shared.signals.load(Ordering::Relaxed);
        let used = self.fiber.as_ref().map_or(0, |fiber| fiber.stack().high_water());
        counts.stack_used = counts.stack_used.max(used);
        let bits = (0..64).filter(|bit| self.request.events >> bit & 1 != 0);
        let name = |bit: usize| {
            let name = self.event_names.get(bit).filter(|name| !name.is_empty());
            name.cloned().unwrap_or_else(|| format!("event {bit}"))
        };
        // Waiting for all there could be says nothing of those that have no name.
        let named = bits.clone().filter(|&bit| bit < self.event_names.len());
        let events = if self.request.events == u64::MAX {
            named.map(name).collect()
        } else {
            bits.map(name).collect()
        };
        ProcessReport {
            process: Arc::clone(&self.shared),
            name: self.spec.name.clone(),
            owner: self.spec.owner,
            plugin: self.spec.plugin.clone(),
            state: self.state,
            stack_size: self.spec.stack_size,
            counts,
            events,
            until: self.deadline.map(|(tick, _)| Nanos(tick * super::scheduler::TICK)),
            end_of: self.request.end_of.clone(),
        }
    }
}
