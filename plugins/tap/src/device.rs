//! The device: packets between the graph and the kernel's side.

use std::{
    fs::File,
    io::{self, IoSlice},
    os::fd::{AsRawFd, OwnedFd, RawFd},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use plugin_api::{Device, Host, LogLevel, RxFrame, RxQueue, TxFrame, next_nodes};
use rustix::{
    event::epoll::{self, CreateFlags, EventData, EventFlags},
    io::Errno,
};

use crate::{
    Tap,
    kernel::{KernelSpec, KernelTap},
    netlink::LinkWatch,
};

/// Transmit queues: one for each of so many threads. More would share under the host's lock.
const TX_QUEUES: usize = 8;

/// Bytes around a layer-3 packet: an Ethernet header with two VLAN tags, and one more byte by
/// which a packet that was cut is told from one that just fits.
const AROUND: usize = 14 + 8 + 1;

/// Buffers of a packet that is sent, at most: those of 64 KiB, and one for a header in front.
const PARTS_MAX: usize = 33;

next_nodes! {
    /// Where received packets go.
    pub enum Next {
        Ethernet => Optional("ethernet-input"),
        Ip4 => Optional("ip4-input"),
        NotIp4 => Drop("tun-not-ip4"),
    }
}

/// What there is to know of a TAP.
#[derive(Debug)]
pub(crate) struct TapInfo {
    /// Name of our side.
    pub(crate) name: String,
    /// What was wanted of the kernel's side.
    pub(crate) kernel: KernelSpec,
    /// Bytes of the largest layer-3 packet.
    pub(crate) mtu: u32,
    /// The kernel's side was deleted.
    pub(crate) gone: AtomicBool,
    /// What went wrong.
    pub(crate) counters: Counters,
}

/// What went wrong with packets, or around them.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    /// Received packets that were longer than the MTU allows.
    pub(crate) rx_too_long: AtomicU64,
    /// Reads that failed.
    pub(crate) rx_errors: AtomicU64,
    /// Packets that the kernel would not have, and never will.
    pub(crate) tx_refused: AtomicU64,
    /// Times that the kernel had no room for a packet.
    pub(crate) tx_no_room: AtomicU64,
    /// Times that the kernel's side was down.
    pub(crate) tx_down: AtomicU64,
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// One TAP.
#[derive(Debug)]
pub(crate) struct TapDevice {
    host: Host,
    info: Arc<TapInfo>,
}

/// A receive queue.
#[derive(Debug)]
pub(crate) struct TapRx {
    file: Arc<File>,
    /// What the host waits on: the file, until the kernel's side is gone (from then on it would
    /// be ready for ever), and the watch.
    ready: OwnedFd,
    watch: Option<LinkWatch>,
    /// Bytes of room for a packet.
    room: usize,
    gone: bool,
}

/// A transmit queue.
#[derive(Debug)]
pub(crate) struct TapTx {
    file: Arc<File>,
}

/// A device and its queues.
pub(crate) struct Parts {
    pub(crate) device: TapDevice,
    pub(crate) rx: Vec<RxQueue<TapRx>>,
    pub(crate) tx: Vec<TapTx>,
}

impl TapDevice {
    /// Puts a device around what the kernel made.
    pub(crate) fn open(
        host: Host,
        name: String,
        spec: KernelSpec,
        made: KernelTap,
    ) -> io::Result<Parts> {
        let room = made.link.mtu as usize + AROUND;
        let files: Vec<_> = made.queues.into_iter().map(Arc::new).collect();
        let mut watch = made.watch;
        let rx = files
            .iter()
            .map(|file| TapRx::new(Arc::clone(file), watch.take(), room))
            .collect::<io::Result<_>>()?;
        let tx = files.iter().cycle().take(TX_QUEUES).map(|file| TapTx { file: Arc::clone(file) });
        let tx = tx.collect();
        let info = TapInfo {
            name,
            kernel: spec,
            mtu: made.link.mtu,
            gone: AtomicBool::new(false),
            counters: Counters::default(),
        };
        Ok(Parts { device: Self { host, info: Arc::new(info) }, rx, tx })
    }

    /// What there is to know of it.
    pub(crate) fn info(&self) -> &Arc<TapInfo> {
        &self.info
    }

    /// Reads one packet; `false` if there is no other behind it.
    fn read(&self, queue: &TapRx, frame: &mut RxFrame<'_, Next>) -> Result<bool, Gone> {
        // Without a buffer nothing is read, and the kernel keeps what it has.
        let mut outcome = Err(Errno::AGAIN);
        let tun = self.info.kernel.tun;
        let mut sort = |read: Result<usize, Errno>, room: usize, first: Option<u8>| {
            outcome = read;
            let len = read.ok().filter(|&len| len < room)?;
            let next = match first.map(|byte| byte >> 4) {
                _ if !tun => Next::Ethernet,
                Some(4) => Next::Ip4,
                _ => Next::NotIp4,
            };
            Some((len, next))
        };
        let received = if queue.room <= RxFrame::<Next>::ROOM {
            frame.fill(|room| {
                let read = rustix::io::read(&queue.file, &mut *room);
                sort(read, room.len(), room.first().copied())
            })
        } else {
            frame.fill_chain(queue.room, |rooms| {
                let read = rustix::io::readv(&queue.file, rooms);
                let room = rooms.iter().map(|room| room.len()).sum();
                sort(read, room, rooms.first().and_then(|room| room.first().copied()))
            })
        };
        match outcome {
            Ok(_) if received => Ok(true),
            Ok(_) => {
                count(&self.info.counters.rx_too_long);
                Ok(true)
            }
            Err(Errno::AGAIN) => Ok(false),
            Err(Errno::BADFD) => Err(Gone),
            Err(_) => {
                count(&self.info.counters.rx_errors);
                Ok(false)
            }
        }
    }

    /// Notes that the kernel's side was deleted.
    fn lose(&self, queue: &mut TapRx, frame: &mut RxFrame<'_, Next>) {
        queue.gone = true;
        // An error means that the host waits on a file that is ready for ever: slow, not wrong.
        let _ = epoll::delete(&queue.ready, &queue.file);
        // Closing is not enough: a child on its way to exec may hold it open for a moment.
        if let Some(watch) = queue.watch.take() {
            let _ = epoll::delete(&queue.ready, watch);
        }
        frame.set_link(false);
        if !self.info.gone.swap(true, Ordering::Relaxed) {
            let TapInfo { name, kernel, .. } = &*self.info;
            let text = format!(
                "{name}: kernel interface {} was deleted: delete {name} and create it again",
                kernel.name
            );
            self.host.log(LogLevel::Error, &text);
        }
    }
}

/// The kernel's side is gone.
struct Gone;

impl TapRx {
    fn new(file: Arc<File>, watch: Option<LinkWatch>, room: usize) -> io::Result<RxQueue<Self>> {
        let ready = epoll::create(CreateFlags::CLOEXEC)?;
        epoll::add(&ready, &file, EventData::new_u64(0), EventFlags::IN)?;
        if let Some(watch) = &watch {
            epoll::add(&ready, watch, EventData::new_u64(1), EventFlags::IN)?;
        }
        let readable: RawFd = ready.as_raw_fd();
        Ok(RxQueue {
            queue: Self { file, ready, watch, room, gone: false },
            readable: Some(readable),
        })
    }
}

impl Device for TapDevice {
    const CLASS: &'static str = "tap";
    type Plugin = Tap;
    type Next = Next;
    type Rx = TapRx;
    type Tx = TapTx;

    fn receive(&self, queue: &mut TapRx, frame: &mut RxFrame<'_, Next>) {
        while !queue.gone && !frame.is_full() {
            match self.read(queue, frame) {
                Ok(true) => {}
                Ok(false) => break,
                Err(Gone) => self.lose(queue, frame),
            }
        }
        // Woken for no packet: then it is the watch, or an idle poll.
        if frame.len() == 0
            && let Some(up) = queue.watch.as_mut().and_then(LinkWatch::changed)
        {
            frame.set_link(up);
        }
    }

    fn transmit(&self, queue: &mut TapTx, frame: &mut TxFrame<'_>) -> usize {
        let counters = &self.info.counters;
        for at in 0..frame.len() {
            match write(&queue.file, frame, at) {
                Ok(()) => {}
                Err(Errno::AGAIN | Errno::NOBUFS | Errno::NOMEM) => {
                    count(&counters.tx_no_room);
                    return at;
                }
                Err(Errno::IO) => {
                    count(&counters.tx_down);
                    return at;
                }
                Err(Errno::BADFD) => return at,
                Err(_) => count(&counters.tx_refused),
            }
        }
        frame.len()
    }
}

/// Writes packet number `at`.
fn write(file: &File, frame: &TxFrame<'_>, at: usize) -> Result<(), Errno> {
    let mut segments = frame.segments(at);
    let first = segments.next().unwrap_or_default();
    let Some(second) = segments.next() else {
        return rustix::io::write(file, first).map(drop);
    };
    let mut parts = [IoSlice::new(&[]); PARTS_MAX];
    parts[0] = IoSlice::new(first);
    parts[1] = IoSlice::new(second);
    let mut n = 2;
    for segment in segments {
        *parts.get_mut(n).ok_or(Errno::MSGSIZE)? = IoSlice::new(segment);
        n += 1;
    }
    rustix::io::writev(file, &parts[..n]).map(drop)
}

#[cfg(test)]
mod tests;
