//! Writes a capture, on a thread of its own, so that no packet thread waits for a disk.

use std::{
    fs::File,
    io::{self, Seek, SeekFrom, Write},
    sync::{
        Arc,
        atomic::Ordering,
        mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    },
    thread::{self, JoinHandle},
};

use plugin_api::{Host, LogLevel, TxFrame};

use crate::{device::Info, output};

/// Chunks that wait to be written, at most: 16 MiB.
const WAITING: usize = 64;
/// Bytes of a chunk at most, unless one packet is longer.
const CHUNK: usize = 256 << 10;
/// Empty chunks that a queue keeps.
const SPARES: usize = 2;

/// Packets to be written, as they stand in the file.
#[derive(Debug, Default)]
struct Chunk {
    bytes: Vec<u8>,
    packets: u64,
    queue: usize,
}

/// The writing thread; it ends, with everything written, when the last queue is dropped.
#[derive(Debug)]
struct Writer {
    chunks: Option<SyncSender<Chunk>>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.chunks = None;
        if let Some(thread) = self.thread.take() {
            // A panic was reported where it happened.
            let _ = thread.join();
        }
    }
}

/// One queue of packets to be written.
#[derive(Debug)]
pub(crate) struct Queue {
    writer: Arc<Writer>,
    spares: Receiver<Chunk>,
    spare: Option<Chunk>,
    number: usize,
    /// What is added to the host's time to have nanoseconds since 1970.
    epoch_ns: u64,
}

/// Begins to write into `file`, `written` bytes of which are there; its queues.
pub(crate) fn start(
    host: Host,
    info: Arc<Info>,
    (file, written): (File, u64),
    queues: usize,
    epoch_ns: u64,
) -> io::Result<Vec<Queue>> {
    let (chunks, waiting) = sync_channel(WAITING);
    let (returns, spares): (Vec<_>, Vec<_>) = (0..queues).map(|_| sync_channel(SPARES)).unzip();
    let task = Task { host, info, file, written, returns, told: false };
    let thread =
        thread::Builder::new().name("pcap-write".into()).spawn(move || task.run(&waiting))?;
    let writer = Arc::new(Writer { chunks: Some(chunks), thread: Some(thread) });
    let queue = |(number, spares)| Queue {
        writer: Arc::clone(&writer),
        spares,
        spare: None,
        number,
        epoch_ns,
    };
    Ok(spares.into_iter().enumerate().map(queue).collect())
}

impl Queue {
    /// Hands the first packets of a frame to the writer; how many. Does not block.
    pub(crate) fn write(&mut self, frame: &TxFrame<'_>) -> usize {
        let spare = self.spare.take().or_else(|| self.spares.try_recv().ok());
        let mut chunk = spare.unwrap_or_default();
        chunk.bytes.clear();
        let time_ns = self.epoch_ns + frame.now_ns();
        let mut packets = 0;
        while packets < frame.len() {
            let len: usize = frame.segments(packets).map(<[u8]>::len).sum();
            if packets > 0 && chunk.bytes.len() + len > CHUNK {
                break;
            }
            output::record(time_ns, u32::try_from(len).unwrap_or(u32::MAX), &mut chunk.bytes);
            for segment in frame.segments(packets) {
                chunk.bytes.extend_from_slice(segment);
            }
            packets += 1;
        }
        (chunk.packets, chunk.queue) = (packets as u64, self.number);
        match self.writer.chunks.as_ref().map(|chunks| chunks.try_send(chunk)) {
            Some(Ok(())) => packets,
            Some(Err(TrySendError::Full(chunk))) => {
                self.spare = Some(chunk);
                0
            }
            Some(Err(TrySendError::Disconnected(_))) | None => 0,
        }
    }
}

/// The thread's side.
struct Task {
    host: Host,
    info: Arc<Info>,
    file: File,
    /// Bytes of the file up to the end of the last whole packet.
    written: u64,
    returns: Vec<SyncSender<Chunk>>,
    told: bool,
}

impl Task {
    /// Writes every chunk as it comes, straight to the system: nothing waits here for more.
    fn run(mut self, waiting: &Receiver<Chunk>) {
        while let Ok(chunk) = waiting.recv() {
            let counters = &self.info.counters;
            match self.file.write_all(&chunk.bytes) {
                Ok(()) => {
                    self.written += chunk.bytes.len() as u64;
                    counters.written.fetch_add(chunk.packets, Ordering::Relaxed);
                }
                Err(error) => {
                    counters.write_errors.fetch_add(1, Ordering::Relaxed);
                    counters.lost.fetch_add(chunk.packets, Ordering::Relaxed);
                    self.recover(&error);
                }
            }
            if let Some(queue) = self.returns.get(chunk.queue) {
                // A queue that has enough of them lets it go.
                let _ = queue.try_send(chunk);
            }
        }
    }

    /// Takes back what was written of a chunk, so that the file ends with a whole packet.
    fn recover(&mut self, error: &io::Error) {
        let end = SeekFrom::Start(self.written);
        let cut = self.file.set_len(self.written).and_then(|()| self.file.seek(end));
        if self.told {
            return;
        }
        self.told = true;
        let file = self.info.output.as_deref().unwrap_or_default();
        let after = if cut.is_ok() { "" } else { "; the file ends inside a packet" };
        let text = format!("{}: cannot write {file}: {error}{after}", self.info.name);
        self.host.log(LogLevel::Error, &text);
    }
}
