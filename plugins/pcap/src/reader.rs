//! Reads a capture ahead, on a thread of its own, so that no packet thread waits for a disk.

use std::{
    fs::File,
    io::{self, Seek},
    path::{Path, PathBuf},
    sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel},
    thread::{self, JoinHandle},
    time::Duration,
};

use crate::capture::{Capture, CaptureError, Layer, Record};

/// Chunks that wait to be received, at most.
const AHEAD: usize = 8;
/// Packets of a chunk at most.
const CHUNK_PACKETS: usize = 256;
/// Bytes of a chunk at most, beyond which its last packet may reach.
const CHUNK_BYTES: usize = 64 << 10;

/// How a capture is replayed.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Replay {
    /// As many times as fast as it was captured; `None`: flat out.
    pub(crate) speed: Option<f64>,
    /// Begins again at its end.
    pub(crate) endless: bool,
}

/// Packets that were read.
#[derive(Debug, Default)]
struct Chunk {
    bytes: Vec<u8>,
    /// Times count from the start of the replay.
    records: Vec<Record>,
    /// Packets left out of the file so far.
    left_out: u64,
}

/// What the reading thread says.
#[derive(Debug)]
enum Message {
    Packets(Chunk),
    End(Result<(), String>),
}

/// A packet to be received.
#[derive(Debug)]
pub(crate) struct Waiting<'a> {
    /// When, in nanoseconds since the start of the replay; 0: at once.
    pub(crate) due_ns: u64,
    /// Its bytes.
    pub(crate) bytes: &'a [u8],
}

/// What there is to receive.
#[derive(Debug)]
pub(crate) enum Next<'a> {
    /// A packet.
    Packet(Waiting<'a>),
    /// None yet.
    NotYet,
    /// None any more, after the last, or for a reason.
    End(Result<(), String>),
}

/// A capture that is being replayed.
#[derive(Debug)]
pub(crate) struct Reader {
    /// `None` after the end.
    messages: Option<Receiver<Message>>,
    spare: SyncSender<Chunk>,
    chunk: Chunk,
    /// Current packet of the chunk, and where its bytes begin.
    at: usize,
    start: usize,
    thread: Option<JoinHandle<()>>,
}

impl Reader {
    /// Opens a capture and begins to read it; what its packets begin with.
    pub(crate) fn start(
        path: &Path,
        file: File,
        replay: Replay,
    ) -> Result<(Self, Layer), StartError> {
        let again = file.try_clone()?;
        let capture = Capture::open(path.to_owned(), file)?;
        let layer = capture.layer();
        let (messages_in, messages) = sync_channel(AHEAD);
        let (spare, spares) = sync_channel(AHEAD);
        let source = Source { path: path.to_owned(), file: again, replay, spares, base_ns: 0 };
        let thread = thread::Builder::new().name("pcap-read".into()).spawn(move || {
            // Nobody to tell of the end: then nobody wants to know.
            let end = source.run(capture, &messages_in);
            let _ = messages_in.send(Message::End(end));
        })?;
        let (messages, thread) = (Some(messages), Some(thread));
        Ok((Self { messages, spare, chunk: Chunk::default(), at: 0, start: 0, thread }, layer))
    }

    /// What is to be received next. Does not block.
    pub(crate) fn next(&mut self) -> Next<'_> {
        if self.at == self.chunk.records.len() {
            let Some(messages) = &self.messages else { return Next::NotYet };
            let end = match messages.try_recv() {
                Ok(Message::Packets(chunk)) => {
                    let used = std::mem::replace(&mut self.chunk, chunk);
                    (self.at, self.start) = (0, 0);
                    // A reader that has enough of them lets it go.
                    let _ = self.spare.try_send(used);
                    None
                }
                Ok(Message::End(end)) => Some(end),
                Err(TryRecvError::Empty) => return Next::NotYet,
                Err(TryRecvError::Disconnected) => Some(Err("the reader panicked".into())),
            };
            if let Some(end) = end {
                self.messages = None;
                return Next::End(end);
            }
        }
        let Some(record) = self.chunk.records.get(self.at) else { return Next::NotYet };
        let bytes = &self.chunk.bytes[self.start..self.start + record.len];
        Next::Packet(Waiting { due_ns: record.time_ns, bytes })
    }

    /// Goes on behind the current packet.
    pub(crate) fn advance(&mut self) {
        if let Some(record) = self.chunk.records.get(self.at) {
            self.start += record.len;
            self.at += 1;
        }
    }

    /// Packets of the file that were left out.
    pub(crate) fn left_out(&self) -> u64 {
        self.chunk.left_out
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        // The thread's next attempt to hand something over fails, and it ends.
        self.messages = None;
        if let Some(thread) = self.thread.take() {
            // A panic was reported where it happened.
            let _ = thread.join();
        }
    }
}

/// Why a capture cannot be replayed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    #[error(transparent)]
    Capture(#[from] CaptureError),
    #[error("cannot begin to read")]
    System(#[from] io::Error),
}

/// The thread's side.
struct Source {
    path: PathBuf,
    file: File,
    replay: Replay,
    spares: Receiver<Chunk>,
    /// Where this round's times begin.
    base_ns: u64,
}

impl Source {
    fn run(mut self, mut capture: Capture, to: &SyncSender<Message>) -> Result<(), String> {
        loop {
            let packets = self.round(&mut capture, to)?;
            // A capture without a packet would go round for ever.
            if !self.replay.endless || packets == 0 {
                return Ok(());
            }
            let again = self.file.rewind().and_then(|()| self.file.try_clone());
            let again = again.map_err(|error| format!("{}: {error}", self.path.display()))?;
            capture = Capture::open(self.path.clone(), again).map_err(|error| error.to_string())?;
        }
    }

    /// Hands over the whole capture once; how many packets it has.
    fn round(&mut self, capture: &mut Capture, to: &SyncSender<Message>) -> Result<u64, String> {
        let (mut first_ns, mut last_ns, mut packets) = (None, self.base_ns, 0);
        loop {
            let mut chunk = self.spares.try_recv().unwrap_or_default();
            chunk.bytes.clear();
            chunk.records.clear();
            let mut end = None;
            while chunk.records.len() < CHUNK_PACKETS && chunk.bytes.len() < CHUNK_BYTES {
                match capture.read(&mut chunk.bytes) {
                    Ok(Some(mut record)) => {
                        let first = *first_ns.get_or_insert(record.time_ns);
                        last_ns = self.base_ns.saturating_add(record.time_ns.saturating_sub(first));
                        record.time_ns = self.due(last_ns);
                        chunk.records.push(record);
                    }
                    Ok(None) => end = Some(Ok(())),
                    Err(error) => end = Some(Err(error.to_string())),
                }
                if end.is_some() {
                    break;
                }
            }
            packets += chunk.records.len() as u64;
            chunk.left_out = capture.left_out();
            if to.send(Message::Packets(chunk)).is_err() {
                return Ok(0);
            }
            if let Some(end) = end {
                self.base_ns = last_ns;
                return end.map(|()| packets);
            }
        }
    }

    /// When a packet that was captured `time_ns` after the first is due.
    fn due(&self, time_ns: u64) -> u64 {
        let Some(speed) = self.replay.speed else { return 0 };
        let seconds = Duration::from_nanos(time_ns).as_secs_f64() / speed;
        let due = Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX);
        u64::try_from(due.as_nanos()).unwrap_or(u64::MAX)
    }
}
