//! The thread that reads a capture ahead of its replay.

use std::{
    fs::File,
    mem,
    sync::{
        Arc,
        mpsc::{self, Receiver, SyncSender},
    },
    thread::{self, JoinHandle},
};

use crate::{
    alarm::Alarm,
    capture::{Buffer, Capture, CaptureError},
    device::LinkKind,
    file::FromStart,
    report::{InputReport, Report},
};

/// Chunks that are read ahead.
const CHUNKS: usize = 4;
/// Bytes of packets in a chunk, but for the last of them.
const CHUNK_BYTES: usize = 256 * 1024;
/// Packets in a chunk.
const CHUNK_PACKETS: usize = 4096;

/// Packets on their way from the reading to the replaying thread.
#[derive(Debug, Default)]
pub(crate) struct Chunk {
    /// Those from the first that was not replayed, last one first.
    packets: Vec<Packet>,
    bytes: Vec<u8>,
}

/// A packet of a chunk.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Packet {
    pub(crate) at_ns: u64,
    /// It is the first after the file was read to its end.
    pub(crate) begins_round: bool,
    first: usize,
    len: usize,
}

impl Chunk {
    /// The next packet.
    pub(crate) fn next(&mut self) -> Option<(&mut Packet, &[u8])> {
        let packet = self.packets.last_mut()?;
        let bytes = &self.bytes[packet.first..packet.first + packet.len];
        Some((packet, bytes))
    }

    /// Is done with the next packet.
    pub(crate) fn pop(&mut self) {
        self.packets.pop();
    }

    fn push(&mut self, at_ns: u64, begins_round: bool, bytes: &[u8]) {
        let (first, len) = (self.bytes.len(), bytes.len());
        self.packets.push(Packet { at_ns, begins_round, first, len });
        self.bytes.extend_from_slice(bytes);
    }

    fn is_full(&self) -> bool {
        self.bytes.len() >= CHUNK_BYTES || self.packets.len() >= CHUNK_PACKETS
    }

    fn clear(&mut self) {
        self.packets.clear();
        self.bytes.clear();
    }
}

/// The replaying thread's end.
#[derive(Debug)]
pub(crate) struct Chunks {
    /// `None` once it is dropped, which ends the thread.
    full: Option<Receiver<Chunk>>,
    used: SyncSender<Chunk>,
    thread: Option<JoinHandle<()>>,
}

/// Why there is no chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoChunk {
    /// None yet.
    Yet,
    /// There will be none.
    More,
}

impl Chunks {
    /// Puts the next chunk in the place of one that is used up.
    pub(crate) fn next(&self, place: &mut Chunk) -> Result<(), NoChunk> {
        let full = self.full.as_ref().ok_or(NoChunk::More)?;
        let chunk = full.try_recv().map_err(|error| match error {
            mpsc::TryRecvError::Empty => NoChunk::Yet,
            mpsc::TryRecvError::Disconnected => NoChunk::More,
        })?;
        let mut used = mem::replace(place, chunk);
        used.clear();
        let _ = self.used.try_send(used); // When the thread has ended, its chunks go too.
        Ok(())
    }
}

impl Drop for Chunks {
    fn drop(&mut self) {
        self.full = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join(); // A panic was reported by the hook.
        }
    }
}

/// The reading thread.
struct Reader {
    file: Arc<File>,
    link: LinkKind,
    longest: usize,
    report: Arc<Report>,
    /// Kept from one reading to the next.
    buffer: Option<Buffer>,
    chunk: Chunk,
    full: SyncSender<Chunk>,
    used: Receiver<Chunk>,
    alarm: Arc<Alarm>,
}

/// How a reading ended.
enum End {
    /// The replaying thread wants no more.
    Stopped,
    File {
        packets: u64,
    },
}

/// Begins to read `file`, whose packets are those of interfaces of kind `link`; packets of more
/// than `longest` bytes are counted and left out.
pub(crate) fn spawn(
    file: Arc<File>,
    link: LinkKind,
    longest: usize,
    report: Arc<Report>,
    alarm: Arc<Alarm>,
) -> std::io::Result<Chunks> {
    let (full, from_reader) = mpsc::sync_channel(CHUNKS);
    let (used, from_replay) = mpsc::sync_channel(CHUNKS);
    let name = format!("{}-read", report.name);
    let reader = Reader {
        file,
        link,
        longest,
        report,
        buffer: None,
        chunk: Chunk::default(),
        full,
        used: from_replay,
        alarm,
    };
    let thread = thread::Builder::new().name(name).spawn(move || reader.run())?;
    Ok(Chunks { full: Some(from_reader), used, thread: Some(thread) })
}

impl Reader {
    fn run(mut self) {
        let report = Arc::clone(&self.report);
        let Some(input) = &report.input else { return };
        loop {
            match self.read(input) {
                // A file without a packet would be read for ever.
                Ok(End::File { packets: 1.. }) if input.is_looped => input.rounds.add(1),
                Ok(End::File { .. }) => {
                    input.rounds.add(1);
                    break;
                }
                Ok(End::Stopped) => return,
                Err(error) => {
                    report.fail_input(error.to_string());
                    break;
                }
            }
        }
        let _ = self.send(); // If nobody wants it, that is all right.
        let Self { full, alarm, .. } = self;
        drop(full); // Tells that this is the end.
        alarm.feed();
    }

    /// Reads the file from its beginning to its end.
    fn read(&mut self, input: &InputReport) -> Result<End, CaptureError> {
        let buffer = mem::take(&mut self.buffer).unwrap_or_default();
        let mut capture = Capture::open(FromStart::new(&self.file), &input.path, buffer)?;
        let mut packets = 0;
        while let Some(record) = capture.next()? {
            if LinkKind::of(record.link_type) != Some(self.link) {
                input.other_link.add(1);
            } else if record.bytes.len() > self.longest {
                input.too_long.add(1);
            } else {
                self.chunk.push(
                    record.at_ns,
                    packets == 0 && input.rounds.load() > 0,
                    record.bytes,
                );
                packets += 1;
                if self.chunk.is_full() && self.send().is_err() {
                    return Ok(End::Stopped);
                }
            }
        }
        self.buffer = Some(capture.into_buffer());
        Ok(End::File { packets })
    }

    /// Hands the chunk over, once there is room for it.
    fn send(&mut self) -> Result<(), ()> {
        let empty = self.used.try_recv().unwrap_or_default();
        let mut chunk = mem::replace(&mut self.chunk, empty);
        chunk.packets.reverse();
        self.full.send(chunk).map_err(|_| ())?;
        self.alarm.feed();
        Ok(())
    }
}
