//! Service `trace`: nodes leave records of traced packets.

use std::{
    ffi::c_void,
    panic::{AssertUnwindSafe, catch_unwind},
};

use gristmill_abi::{Head, frame::ThreadCtx, trace::TraceService};

use crate::engine::Thread;

pub(super) static SERVICE: TraceService =
    TraceService { head: Head::of::<TraceService>(), record, follow };

unsafe extern "C" fn record(
    _: *mut c_void,
    ctx: *mut ThreadCtx,
    packet: u32,
    record: *const u8,
    len: u32,
) {
    // SAFETY: a node of this thread calls, with the context it was given.
    let thread = unsafe { Thread::of(ctx) };
    // SAFETY: the caller passes `len` bytes.
    let record = unsafe { std::slice::from_raw_parts(record, len as usize) };
    // It calls no plugin, here and below.
    let kept = catch_unwind(AssertUnwindSafe(|| thread.trace_record(packet, record)));
    debug_assert!(kept.is_ok(), "keeping a record has nothing to panic at");
}

unsafe extern "C" fn follow(_: *mut c_void, ctx: *mut ThreadCtx, packet: u32, copy: u32) {
    // SAFETY: a node of this thread calls, with the context it was given.
    let thread = unsafe { Thread::of(ctx) };
    let followed = catch_unwind(AssertUnwindSafe(|| thread.trace_copy(packet, copy)));
    debug_assert!(followed.is_ok(), "following a copy has nothing to panic at");
}
