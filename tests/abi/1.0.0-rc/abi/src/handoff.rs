//! Service `handoff`: packets to other threads.

use core::ffi::c_void;

use crate::{
    Head,
    frame::{NodeRuntime, ThreadCtx},
};

/// Service `handoff`, version 1.
#[repr(C)]
#[derive(Debug)]
pub struct HandoffService {
    /// Size and version.
    pub head: Head,
    /// Hands `n` packets of the calling node to threads: packet `i` to `threads[i]`, where it takes
    /// the node's next `nexts[i]`. Gives how many are on their way. The host owns all of them after
    /// the call: those for the calling thread go on at once, those that a thread has no room for
    /// are dropped and counted. Context: a node's entry, with what it was given.
    pub hand_off: unsafe extern "C" fn(
        context: *mut c_void,
        ctx: *mut ThreadCtx,
        node: *mut NodeRuntime,
        indices: *const u32,
        nexts: *const u16,
        threads: *const u16,
        n: u32,
    ) -> u32,
    /// Gives the address of `words` words of a bit for each thread, lowest first: 1 if packets can
    /// be handed to it now. They are there for as long as the host, and change as threads come and
    /// go: to be read as atomics. Main thread.
    pub threads: unsafe extern "C" fn(context: *mut c_void, words: *mut u32) -> *const u64,
}
