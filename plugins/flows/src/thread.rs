//! What the two nodes of one thread share.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use parking_lot::Mutex;
use plugin_api::Timer;

use crate::{
    config::{TICK_NS, Timeouts},
    shown::{Count, Shown},
    table::{Seen, Table},
};

/// One thread's flows.
///
/// The table is locked once for each frame, and once for each turn in which there is something to
/// do, by the nodes of that one thread. Nobody else takes the lock but to exchange the table, and
/// for that the nodes do not wait.
#[derive(Debug)]
pub(crate) struct ThreadFlows {
    table: Mutex<Table>,
    /// What the table shows; main exchanges both.
    shown: Mutex<Arc<Shown>>,
    /// No flow ends before this tick. Written by the thread alone; an atomic because two nodes
    /// have it.
    wake_at: AtomicU64,
    /// Packets that came while the table was exchanged.
    missed: Count,
    /// Wakes the thread when flows end.
    pub(crate) timer: OnceLock<Timer>,
}

impl ThreadFlows {
    pub(crate) fn new(table: Table) -> Self {
        let shown = Mutex::new(Arc::clone(table.shown()));
        Self {
            table: Mutex::new(table),
            shown,
            wake_at: AtomicU64::new(u64::MAX),
            missed: Count::default(),
            timer: OnceLock::new(),
        }
    }

    /// Counts the packets of a frame, some of which have no flow. Context: the thread.
    #[inline]
    pub(crate) fn count(&self, now_ns: u64, timeouts: Timeouts, seen: &[Seen], flowless: usize) {
        let Some(mut table) = self.table.try_lock() else {
            self.missed.add((seen.len() + flowless) as u64);
            return;
        };
        if flowless > 0 {
            table.shown().totals.not_tracked.add(flowless as u64);
        }
        table.count(now_ns, timeouts, seen);
        drop(table);
        let soonest = now_ns / TICK_NS + timeouts.least_interval();
        if soonest < self.wake_at.load(Relaxed) {
            self.wake_at.store(soonest, Relaxed);
        }
    }

    /// Turns the wheel; whether it is to be turned again in the same tick. Context: the thread.
    pub(crate) fn turn(&self, now_ns: u64, timeouts: Timeouts) -> bool {
        self.table.try_lock().is_none_or(|mut table| table.turn(now_ns, timeouts))
    }

    /// Whether a flow may end before tick `other`. Context: the thread.
    #[inline(always)]
    pub(crate) fn ends_before(&self, other: u64) -> bool {
        self.wake_at.load(Relaxed) < other
    }

    /// Sees to it that the thread does not sleep when the next flow ends; the tick at which it is
    /// woken, `u64::MAX` if there is no flow. Context: the thread.
    pub(crate) fn arm(&self) -> Option<u64> {
        let timer = self.timer.get()?;
        let next = self.table.try_lock()?.next_expiry();
        if let Some(next) = next {
            timer.modify(next.saturating_mul(TICK_NS));
        }
        let next = next.unwrap_or(u64::MAX);
        self.wake_at.store(next, Relaxed);
        Some(next)
    }

    /// Forgets all flows and counts, by putting a fresh table in the place of the old. Context:
    /// main; may wait for a frame to end.
    pub(crate) fn replace(&self, mut fresh: Table) {
        let mut shown = self.shown.lock();
        *shown = Arc::clone(fresh.shown());
        std::mem::swap(&mut *self.table.lock(), &mut fresh);
        drop(shown);
        // The old one ends here, under no lock.
    }

    /// What is shown of it.
    pub(crate) fn shown(&self) -> Arc<Shown> {
        Arc::clone(&self.shown.lock())
    }

    /// Packets that were not counted because the table was exchanged.
    pub(crate) fn missed(&self) -> u64 {
        self.missed.get()
    }
}
