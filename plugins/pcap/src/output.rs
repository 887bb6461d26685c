//! The transmit queue: packets into a capture, which a work item writes.
//!
//! What is in the ring is what will be in the file, whole records only.

use std::{fs::File, mem, os::unix::fs::FileExt as _, sync::Arc};

use parking_lot::Mutex;
use plugin_api::{Error, Host, TxFrame, WorkItem, WorkQueue, WorkQueueOptions};
use rtrb::{Consumer, Producer, RingBuffer};

use crate::{
    device::LinkKind,
    report::{OutputReport, Report},
};

/// Bytes that may wait to be written.
const RING: usize = 16 * 1024 * 1024;
/// Bytes of a packet that are kept at most.
const SNAP_LEN: usize = 256 * 1024;
/// Bytes of memory that are kept for what is written at once.
const BATCH: usize = 1024 * 1024;
/// Bytes before a packet.
const RECORD: usize = 16;
/// A pcap file in little-endian order, whose times are nanoseconds.
const MAGIC: u32 = 0xa1b2_3c4d;

/// What has a work thread write what is in the ring.
#[derive(Debug)]
pub(crate) struct Writing {
    // In this order: an item ends before its queue.
    item: WorkItem,
    writer: Arc<Mutex<Writer>>,
    /// Of this capture alone: a disk that is stuck holds up no other one.
    #[cfg_attr(not(test), expect(dead_code, reason = "it ends with this"))]
    queue: WorkQueue,
}

/// A capture that is written.
#[derive(Debug)]
pub(crate) struct OutputQueue {
    ring: Producer<u8>,
    writing: Option<Arc<Writing>>,
    /// The time, in nanoseconds since 1970, at which the host's clock was 0.
    epoch_ns: u64,
    report: Arc<Report>,
}

impl Writing {
    fn new(host: Host, name: &str, writer: Writer) -> Result<Self, Error> {
        let queue = host.work_queue(WorkQueueOptions::new(&format!("{name}-write")).ordered())?;
        let writer = Arc::new(Mutex::new(writer));
        let theirs = Arc::clone(&writer);
        let item = queue.item("write", move || theirs.lock().run())?;
        Ok(Self { item, writer, queue })
    }

    /// Waits until all that was taken up to now is written, or lost and counted.
    pub(crate) fn flush(&self) -> Result<(), Error> {
        let _queued = self.item.queue(); // Perhaps it is already, or runs and looks once more.
        self.item.flush()
    }
}

impl OutputQueue {
    /// Begins to write a capture into `file`, which is empty.
    pub(crate) fn open(
        host: Host,
        file: File,
        link: LinkKind,
        epoch_ns: u64,
        report: Arc<Report>,
    ) -> Result<Self, Error> {
        let (mut queue, writer) = Self::connect(RING, file, link, epoch_ns, report);
        let writing = Writing::new(host, &queue.report.name, writer)?;
        let _queued = writing.item.queue(); // The header, so that there is a capture at all.
        queue.writing = Some(Arc::new(writing));
        Ok(queue)
    }

    /// What writes it, for those who wait for that.
    pub(crate) fn writing(&self) -> Option<Arc<Writing>> {
        self.writing.clone()
    }

    /// A queue and the writer at its other end, which nothing runs yet.
    fn connect(
        ring: usize,
        file: File,
        link: LinkKind,
        epoch_ns: u64,
        report: Arc<Report>,
    ) -> (Self, Writer) {
        let (ring, out) = RingBuffer::new(ring);
        let writer = Writer {
            ring: out,
            file,
            header: header(link),
            written: 0,
            batch: Vec::new(),
            report: Arc::clone(&report),
        };
        (Self { ring, writing: None, epoch_ns, report }, writer)
    }

    /// Takes the first packets of the frame into the capture; how many. The writer may be too far
    /// behind to take the others.
    pub(crate) fn take(&mut self, frame: &TxFrame<'_>) -> usize {
        let at_ns = self.epoch_ns.saturating_add(frame.now_ns());
        let mut taken = 0;
        while taken < frame.len() {
            let len = frame.segments(taken).map(<[u8]>::len).sum::<usize>();
            let kept = len.min(SNAP_LEN);
            let Ok(mut chunk) = self.ring.write_chunk(RECORD + kept) else { break };
            let (first, second) = chunk.as_mut_slices();
            let mut room = Room([first, second]);
            room.put(&record(at_ns, kept, len));
            for part in frame.segments(taken) {
                room.put(part);
            }
            chunk.commit_all();
            taken += 1;
        }
        if let Some(output) = self.report.output.as_ref().filter(|_| taken < frame.len()) {
            output.queue_full.add(1);
        }
        if let Some(writing) = &self.writing {
            let _queued = writing.item.queue(); // It may be waiting already.
        }
        taken
    }
}

impl Drop for OutputQueue {
    fn drop(&mut self) {
        let Some(writing) = self.writing.take() else { return };
        let flushed = writing.flush();
        match (writing.writer.try_lock(), flushed) {
            // When the host ends, its queues take nothing any more before the last packet is sent.
            (Some(mut writer), _) => writer.run(),
            (None, Err(error)) => {
                // The run that lasts writes it all, whenever it can.
                self.report.fail_output(format!("not all is written yet: {error}"));
            }
            (None, Ok(())) => {}
        }
    }
}

/// Room in the ring, which may go round its end.
struct Room<'a>([&'a mut [u8]; 2]);

impl Room<'_> {
    /// Puts in as much of `bytes` as there is room for.
    fn put(&mut self, mut bytes: &[u8]) {
        for room in &mut self.0 {
            let n = bytes.len().min(room.len());
            let (now, later) = bytes.split_at(n);
            let (taken, free) = mem::take(room).split_at_mut(n);
            taken.copy_from_slice(now);
            *room = free;
            bytes = later;
        }
    }
}

fn header(link: LinkKind) -> Vec<u8> {
    let snap_len = u32::try_from(SNAP_LEN).unwrap_or(u32::MAX);
    let version = 2 | 4 << 16;
    [MAGIC, version, 0, 0, snap_len, link.number().into()].map(u32::to_le_bytes).concat()
}

fn record(at_ns: u64, kept: usize, len: usize) -> [u8; RECORD] {
    let word = |value: u64| u32::try_from(value).unwrap_or(u32::MAX).to_le_bytes();
    let [a, b, c, d] =
        [at_ns / 1_000_000_000, at_ns % 1_000_000_000, kept as u64, len as u64].map(word);
    let mut record = [0; RECORD];
    for (to, from) in record.iter_mut().zip([a, b, c, d].concat()) {
        *to = from;
    }
    record
}

/// The other end of the ring.
#[derive(Debug)]
struct Writer {
    ring: Consumer<u8>,
    file: File,
    header: Vec<u8>,
    /// Bytes in the file.
    written: u64,
    batch: Vec<u8>,
    report: Arc<Report>,
}

impl Writer {
    /// Writes what has come. Context: a work thread.
    fn run(&mut self) {
        let report = Arc::clone(&self.report);
        if let Some(output) = &report.output {
            self.write(output);
        }
    }

    /// Writes what is in the ring, all of it or nothing.
    fn write(&mut self, output: &OutputReport) {
        loop {
            self.batch.clear();
            self.batch.shrink_to(BATCH);
            if self.written == 0 {
                self.batch.extend_from_slice(&self.header);
            }
            let before = self.batch.len();
            if let Ok(chunk) = self.ring.read_chunk(self.ring.slots()) {
                let (first, second) = chunk.as_slices();
                self.batch.extend_from_slice(first);
                self.batch.extend_from_slice(second);
                chunk.commit_all();
            }
            if self.batch.is_empty() {
                return;
            }
            let packets = count(&self.batch[before..]);
            match self.file.write_all_at(&self.batch, self.written) {
                Ok(()) => {
                    self.written += self.batch.len() as u64;
                    output.packets.add(packets);
                }
                Err(error) => {
                    output.failed.add(packets);
                    let path = output.path.display();
                    self.report.fail_output(format!("{path}: cannot write: {error}"));
                    // What was written of the batch may end within a record.
                    let _ = self.file.set_len(self.written);
                    return;
                }
            }
        }
    }
}

/// How many records there are.
fn count(mut records: &[u8]) -> u64 {
    let mut n = 0;
    while let Some(kept) = records.get(8..).and_then(<[u8]>::first_chunk) {
        n += 1;
        let len = RECORD + u32::from_le_bytes(*kept) as usize;
        records = records.get(len..).unwrap_or_default();
    }
    n
}

#[cfg(test)]
mod tests {
    use std::fs;

    use plugin_api::testing::{DeviceBench, host};

    use super::*;
    use crate::{device::PcapDevice, file};

    #[test]
    fn what_does_not_fit_is_not_taken_and_spoils_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("out.pcap");
        let (file, id) = file::create(&path, None, |_| None).unwrap();
        let output = OutputReport::new(path.clone(), id);
        let report = Arc::new(Report::new(host(), 0, "pcap0".into(), None, Some(output)));
        let link = LinkKind::Ethernet;
        let parts = PcapDevice::open(&report, link, None, None, 0).unwrap();
        let mut bench = DeviceBench::new(parts.device);

        // Room for eight records and a bit, and nobody who writes.
        let (queue, mut writer) =
            OutputQueue::connect(8 * 116 + 30, file, link, 0, Arc::clone(&report));
        let mut queue = Some(queue);
        let output = report.output.as_ref().unwrap();
        let numbered = |from: u8| (from..from + 10).map(|number| vec![number; 100]);
        assert_eq!(bench.transmit(&mut queue, numbered(0)), 8);
        assert_eq!(bench.transmit(&mut queue, numbered(8)), 0);
        assert_eq!(output.queue_full.load(), 2);
        assert_eq!(bench.transmit(&mut queue, [vec![99; 10]]), 1, "a short one fits");
        writer.write(output);
        assert_eq!(bench.transmit(&mut queue, numbered(10)), 8, "around the end of the ring");
        writer.run();

        assert_eq!((output.packets.load(), output.queue_full.load()), (8 + 1 + 8, 3));
        let written = fs::read(&path).unwrap();
        let (head, records) = written.split_at(24);
        assert_eq!(head, header(link));
        let (first, others) = records.split_at(8 * 116);
        let (short, second) = others.split_at(26);
        assert_eq!(short[16..], [99; 10]);
        for (number, record) in
            (0..8).chain(10..18).zip(first.chunks(116).chain(second.chunks(116)))
        {
            assert_eq!(record[..16], self::record(0, 100, 100));
            assert_eq!(record[16..], [number; 100]);
        }
    }

    #[test]
    fn what_was_taken_is_written_though_the_work_queue_takes_nothing_any_more() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("out.pcap");
        let (file, id) = file::create(&path, None, |_| None).unwrap();
        let output = OutputReport::new(path.clone(), id);
        let report = Arc::new(Report::new(host(), 0, "pcap0".into(), None, Some(output)));
        let parts = PcapDevice::open(&report, LinkKind::Ethernet, None, Some(file), 0).unwrap();
        let mut bench = DeviceBench::new(parts.device);
        let mut queue = parts.tx.into_iter().next().unwrap();
        assert_eq!(bench.transmit(&mut queue, vec![vec![1; 100]; 10]), 10);
        let writing = parts.writing.unwrap();
        writing.flush().unwrap();
        assert_eq!(fs::metadata(&path).unwrap().len(), 24 + 10 * 116);
        writing.queue.close().unwrap();
        assert_eq!(bench.transmit(&mut queue, vec![vec![2; 100]; 10]), 10);
        drop(queue);
        assert_eq!(report.output.as_ref().unwrap().packets.load(), 20);
        assert_eq!(fs::metadata(&path).unwrap().len(), 24 + 20 * 116);
    }
}
