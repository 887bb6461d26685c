//! The device: packets out of one capture and into another.

use std::{
    fs::File,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU8, AtomicU64, Ordering},
    },
};

use plugin_api::{Device, Host, LogLevel, RxFrame, RxQueue, TxFrame, next_nodes};

use crate::{
    Pcap,
    capture::Layer,
    output::{self, OutputError},
    reader::{self, Reader, Replay, StartError},
    writer,
};

/// Transmit queues: one for each of so many threads. More would share under the host's lock.
const TX_QUEUES: usize = 8;

next_nodes! {
    /// Where received packets go.
    pub enum Next {
        Ethernet => Optional("ethernet-input"),
        Ip4 => Optional("ip4-input"),
        NotIp4 => Drop("pcap-not-ip4"),
    }
}

/// Why there can be no such interface.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenError {
    #[error(transparent)]
    Input(#[from] StartError),
    #[error(transparent)]
    Output(#[from] OutputError),
    #[error("cannot begin to write")]
    Write(#[source] std::io::Error),
}

/// How far the input is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum State {
    /// There is more.
    Reading,
    /// All was received.
    Ended,
    /// It could not be read to its end.
    Failed,
}

/// What there is to know of an interface.
#[derive(Debug)]
pub(crate) struct Info {
    /// Name.
    pub(crate) name: String,
    /// The capture that is read.
    pub(crate) input: Option<String>,
    /// The capture that is written.
    pub(crate) output: Option<String>,
    /// What packets begin with.
    pub(crate) layer: Layer,
    state: AtomicU8,
    /// What was counted.
    pub(crate) counters: Counters,
}

/// What was counted.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    /// Packets received from the input.
    pub(crate) received: AtomicU64,
    /// Packets of the input that were longer than a chain of buffers.
    pub(crate) too_long: AtomicU64,
    /// Packets of the input of another link type than its first ones.
    pub(crate) left_out: AtomicU64,
    /// Packets written to the output.
    pub(crate) written: AtomicU64,
    /// Times that the writer was too far behind to take a packet.
    pub(crate) no_room: AtomicU64,
    /// Writes that failed.
    pub(crate) write_errors: AtomicU64,
    /// Packets that were to be written then.
    pub(crate) lost: AtomicU64,
    /// Packets sent where there is no output.
    pub(crate) discarded: AtomicU64,
}

impl Info {
    /// How far the input is.
    pub(crate) fn state(&self) -> State {
        match self.state.load(Ordering::Relaxed) {
            0 => State::Reading,
            1 => State::Ended,
            _ => State::Failed,
        }
    }

    fn set_state(&self, state: State) {
        self.state.store(state as u8, Ordering::Relaxed);
    }
}

/// What is to be read and written.
pub(crate) struct Spec<'a> {
    pub(crate) name: &'a str,
    pub(crate) input: Option<(&'a Path, File)>,
    pub(crate) replay: Replay,
    pub(crate) output: Option<&'a Path>,
    /// Captures are written nowhere else.
    pub(crate) directory: Option<&'a Path>,
    /// What is added to the host's time to have nanoseconds since 1970.
    pub(crate) epoch_ns: u64,
}

/// An interface on captures.
#[derive(Debug)]
pub(crate) struct PcapDevice {
    host: Host,
    info: Arc<Info>,
}

/// A receive queue.
#[derive(Debug)]
pub(crate) struct Rx {
    reader: Reader,
    /// When the replay began.
    start_ns: Option<u64>,
}

/// A transmit queue; without an output it swallows packets.
#[derive(Debug)]
pub(crate) struct Tx(Option<writer::Queue>);

/// A device and its queues.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) device: PcapDevice,
    pub(crate) rx: Vec<RxQueue<Rx>>,
    pub(crate) tx: Vec<Tx>,
}

impl PcapDevice {
    /// Opens the captures; nothing is emptied if the input is no capture.
    pub(crate) fn open(host: Host, spec: Spec<'_>) -> Result<Parts, OpenError> {
        let text = |path: &Path| path.display().to_string();
        let input = spec.input.as_ref().map(|(path, _)| text(path));
        let (mut layer, mut rx, mut same) = (Layer::Ethernet, Vec::new(), None);
        if let Some((path, file)) = spec.input {
            same = Some(file.try_clone().map_err(StartError::System)?);
            let (reader, first) = Reader::start(path, file, spec.replay)?;
            layer = first;
            rx.push(RxQueue { queue: Rx { reader, start_ns: None }, readable: None });
        }
        let info = Arc::new(Info {
            name: spec.name.to_owned(),
            input,
            output: spec.output.map(text),
            layer,
            state: AtomicU8::new(State::Reading as u8),
            counters: Counters::default(),
        });
        let tx = match spec.output {
            None => (0..TX_QUEUES).map(|_| Tx(None)).collect(),
            Some(path) => {
                let file = output::open(path, spec.directory, same.as_ref(), layer)?;
                let queues = writer::start(host, Arc::clone(&info), file, TX_QUEUES, spec.epoch_ns);
                queues.map_err(OpenError::Write)?.into_iter().map(|queue| Tx(Some(queue))).collect()
            }
        };
        Ok(Parts { device: Self { host, info }, rx, tx })
    }

    /// What there is to know of it.
    pub(crate) fn info(&self) -> &Arc<Info> {
        &self.info
    }

    fn end(&self, end: Result<(), String>, frame: &mut RxFrame<'_, Next>) {
        let Err(reason) = end else { return self.info.set_state(State::Ended) };
        self.info.set_state(State::Failed);
        frame.set_link(false);
        self.host.log(LogLevel::Error, &format!("{}: {reason}", self.info.name));
    }

    /// Receives one packet; `false` if there is no room for it.
    fn put(&self, bytes: &[u8], frame: &mut RxFrame<'_, Next>) -> bool {
        let next = match (self.info.layer, bytes.first().map(|byte| byte >> 4)) {
            (Layer::Ethernet, _) => Next::Ethernet,
            (Layer::Ip, Some(4)) => Next::Ip4,
            (Layer::Ip, _) => Next::NotIp4,
        };
        if bytes.len() <= RxFrame::<Next>::ROOM {
            return frame.fill(|room| {
                room[..bytes.len()].copy_from_slice(bytes);
                Some((bytes.len(), next))
            });
        }
        if bytes.len() > RxFrame::<Next>::CHAIN_ROOM {
            self.info.counters.too_long.fetch_add(1, Ordering::Relaxed);
            return true;
        }
        frame.fill_chain(bytes.len(), |rooms| {
            let mut rest = bytes;
            for room in rooms {
                let (here, further) = rest.split_at(rest.len().min(room.len()));
                room[..here.len()].copy_from_slice(here);
                rest = further;
            }
            Some((bytes.len(), next))
        })
    }
}

impl Device for PcapDevice {
    const CLASS: &'static str = "pcap";
    type Plugin = Pcap;
    type Next = Next;
    type Rx = Rx;
    type Tx = Tx;

    fn receive(&self, queue: &mut Rx, frame: &mut RxFrame<'_, Next>) {
        let now_ns = frame.now_ns();
        let passed_ns = now_ns.saturating_sub(*queue.start_ns.get_or_insert(now_ns));
        while !frame.is_full() {
            match queue.reader.next() {
                reader::Next::Packet(waiting) => {
                    if waiting.due_ns > passed_ns || !self.put(waiting.bytes, frame) {
                        break;
                    }
                    queue.reader.advance();
                }
                reader::Next::NotYet => break,
                reader::Next::End(end) => {
                    self.end(end, frame);
                    break;
                }
            }
        }
        let counters = &self.info.counters;
        counters.received.fetch_add(frame.len() as u64, Ordering::Relaxed);
        counters.left_out.store(queue.reader.left_out(), Ordering::Relaxed);
    }

    fn transmit(&self, queue: &mut Tx, frame: &mut TxFrame<'_>) -> usize {
        let counters = &self.info.counters;
        let Some(queue) = &mut queue.0 else {
            counters.discarded.fetch_add(frame.len() as u64, Ordering::Relaxed);
            return frame.len();
        };
        let taken = queue.write(frame);
        if taken == 0 {
            counters.no_room.fetch_add(1, Ordering::Relaxed);
        }
        taken
    }
}

#[cfg(test)]
mod tests;
