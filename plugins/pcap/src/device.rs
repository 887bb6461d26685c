//! The device class `pcap`.

use std::{
    fs::File,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
};

use plugin_api::{Device, Error, RxFrame, RxQueue, TxFrame, next_nodes};

use crate::{
    Pcap,
    input::InputQueue,
    output::{OutputQueue, Writing},
    report::Report,
};

next_nodes! {
    /// Where replayed packets go.
    pub enum Next {
        Ethernet => Optional("ethernet-input"),
        Ip4 => Optional("ip4-input"),
        NotIp4 => Drop("pcap-not-ip4"),
    }
}

/// What the packets of an interface begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LinkKind {
    /// An Ethernet header.
    Ethernet,
    /// An IP header.
    Ip,
}

impl LinkKind {
    /// That of a link type, if it is one we know.
    ///
    /// Source: the registry of link types at tcpdump.org.
    pub(crate) fn of(link_type: u16) -> Option<Self> {
        match link_type {
            1 => Some(Self::Ethernet),
            12 | 101 | 228 | 229 => Some(Self::Ip),
            _ => None,
        }
    }

    /// The link type of a capture of it.
    pub(crate) fn number(self) -> u16 {
        match self {
            Self::Ethernet => 1,
            Self::Ip => 101,
        }
    }

    /// Where a packet goes.
    pub(crate) fn next(self, packet: &[u8]) -> Next {
        match (self, packet.first().map(|byte| byte >> 4)) {
            (Self::Ethernet, _) => Next::Ethernet,
            (Self::Ip, Some(4)) => Next::Ip4,
            (Self::Ip, _) => Next::NotIp4,
        }
    }
}

/// One interface that replays a capture, or writes one, or both.
#[derive(Debug)]
pub(crate) struct PcapDevice {
    /// How often it was taken up.
    taken_up: AtomicU32,
    report: Arc<Report>,
}

/// A device and its queues.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) device: PcapDevice,
    pub(crate) rx: Vec<RxQueue<InputQueue>>,
    pub(crate) tx: Vec<Option<OutputQueue>>,
    /// What writes the capture, if one is written.
    pub(crate) writing: Option<Arc<Writing>>,
}

impl PcapDevice {
    /// A device that replays `input` and writes `output`, which is empty. Reading begins now, so
    /// that there is something when the interface is taken up; `epoch_ns` is the time, in
    /// nanoseconds since 1970, at which the host's clock was 0.
    pub(crate) fn open(
        report: &Arc<Report>,
        link: LinkKind,
        input: Option<Arc<File>>,
        output: Option<File>,
        epoch_ns: u64,
    ) -> Result<Parts, Error> {
        let host = report.host;
        let report = || Arc::clone(report);
        let rx = input.map(|file| InputQueue::open(file, link, report())).transpose()?;
        let tx = output.map(|file| OutputQueue::open(host, file, link, epoch_ns, report()));
        let tx = tx.transpose()?;
        let rx = rx.map(|queue| RxQueue { readable: Some(queue.readable()), queue });
        Ok(Parts {
            device: Self { taken_up: AtomicU32::new(0), report: report() },
            rx: rx.into_iter().collect(),
            writing: tx.as_ref().and_then(OutputQueue::writing),
            tx: vec![tx], // One, so that the capture has the packets in order.
        })
    }
}

impl Device for PcapDevice {
    const CLASS: &'static str = "pcap";
    type Plugin = Pcap;
    type Next = Next;
    type Rx = InputQueue;
    type Tx = Option<OutputQueue>;

    fn receive(&self, queue: &mut InputQueue, frame: &mut RxFrame<'_, Next>) {
        queue.receive(frame, self.taken_up.load(Relaxed));
    }

    fn transmit(&self, queue: &mut Option<OutputQueue>, frame: &mut TxFrame<'_>) -> usize {
        match queue {
            Some(queue) => queue.take(frame),
            None => {
                self.report.unwritten.add(frame.len() as u64);
                frame.len()
            }
        }
    }

    fn set_admin(&self, up: bool) -> Result<(), Error> {
        if up {
            self.taken_up.fetch_add(1, Relaxed);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
