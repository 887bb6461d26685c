//! The gate at which workers park: what of the barrier goes between threads. Modelled in
//! `tests/loom`.
//!
//! ```text
//!  main    ── close ──▶ wait for parked = workers ──▶ change what they run ──▶ open ──▶ wait for 0
//!  worker  ── top of loop: closed? ── park: parked += 1, spin ─────────────────────▶ parked -= 1
//! ```
//! *What a worker did before it parked is seen by the change*: its addition releases, and main's wait
//! acquires. *What the change did is seen by the worker*: main's opening releases, and the worker's
//! wait acquires. *No worker mistakes this closing for the next*: main goes on only when all that
//! parked have left, so a worker that sees the gate closed has not parked for this closing yet.

use crate::sync::{AtomicBool, AtomicU32, Ordering, yield_now};

/// Spins before a waiting thread lets others run.
#[cfg(not(loom))]
const SPINS: u32 = 2_000;
#[cfg(loom)]
const SPINS: u32 = 1;
/// The same where there are fewer CPUs than threads: whoever is waited for may need this one.
const SPINS_CROWDED: u32 = 20;

/// See above.
#[derive(Debug, Default)]
pub struct Gate {
    closed: AtomicBool,
    parked: AtomicU32,
    /// There are fewer CPUs than threads. A hint: nothing depends on when it is seen.
    crowded: AtomicBool,
}

impl Gate {
    /// Asks the workers to park. Main.
    ///
    /// Sequentially consistent, against [`is_closed_before_sleep`](Self::is_closed_before_sleep):
    /// either a worker sees it before it sleeps, or whoever rings it afterwards sees that it sleeps.
    pub fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
    }

    /// Says whether there are fewer CPUs than threads. Main.
    pub fn set_crowded(&self, crowded: bool) {
        self.crowded.store(crowded, Ordering::Relaxed);
    }

    /// Waits a little for another thread, and lets others have the CPU: soon, where they need it.
    pub fn wait(&self, spins: &mut u32) {
        let crowded = !cfg!(loom) && self.crowded.load(Ordering::Relaxed);
        spin_up_to(spins, if crowded { SPINS_CROWDED } else { SPINS });
    }

    /// How many have parked; what they did before is visible. Main.
    pub fn parked(&self) -> u32 {
        self.parked.load(Ordering::Acquire)
    }

    /// Lets them go on, and waits until all have left; what main did before is visible to them.
    pub fn open(&self) {
        self.closed.store(false, Ordering::Release);
        let mut spins = 0;
        while self.parked() != 0 {
            self.wait(&mut spins);
        }
    }

    /// Whether a worker should park: one relaxed load.
    #[inline(always)]
    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    /// As [`is_closed`](Self::is_closed), after a worker has announced its sleep.
    pub fn is_closed_before_sleep(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }

    /// Parks until the gate is open. Worker, which calls [`leave`](Self::leave) then.
    pub fn park(&self) {
        self.parked.fetch_add(1, Ordering::Release);
        let mut spins = 0;
        while self.closed.load(Ordering::Acquire) {
            self.wait(&mut spins);
        }
    }

    /// Goes on. Worker, after it parked; main sees what it did since.
    pub fn leave(&self) {
        self.parked.fetch_sub(1, Ordering::Release);
    }
}

/// Waits a little, and now and then lets others have the CPU.
pub fn spin(spins: &mut u32) {
    spin_up_to(spins, SPINS);
}

fn spin_up_to(spins: &mut u32, most: u32) {
    *spins = spins.wrapping_add(1);
    if spins.is_multiple_of(most) {
        yield_now();
    } else {
        std::hint::spin_loop();
    }
}
