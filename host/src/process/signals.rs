//! Events for processes from other threads than main.
//!
//! ```text
//!  any thread   pending |= events; not listed yet? ── listed ──▶ push on the list ──▶ ring main
//!  main         takes the whole list; each: listed = no, then takes what is pending
//! ```
//! A process is on the list at most once, however many events it has, so the list is never full and
//! nothing waits for room. What was pending before `listed` went down is found by the take after it;
//! what comes later lists the process again.

#![expect(unsafe_code, reason = "counted references in a lock-free list")]

use crate::sync::{Arc, AtomicBool, AtomicPtr, AtomicU32, AtomicU64, Ordering};

/// What everybody may know of a process, and the way events go to it.
#[derive(Debug)]
pub struct ProcessShared {
    /// Its place in the scheduler.
    pub place: u32,
    /// Its number: no other process has or had it.
    pub number: u64,
    /// Events, a bit each, that other threads have signalled and main has not taken.
    pending: AtomicU64,
    /// Signals from other threads.
    pub signals: AtomicU64,
    listed: AtomicBool,
    next: AtomicPtr<Self>,
    /// Times that it has ended for good or until it is begun again.
    pub ended: AtomicBool,
    /// References that keep an ended process from being forgotten: its creator's.
    pub held: AtomicU32,
}

impl ProcessShared {
    /// A process at that place, of that number.
    pub fn new(place: u32, number: u64) -> Self {
        Self {
            place,
            number,
            pending: AtomicU64::new(0),
            signals: AtomicU64::new(0),
            listed: AtomicBool::new(false),
            next: AtomicPtr::new(core::ptr::null_mut()),
            ended: AtomicBool::new(false),
            held: AtomicU32::new(1),
        }
    }

    /// Whether it has ended. Any thread.
    pub fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }
}

/// Processes to which other threads have signalled events.
#[derive(Debug)]
pub struct Signals {
    /// The last one listed; each holds a count of its process.
    newest: AtomicPtr<ProcessShared>,
}

impl Signals {
    /// None.
    pub fn new() -> Self {
        Self { newest: AtomicPtr::new(core::ptr::null_mut()) }
    }

    /// Events happen to a process; main is to be rung then. Any thread but main.
    pub fn signal(&self, process: &Arc<ProcessShared>, events: u64) {
        // Release: what the event is about is there for whoever takes it.
        process.pending.fetch_or(events, Ordering::AcqRel);
        process.signals.fetch_add(1, Ordering::Relaxed);
        if process.listed.swap(true, Ordering::AcqRel) {
            return; // Main comes to it anyway, and takes all that is pending then.
        }
        let own = Arc::into_raw(Arc::clone(process)).cast_mut();
        let mut newest = self.newest.load(Ordering::Relaxed);
        loop {
            process.next.store(newest, Ordering::Relaxed);
            // Release: main follows the list. That main is rung, or sees this before it sleeps, is
            // the fences' business, in `SleepState`.
            match self.newest.compare_exchange_weak(
                newest,
                own,
                Ordering::Release,
                Ordering::Relaxed,
            ) {
                Ok(_) => return,
                Err(other) => newest = other,
            }
        }
    }

    /// Whether there is anything to take.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.newest.load(Ordering::Relaxed).is_null()
    }

    /// Takes what was signalled, in the order in which the processes came to be listed. Main.
    ///
    /// `taken` is room for the list, reused; it is left empty.
    #[inline]
    pub fn take(
        &self,
        taken: &mut Vec<Arc<ProcessShared>>,
        mut found: impl FnMut(&Arc<ProcessShared>, u64),
    ) {
        if self.newest.load(Ordering::Relaxed).is_null() {
            return;
        }
        let mut newest = self.newest.swap(core::ptr::null_mut(), Ordering::Acquire);
        while !newest.is_null() {
            // SAFETY: `signal` made it of a counted reference, which is on the list once.
            let process = unsafe { Arc::from_raw(newest.cast_const()) };
            newest = process.next.load(Ordering::Relaxed);
            taken.push(process);
        }
        while let Some(process) = taken.pop() {
            // An event that comes from here on lists the process again, in vain at worst: whoever
            // adds it after the swap below read that swap, and so sees that it is not listed.
            process.listed.store(false, Ordering::Release);
            found(&process, process.pending.swap(0, Ordering::AcqRel));
        }
    }
}

impl Default for Signals {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        self.take(&mut Vec::new(), |_, _| ());
    }
}
