//! Interfaces: what the host knows of a device, and its queues.
#![expect(unsafe_code, reason = "a device is its plugin's, reached through the class's functions")]

use std::{
    collections::BTreeMap,
    fmt,
    os::fd::RawFd,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
};

use gristmill_abi::{
    Status,
    device::{DeviceClassDecl, INTERFACE_L3},
    text::Opaque,
};
use parking_lot::Mutex;

use super::{
    LinkNews,
    adaptive::RxMode,
    rx_queue::{RxQueue, RxStatus},
};
use crate::{
    buffer::Pool,
    graph::{Owner, node::Counter},
};

/// The device behind an interface, and what its class can do.
pub struct DeviceOps {
    /// The plugin's device.
    pub device: Opaque,
    /// The class.
    pub class: DeviceClassDecl,
    /// Whatever must outlive the device.
    pub keep: Arc<dyn Send + Sync>,
}

// SAFETY: the class's functions may be called from the threads that its contract names.
unsafe impl Send for DeviceOps {}
// SAFETY: as above.
unsafe impl Sync for DeviceOps {}

impl DeviceOps {
    /// Takes the device up or down.
    ///
    /// # Errors
    /// [`Status`] of the class's function.
    pub fn set_admin(&self, up: bool) -> Result<(), Status> {
        // SAFETY: main thread, and the device is alive as long as this.
        let status = unsafe { (self.class.set_admin)(self.device, up.into()) };
        if status.is_ok() { Ok(()) } else { Err(status) }
    }

    /// Takes the device back up or down where a change was given up. What it was before it can be
    /// again; if not, the device has said so in the log.
    pub fn put_back(&self, up: bool) {
        self.set_admin(up).unwrap_or_default();
    }
}

impl Drop for DeviceOps {
    fn drop(&mut self) {
        // SAFETY: the last thing that knew the device is gone with this.
        unsafe { (self.class.destroy)(self.device) };
    }
}

impl fmt::Debug for DeviceOps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DeviceOps({:p})", self.device)
    }
}

/// What moved on one thread.
#[derive(Debug, Default)]
#[repr(align(64))]
pub struct InterfaceCounters {
    /// Packets received.
    pub rx_packets: Counter,
    /// Bytes received.
    pub rx_bytes: Counter,
    /// Packets sent.
    pub tx_packets: Counter,
    /// Bytes sent.
    pub tx_bytes: Counter,
    /// Packets the device did not take.
    pub tx_drops: Counter,
}

/// The lock of a transmit queue: several threads share one where they are more than the queues.
#[derive(Debug, Default)]
pub struct TxLock(AtomicU32);

/// Tries to get the queue between two looks at whether that is any use.
const SPINS: u32 = 1024;
/// Nobody has the queue.
const FREE: u32 = 0;
/// A thread that was given up has it, and may never give it back.
const STUCK: u32 = u32::MAX;

impl TxLock {
    /// Runs `send` alone, for `thread`; `None` if whoever has the queue was given up, or `give_up`
    /// says so, which is asked with how often it was asked before.
    pub fn with<R>(
        &self,
        thread: u32,
        give_up: impl Fn(u32) -> bool,
        send: impl FnOnce() -> R,
    ) -> Option<R> {
        let mut spins = 0_u32;
        // Acquire and release: what the last sender did to the queue is seen.
        while let Err(owner) =
            self.0.compare_exchange_weak(FREE, thread + 1, Ordering::Acquire, Ordering::Relaxed)
        {
            spins = spins.wrapping_add(1);
            if owner == STUCK || (spins.is_multiple_of(SPINS) && give_up(spins / SPINS)) {
                return None;
            }
            if spins.is_multiple_of(SPINS) {
                std::thread::yield_now(); // Whoever has it may not be running.
            } else {
                std::hint::spin_loop();
            }
        }
        let result = send();
        self.0.store(FREE, Ordering::Release); // Also if the thread was given up: it came back.
        Some(result)
    }

    /// `thread` was given up: if it has the queue, nobody waits for that any more. Whether it has.
    pub fn give_up(&self, thread: u32) -> bool {
        let has = thread + 1;
        self.0.compare_exchange(has, STUCK, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }
}

/// An interface.
#[derive(Debug)]
pub struct Interface {
    /// Index.
    pub index: u32,
    /// Name, unique in the host.
    pub name: String,
    /// Name of its class.
    pub class: String,
    /// The plugin that created it.
    pub owner: Owner,
    /// MAC address; zeros if it has none.
    pub mac: [u8; 6],
    /// Bytes of the largest layer-3 packet.
    pub mtu: u32,
    /// Carries IP packets without an Ethernet header.
    pub is_l3: bool,
    /// Index of the kernel's interface whose link state it follows; 0 for none.
    pub kernel_index: u32,
    /// The device.
    pub ops: DeviceOps,
    /// A descriptor for each receive queue, -1 where there is none.
    pub rx_fds: Vec<RawFd>,
    /// Where each receive queue is placed, and its mode.
    pub rx_queues: Mutex<Vec<RxQueue>>,
    /// What each receive queue does at present.
    pub rx_status: Box<[RxStatus]>,
    /// Transmit queues.
    pub tx_queues: u32,
    /// A lock for each transmit queue.
    pub tx_locks: Box<[TxLock]>,
    /// Taken up by the operator.
    pub admin_up: AtomicBool,
    /// The link is up.
    pub link_up: AtomicBool,
    /// By thread.
    pub counters: Box<[InterfaceCounters]>,
    /// Where to tell that its device found its link up or down.
    pub news: Arc<LinkNews>,
    /// Times its device panicked.
    pub panics: AtomicU32,
}

/// What is known of an interface before it is one.
#[derive(Debug)]
pub struct NewInterface {
    /// Name, unique in the host.
    pub name: String,
    /// Name of its class.
    pub class: String,
    /// The plugin that creates it.
    pub owner: Owner,
    /// MAC address.
    pub mac: [u8; 6],
    /// Bytes of the largest layer-3 packet.
    pub mtu: u32,
    /// `INTERFACE_*`.
    pub flags: u32,
    /// Index of the kernel's interface.
    pub kernel_index: u32,
    /// A descriptor for each receive queue, -1 where there is none.
    pub rx_fds: Vec<RawFd>,
    /// Transmit queues.
    pub tx_queues: u32,
}

impl Interface {
    /// The interface, down, its receive queues on the threads of `placement`: adaptive, where they
    /// have a descriptor to wait for.
    pub fn new(
        index: u32,
        new: NewInterface,
        ops: DeviceOps,
        placement: Vec<u32>,
        news: Arc<LinkNews>,
    ) -> Self {
        let mode = |fd: RawFd| if fd >= 0 { RxMode::Adaptive } else { RxMode::Polling };
        let queues = new.rx_fds.iter().zip(placement);
        let queues: Vec<_> = queues
            .map(|(&fd, thread)| RxQueue { thread, by_hand: false, mode: mode(fd) })
            .collect();
        Self {
            index,
            name: new.name,
            class: new.class,
            owner: new.owner,
            mac: new.mac,
            mtu: new.mtu,
            is_l3: new.flags & INTERFACE_L3 != 0,
            kernel_index: new.kernel_index,
            ops,
            rx_fds: new.rx_fds,
            rx_status: queues.iter().map(|_| RxStatus::default()).collect(),
            rx_queues: Mutex::new(queues),
            tx_queues: new.tx_queues,
            tx_locks: (0..new.tx_queues).map(|_| TxLock::default()).collect(),
            admin_up: AtomicBool::new(false),
            link_up: AtomicBool::new(true),
            counters: (0..Pool::THREADS).map(|_| InterfaceCounters::default()).collect(),
            news,
            panics: AtomicU32::new(0),
        }
    }

    /// Whether packets may go out.
    #[inline(always)]
    pub fn is_up(&self) -> bool {
        self.admin_up.load(Ordering::Relaxed) && self.link_up.load(Ordering::Relaxed)
    }

    /// A counter, summed over the threads.
    pub fn sum(&self, counter: impl Fn(&InterfaceCounters) -> &Counter) -> u64 {
        self.counters.iter().map(|thread| counter(thread).get()).sum()
    }

    /// Name of its input node.
    pub fn input_name(&self) -> String {
        format!("{}-input", self.name)
    }

    /// Name of its output node.
    pub fn output_name(&self) -> String {
        format!("{}-output", self.name)
    }
}

/// All interfaces, by index.
#[derive(Debug, Default)]
pub struct Interfaces {
    by_index: BTreeMap<u32, Arc<Interface>>,
}

impl Interfaces {
    /// The lowest index that is free.
    pub fn free_index(&self) -> u32 {
        (0..).find(|index| !self.by_index.contains_key(index)).expect("fewer than 2^32 interfaces")
    }

    /// Adds an interface.
    pub fn insert(&mut self, interface: Arc<Interface>) {
        self.by_index.insert(interface.index, interface);
    }

    /// Removes an interface.
    pub fn remove(&mut self, index: u32) -> Option<Arc<Interface>> {
        self.by_index.remove(&index)
    }

    /// The interface of that index.
    pub fn get(&self, index: u32) -> Option<&Arc<Interface>> {
        self.by_index.get(&index)
    }

    /// The interface of that name.
    pub fn find(&self, name: &str) -> Option<&Arc<Interface>> {
        self.iter().find(|interface| interface.name == name)
    }

    /// All of them, in index order.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Interface>> {
        self.by_index.values()
    }

    /// The first index at or after `from` that is in use.
    pub fn next(&self, from: u32) -> Option<u32> {
        self.by_index.range(from..).next().map(|(&index, _)| index)
    }

    /// One more than the highest index in use.
    pub fn end(&self) -> u32 {
        self.by_index.last_key_value().map_or(0, |(&index, _)| index + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_whose_sender_was_given_up_refuses_others_until_it_comes_back() {
        let lock = TxLock::default();
        let wait = |_| false;
        assert_eq!(lock.with(1, wait, || 7), Some(7));
        assert!(!lock.give_up(1), "it does not have the queue");
        let inside = lock.with(1, wait, || {
            assert_eq!(lock.with(2, |asked| asked == 3, || ()), None, "it waits for so long");
            assert!(!lock.give_up(2) && lock.give_up(1));
            lock.with(2, wait, || ())
        });
        assert_eq!(inside, Some(None));
        assert_eq!(lock.with(2, wait, || 8), Some(8));
    }
}
