//! The fence around a thread whose node never comes back.
//!
//! Main gives the thread's queues, timers and descriptors to others. So it must know that the thread is
//! inside the node and that, should the node return, the thread will touch nothing of the sort:
//!
//! ```text
//!  main    ── raise the flag ── membarrier ── is it at the same piece of work? ── yes: fenced
//!  worker  ── the node returns: count the next piece ── flag raised? ── yes: ask main's verdict, exile
//! ```
//! The worker stores the count and loads the flag, with nothing between them that the processor would
//! wait for: what orders them is main's `membarrier`, which has every thread of the process pass a full
//! fence. If the worker's load came before it and missed the flag, its store came before it too, and
//! main, which looks after it, sees another piece of work and takes the flag down. The verdict is under
//! a lock, so that a worker that saw a flag that was taken down again goes on.
//!
//! Source: Dice, Huang, Yang, "Asymmetric Dekker synchronization", 2001, for the idea.

use std::sync::atomic::{AtomicU32, Ordering};

use parking_lot::Mutex;
use rustix::{
    io::Errno,
    thread::{MembarrierCommand, membarrier},
};

use super::watchdog::Watch;

/// Whether a thread is fenced, and how many packets its present dispatch has.
#[derive(Debug, Default)]
pub struct Fence {
    fenced: Mutex<bool>,
    /// Packets handed to the node that runs; the thread's own.
    packets: AtomicU32,
}

impl Fence {
    /// Notes how many packets the node that is called next is handed.
    #[inline(always)]
    pub(super) fn enter(&self, packets: u32) {
        self.packets.store(packets, Ordering::Relaxed);
    }

    /// Packets handed to the node that runs.
    pub(super) fn packets(&self) -> u32 {
        self.packets.load(Ordering::Relaxed)
    }

    /// Fences the thread if it is still at `piece` of its work; whether it is. Main.
    ///
    /// # Errors
    /// If the system cannot order the two threads: then the thread is not fenced.
    pub(super) fn close(&self, watch: &Watch, piece: u64) -> Result<bool, Errno> {
        membarrier(MembarrierCommand::RegisterPrivateExpedited)?;
        let mut fenced = self.fenced.lock();
        watch.raise_fence();
        let ordered = membarrier(MembarrierCommand::PrivateExpedited);
        let stuck = ordered.is_ok() && watch.piece() == piece;
        if stuck {
            *fenced = true;
        } else {
            watch.lower_fence();
        }
        ordered.map(|()| stuck)
    }

    /// Main's verdict.
    pub fn is_closed(&self) -> bool {
        *self.fenced.lock()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_is_fenced_at_the_piece_it_was_seen_at_and_at_no_other() {
        let (fence, watch) = (Fence::default(), Watch::default());
        let piece = watch.piece();
        watch.next();
        assert!(!fence.close(&watch, piece).unwrap() && !fence.is_closed());
        assert!(!watch.is_flagged(), "the flag is taken down");
        assert!(fence.close(&watch, watch.piece()).unwrap() && fence.is_closed());
        assert!(watch.is_flagged());
    }

    /// The race of `close` against a node that returns: whoever wins, both agree.
    #[test]
    fn main_and_a_returning_thread_always_agree() {
        use std::sync::{Arc, Barrier};
        for _ in 0..2_000 {
            let (fence, watch) = (Arc::new(Fence::default()), Arc::new(Watch::default()));
            let (start, piece) = (Arc::new(Barrier::new(2)), watch.piece());
            let returning = std::thread::spawn({
                let (fence, watch, start) =
                    (Arc::clone(&fence), Arc::clone(&watch), Arc::clone(&start));
                move || {
                    start.wait();
                    watch.next();
                    watch.is_flagged() && fence.is_closed()
                }
            });
            start.wait();
            let fenced = fence.close(&watch, piece).unwrap();
            assert_eq!(returning.join().unwrap(), fenced);
        }
    }
}
