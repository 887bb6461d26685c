//! Whether a thread sleeps: what keeps a wake-up from being lost.
//!
//! ```text
//!  sleeper   announce ── fence ── look once more for work ── nothing: sleep until rung
//!  waker     leave the work ── fence ── is a sleep announced? ── yes: ring
//! ```
//! Whichever fence comes second sees what came before the first: either the sleeper finds the work,
//! or the waker finds the announcement. Modelled in `tests/loom`.

use crate::sync::{AtomicBool, Ordering, fence};

/// A thread's announcement that it sleeps.
#[derive(Debug)]
pub struct SleepState {
    announced: AtomicBool,
}

impl SleepState {
    /// Awake.
    pub fn new() -> Self {
        Self { announced: AtomicBool::new(false) }
    }

    /// The owner is about to sleep: whatever would wake it must be looked at after this.
    pub fn announce(&self) {
        self.announced.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// The owner is awake.
    pub fn awake(&self) {
        self.announced.store(false, Ordering::Relaxed);
    }

    /// Whether the owner must be rung; asked after the work for it was left.
    pub fn is_announced(&self) -> bool {
        fence(Ordering::SeqCst);
        self.announced.load(Ordering::Relaxed)
    }
}

impl Default for SleepState {
    fn default() -> Self {
        Self::new()
    }
}
