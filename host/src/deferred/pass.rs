//! The end of a turn: what was put off is run, within bounds.
#![expect(unsafe_code, reason = "what runs gets at the thread by its address")]

use std::sync::Arc;

use super::thread::Inside;
use crate::{engine::Thread, host::Host, time::Nanos};

/// Passes after the first, as in Linux.
const RESTARTS: u32 = 10;
/// How far into its turn a thread begins another pass, as Linux's `MAX_SOFTIRQ_TIME`.
const LONGEST: Nanos = Nanos(2_000_000);

/// Runs what is pending on `thread`, the lowest number first, and again what was raised meanwhile;
/// whether there was anything. Where it takes too long, the rest is left to the next turn.
///
/// Cost: two loads where nothing is pending. The first pass reads no clock, each further one does
/// once.
///
/// # Safety
/// `thread` is this thread's own, no reference to it is in use, and it is outside of nodes.
#[inline]
pub unsafe fn run_pending(thread: *mut Thread, host: &Host) -> bool {
    // SAFETY: by the caller's promise.
    if !unsafe { &*thread }.shared.deferred.pending().any() {
        return false;
    }
    // SAFETY: as above.
    unsafe { run_passes(thread, host) };
    true
}

/// # Safety
/// As of [`run_pending`].
unsafe fn run_passes(thread: *mut Thread, host: &Host) {
    let _inside = Inside::enter();
    // SAFETY: by the caller's promise; the borrow ends here.
    let shared = Arc::as_ptr(unsafe { &(*thread).shared });
    // SAFETY: the thread keeps its shared part to its end.
    let shared = unsafe { &*shared };
    let deferred = &shared.deferred;
    let mut restarts = 0;
    loop {
        let mut taken = deferred.pending().take();
        while taken != 0 {
            let number = taken.trailing_zeros();
            taken &= taken - 1;
            deferred.count_run(number);
            // SAFETY: by the caller's promise.
            unsafe { host.softirqs.run(number, thread, host) };
        }
        if !deferred.pending().any() {
            return;
        }
        restarts += 1;
        // SAFETY: by the caller's promise; the borrow ends here.
        if restarts > RESTARTS || unsafe { &mut *thread }.turn_lasts() >= LONGEST {
            deferred.count_squeezed();
            return;
        }
    }
}

/// Runs what is pending on a thread whose loop has ended; what raises itself again and again is left.
///
/// # Safety
/// As of [`run_pending`].
pub(crate) unsafe fn run_last(thread: *mut Thread, host: &Host) {
    for _ in 0..RESTARTS {
        // SAFETY: by the caller's promise.
        if !unsafe { run_pending(thread, host) } {
            return;
        }
    }
}
