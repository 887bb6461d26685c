//! The spin barrier: main stops the workers for the moment in which it changes what they run.
//!
//! ```text
//!  main    ── request ──▶ wait for parked = workers ──▶ change ──▶ release ──▶ wait for parked = 0
//!  worker  ── top of loop: requested? ── park: parked += 1, spin ────────────▶ parked -= 1, go on
//! ```
//! A worker looks at one flag at the top of its loop, where it has no frame pending. What goes between
//! the threads is in `gate.rs`; here is when main may ask, how long it waits, and what that costs whom.

mod hold_down;
pub mod ledger;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;

use self::{hold_down::HoldDown, ledger::Ledger};
use super::{
    gate::{Gate, spin},
    thread::{Thread, ThreadShared},
};
use crate::{
    graph::Owner,
    time::{Clock, Cycles, Nanos, Stamp},
};

/// A worker that has not come after that time is looked at more closely.
const PATIENCE: Nanos = Nanos::from_millis(1);

/// Proof that all workers are parked. Only [`BarrierGate::stop`] makes one.
#[derive(Debug)]
pub struct Barrier(());

/// Who has the workers stopped, for `show barrier` and for nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caller {
    /// What for: `load`, `interface`.
    pub what: &'static str,
    /// Whose doing it is.
    pub owner: Owner,
}

impl Caller {
    /// The host's own doing, or an operator's.
    pub const fn host(what: &'static str) -> Self {
        Self { what, owner: Owner::HOST }
    }

    /// A plugin's doing.
    pub const fn of(owner: Owner, what: &'static str) -> Self {
        Self { what, owner }
    }
}

/// What a stop cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pause {
    /// From the request to the last worker parked.
    pub wait: Nanos,
    /// From the last worker parked to the release.
    pub hold: Nanos,
    /// The longest time of a worker from its own park to its own release.
    pub stall: Nanos,
}

/// A worker did not come to the barrier; nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LateWorker {
    /// Its thread index.
    pub thread: u32,
    /// How long main waited.
    pub waited: Duration,
    /// How long the worker has been seen at the piece of work that it is at.
    pub at_it: Duration,
}

/// Where the workers stop.
#[derive(Debug)]
pub struct BarrierGate {
    gate: Gate,
    /// The workers are parked; main's own, so that a change may stop them that are stopped.
    held: AtomicBool,
    /// How long main waits for them.
    deadline: AtomicU64,
    /// Main's counter when the last worker had parked, and when it released them.
    closed: AtomicU64,
    released: AtomicU64,
    hold_down: Mutex<HoldDown>,
    /// CPUs for main and the workers; seen before any of them is pinned.
    cpus: usize,
    /// What stops have cost.
    pub ledger: Ledger,
}

impl Default for BarrierGate {
    fn default() -> Self {
        Self {
            gate: Gate::default(),
            held: AtomicBool::new(false),
            deadline: AtomicU64::new(Self::DEADLINE.0),
            closed: AtomicU64::new(0),
            released: AtomicU64::new(0),
            hold_down: Mutex::default(),
            cpus: std::thread::available_parallelism().map_or(usize::MAX, usize::from),
            ledger: Ledger::default(),
        }
    }
}

impl BarrierGate {
    /// How long main waits for a worker unless it is told otherwise; VPP aborts after as long.
    pub const DEADLINE: Nanos = Nanos::from_secs(1);

    /// Sets how long main waits for a worker to park.
    pub fn set_deadline(&self, deadline: Nanos) {
        self.deadline.store(deadline.0, Ordering::Relaxed);
    }

    /// Stops workers that are about to start, each at the top of its first turn, until
    /// [`end_start`](Self::end_start). Main, before there are any.
    pub fn begin_start(&self) {
        self.held.store(true, Ordering::Relaxed);
        self.gate.close();
    }

    /// Waits until `workers` workers have come to the start-up barrier. Main.
    pub fn await_start(&self, workers: u32) {
        let mut spins = 0;
        while self.is_held() && self.gate.parked() < workers {
            spin(&mut spins);
        }
    }

    /// Lets the workers begin, all at once; nothing if they have. Main.
    pub fn end_start(&self, clock: &Mutex<Clock>) {
        if !self.held.swap(false, Ordering::Relaxed) {
            return;
        }
        let mut clock = clock.lock();
        clock.close();
        self.stamp(&clock.release());
        self.gate.open();
    }

    /// Whether the workers are stopped.
    pub fn is_held(&self) -> bool {
        self.held.load(Ordering::Relaxed)
    }

    /// Runs `change` with all `workers` parked; `plugin` is the name of the caller's owner.
    ///
    /// Context: main. Inside another stop it runs `change` at once, at no cost. If the workers were
    /// stopped just before and are busy, they are let run for a while first.
    ///
    /// # Errors
    /// [`LateWorker`] if one did not park before the deadline; `change` did not run then.
    pub fn stop<R>(
        &self,
        clock: &Mutex<Clock>,
        workers: &[Arc<ThreadShared>],
        (what, plugin): (&'static str, &str),
        change: impl FnOnce(&Barrier) -> R,
    ) -> Result<(R, Pause), LateWorker> {
        if self.is_held() {
            return Ok((change(&Barrier(())), Pause::default())); // Inside another stop.
        }
        self.gate.set_crowded(workers.len() >= self.cpus);
        let held_down = self.hold_down(clock, workers);
        let asked = clock.lock().read();
        // Either a worker sees the request before it sleeps, or `ring` sees that it sleeps.
        self.gate.close();
        for worker in workers {
            worker.ring();
        }
        if let Err(late) = self.await_workers(clock, workers, asked) {
            let now = {
                let mut clock = clock.lock();
                clock.close(); // Those that parked had done so by now.
                self.stamp(&clock.release());
                clock.read()
            };
            self.gate.open();
            self.hold_down.lock().released(workers, now.since(asked), now);
            self.ledger.add_late(what, plugin);
            return Err(late);
        }
        let closed = {
            let mut clock = clock.lock();
            clock.close();
            clock.read()
        };
        self.held.store(true, Ordering::Relaxed);

        let result = change(&Barrier(()));

        self.held.store(false, Ordering::Relaxed);
        let released = {
            let mut clock = clock.lock();
            self.stamp(&clock.release());
            clock.read()
        };
        self.gate.open();
        let (wait, hold) = (Nanos(closed.0 - asked.0), released.since(closed));
        let stall = workers.iter().map(|worker| worker.stall_ns.load(Ordering::Relaxed)).max();
        let pause = Pause { wait, hold, stall: Nanos(stall.unwrap_or(0)) };
        self.hold_down.lock().released(workers, released.since(asked), released);
        self.ledger.add(what, plugin, &pause, held_down);
        Ok((result, pause))
    }

    /// Leaves the workers alone if they were stopped just before; whether that was so.
    fn hold_down(&self, clock: &Mutex<Clock>, workers: &[Arc<ThreadShared>]) -> bool {
        let hold_down = self.hold_down.lock();
        let (mut waited, mut spins) = (false, 0);
        while hold_down.left(workers, clock.lock().read()) > Nanos(0) {
            waited = true;
            self.gate.wait(&mut spins);
        }
        waited
    }

    /// Waits until all workers have parked, but not beyond the deadline.
    fn await_workers(
        &self,
        clock: &Mutex<Clock>,
        workers: &[Arc<ThreadShared>],
        asked: Nanos,
    ) -> Result<(), LateWorker> {
        let mut wanted = u32::try_from(workers.len()).expect("few workers");
        let deadline = self.deadline.load(Ordering::Relaxed);
        let mut at_work = Vec::new();
        let mut spins = 0;
        while self.gate.parked() != wanted {
            self.gate.wait(&mut spins);
            let now = clock.lock().read();
            let waited = now.since(asked);
            if waited < PATIENCE {
                continue;
            }
            let ended = |worker: &&Arc<ThreadShared>| worker.ended.load(Ordering::Acquire);
            wanted = u32::try_from(workers.len() - workers.iter().filter(ended).count())
                .expect("few workers"); // One that was to end may have done so meanwhile.
            at_work.resize(workers.len(), (0, now));
            for (worker, (piece, since)) in workers.iter().zip(&mut at_work) {
                let present = worker.watch.piece();
                if std::mem::replace(piece, present) != present {
                    *since = now;
                }
            }
            if waited.0 > deadline {
                let mut all = workers.iter().zip(&at_work);
                let late = all.find(|(worker, _)| !worker.parked.load(Ordering::Relaxed));
                let (thread, since) = late.map_or((0, now), |(late, (_, at))| (late.index, *at));
                let [waited, at_it] =
                    [waited, now.since(since)].map(|it| Duration::from_nanos(it.0));
                return Err(LateWorker { thread, waited, at_it });
            }
        }
        Ok(())
    }

    fn stamp(&self, stamp: &Stamp) {
        self.closed.store(stamp.closed.0, Ordering::Relaxed);
        self.released.store(stamp.released.0, Ordering::Relaxed);
    }

    /// Whether main wants the workers to park; ordered after [`ThreadShared::announce_sleep`].
    pub fn is_requested_before_sleep(&self) -> bool {
        self.gate.is_closed_before_sleep()
    }

    /// Parks here if main asks for it. Context: worker, at the top of its loop.
    ///
    /// Cost: one relaxed load where it does not.
    #[inline(always)]
    pub fn pause_point(&self, thread: &mut Thread) {
        if self.gate.is_closed() {
            self.park(thread);
        }
    }

    #[cold]
    fn park(&self, thread: &mut Thread) {
        debug_assert!(thread.is_settled(), "a worker parked with packets under way");
        let parked = thread.clock.read();
        thread.clock.park();
        thread.shared.watch.excuse(true);
        thread.shared.parked.store(true, Ordering::Relaxed);
        self.gate.park();
        thread.clock.resume(&Stamp {
            closed: Cycles(self.closed.load(Ordering::Relaxed)),
            released: Cycles(self.released.load(Ordering::Relaxed)),
        });
        let stall = thread.clock.read().since(parked);
        thread.shared.stall_ns.store(stall.0, Ordering::Relaxed);
        thread.shared.parked.store(false, Ordering::Relaxed);
        self.gate.leave();
        thread.shared.watch.excuse(false);
    }
}
