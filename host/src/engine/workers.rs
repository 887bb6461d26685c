//! The workers: how many there are, and what becomes of one that goes or is stuck.
//!
//! ```text
//!            start                     no queue is placed on it, then: quit
//!   nothing ──────▶ in service ─────────────────────────────────────────▶ leaving ──▶ ended, joined
//!                       │ a node does not come back                          ▲
//!                       └──────── given up: fenced, replaced ─── it returns ─┘
//! ```
//! What is a thread's own goes to others: receive queues at the barrier, dynamic timers and descriptors
//! once it has stopped. Its index may be used again when it has ended.

mod stuck;

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering},
};

use gristmill_abi::declaration::notice;
use plugin_api::ThreadIndex;

use super::{
    Caller, ThreadShared,
    worker::{Setup, ThreadError, Worker},
};
use crate::{
    control::Control,
    device::InterfaceError,
    graph::PlanError,
    host::{GraphError, ThreadHandle},
    log::Level,
    time::Nanos,
};

/// How long main waits for workers that are to end, before it goes on and has them end later.
const PATIENCE: Nanos = Nanos::from_secs(1);

/// Why there are not as many workers as were asked for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WorkersError {
    /// More than there can be.
    #[error("there can be {most} workers at most, and {wanted} are asked for", most = crate::config::MAX_WORKERS)]
    TooMany {
        /// How many were asked for.
        wanted: u32,
    },
    /// One cannot be started; those that were are gone again.
    #[error("worker {index} cannot be started: {source}")]
    Start {
        /// The worker.
        index: u32,
        /// Why.
        source: ThreadError,
    },
    /// The queues cannot be placed on others.
    #[error("the receive queues stay where they are: {0}")]
    Place(#[source] InterfaceError),
    /// One has no queues any more and was told to end, and did not yet.
    #[error("worker {0} has no queues any more, and ends when it comes back from what it does")]
    Late(u32),
}

/// A worker that is given up or is to end.
#[derive(Debug)]
struct Leaving {
    worker: Worker,
    /// The node that does not come back.
    stuck_in: Option<String>,
    /// The interface whose device it is stuck in.
    interface: Option<u32>,
}

/// A row of `show threads` for a thread that is not in service.
#[derive(Debug)]
pub struct Gone {
    /// What everyone may look at.
    pub shared: Arc<ThreadShared>,
    /// The node that does not come back; `None` for one that is to end.
    pub stuck_in: Option<String>,
}

/// The workers, as main holds them.
#[derive(Debug)]
pub struct Workers {
    setup: Setup,
    serving: BTreeMap<u32, Worker>,
    leaving: BTreeMap<u32, Leaving>,
}

impl Workers {
    /// No workers.
    pub fn new(setup: Setup) -> Self {
        Self { setup, serving: BTreeMap::new(), leaving: BTreeMap::new() }
    }

    /// Starts one more worker, under the lowest index that is free.
    ///
    /// # Errors
    /// [`WorkersError::Start`].
    pub fn start(&mut self) -> Result<u32, WorkersError> {
        let taken =
            |index: &u32| self.serving.contains_key(index) || self.leaving.contains_key(index);
        let index = (1..=crate::config::MAX_WORKERS).find(|index| !taken(index));
        let wanted = crate::config::MAX_WORKERS + 1;
        let index = index.ok_or(WorkersError::TooMany { wanted })?;
        let started = self.setup.start(index);
        let worker = started.map_err(|source| WorkersError::Start { index, source })?;
        self.serving.insert(index, worker);
        Ok(index)
    }

    /// How many are in service.
    pub fn len(&self) -> u32 {
        u32::try_from(self.serving.len()).unwrap_or(u32::MAX)
    }

    /// Whether none is in service.
    pub fn is_empty(&self) -> bool {
        self.serving.is_empty()
    }

    /// Those that are not in service any more and have not ended.
    pub fn gone(&self) -> Vec<Gone> {
        let gone = |leaving: &Leaving| Gone {
            shared: Arc::clone(&leaving.worker.shared),
            stuck_in: leaving.stuck_in.clone(),
        };
        self.leaving.values().map(gone).collect()
    }

    /// Ends all workers that can be ended, when nothing is left for them to do; how many are stuck.
    #[expect(unsafe_code, reason = "ends what belonged to threads that have ended")]
    pub fn end(&mut self) -> usize {
        let serving = std::mem::take(&mut self.serving);
        serving.values().for_each(Worker::quit);
        let leaving = std::mem::take(&mut self.leaving).into_values().map(|leaving| leaving.worker);
        let (ended, stuck): (Vec<_>, Vec<_>) = leaving.partition(Worker::has_ended);
        for worker in serving.into_values().chain(ended) {
            let own = worker.join();
            // SAFETY: its loop has ended; `Host::retire` forgets the address without a look.
            unsafe { own.end() };
        }
        self.setup.watchdog = None;
        stuck.len()
    }
}

impl Control {
    /// Has `wanted` workers in service, whose queues are placed anew where they must be.
    ///
    /// Context: main, outside of nodes.
    ///
    /// Before all workers have begun, those that are to end do so when the others begin.
    ///
    /// # Errors
    /// [`WorkersError`]; but for [`WorkersError::Late`] everything is as it was.
    pub fn set_workers(&mut self, wanted: u32) -> Result<(), WorkersError> {
        if wanted > crate::config::MAX_WORKERS {
            return Err(WorkersError::TooMany { wanted });
        }
        let mut started = Vec::new();
        while self.workers.len() < wanted {
            match self.start_worker() {
                Ok(index) => started.push(index),
                Err(error) => {
                    self.dismiss(&started);
                    return Err(error);
                }
            }
        }
        let surplus = (self.workers.len() - wanted) as usize;
        let dismissed: Vec<u32> =
            self.workers.serving.keys().rev().take(surplus).copied().collect();
        // From the next stop on no packet is on its way to them but what is in their rings.
        dismissed.iter().for_each(|&index| self.host.handoff.retire(index));
        let mut staying = self.workers.serving.keys().copied().collect::<Vec<_>>();
        staying.retain(|index| !dismissed.contains(index));
        if let Err(error) = self.balance_before(&staying, !dismissed.is_empty()) {
            dismissed.iter().for_each(|&index| self.host.handoff.admit(index));
            self.dismiss(&started);
            return Err(WorkersError::Place(error));
        }
        self.dismiss(&dismissed);
        self.await_ends(&dismissed)
    }

    /// Spreads the queues over `staying`; if others are to go, the workers are stopped at any rate.
    fn balance_before(&self, staying: &[u32], others_go: bool) -> Result<(), InterfaceError> {
        let moved = self.host.balance_queues(staying)?;
        if others_go && !moved {
            self.host.stop_workers(Caller::host("workers"), |_| ())?;
        }
        Ok(())
    }

    /// Starts one more worker and tells plugins of it.
    fn start_worker(&mut self) -> Result<u32, WorkersError> {
        let index = self.workers.start()?;
        // The start-up barrier is for this one too.
        self.host.gate.await_start(u32::try_from(self.host.workers().len()).unwrap_or(u32::MAX));
        self.host.notify(notice::THREAD_ADDED, index.into());
        Ok(index)
    }

    /// Has workers end that have no queues.
    fn dismiss(&mut self, workers: &[u32]) {
        for index in workers {
            let Some(worker) = self.workers.serving.remove(index) else { continue };
            self.host.handoff.close(*index); // It forwards what it has, and nothing comes after.
            worker.quit();
            self.workers
                .leaving
                .insert(*index, Leaving { worker, stuck_in: None, interface: None });
        }
    }

    fn await_ends(&mut self, dismissed: &[u32]) -> Result<(), WorkersError> {
        if self.host.gate.is_held() {
            return Ok(()); // They wait for the start-up to end, and end then.
        }
        let asked = self.host.now();
        let mut spins = 0;
        let late = |workers: &Workers| {
            let late =
                |index: &&u32| workers.leaving.get(index).is_some_and(|it| !it.worker.has_ended());
            workers.leaving.keys().find(|index| dismissed.contains(index) && late(index)).copied()
        };
        while late(&self.workers).is_some() && self.host.now().since(asked) < PATIENCE {
            super::gate::spin(&mut spins);
        }
        let late = late(&self.workers);
        self.reap();
        late.map_or(Ok(()), |late| Err(WorkersError::Late(late)))
    }

    /// Looks after threads that have ended or are stuck. One load if there are none.
    ///
    /// Context: main, outside of nodes.
    #[inline]
    pub fn tend_threads(&mut self) {
        if self.host.thread_news.load(Ordering::Relaxed) {
            // An exchange, sequentially consistent: what is told from here on is found in the next turn.
            self.host.thread_news.swap(false, Ordering::SeqCst);
            self.give_up_stuck();
            self.reap();
        }
    }

    /// Gives the timers and descriptors of a thread that was forgotten to another.
    fn hand_on(&self, thread: &ThreadHandle) {
        let heir = self.workers.serving.keys().next().copied().unwrap_or(0);
        self.hand_timers_on(thread.shared.index, heir);
        self.host.hand_files_on(thread, heir);
        self.hand_deferred_on(&thread.shared, heir);
        self.host.ring(heir);
    }

    /// What was put off on a thread that does not come to it any more is another's.
    fn hand_deferred_on(&self, shared: &ThreadShared, heir: u32) {
        let give = |heir: &ThreadShared| shared.deferred.hand_on(heir);
        let _ = self.host.with_thread(heir, give); // Main at least is there.
    }

    fn hand_timers_on(&self, index: u32, heir: u32) {
        if let Err(error) = self.host.timers.leave(ThreadIndex(index), ThreadIndex(heir)) {
            self.host.log.error("threads", format!("timers of worker {index} stay: {error}"));
        }
    }

    /// Forgets the workers whose threads have ended.
    #[expect(unsafe_code, reason = "ends what belonged to threads that have ended")]
    fn reap(&mut self) {
        let ended = |_: &u32, leaving: &mut Leaving| leaving.worker.has_ended();
        let ended: Vec<(u32, Leaving)> = self.workers.leaving.extract_if(.., ended).collect();
        if ended.is_empty() {
            return;
        }
        for (index, leaving) in &ended {
            if let Some(handle) = self.host.remove_thread(*index) {
                self.hand_on(&handle);
            }
            if leaving.stuck_in.is_some() {
                // Its node may have started timers on it since it was given up.
                let heir = self.workers.serving.keys().next().copied().unwrap_or(0);
                self.hand_timers_on(*index, heir);
                self.hand_deferred_on(&leaving.worker.shared, heir);
                self.host.ring(heir);
            }
            if let Some(interface) = leaving.interface {
                self.host.stuck_interfaces.lock().remove(&interface);
            }
        }
        // What is compiled now leaves them out, so their instances end with their runtimes.
        let forgot = self.host.change_graph(Caller::host("workers"), |_| Ok::<_, PlanError>(()));
        if let Err(error) = forgot {
            let text =
                format!("nodes of workers that have ended stay until the next change: {error}");
            self.host.log.write(Level::Warn, "threads", text);
        }
        self.host.grace.free_now(); // Their runtimes, before what these stand on.
        let was_in_device = ended.iter().any(|(_, leaving)| leaving.interface.is_some());
        for (index, Leaving { worker, stuck_in, .. }) in ended {
            // SAFETY: its loop has ended, and the host has forgotten the address.
            unsafe { worker.join().end() };
            let why = if stuck_in.is_some() { "came back and has ended" } else { "has ended" };
            self.host.log.write(Level::Notice, "threads", format!("worker {index} {why}"));
            self.host.notify(notice::THREAD_REMOVED, index.into());
        }
        if was_in_device {
            self.balance(); // The queues that had to stay with it are nobody's now.
        }
    }
}

impl From<GraphError> for WorkersError {
    fn from(error: GraphError) -> Self {
        Self::Place(error.into())
    }
}
