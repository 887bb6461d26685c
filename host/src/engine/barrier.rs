//! The spin barrier: main stops the workers for the moment in which it changes what they run.
//!
//! ```text
//!  main    ── request ──▶ wait for parked = workers ──▶ change ──▶ release ──▶ wait for parked = 0
//!  worker  ── top of loop: requested? ── park: parked += 1, spin ────────────▶ parked -= 1, go on
//! ```
//! A worker looks at one flag at the top of its loop, where it has no frame pending.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;

use super::thread::{Thread, ThreadShared};
use crate::time::{Clock, Cycles, Nanos, Stamp};

/// How long main waits for a worker to park.
const DEADLINE: Nanos = Nanos(1_000_000_000);
/// Spins before a waiting thread lets others run: there may be fewer CPUs than threads.
const SPINS: u32 = 2_000;

/// Proof that all workers are parked. Only [`BarrierGate::stop`] makes one.
#[derive(Debug)]
pub struct Barrier(());

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
}

/// Where the workers stop.
#[derive(Debug, Default)]
pub struct BarrierGate {
    requested: AtomicBool,
    /// The workers are parked; main's own, so that a change may stop them that are stopped.
    held: AtomicBool,
    parked: AtomicU32,
    /// Main's counter when the last worker had parked, and when it released them.
    closed: AtomicU64,
    released: AtomicU64,
}

impl BarrierGate {
    /// Runs `change` with all `workers` parked.
    ///
    /// Context: main. Inside another stop it runs `change` at once, at no cost.
    ///
    /// # Errors
    /// [`LateWorker`] if one did not park within a second; `change` did not run then.
    pub fn stop<R>(
        &self,
        clock: &Mutex<Clock>,
        workers: &[Arc<ThreadShared>],
        change: impl FnOnce(&Barrier) -> R,
    ) -> Result<(R, Pause), LateWorker> {
        if self.held.load(Ordering::Relaxed) {
            return Ok((change(&Barrier(())), Pause::default())); // Inside another stop.
        }
        let asked = clock.lock().read();
        // Either a worker sees the request before it sleeps, or `ring` sees that it sleeps.
        self.requested.store(true, Ordering::SeqCst);
        for worker in workers {
            worker.ring();
        }
        let wanted = u32::try_from(workers.len()).expect("few workers");
        let mut spins = 0;
        // Acquire: what the workers did before they parked is visible to `change`.
        while self.parked.load(Ordering::Acquire) != wanted {
            spin(&mut spins);
            if clock.lock().read().0.saturating_sub(asked.0) > DEADLINE.0 {
                return Err(self.give_up(&mut clock.lock(), workers, asked));
            }
        }
        let closed = {
            let mut clock = clock.lock();
            clock.close();
            clock.read()
        };
        self.held.store(true, Ordering::Relaxed);

        let result = change(&Barrier(()));

        self.held.store(false, Ordering::Relaxed);
        let mut clock = clock.lock();
        let stamp = clock.release();
        self.closed.store(stamp.closed.0, Ordering::Relaxed);
        self.released.store(stamp.released.0, Ordering::Relaxed);
        let hold = Nanos(clock.read().0 - closed.0);
        self.release();
        let stall = workers.iter().map(|worker| worker.stall_ns.load(Ordering::Relaxed)).max();
        let pause =
            Pause { wait: Nanos(closed.0 - asked.0), hold, stall: Nanos(stall.unwrap_or(0)) };
        Ok((result, pause))
    }

    fn release(&self) {
        // Release: a worker that sees the flag down sees all that `change` did.
        self.requested.store(false, Ordering::Release);
        let mut spins = 0;
        while self.parked.load(Ordering::Acquire) != 0 {
            spin(&mut spins);
        }
    }

    fn give_up(
        &self,
        clock: &mut Clock,
        workers: &[Arc<ThreadShared>],
        asked: Nanos,
    ) -> LateWorker {
        let waited = Duration::from_nanos(clock.read().0 - asked.0);
        let late = workers.iter().find(|worker| worker.node().is_some());
        let thread = late.or_else(|| workers.first()).map_or(0, |worker| worker.index);
        let stamp = clock.release();
        self.closed.store(stamp.closed.0, Ordering::Relaxed);
        self.released.store(stamp.released.0, Ordering::Relaxed);
        self.release();
        LateWorker { thread, waited }
    }

    /// Whether main wants the workers to park: one relaxed load.
    #[inline(always)]
    pub fn is_requested(&self) -> bool {
        self.requested.load(Ordering::Relaxed)
    }

    /// Whether main wants the workers to park; ordered after [`ThreadShared::announce_sleep`].
    pub fn is_requested_before_sleep(&self) -> bool {
        self.requested.load(Ordering::SeqCst)
    }

    /// Parks here if main asks for it. Context: worker, at the top of its loop.
    #[inline(always)]
    pub fn pause_point(&self, thread: &mut Thread) {
        if self.is_requested() {
            self.park(thread);
        }
    }

    #[cold]
    fn park(&self, thread: &mut Thread) {
        debug_assert!(thread.is_settled(), "a worker parked with packets under way");
        let parked = thread.clock.read();
        thread.clock.park();
        thread.shared.watch.excuse(true);
        // Release: what this worker did is visible to `change`. Acquire below: and the other way.
        self.parked.fetch_add(1, Ordering::AcqRel);
        let mut spins = 0;
        while self.requested.load(Ordering::Acquire) {
            spin(&mut spins);
        }
        thread.clock.resume(&Stamp {
            closed: Cycles(self.closed.load(Ordering::Relaxed)),
            released: Cycles(self.released.load(Ordering::Relaxed)),
        });
        let stall = thread.clock.read().0 - parked.0;
        thread.shared.stall_ns.store(stall, Ordering::Relaxed);
        self.parked.fetch_sub(1, Ordering::AcqRel);
        thread.shared.watch.excuse(false);
    }
}

fn spin(spins: &mut u32) {
    *spins += 1;
    if (*spins).is_multiple_of(SPINS) {
        rustix::thread::sched_yield();
    } else {
        std::hint::spin_loop();
    }
}
