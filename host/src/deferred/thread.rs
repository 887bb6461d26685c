//! What is put off on one thread.
#![expect(unsafe_code, reason = "the calling thread's own part is reached by its address")]

use std::{
    cell::Cell,
    ptr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use gristmill_abi::deferred::{SOFTIRQS, softirq};

use super::{pending::Pending, tasklet::Tasklets};
use crate::engine::ThreadShared;

thread_local! {
    /// The calling thread, if it forwards.
    static HERE: Cell<*const ThreadShared> = const { Cell::new(ptr::null()) };
    /// It is at the end of a turn, in what was put off.
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

/// The part of a thread that others raise softirqs and schedule tasklets on.
#[derive(Debug)]
pub struct ThreadDeferred {
    pending: Pending,
    /// Runs of each softirq; the thread alone writes.
    runs: Box<[AtomicU64; SOFTIRQS as usize]>,
    /// Turns that left something pending because it took too long; the thread alone writes.
    squeezed: AtomicU64,
    /// Tasklets, those of high priority and the others.
    tasklets: [Tasklets; 2],
}

impl Default for ThreadDeferred {
    fn default() -> Self {
        Self {
            pending: Pending::new(),
            runs: Box::new([const { AtomicU64::new(0) }; SOFTIRQS as usize]),
            squeezed: AtomicU64::new(0),
            tasklets: Default::default(),
        }
    }
}

/// Adds one to a counter that the caller alone writes.
#[inline(always)]
fn count(counter: &AtomicU64) {
    counter.store(counter.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
}

impl ThreadDeferred {
    /// What is pending.
    #[inline(always)]
    pub fn pending(&self) -> &Pending {
        &self.pending
    }

    /// Tasklets that wait: those of high priority, or the others.
    pub(super) fn tasklets(&self, high: bool) -> &Tasklets {
        &self.tasklets[usize::from(!high)]
    }

    #[inline(always)]
    pub(super) fn count_run(&self, number: u32) {
        count(&self.runs[number as usize]);
    }

    pub(super) fn count_squeezed(&self) {
        count(&self.squeezed);
    }

    /// Runs of a softirq.
    pub fn runs(&self, number: u32) -> u64 {
        self.runs[number as usize].load(Ordering::Relaxed)
    }

    /// Turns that left something pending because it took too long.
    pub fn squeezed(&self) -> u64 {
        self.squeezed.load(Ordering::Relaxed)
    }

    /// A number is another's from now on. While it is nobody's.
    pub(super) fn forget_runs(&self, number: u32) {
        self.runs[number as usize].store(0, Ordering::Relaxed);
    }

    /// Gives all that is pending to a thread that runs. Main, for one that does not any more.
    pub fn hand_on(&self, heir: &ThreadShared) {
        for high in [true, false] {
            for tasklet in self.tasklets(high).take() {
                heir.deferred.tasklets(high).push(tasklet);
                heir.deferred.pending.raise(1 << number_of(high));
            }
        }
        heir.deferred.pending.raise(self.pending.take());
        heir.ring();
    }
}

/// The softirq that runs tasklets.
pub(super) fn number_of(high: bool) -> u32 {
    if high { softirq::HI } else { softirq::TASKLET }
}

/// The calling thread is a forwarding one, until this is dropped.
#[derive(Debug)]
pub struct Here {
    _shared: Arc<ThreadShared>,
    before: *const ThreadShared,
}

impl Here {
    /// The calling thread is this one.
    pub fn is(shared: &Arc<ThreadShared>) -> Self {
        Self { before: HERE.replace(Arc::as_ptr(shared)), _shared: Arc::clone(shared) }
    }
}

impl Drop for Here {
    fn drop(&mut self) {
        HERE.set(self.before);
    }
}

/// Calls with the calling thread's part, if it forwards.
#[inline(always)]
pub(super) fn here<R>(with: impl FnOnce(&ThreadShared) -> R) -> Option<R> {
    let here = HERE.get();
    if here.is_null() {
        return None;
    }
    // SAFETY: `Here` keeps it as long as it is here.
    Some(with(unsafe { &*here }))
}

/// Whether the caller is at the end of a turn, in what was put off.
pub fn is_inside() -> bool {
    INSIDE.get()
}

/// The calling thread is at the end of a turn, until this is dropped.
pub(super) struct Inside(());

impl Inside {
    pub(super) fn enter() -> Self {
        INSIDE.set(true);
        Self(())
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        INSIDE.set(false);
    }
}
