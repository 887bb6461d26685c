//! Devices: how packets enter and leave.

mod rx;

use core::{
    cell::UnsafeCell,
    ffi::c_void,
    sync::atomic::{AtomicU32, Ordering},
};
use std::{os::fd::RawFd, sync::Arc};

use gristmill_abi::{
    Head, List, Status,
    buffer::NO_INTERFACE,
    device::{DeviceClassDecl, INTERFACE_L3, InterfaceSpec, RxQueueSpec, TX_PANICKED},
    frame::{ENTRY_PANICKED, Frame as RawFrame, ThreadCtx},
    host::HostTable,
};

use self::rx::Rx;
pub use self::rx::RxFrame;
pub(crate) use self::rx::Stash;
use crate::{
    Error, Frame, Host, InterfaceIndex, NextNodes, Packet, Plugin, Segments, ThreadIndex, host,
    plugin::contain,
};

/// A kind of device; one value for each interface.
///
/// Each queue belongs to one thread at a time, so its state is `&mut` and needs no lock.
///
/// A device that receives what it sent:
///
/// ```
/// use plugin_api::{Device, RxFrame, TxFrame, declare_device, next_nodes};
/// # use plugin_api::{Config, Error, Host, Plugin};
/// # struct Acme;
/// # impl Plugin for Acme {
/// #     const NAME: &'static str = "acme";
/// #     fn create(_: Host, _: &Config<'_>) -> Result<Self, Error> { Ok(Self) }
/// # }
/// # plugin_api::declare_plugin!(Acme);
///
/// next_nodes! {
///     /// Where received packets go.
///     pub enum Next { Ethernet => Optional("ethernet-input") }
/// }
///
/// type Queue = std::sync::mpsc::Receiver<Vec<u8>>;
///
/// struct Loop;
///
/// impl Device for Loop {
///     const CLASS: &'static str = "acme-loop";
///     type Plugin = Acme;
///     type Next = Next;
///     type Rx = Queue;
///     type Tx = std::sync::mpsc::Sender<Vec<u8>>;
///
///     fn receive(&self, queue: &mut Queue, frame: &mut RxFrame<'_, Next>) {
///         while !frame.is_full() && frame.fill(|room| {
///             let packet = queue.try_recv().ok()?;
///             room.get_mut(..packet.len())?.copy_from_slice(&packet);
///             Some((packet.len(), Next::Ethernet))
///         }) {}
///     }
///
///     fn transmit(&self, queue: &mut Self::Tx, frame: &mut TxFrame<'_>) -> usize {
///         let sent = (0..frame.len()).take_while(|&at| {
///             queue.send(frame.segments(at).flatten().copied().collect()).is_ok()
///         });
///         sent.count()
///     }
/// }
/// declare_device!(Loop);
///
/// let (mut tx, mut rx) = std::sync::mpsc::channel();
/// let mut bench = plugin_api::testing::DeviceBench::new(Loop);
/// assert_eq!(bench.transmit(&mut tx, [vec![1; 60], vec![2; 60]]), 2);
/// assert_eq!(bench.receive(&mut rx).packets, [vec![1; 60], vec![2; 60]]);
/// ```
/// A command of the plugin makes interfaces of it with
/// [`Host::create_interface`](crate::Host::create_interface).
pub trait Device: Send + Sync + Sized + 'static {
    /// Name of the class: `tap`.
    const CLASS: &'static str;
    /// The plugin it belongs to.
    type Plugin: Plugin;
    /// Where received packets go.
    type Next: NextNodes;
    /// A receive queue.
    type Rx: Send + 'static;
    /// A transmit queue.
    type Tx: Send + 'static;

    /// Receives what is there, up to 256 packets.
    ///
    /// Context: the thread the queue is placed on; must not block.
    fn receive(&self, queue: &mut Self::Rx, frame: &mut RxFrame<'_, Self::Next>);

    /// Sends packets in order and returns how many were sent, counted from the first; the host
    /// tries the others again a few times and then drops them.
    ///
    /// Context: any forwarding thread, one at a time for each queue; must not block.
    fn transmit(&self, queue: &mut Self::Tx, frame: &mut TxFrame<'_>) -> usize;

    /// Follows the operator's wish.
    ///
    /// Context: main.
    ///
    /// # Errors
    /// A reason why the device stays as it is.
    fn set_admin(&self, up: bool) -> Result<(), Error> {
        let _ = up;
        Ok(())
    }
}

/// Declares a [`Device`] class of this plugin.
#[macro_export]
macro_rules! declare_device {
    ($device:ty) => {
        $crate::__declare! {
            plugin: <$device as $crate::Device>::Plugin,
            kind: DEVICE_CLASS,
            name: <$device as $crate::Device>::CLASS,
            detail: "",
            body: $crate::abi::device::DeviceClassDecl =
                $crate::private::device_decl::<$device>(),
        }
    };
}

/// What an interface is, when it is created.
#[derive(Clone, Copy, Debug)]
pub struct Interface<'a> {
    /// Name, unique in the host.
    pub name: &'a str,
    /// MAC address; zeros if it has none.
    pub mac: [u8; 6],
    /// Bytes of the largest layer-3 packet.
    pub mtu: u32,
    /// Carries IP packets without an Ethernet header.
    pub is_l3: bool,
    /// Index of the kernel's interface whose link state it follows; 0: the link is up.
    pub kernel_index: u32,
}

/// A receive queue and how to know that packets wait in it.
#[derive(Clone, Copy, Debug)]
pub struct RxQueue<Q> {
    /// The device's own state.
    pub queue: Q,
    /// Descriptor that becomes readable; `None`: the queue must be polled.
    pub readable: Option<RawFd>,
}

impl Host {
    /// Creates an interface, down.
    ///
    /// # Errors
    /// If the name is taken or the class is not one of this plugin's; the device is dropped then.
    pub fn create_interface<D: Device>(
        &self,
        interface: &Interface<'_>,
        device: Arc<D>,
        rx: Vec<RxQueue<D::Rx>>,
        tx: Vec<D::Tx>,
    ) -> Result<InterfaceIndex, Error> {
        let (service, context) = self.interfaces()?;
        let specs: Vec<RxQueueSpec> = rx
            .iter()
            .map(|queue| RxQueueSpec { fd: queue.readable.unwrap_or(-1), reserved: 0 })
            .collect();
        let device = Box::new(DeviceCell {
            device,
            interface: AtomicU32::new(NO_INTERFACE),
            rx: rx.into_iter().map(|queue| UnsafeCell::new(Rx::new(queue.queue))).collect(),
            tx: tx.into_iter().map(UnsafeCell::new).collect(),
        });
        let tx_queues = u32::try_from(device.tx.len()).map_err(|_| "too many tx queues")?;
        let device = Box::into_raw(device);
        let spec = InterfaceSpec {
            head: Head::of::<InterfaceSpec<'_>>(),
            name: interface.name.into(),
            class: D::CLASS.into(),
            device: device.cast(),
            rx_queues: List::new(&specs),
            tx_queues,
            flags: if interface.is_l3 { INTERFACE_L3 } else { 0 },
            mtu: interface.mtu,
            kernel_index: interface.kernel_index,
            mac: interface.mac,
            reserved: [0; 2],
        };
        let mut index = 0;
        self.call(|error| {
            // SAFETY: main thread; all pointers are good for the call.
            unsafe {
                (service.create)(context, self.plugin, &raw const spec, &raw mut index, error)
            }
        })?;
        // SAFETY: the host keeps the device until it calls `destroy`, on this thread.
        unsafe { &*device }.interface.store(index, Ordering::Relaxed);
        Ok(InterfaceIndex(index))
    }
}

/// A device as the host holds it.
struct DeviceCell<D: Device> {
    device: Arc<D>,
    interface: AtomicU32,
    rx: Box<[UnsafeCell<Rx<D::Rx>>]>,
    tx: Box<[UnsafeCell<D::Tx>]>,
}

/// The packets a device is to send.
#[derive(Debug)]
pub struct TxFrame<'a> {
    ctx: *mut ThreadCtx,
    indices: &'a [u32],
}

impl<'a> TxFrame<'a> {
    pub(crate) fn new(ctx: *mut ThreadCtx, indices: &'a [u32]) -> Self {
        Self { ctx, indices }
    }

    /// Packets, 1 to 256.
    #[expect(clippy::len_without_is_empty, reason = "it never is")]
    pub fn len(&self) -> usize {
        self.indices.len()
    }

    /// Nanoseconds since the host started, as read at the top of this turn of the loop.
    pub fn now_ns(&self) -> u64 {
        // SAFETY: the host lent its context for the call.
        unsafe { (*self.ctx).now_ns }
    }

    /// The thread this runs on.
    pub fn thread(&self) -> ThreadIndex {
        // SAFETY: the host lent its context for the call.
        ThreadIndex(unsafe { (*self.ctx).thread_index })
    }

    /// Packet number `at`.
    ///
    /// # Panics
    /// If there are not so many.
    pub fn packet(&mut self, at: usize) -> Packet<'_> {
        // SAFETY: the host lent its context for the call.
        let base = unsafe { (*self.ctx).buffer_base };
        // SAFETY: the packets are the device's for the call, and the frame is borrowed mutably.
        unsafe { Packet::at(base, self.indices[at]) }
    }

    /// The bytes of packet number `at`, buffer by buffer; those of several packets may be looked
    /// at together, for a system call that sends many.
    ///
    /// # Panics
    /// If there are not so many.
    pub fn segments(&self, at: usize) -> Segments<'_> {
        // SAFETY: the host lent its context for the call.
        let base = unsafe { (*self.ctx).buffer_base };
        // SAFETY: the packets are the device's for the call, and nobody writes to them while the
        // frame is borrowed.
        unsafe { Segments::of(base, self.indices[at]) }
    }
}

pub(crate) const fn decl<D: Device>() -> DeviceClassDecl {
    DeviceClassDecl {
        head: Head::of::<DeviceClassDecl>(),
        nexts: List::new(D::Next::DECLS),
        rx: receive::<D>,
        tx: transmit::<D>,
        set_admin: set_admin::<D>,
        destroy: destroy::<D>,
    }
}

/// The table of the host that lent `ctx`.
///
/// # Safety
/// `ctx` was lent by the host for a call that is still going on.
unsafe fn host_of<'a>(ctx: *mut ThreadCtx) -> &'a HostTable {
    // SAFETY: by the caller's promise.
    let table = unsafe { (*ctx).host };
    // SAFETY: a context's table outlives it.
    unsafe { &*table }
}

unsafe extern "C" fn receive<D: Device>(
    ctx: *mut ThreadCtx,
    device: *mut c_void,
    queue: u32,
    frame: *mut RawFrame,
) -> u32 {
    contain(|| {
        // SAFETY: `create_interface` made it; only its queues are written to.
        let cell = unsafe { &*device.cast::<DeviceCell<D>>() };
        // SAFETY: the host serves a queue on one thread at a time.
        let rx = unsafe { &mut *cell.rx[queue as usize].get() };
        // SAFETY: the host passes a frame that is this thread's for the call.
        let raw = unsafe { &mut *frame };
        let interface = InterfaceIndex(cell.interface.load(Ordering::Relaxed));
        // SAFETY: there is no node: an rx function has no counters and cannot emit.
        let frame = unsafe { Frame::from_raw(ctx, core::ptr::null_mut(), raw) };
        let mut frame = RxFrame::new(frame, &mut rx.stash, interface);
        cell.device.receive(&mut rx.queue, &mut frame);
        frame.result()
    })
    .unwrap_or(ENTRY_PANICKED)
}

unsafe extern "C" fn transmit<D: Device>(
    ctx: *mut ThreadCtx,
    device: *mut c_void,
    queue: u32,
    indices: *const u32,
    n: u32,
) -> u32 {
    // SAFETY: the host passes `n` indices.
    let indices = unsafe { core::slice::from_raw_parts(indices, n as usize) };
    let sent = contain(|| {
        // SAFETY: `create_interface` made it; only its queues are written to.
        let cell = unsafe { &*device.cast::<DeviceCell<D>>() };
        // SAFETY: the host serves a queue on one thread at a time.
        let tx = unsafe { &mut *cell.tx[queue as usize].get() };
        cell.device.transmit(tx, &mut TxFrame::new(ctx, indices))
    });
    let Some(sent) = sent else { return TX_PANICKED };
    #[expect(clippy::cast_possible_truncation, reason = "at most n")]
    let sent = sent.min(indices.len()) as u32;
    // SAFETY: the host lent its context and table for the call.
    let free = unsafe { host_of(ctx) }.buffer_free;
    // SAFETY: the packets were sent and are the device's.
    unsafe { free(ctx, indices.as_ptr(), sent) };
    sent
}

unsafe extern "C" fn set_admin<D: Device>(device: *mut c_void, up: u32) -> Status {
    // SAFETY: `create_interface` made it; only its queues are written to.
    let cell = unsafe { &*device.cast::<DeviceCell<D>>() };
    match contain(|| cell.device.set_admin(up != 0)) {
        Some(Ok(())) => Status::OK,
        Some(Err(reason)) => {
            host::log_error(&format!("{}: {reason}", D::CLASS));
            Status::FAILED
        }
        None => Status::PANICKED,
    }
}

unsafe extern "C" fn destroy<D: Device>(device: *mut c_void) -> Status {
    // SAFETY: `create_interface` made it and the host gives it back once.
    let cell = unsafe { Box::from_raw(device.cast::<DeviceCell<D>>()) };
    contain(|| drop(cell)).map_or(Status::PANICKED, |()| Status::OK)
}
