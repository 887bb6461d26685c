//! Devices: how packets enter and leave.

use core::ffi::c_void;

use crate::{
    Head, List, Status, Str,
    declaration::NextDecl,
    frame::{Frame, ThreadCtx},
    text::Opaque,
};

/// Receives on `queue` into an empty frame; result as of [`NodeFn`](crate::frame::NodeFn).
/// A queue is served by one thread at a time.
pub type RxFn = unsafe extern "C" fn(
    ctx: *mut ThreadCtx,
    device: *mut c_void,
    queue: u32,
    frame: *mut Frame,
) -> u32;

/// Sends `n` packets, in order; returns how many were taken from the front. Those belong to the
/// device (which frees them with the host's `buffer_free`); the host retries or drops the others.
/// A queue is served by one thread at a time.
pub type TxFn = unsafe extern "C" fn(
    ctx: *mut ThreadCtx,
    device: *mut c_void,
    queue: u32,
    indices: *const u32,
    n: u32,
) -> u32;

/// [`TxFn`]: the device panicked before it took any packet.
pub const TX_PANICKED: u32 = u32::MAX;

/// A kind of device.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct DeviceClassDecl {
    /// Size and version.
    pub head: Head,
    /// Nexts of the input node of each of its interfaces.
    pub nexts: List<'static, NextDecl>,
    /// Receives.
    pub rx: RxFn,
    /// Sends.
    pub tx: TxFn,
    /// Takes the device up (1) or down (0); main thread.
    pub set_admin: unsafe extern "C" fn(device: *mut c_void, up: u32) -> Status,
    /// Ends a device; no thread uses it any more.
    pub destroy: unsafe extern "C" fn(device: *mut c_void) -> Status,
}

/// [`InterfaceSpec::flags`]: carries IP packets without an Ethernet header.
pub const INTERFACE_L3: u32 = 1;

/// One receive queue of a new interface.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct RxQueueSpec {
    /// Descriptor that becomes readable when packets wait; -1: the queue must be polled.
    pub fd: i32,
    /// Reserved, 0.
    pub reserved: u32,
}

/// A new interface.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct InterfaceSpec<'a> {
    /// Size and version.
    pub head: Head,
    /// Name, unique in the host.
    pub name: Str<'a>,
    /// Device class, declared by the same plugin.
    pub class: Str<'a>,
    /// The device, handed to the class's functions. The host calls `destroy` for it in the end,
    /// also when the interface could not be created.
    pub device: Opaque,
    /// Receive queues.
    pub rx_queues: List<'a, RxQueueSpec>,
    /// Transmit queues, at least 1 for each thread or shared under the host's lock.
    pub tx_queues: u32,
    /// `INTERFACE_*`.
    pub flags: u32,
    /// Bytes of the largest layer-3 packet.
    pub mtu: u32,
    /// Index of the kernel's interface whose link state it follows; 0: the link is always up.
    pub kernel_index: u32,
    /// MAC address; zeros if it has none.
    pub mac: [u8; 6],
    /// Reserved, 0.
    pub reserved: [u8; 2],
}

/// What the host knows of an interface.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct InterfaceInfo {
    /// Size and version, filled in by the caller.
    pub head: Head,
    /// Index.
    pub index: u32,
    /// `INTERFACE_*`.
    pub flags: u32,
    /// Bytes of the largest layer-3 packet.
    pub mtu: u32,
    /// 1 when taken up by the operator.
    pub admin_up: u32,
    /// 1 when the link is up.
    pub link_up: u32,
    /// MAC address.
    pub mac: [u8; 6],
    /// Reserved, 0.
    pub reserved: [u8; 2],
    /// Name, zero-padded.
    pub name: [u8; 64],
}

impl InterfaceInfo {
    /// Room for an answer.
    pub const fn empty() -> Self {
        Self {
            head: Head::of::<Self>(),
            index: 0,
            flags: 0,
            mtu: 0,
            admin_up: 0,
            link_up: 0,
            mac: [0; 6],
            reserved: [0; 2],
            name: [0; 64],
        }
    }
}
