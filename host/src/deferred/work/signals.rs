//! Keeps signals away from threads that run what may block.
#![expect(unsafe_code, reason = "the mask of a thread's signals has no safe face")]

use std::{mem, ptr};

/// Blocks all signals of the calling thread and of those that it starts.
pub(super) fn block_all() {
    // SAFETY: all zeros is a valid value of this array of bits.
    let mut all: libc::sigset_t = unsafe { mem::zeroed() };
    // SAFETY: the set is ours.
    unsafe { libc::sigfillset(&raw mut all) };
    // SAFETY: the set is valid; the old mask is not asked for.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, ptr::null_mut()) };
}
