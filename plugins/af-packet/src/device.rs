//! The device: packets between the graph and the sockets.

use std::{
    io,
    os::fd::AsRawFd,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use plugin_api::{Device, Error, Host, LogLevel, RxFrame, RxQueue, TxFrame, next_nodes};

use crate::{
    AfPacket,
    offload::{Offload, SEGMENT_HEADER_MAX},
    ring::{RingPacket, RxRing},
    socket::{Batch, KernelInterface, PacketSocket},
};

/// Transmit queues: one for each of so many threads. More would share under the host's lock.
const TX_QUEUES: usize = 8;

/// How often an idle queue asks its socket for errors.
const CHECK_NS: u64 = 1_000_000;

/// Bytes of the two MAC addresses, behind which a VLAN tag stands.
const ADDRESSES: usize = 12;

next_nodes! {
    /// Where received packets go.
    pub enum Next { Ethernet => Optional("ethernet-input") }
}

/// Why there can be no interface on a kernel interface.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenError {
    #[error("cannot open an AF_PACKET socket, which takes CAP_NET_RAW")]
    Socket(#[source] io::Error),
    #[error("there is no kernel interface {name}")]
    Find { name: String, source: io::Error },
    #[error("kernel interface {name} carries no Ethernet (hardware type {hardware})")]
    Kind { name: String, hardware: u16 },
    #[error("cannot set up {what} on kernel interface {name}")]
    SetUp { what: &'static str, name: String, source: io::Error },
}

/// What there is to know of an interface.
#[derive(Debug)]
pub(crate) struct Info {
    /// Name of our side.
    pub(crate) name: String,
    /// Name of the kernel's side.
    pub(crate) kernel_name: String,
    /// The kernel's side.
    pub(crate) kernel: KernelInterface,
    /// The sockets of the receive queues.
    pub(crate) sockets: Vec<Arc<PacketSocket>>,
    /// The kernel's side was deleted.
    pub(crate) gone: AtomicBool,
    /// What was counted.
    pub(crate) counters: Counters,
}

/// What went wrong with packets, or around them, and what the kernel counted.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    /// Packets the kernel had for us.
    pub(crate) kernel_packets: AtomicU64,
    /// Packets the kernel dropped because the ring was full.
    pub(crate) kernel_drops: AtomicU64,
    /// Received packets that were longer than a block, or than a chain of buffers.
    pub(crate) rx_cut: AtomicU64,
    /// Received packets whose checksum could not be completed, or that could not be cut.
    pub(crate) rx_malformed: AtomicU64,
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

impl Info {
    /// Adds what the kernel counted since the last time; it forgets what it has told.
    pub(crate) fn ask_kernel(&self) {
        for counted in self.sockets.iter().filter_map(|socket| socket.counters().ok()) {
            self.counters.kernel_packets.fetch_add(counted.packets.into(), Ordering::Relaxed);
            self.counters.kernel_drops.fetch_add(counted.drops.into(), Ordering::Relaxed);
        }
    }
}

/// An interface on a kernel interface.
#[derive(Debug)]
pub(crate) struct HostInterface {
    host: Host,
    info: Arc<Info>,
}

/// A receive queue.
#[derive(Debug)]
pub(crate) struct Rx {
    ring: RxRing,
    socket: Arc<PacketSocket>,
    /// How far the current packet is: nothing done, checksum complete, or so many segments taken.
    progress: Progress,
    next_check_ns: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    Fresh,
    Complete,
    Segments(usize),
}

/// A transmit queue.
#[derive(Debug)]
pub(crate) struct Tx {
    socket: PacketSocket,
    batch: Batch,
}

/// A device and its queues.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) device: HostInterface,
    pub(crate) rx: Vec<RxQueue<Rx>>,
    pub(crate) tx: Vec<Tx>,
}

impl HostInterface {
    /// Opens sockets on the kernel interface `kernel_name`; they receive nothing until the
    /// interface is taken up.
    pub(crate) fn open(
        host: Host,
        name: String,
        kernel_name: &str,
        queues: usize,
    ) -> Result<Parts, OpenError> {
        let named = || kernel_name.to_owned();
        let probe = PacketSocket::open().map_err(OpenError::Socket)?;
        let kernel =
            probe.find(kernel_name).map_err(|source| OpenError::Find { name: named(), source })?;
        let hardware = kernel.hardware;
        if hardware != libc::ARPHRD_ETHER && hardware != libc::ARPHRD_LOOPBACK {
            return Err(OpenError::Kind { name: named(), hardware });
        }
        let failed =
            |what| move |source| OpenError::SetUp { what, name: kernel_name.to_owned(), source };
        let mut rx = Vec::with_capacity(queues);
        let mut group = None;
        for _ in 0..queues {
            let queue = Rx::open(kernel.index).map_err(failed("a receive ring"))?;
            if queues > 1 {
                group = Some(queue.queue.socket.share(group).map_err(failed("sharing by flow"))?);
            }
            rx.push(queue);
        }
        let sockets: Vec<_> = rx.iter().map(|rx| Arc::clone(&rx.queue.socket)).collect();
        if let Some(socket) = sockets.first() {
            socket.set_promiscuous(kernel.index).map_err(failed("promiscuous mode"))?;
        }
        let tx = (0..TX_QUEUES).map(|_| Tx::open(kernel.index)).collect::<io::Result<_>>();
        let tx = tx.map_err(failed("sockets to send"))?;
        let info = Info {
            name,
            kernel_name: named(),
            kernel,
            sockets,
            gone: AtomicBool::new(false),
            counters: Counters::default(),
        };
        Ok(Parts { device: Self { host, info: Arc::new(info) }, rx, tx })
    }

    /// What there is to know of it.
    pub(crate) fn info(&self) -> &Arc<Info> {
        &self.info
    }

    /// Hands the packet on; `false` if there is no room for (all of) it yet.
    fn deliver(
        &self,
        packet: &mut RingPacket<'_>,
        progress: &mut Progress,
        frame: &mut RxFrame<'_, Next>,
    ) -> bool {
        if packet.is_cut || packet.bytes.len() < ADDRESSES {
            count(&self.info.counters.rx_cut);
            return true;
        }
        let offload = Offload::parse(packet.offload);
        if offload.is_segmented() {
            return self.deliver_segments(packet, offload, progress, frame);
        }
        if *progress == Progress::Fresh {
            if !offload.complete_checksum(packet.bytes) {
                count(&self.info.counters.rx_malformed);
                return true;
            }
            *progress = Progress::Complete;
        }
        let (addresses, rest) = packet.bytes.split_at(ADDRESSES);
        let tag = packet.tag.as_ref().map_or(&[][..], |tag| &tag[..]);
        self.put(frame, [addresses, tag, rest, &[]])
    }

    fn deliver_segments(
        &self,
        packet: &RingPacket<'_>,
        offload: Offload,
        progress: &mut Progress,
        frame: &mut RxFrame<'_, Next>,
    ) -> bool {
        let Some(plan) = offload.segmentation(packet.bytes) else {
            count(&self.info.counters.rx_malformed);
            return true;
        };
        let tag = packet.tag.as_ref().map_or(&[][..], |tag| &tag[..]);
        let mut at = if let Progress::Segments(at) = *progress { at } else { 0 };
        let mut header = [0; SEGMENT_HEADER_MAX];
        while let Some((header, part)) = plan.segment(packet.bytes, at, &mut header) {
            let (addresses, rest) = header.split_at(ADDRESSES);
            if !self.put(frame, [addresses, tag, rest, part]) {
                *progress = Progress::Segments(at);
                return false;
            }
            at += 1;
        }
        true
    }

    /// Puts a packet of these parts into the frame; `false` if there is no room.
    fn put(&self, frame: &mut RxFrame<'_, Next>, parts: [&[u8]; 4]) -> bool {
        let len = parts.iter().map(|part| part.len()).sum();
        if len <= RxFrame::<Next>::ROOM {
            return frame.fill(|room| {
                let mut at = 0;
                for part in parts {
                    room[at..at + part.len()].copy_from_slice(part);
                    at += part.len();
                }
                Some((len, Next::Ethernet))
            });
        }
        if len > RxFrame::<Next>::CHAIN_ROOM {
            count(&self.info.counters.rx_cut);
            return true;
        }
        frame.fill_chain(len, |rooms| {
            let mut rooms = rooms.iter_mut();
            let mut room: &mut [u8] = &mut [];
            for mut part in parts {
                while !part.is_empty() {
                    if room.is_empty() {
                        room = rooms.next()?;
                    }
                    let fits = part.len().min(room.len());
                    let (here, further) = room.split_at_mut(fits);
                    here.copy_from_slice(&part[..fits]);
                    (room, part) = (further, &part[fits..]);
                }
            }
            Some((len, Next::Ethernet))
        })
    }

    /// Looks whether the socket has something to say; an unread error would wake us for ever.
    fn check(&self, queue: &mut Rx, frame: &mut RxFrame<'_, Next>) {
        if frame.now_ns() < queue.next_check_ns {
            return;
        }
        queue.next_check_ns = frame.now_ns() + CHECK_NS;
        if queue.socket.take_error().is_none() || queue.socket.exists(self.info.kernel.index) {
            return;
        }
        frame.set_link(false);
        if !self.info.gone.swap(true, Ordering::Relaxed) {
            let Info { name, kernel_name, .. } = &*self.info;
            let text = format!(
                "{name}: kernel interface {kernel_name} was deleted: delete {name} and create it again"
            );
            self.host.log(LogLevel::Error, &text);
        }
    }
}

impl Rx {
    fn open(index: u32) -> io::Result<RxQueue<Self>> {
        let socket = PacketSocket::open()?;
        let ring = RxRing::new(&socket)?;
        socket.set(libc::SOL_PACKET, libc::PACKET_IGNORE_OUTGOING, &1)?;
        socket.set_muted(true)?;
        #[expect(clippy::cast_possible_truncation, reason = "3")]
        socket.bind(index, libc::ETH_P_ALL as u16)?;
        let readable = Some(socket.as_raw_fd());
        let socket = Arc::new(socket);
        let queue = Self { ring, socket, progress: Progress::Fresh, next_check_ns: 0 };
        Ok(RxQueue { queue, readable })
    }
}

impl Tx {
    fn open(index: u32) -> io::Result<Self> {
        Ok(Self { socket: PacketSocket::open_to_send(index)?, batch: Batch::new() })
    }
}

impl Device for HostInterface {
    const CLASS: &'static str = "af-packet";
    type Plugin = AfPacket;
    type Next = Next;
    type Rx = Rx;
    type Tx = Tx;

    fn receive(&self, queue: &mut Rx, frame: &mut RxFrame<'_, Next>) {
        while !frame.is_full() {
            let Some(mut packet) = queue.ring.packet() else { break };
            if !self.deliver(&mut packet, &mut queue.progress, frame) {
                return;
            }
            queue.progress = Progress::Fresh;
            queue.ring.advance();
        }
        if frame.len() == 0 {
            self.check(queue, frame);
        }
    }

    fn transmit(&self, queue: &mut Tx, frame: &mut TxFrame<'_>) -> usize {
        let counters = &self.info.counters;
        let mut at = 0;
        while at < frame.len() {
            let error = match queue.batch.send(&queue.socket, frame, at) {
                Ok(sent) => {
                    at += sent;
                    continue;
                }
                Err(error) => error.raw_os_error().unwrap_or_default(),
            };
            match error {
                libc::EINTR => {}
                libc::EAGAIN | libc::ENOBUFS | libc::ENOMEM => {
                    count(&counters.tx_no_room);
                    break;
                }
                libc::ENETDOWN | libc::ENXIO | libc::ENODEV => {
                    count(&counters.tx_down);
                    break;
                }
                _ => {
                    count(&counters.tx_refused);
                    at += 1;
                }
            }
        }
        at
    }

    fn set_admin(&self, up: bool) -> Result<(), Error> {
        for socket in &self.info.sockets {
            socket.set_muted(!up)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
