//! Packet traces: what nodes saw of the packets that an operator asked for.
//!
//! A traced packet has a mark in its header's [`trace`](crate::buffer::Header::trace), which the host
//! alone gives. While a frame with such packets is dispatched, the thread's
//! [`flags`](crate::frame::ThreadCtx::flags) have
//! [`CTX_TRACED`](crate::frame::CTX_TRACED); the node may then leave a record for each of them.

use core::ffi::c_void;

use crate::{Head, Status, Str, frame::ThreadCtx};

/// Bytes of a record at most.
pub const TRACE_RECORD: usize = 64;

/// Writes a node's record for people. Main thread.
pub type FormatTraceFn =
    unsafe extern "C" fn(record: *const u8, len: u32, text: *const TraceText) -> Status;

/// Where a [`FormatTraceFn`] writes to; line breaks are allowed.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct TraceText {
    /// Size and version.
    pub head: Head,
    /// First argument of the function.
    pub context: *mut c_void,
    /// Appends text.
    pub write: unsafe extern "C" fn(context: *mut c_void, text: Str<'_>),
}

/// Service `trace`, version 1. The thread of the node that is dispatched.
#[repr(C)]
#[derive(Debug)]
pub struct TraceService {
    /// Size and version.
    pub head: Head,
    /// Keeps the record of the node that is dispatched for a traced packet of its frame, in the place
    /// of the one it left before; what is longer than [`TRACE_RECORD`] is cut. Nothing for a packet
    /// that is not traced, or not in the frame.
    pub record: unsafe extern "C" fn(
        context: *mut c_void,
        ctx: *mut ThreadCtx,
        packet: u32,
        record: *const u8,
        len: u32,
    ),
    /// Has the trace of a packet go on with another packet too, a copy of it that the node owns.
    pub follow:
        unsafe extern "C" fn(context: *mut c_void, ctx: *mut ThreadCtx, packet: u32, copy: u32),
}
