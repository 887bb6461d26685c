//! Work that is put off, after Linux's bottom halves: what may wait is for a work queue, what may not and
//! must not run twice at once is a tasklet, and what every thread does for itself a softirq.
//!
//! | | runs | on two threads at once | may block |
//! |---|---|---|---|
//! | [`softirq`] | at the end of a turn, on the thread it was raised on | yes | no |
//! | [`tasklet`] | the same, once for each scheduling | never | no |
//! | [`work`] item | on a thread for work, soon or later | never | yes |
//!
//! ```text
//!  a turn:  … nodes until no frame is pending ── is a timer due? raise TIMER
//!           ── is any pending? ── take all, run the lowest first ── any more? ── again, up to 10 times
//!                                                                             or 2 ms into the turn
//! ```
//! What is left then is for the next turn, with packets between. The host's own work is put off in the
//! same way: its timers run as TIMER, tasklets as HI and TASKLET, and what a splice replaced is freed
//! as RCU ([`grace`]).

pub mod grace;
mod pass;
pub mod pending;
pub mod softirq;
pub mod tasklet;
mod thread;
pub mod work;

pub(crate) use pass::run_last;
pub use pass::run_pending;
pub use softirq::{SoftirqError, Softirqs};
pub use thread::{Here, ThreadDeferred, is_inside};

use crate::time::Nanos;

/// How long is waited for what runs at the end of a turn to end.
const PATIENCE: Nanos = Nanos::from_secs(1);

/// What is waited for does not end.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WaitError {
    /// The wait would hold up what it waits for.
    #[error(
        "a thread that forwards packets, and what runs at the end of a turn, cannot wait for what \
         runs at the end of a turn"
    )]
    NotHere,
    /// It took too long.
    #[error("{what} still runs after {} ms", PATIENCE.0 / 1_000_000)]
    Late {
        /// What.
        what: String,
    },
}
