//! What a node sees: the thread, itself, and a frame.

use core::ffi::c_void;

use crate::{Head, host::HostTable};

/// Packets of a frame at most.
pub const FRAME_SIZE: usize = 256;

/// In [`Frame::nexts`]: the node keeps the packet or has freed it.
pub const TAKEN: u16 = 0xffff;
/// In [`Frame::nexts`]: what the host fills in before the call; a packet that still has it after
/// the call goes to `error-drop`.
pub const PANICKED: u16 = 0xfffe;
/// A node has fewer nexts than this.
pub const MAX_NEXTS: u16 = 0xff00;

/// Result of a node's entry: [`Frame::nexts`] says where each packet goes. Any smaller value is
/// one next for the whole frame.
pub const PER_PACKET: u32 = u32::MAX;
/// Result of a node's entry: the node panicked and its shim caught it.
pub const ENTRY_PANICKED: u32 = u32::MAX - 1;

/// [`Frame::flags`]: the link of the device came up.
pub const RX_LINK_UP: u32 = 1 << 0;
/// [`Frame::flags`]: the link of the device went down.
pub const RX_LINK_DOWN: u32 = 1 << 1;
/// [`Frame::flags`], set by the host for an rx function: unless this poll brings packets, the next
/// one comes when the queue's descriptor is readable. A device that has its descriptor silenced
/// while it is polled arms it now, before it looks for packets the last time.
pub const RX_LAST_POLL: u32 = 1 << 2;

/// A node's entry. Called on the thread that owns all three.
pub type NodeFn =
    unsafe extern "C" fn(ctx: *mut ThreadCtx, node: *mut NodeRuntime, frame: *mut Frame) -> u32;

/// The packets of one dispatch. Frozen.
///
/// An input node finds `n` = 0 and writes up to [`FRAME_SIZE`] entries.
#[repr(C)]
#[derive(Debug)]
pub struct Frame {
    /// Packets, 0 to [`FRAME_SIZE`].
    pub n: u32,
    /// [`RX_LAST_POLL`] for an rx function, `RX_LINK_*` from it, else 0.
    pub flags: u32,
    /// `n` buffer indices, room for [`FRAME_SIZE`].
    pub indices: *mut u32,
    /// A next per packet, room for [`FRAME_SIZE`].
    pub nexts: *mut u16,
    /// Reserved, null.
    pub aux: *mut u64,
    /// Bytes received, written by an rx function.
    pub bytes: u64,
    /// Reserved, 0.
    pub reserved: [u64; 2],
}

/// What a thread lends to the nodes it runs.
#[repr(C)]
#[derive(Debug)]
pub struct ThreadCtx {
    /// Size and version.
    pub head: Head,
    /// 0 is main, workers count from 1.
    pub thread_index: u32,
    /// Reserved, 0.
    pub flags: u32,
    /// Time of this turn of the loop, nanoseconds since the host started.
    pub now_ns: u64,
    /// Where buffer 0 is.
    pub buffer_base: *mut u8,
    /// What a plugin may ask of the host.
    pub host: *const HostTable,
    /// Reserved, 0.
    pub reserved: [u64; 2],
}

/// One node on one thread.
#[repr(C, align(64))]
#[derive(Debug)]
pub struct NodeRuntime {
    /// Size and version.
    pub head: Head,
    /// Stable index of the node, the same on all threads.
    pub node_index: u32,
    /// Nexts it has; a higher one is treated as [`PANICKED`].
    pub n_nexts: u16,
    /// Reserved, 0.
    pub flags: u16,
    /// The instance its `create` made for this thread.
    pub state: *mut c_void,
    /// `n_counters` counters, written by this thread only, read by others.
    pub counters: *mut u64,
    /// Declared counters.
    pub n_counters: u32,
    /// Reserved, 0.
    pub reserved32: u32,
    /// Of a *sched* node: when it wants to be called next, in nanoseconds since the host started.
    /// 0 before each call; if it is 0 after it, the node is called again only when it is marked.
    pub wake_at_ns: u64,
    /// Reserved, 0.
    pub reserved: u64,
}
