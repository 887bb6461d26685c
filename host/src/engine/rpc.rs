//! Calls to main: any thread leaves one in a queue, main runs it at the top of its next turn.
//!
//! ```text
//!  any thread ── gate (admission) ── ring ──▶ main: next turn's first thing, at most PER_TURN
//!      │ full: a forwarding thread is told so, another may wait for room
//!  main, outside of nodes: at once
//! ```
//! The calls of one thread run in the order in which it sent them. One that main sends out of a node
//! is queued, and then those that it sends after it are queued too, until it has run; only a call
//! whose outcome is waited for runs at once. A call is never lost silently: it runs, or its
//! arguments are dropped with the reason and it is counted, or the sender has it back.
#![expect(clippy::result_large_err, reason = "a call comes back as it was, without allocation")]

pub mod admission;
mod call;
mod serve;

use std::{
    collections::{BTreeSet, VecDeque},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, AtomicUsize, Ordering, fence},
    },
};

use gristmill_abi::host::CALL_CANCELLED;
use parking_lot::{Condvar, Mutex};

use self::admission::Admission;
pub use self::call::Call;
use super::{
    latency::Latency,
    ring::{Consumer, Producer, ring},
    thread::ThreadShared,
};
use crate::{graph::Owner, host::GraphError};

/// Calls that wait at most.
const CAPACITY: usize = 1024;

/// Why a call was not taken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Reason {
    /// The queue is full.
    #[error("main has too many calls waiting: try again later")]
    Full,
    /// Its owner is being unloaded, or the host ends.
    #[error("main takes no calls of this plugin any more: it is unloaded, or the host ends")]
    Closed,
    /// It was to run at once, but the workers do not come to the barrier.
    #[error(transparent)]
    Barrier(#[from] GraphError),
}

/// A call that was not taken, and why.
#[derive(Debug)]
pub struct Refused {
    /// The sender's again; dropping it drops its arguments.
    pub call: Call,
    /// Why.
    pub reason: Reason,
}

/// Counts of calls, by what became of them.
#[derive(Debug, Default)]
pub struct Counters {
    /// Ran at once, on main.
    pub direct: AtomicU64,
    /// Left in the queue.
    pub queued: AtomicU64,
    /// Of both, those that ran at the barrier.
    pub at_barrier: AtomicU64,
    /// Refused, because the queue was full.
    pub full: AtomicU64,
    /// Waited for room in the queue.
    pub waits: AtomicU64,
    /// Left in the queue and dropped: their plugin was unloaded, or the workers did not stop.
    pub discarded: AtomicU64,
    /// Panicked.
    pub panicked: AtomicU64,
}

impl Counters {
    /// All of them, by name.
    pub fn read(&self) -> [(&'static str, u64); 7] {
        [
            ("direct", &self.direct),
            ("queued", &self.queued),
            ("with barrier", &self.at_barrier),
            ("full", &self.full),
            ("waits", &self.waits),
            ("discarded", &self.discarded),
            ("panicked", &self.panicked),
        ]
        .map(|(name, count)| (name, count.load(Ordering::Relaxed)))
    }
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// The queue of calls to main.
#[derive(Debug)]
pub struct Rpc {
    queue: Producer<Call>,
    admission: Admission,
    /// Main's end. Only main locks it, and never while it runs a call.
    end: Mutex<End>,
    /// Calls in [`End::held`].
    held: AtomicUsize,
    /// Calls that main itself left in the queue; main's own.
    own: AtomicUsize,
    /// Senders that wait for room.
    waiting: AtomicUsize,
    /// Held by a sender from its try until it waits, and by main to tell of room.
    waits: Mutex<()>,
    room: Condvar,
    main: OnceLock<Arc<ThreadShared>>,
    counters: Counters,
    latency: Latency,
    /// The longest queue that main found.
    longest: AtomicUsize,
}

#[derive(Debug)]
struct End {
    queue: Consumer<Call>,
    /// Taken from the queue and not run yet; before those in the queue.
    held: VecDeque<Call>,
    /// Generations that are gone: what their left-over threads send is dropped.
    gone: BTreeSet<Owner>,
}

impl Default for Rpc {
    fn default() -> Self {
        Self::new(CAPACITY)
    }
}

impl Rpc {
    /// A queue with room for so many calls, a power of two.
    pub fn new(capacity: usize) -> Self {
        let (queue, end) = ring(capacity);
        let end = End { queue: end, held: VecDeque::new(), gone: BTreeSet::new() };
        Self {
            queue,
            admission: Admission::new(),
            end: Mutex::new(end),
            held: AtomicUsize::new(0),
            own: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            waits: Mutex::new(()),
            room: Condvar::new(),
            main: OnceLock::new(),
            counters: Counters::default(),
            latency: Latency::default(),
            longest: AtomicUsize::new(0),
        }
    }

    /// Says whom to wake.
    pub fn set_main(&self, main: Arc<ThreadShared>) {
        let _ = self.main.set(main); // The first is the one.
    }

    /// Calls that wait for main.
    #[inline]
    pub fn len(&self) -> usize {
        self.queue.len() + self.held.load(Ordering::Relaxed)
    }

    /// Whether no call waits for main.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Calls that may wait for main.
    pub fn capacity(&self) -> usize {
        self.queue.capacity()
    }

    /// The longest queue that main found.
    pub fn longest(&self) -> usize {
        self.longest.load(Ordering::Relaxed)
    }

    /// What became of the calls.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// How long calls were in the queue.
    pub fn latency(&self) -> &Latency {
        &self.latency
    }

    /// Calls of `owner` that wait. Main; looks at each.
    pub fn pending(&self, owner: Owner) -> usize {
        let mut end = self.end.lock();
        self.hold_all(&mut end);
        end.held.iter().filter(|call| call.owner == owner).count()
    }

    /// Leaves a call in the queue, if there is room.
    fn push(&self, call: Call) -> Result<(), Refused> {
        let Some(entry) = self.admission.enter(call.owner.0) else {
            return Err(Refused { call, reason: Reason::Closed });
        };
        let pushed = self.queue.push(call);
        drop(entry);
        pushed.map_err(|call| Refused { call, reason: Reason::Full })?;
        count(&self.counters.queued);
        self.ring_main();
        Ok(())
    }

    /// Wakes main if it sleeps. Any thread; takes no lock.
    #[inline]
    pub fn ring_main(&self) {
        if let Some(main) = self.main.get() {
            main.ring();
        }
    }

    /// Leaves a call in the queue; waits until there is room, or none will come.
    #[cold]
    fn push_when_there_is_room(&self, mut call: Call) -> Result<(), Refused> {
        count(&self.counters.waits);
        self.waiting.fetch_add(1, Ordering::Relaxed);
        // Against the fence of `tell_of_room`: the try below sees the room, or main sees the wait
        // and, for the lock, tells of the room no sooner than this waits.
        fence(Ordering::SeqCst);
        let mut waits = self.waits.lock();
        let pushed = loop {
            match self.push(call) {
                Err(Refused { call: back, reason: Reason::Full }) => call = back,
                pushed => break pushed,
            }
            self.room.wait(&mut waits);
        };
        drop(waits);
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        pushed
    }

    /// Tells senders that wait that there may be room, or that it is of no use to wait. Main.
    fn tell_of_room(&self) {
        fence(Ordering::SeqCst);
        if self.waiting.load(Ordering::Relaxed) > 0 {
            drop(self.waits.lock());
            self.room.notify_all();
        }
    }

    /// Takes the oldest call if `wanted` likes it; `true` beside it if its owner is gone.
    fn take(&self, wanted: impl FnOnce(&mut Call) -> bool) -> Option<(Call, bool)> {
        let mut end = self.end.lock();
        if end.held.is_empty()
            && let Some(call) = end.queue.pop()
        {
            end.held.push_back(call);
        }
        let call = end.held.pop_front_if(wanted);
        self.held.store(end.held.len(), Ordering::Relaxed);
        let call = call?;
        let gone = end.gone.contains(&call.owner);
        self.taken(&call);
        Some((call, gone))
    }

    fn taken(&self, call: &Call) {
        if call.of_main {
            self.own.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Takes all calls out of the queue that are in it now.
    fn hold_all(&self, end: &mut End) {
        for _ in 0..end.queue.len() {
            // One that its sender is about to finish is waited for: those behind it are ready.
            let call = loop {
                match end.queue.pop() {
                    Some(call) => break call,
                    None => std::thread::yield_now(),
                }
            };
            end.held.push_back(call);
        }
        self.held.store(end.held.len(), Ordering::Relaxed);
    }

    /// Drops the calls that `wanted` picks. Main; runs the plugin's destructors.
    fn discard(&self, wanted: impl Fn(&Call) -> bool) {
        let mut end = self.end.lock();
        self.hold_all(&mut end);
        let all = std::mem::take(&mut end.held);
        let (discarded, kept): (VecDeque<_>, _) = all.into_iter().partition(wanted);
        end.held = kept;
        self.held.store(end.held.len(), Ordering::Relaxed);
        drop(end); // Not under the lock: this runs code of plugins.
        for call in discarded {
            self.taken(&call);
            self.drop_call(call, CALL_CANCELLED);
        }
        self.tell_of_room();
    }

    fn drop_call(&self, call: Call, why: u32) {
        count(&self.counters.discarded);
        call.end(why); // That its destructor panicked was logged at its side of the boundary.
    }
}

#[cfg(test)]
mod tests;
