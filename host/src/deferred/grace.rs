//! Grace periods of the whole host: what was taken out of the threads' sight is freed once every
//! thread has begun another turn. As the softirq RCU, on main.
//!
//! ```text
//!  any    ── out of sight ── put off ──▶ next ┐
//!  main   ── RCU: membarrier, note each thread's turn ── RCU, later: all of them at another one, or
//!            asleep ── call
//! ```
//! A thread's turn ends with a releasing store, and no reference that its nodes found outlives it. The
//! `membarrier` has every thread pass a full fence after what was taken away is out of sight: a thread
//! that is seen at turn *n* after it may use what it found before until turn *n + 1* begins, and finds
//! it no more after. What a stop of the workers has taken away needs no such wait.
//!
//! Source: McKenney, Walpole, "What is RCU, fundamentally?", 2007, for the idea.
#![expect(unsafe_code, reason = "the calling convention of a softirq")]

use std::{
    collections::{BTreeSet, VecDeque},
    fmt, mem,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use gristmill_abi::deferred::softirq;
use parking_lot::Mutex;
use rustix::thread::{MembarrierCommand, membarrier};

use super::{PATIENCE, softirq::On};
use crate::{
    engine::{Thread, ThreadShared, gate},
    graph::Owner,
    host::{Host, current_thread},
};

/// Calls of one run of the softirq at most: the others wait for the next pass.
const CALLS: usize = 64;

/// What is called once the grace period is over.
struct Callback {
    owner: Owner,
    call: Box<dyn FnOnce(&Host) + Send>,
}

/// What waits to be freed. See above.
#[derive(Default)]
pub struct Reclaim {
    state: Mutex<State>,
    /// The host's own, which nobody uses any more: it need not wait.
    unused: Mutex<Vec<Box<dyn FnOnce() + Send>>>,
    /// Something waits.
    waits: AtomicBool,
    /// Threads that were given up: they read on until they have ended.
    exiles: Mutex<Vec<Arc<ThreadShared>>>,
    /// Generations that something may use for ever.
    kept: Mutex<BTreeSet<Owner>>,
}

#[derive(Default)]
struct State {
    /// To be called.
    due: VecDeque<Callback>,
    /// Whose grace period goes on.
    current: Option<(Turns, Vec<Callback>)>,
    /// Whose grace period has not begun.
    next: Vec<Callback>,
}

impl State {
    fn is_empty(&self) -> bool {
        self.due.is_empty() && self.current.is_none() && self.next.is_empty()
    }

    fn all(&self) -> impl Iterator<Item = &Callback> {
        let current = self.current.iter().flat_map(|(_, current)| current);
        self.due.iter().chain(current).chain(&self.next)
    }
}

impl fmt::Debug for Reclaim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state.lock();
        f.debug_struct("Reclaim").field("waiting", &state.all().count()).finish_non_exhaustive()
    }
}

/// What a grace period is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Of {
    /// What runs at the end of a turn: a thread that was given up comes to none any more.
    Turns,
    /// What nodes read: such a thread may be reading it still.
    Nodes,
}

/// Threads, and the turn each was at when the grace period began.
struct Turns(Vec<(Arc<ThreadShared>, u64)>);

impl Turns {
    /// Begins a grace period: all threads but the calling one, which is in no node; those that were
    /// given up too, where it is for what nodes read.
    fn now(host: &Host, of: Of) -> Self {
        let fenced = membarrier(MembarrierCommand::RegisterPrivateExpedited)
            .and_then(|()| membarrier(MembarrierCommand::PrivateExpedited))
            .or_else(|_| membarrier(MembarrierCommand::Global));
        if let Err(error) = fenced {
            // Without it a thread's fence may be as late as its store is: far less than a turn.
            host.log.warn("rcu", format!("threads cannot be fenced: {error}"));
        }
        let mut threads = host.threads();
        let own = current_thread();
        threads.retain(|thread| own.is_none_or(|own| own.0 != thread.index) && thread.is_running());
        if of == Of::Nodes {
            let mut exiles = host.grace.exiles.lock();
            exiles.retain(|thread| !thread.ended.load(Ordering::Acquire));
            threads.extend(exiles.iter().cloned());
        }
        let turn = |thread: Arc<ThreadShared>| {
            let turn = thread.turns.load(Ordering::Acquire);
            (thread, turn)
        };
        Self(threads.into_iter().map(turn).collect())
    }

    /// The first that may still be at that turn.
    fn first(&self) -> Option<u32> {
        let same = self.0.iter().find(|(thread, turn)| {
            thread.turns.load(Ordering::Acquire) == *turn
                && !thread.sleeps_now()
                && !thread.parked.load(Ordering::Acquire)
                && thread.is_running()
        });
        same.map(|(thread, _)| thread.index)
    }
}

impl Reclaim {
    /// Has something freed when there is time, by main outside of nodes: the workers have been
    /// stopped since it was in their sight.
    pub(crate) fn free(&self, host: &Host, free: impl FnOnce() + Send + 'static) {
        self.unused.lock().push(Box::new(free));
        self.announce(host);
    }

    /// Frees what [`free`](Self::free) put off. Main, outside of nodes.
    pub(crate) fn free_now(&self) {
        let unused = mem::take(&mut *self.unused.lock()); // It may be anybody's destructors.
        unused.into_iter().for_each(|free| free());
    }

    /// Has `call` called by main, outside of nodes, once every thread has begun another turn. Any
    /// thread.
    pub fn after_grace(
        &self,
        host: &Host,
        owner: Owner,
        call: impl FnOnce(&Host) + Send + 'static,
    ) {
        self.state.lock().next.push(Callback { owner, call: Box::new(call) });
        self.announce(host);
    }

    fn announce(&self, host: &Host) {
        self.waits.store(true, Ordering::Release);
        host.raise(softirq::RCU, On::Thread(0));
    }

    /// Whether something waits: main, which raises RCU in each turn until nothing does.
    #[inline(always)]
    pub fn is_waiting(&self) -> bool {
        self.waits.load(Ordering::Relaxed)
    }

    /// What waits for an owner.
    pub fn of(&self, owner: Owner) -> usize {
        self.state.lock().all().filter(|callback| callback.owner == owner).count()
    }

    /// A thread was given up: what it read it may read on, until it has ended.
    pub fn note_exile(&self, thread: &Arc<ThreadShared>) {
        self.exiles.lock().push(Arc::clone(thread));
    }

    /// What is of this generation stays: something of it may run for ever.
    pub(super) fn keep(&self, owner: Owner) {
        self.kept.lock().insert(owner);
    }

    /// Whether something of the generation may run for ever.
    pub fn is_kept(&self, owner: Owner) -> bool {
        self.kept.lock().contains(&owner)
    }

    /// Waits until every other thread has begun another turn.
    ///
    /// Context: main outside of nodes, or a thread that forwards nothing.
    ///
    /// # Errors
    /// The index of a thread that does not.
    pub(super) fn wait(&self, host: &Host, of: Of) -> Result<(), u32> {
        let (turns, began, mut spins) = (Turns::now(host, of), host.now(), 0);
        while let Some(late) = turns.first() {
            if host.now().since(began) > PATIENCE {
                return Err(late);
            }
            gate::spin(&mut spins);
        }
        Ok(())
    }

    /// Moves on, and calls what is due, up to so much.
    fn advance(&self, host: &Host, most: usize) {
        self.free_now();
        let mut state = self.state.lock();
        if state.current.is_none() && !state.next.is_empty() {
            let next = mem::take(&mut state.next);
            state.current = Some((Turns::now(host, Of::Nodes), next));
        }
        if let Some((turns, current)) = state.current.take() {
            if turns.first().is_some() {
                state.current = Some((turns, current));
            } else {
                state.due.extend(current);
            }
        }
        let count = state.due.len().min(most);
        let due: Vec<Callback> = state.due.drain(..count).collect();
        drop(state); // They are anybody's code.
        due.into_iter().for_each(|callback| (callback.call)(host));
        let state = self.state.lock();
        let is_empty = state.is_empty() && self.unused.lock().is_empty();
        self.waits.store(!is_empty, Ordering::Release);
        if !state.due.is_empty() {
            host.raise(softirq::RCU, On::Thread(0));
        }
    }

    /// Calls all that waits for an owner, having waited as long as it takes; whether all was called.
    /// Main, outside of nodes.
    pub fn flush(&self, host: &Host, owner: Owner) -> bool {
        let is_own = |callback: &Callback| callback.owner == owner;
        let waiting = {
            let mut state = self.state.lock();
            if !state.all().any(is_own) {
                return true;
            }
            let current = state.current.take().map(|(_, current)| current).unwrap_or_default();
            let next = mem::take(&mut state.next);
            current.into_iter().chain(next).collect::<Vec<_>>()
        };
        let is_over = waiting.is_empty() || self.wait(host, Of::Nodes).is_ok();
        let mut state = self.state.lock();
        if is_over {
            state.due.extend(waiting);
        } else {
            state.next.extend(waiting);
        }
        drop(state);
        while !self.state.lock().due.is_empty() {
            self.advance(host, usize::MAX);
        }
        self.of(owner) == 0
    }
}

/// The softirq RCU.
///
/// # Safety
/// None: it does not touch the thread.
pub(super) unsafe fn run(_: *mut Thread, host: &Host) {
    if host.is_main() {
        host.grace.advance(host, CALLS);
    }
}
