//! Where a tasklet is in its life: one word. Modelled in `tests/loom`.
//!
//! ```text
//!                 schedule               begin                  end
//!  idle ──────────────────▶ scheduled ──────────▶ running ──────────▶ idle
//!    │ disabled: schedule       │ disabled: begin   │ schedule: scheduled and running; whoever finds
//!    ▼                          ▼                   ▼ it so in its list puts it back for later
//!  held ◀───────────────────────┘
//!    │ the last enable: scheduled
//! ```
//! *Never on two threads at once*: only whoever sets `RUNNING` calls the function, and everything it
//! did is released by [`end`](State::end) and acquired by the next [`begin`](State::begin). *Once for
//! each scheduling*: `SCHEDULED` is taken back before the function is called, so what is scheduled
//! while it runs is another run. *In at most one list*: whoever sets `SCHEDULED` without `HELD`, or
//! takes `HELD` back, puts it in one.

use crate::sync::{AtomicU64, Ordering};

/// It is in a list, or held, and is to run.
const SCHEDULED: u64 = 1;
/// Its function runs.
const RUNNING: u64 = 2;
/// It is scheduled but disabled, and in no list.
const HELD: u64 = 4;
/// It does not run any more.
const KILLED: u64 = 8;
/// One disabling; they count from here up.
const DISABLING: u64 = 16;

/// See above.
#[derive(Debug)]
pub struct State(AtomicU64);

/// What came of a scheduling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheduled {
    /// It is to be put in a list now.
    List,
    /// It runs once it is enabled.
    Held,
    /// It was scheduled before.
    Already,
    /// It was killed.
    Killed,
}

/// What is to be done with a tasklet that was taken out of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begun {
    /// To call its function, and [`end`](State::end) it.
    Run,
    /// It runs on another thread: to be put in the list again.
    Busy,
    /// Nothing: it is disabled, or was killed.
    Nothing,
}

impl State {
    /// Idle and enabled.
    pub fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Changes the word as `change` says, which gives `None` to leave it; what it gave besides.
    ///
    /// Acquires and releases: what led to a change is seen by whoever acts on it.
    fn change<R>(&self, mut change: impl FnMut(u64) -> (Option<u64>, R)) -> R {
        let mut word = self.0.load(Ordering::Acquire);
        loop {
            let (next, result) = change(word);
            let Some(next) = next else { return result };
            let (success, failure) = (Ordering::AcqRel, Ordering::Acquire);
            match self.0.compare_exchange_weak(word, next, success, failure) {
                Ok(_) => return result,
                Err(other) => word = other,
            }
        }
    }

    /// Schedules it. Any thread.
    #[inline]
    pub fn schedule(&self) -> Scheduled {
        self.change(|word| {
            if word & KILLED != 0 {
                (None, Scheduled::Killed)
            } else if word & SCHEDULED != 0 {
                (None, Scheduled::Already)
            } else if word >= DISABLING {
                (Some(word | SCHEDULED | HELD), Scheduled::Held)
            } else {
                (Some(word | SCHEDULED), Scheduled::List)
            }
        })
    }

    /// Begins a run, on the thread that took it out of its list.
    #[inline]
    pub fn begin(&self) -> Begun {
        self.change(|word| {
            if word & KILLED != 0 {
                (Some(word & !SCHEDULED), Begun::Nothing)
            } else if word >= DISABLING {
                (Some(word | HELD), Begun::Nothing)
            } else if word & RUNNING != 0 {
                (None, Begun::Busy)
            } else {
                (Some(word & !SCHEDULED | RUNNING), Begun::Run)
            }
        })
    }

    /// Ends a run. Releases what the function did.
    #[inline]
    pub fn end(&self) {
        self.0.fetch_and(!RUNNING, Ordering::Release);
    }

    /// Disables it, once more. It may be running still.
    pub fn disable(&self) {
        self.0.fetch_add(DISABLING, Ordering::AcqRel);
    }

    /// Takes one disabling back: whether it is to be put in a list now; `None` if there is none.
    pub fn enable(&self) -> Option<bool> {
        self.change(|word| {
            if word < DISABLING {
                return (None, None);
            }
            let word = word - DISABLING;
            let list = word < DISABLING && word & HELD != 0;
            (Some(if list { word & !HELD } else { word }), Some(list))
        })
    }

    /// Ends it for good. It may be running still, and be in a list, where it is ignored.
    pub fn kill(&self) {
        self.change(|word| {
            let held = if word & HELD == 0 { 0 } else { HELD | SCHEDULED };
            (Some(word & !held | KILLED), ())
        });
    }

    /// Whether its function runs; if not, all that it did is visible.
    pub fn is_running(&self) -> bool {
        self.0.load(Ordering::Acquire) & RUNNING != 0
    }

    /// Whether it is to run.
    pub fn is_scheduled(&self) -> bool {
        self.0.load(Ordering::Acquire) & SCHEDULED != 0
    }

    /// How often it is disabled.
    pub fn disabled(&self) -> u64 {
        self.0.load(Ordering::Relaxed) / DISABLING
    }

    /// Whether it was killed.
    pub fn is_killed(&self) -> bool {
        self.0.load(Ordering::Relaxed) & KILLED != 0
    }
}

impl Default for State {
    fn default() -> Self {
        Self::new()
    }
}
