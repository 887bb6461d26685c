use std::{fs, io::Write as _, path::Path, thread, time::Duration};

use plugin_api::testing::{DeviceBench, host};
use tempfile::{NamedTempFile, TempDir};

use super::*;
use crate::{
    capture::tests::{Writer, pcapng},
    file,
    report::{InputReport, OutputReport},
};

const MICROS: u32 = 0xa1b2_c3d4;
const NANOS: u32 = 0xa1b2_3c4d;

/// An interface whose host is the test.
struct Bench {
    device: DeviceBench<PcapDevice>,
    report: Arc<Report>,
    rx: Option<InputQueue>,
    tx: Option<OutputQueue>,
}

impl Bench {
    fn new(input: Option<(&Path, Option<f64>, bool)>, output: Option<&Path>) -> Self {
        Self::of(LinkKind::Ethernet, input, output, 0)
    }

    fn of(
        link: LinkKind,
        input: Option<(&Path, Option<f64>, bool)>,
        output: Option<&Path>,
        epoch_ns: u64,
    ) -> Self {
        let (input_file, input) = input
            .map(|(path, speed, is_looped)| {
                let file = File::open(path).unwrap();
                let id = file::identify(&file, path).unwrap();
                (Arc::new(file), InputReport::new(path.to_owned(), id, speed, is_looped))
            })
            .unzip();
        let (output_file, output) = output
            .map(|path| {
                let (file, id) = file::create(path, None, |_| None).unwrap();
                (file, OutputReport::new(path.to_owned(), id))
            })
            .unzip();
        let report = Arc::new(Report::new(host(), 0, "pcap0".into(), input, output));
        let Parts { device, rx, tx, .. } =
            PcapDevice::open(&report, link, input_file, output_file, epoch_ns).unwrap();
        Self {
            device: DeviceBench::new(device),
            report,
            rx: rx.into_iter().next().map(|queue| queue.queue),
            tx: tx.into_iter().next().unwrap(),
        }
    }

    fn replaying(capture: &NamedTempFile, speed: Option<f64>, is_looped: bool) -> Self {
        Self::new(Some((capture.path(), speed, is_looped)), None)
    }

    fn input(&self) -> &InputReport {
        self.report.input.as_ref().unwrap()
    }

    fn output(&self) -> &OutputReport {
        self.report.output.as_ref().unwrap()
    }

    /// What is due at `now_ns`.
    fn receive_at(&mut self, now_ns: u64) -> Vec<Vec<u8>> {
        self.device.set_now_ns(now_ns);
        self.device.receive(self.rx.as_mut().unwrap()).packets
    }

    /// The next packets, or none at the end; waits for the reading thread.
    fn receive(&mut self) -> Vec<Vec<u8>> {
        loop {
            let packets = self.receive_at(0);
            if !packets.is_empty() || self.input().has_ended.load(Relaxed) {
                return packets;
            }
            thread::yield_now();
        }
    }

    fn receive_all(&mut self) -> Vec<Vec<u8>> {
        let mut all = Vec::new();
        loop {
            let packets = self.receive();
            if packets.is_empty() {
                return all;
            }
            all.extend(packets);
        }
    }

    fn transmit(&mut self, packets: &[Vec<u8>]) {
        for frame in packets.chunks(256) {
            let sent = self.device.transmit(&mut self.tx, frame.iter().cloned());
            assert_eq!(sent, frame.len());
        }
    }

    /// Ends the queues, as when the interface is deleted.
    fn delete(&mut self) {
        self.rx = None;
        self.tx = None;
    }
}

fn capture(bytes: &[u8]) -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(bytes).unwrap();
    file
}

/// A capture of packets at these times in nanoseconds, each of a byte that is its number.
fn at_times(times_ns: &[u32]) -> NamedTempFile {
    let mut writer = Writer::pcap(NANOS, false, 1);
    for (number, &at_ns) in (0..).zip(times_ns) {
        writer.record(at_ns / 1_000_000_000, at_ns % 1_000_000_000, &[number; 60]);
    }
    capture(&writer.bytes)
}

/// Packets of all lengths that matter: none, one buffer and around it, many buffers.
fn packets() -> Vec<Vec<u8>> {
    let lengths = [0, 1, 14, 60, 1514, 2047, 2048, 2049, 4096, 4097, 9018, 65_535, 65_536];
    let all = lengths.into_iter().chain((0..600).map(|at| 60 + at % 1455));
    let bytes = |len| (0..=250).cycle().skip(len % 251).step_by(7).take(len).collect();
    all.map(bytes).collect()
}

fn directory() -> TempDir {
    tempfile::tempdir().unwrap()
}

#[test]
fn a_capture_replayed_and_written_is_the_same_byte_for_byte() {
    let mut writer = Writer::pcap(NANOS, false, 1);
    // What we write says how much of a packet it would keep.
    writer.bytes[16..20].copy_from_slice(&(256_u32 * 1024).to_le_bytes());
    for packet in packets() {
        writer.record(1_700_000_000, 123_456_789, &packet);
    }
    let input = capture(&writer.bytes);
    let directory = directory();
    let path = directory.path().join("out.pcap");
    let paths = Some((input.path(), None, false));
    let epoch_ns = 1_700_000_000_123_456_789;
    let mut bench = Bench::of(LinkKind::Ethernet, paths, Some(&path), epoch_ns);
    let replayed = bench.receive_all();
    assert_eq!(replayed, packets());
    bench.device.set_now_ns(0);
    bench.transmit(&replayed);
    bench.delete();

    assert!(fs::read(&path).unwrap() == writer.bytes);
    assert_eq!(bench.output().packets.load(), 613);
    assert_eq!((bench.input().packets.load(), bench.input().rounds.load()), (613, 1));
    assert_eq!(bench.device.link(), None);
}

#[test]
fn packets_are_written_at_the_time_of_their_frame_and_what_is_idle_is_flushed() {
    let directory = directory();
    let path = directory.path().join("out.pcap");
    let mut bench = Bench::of(LinkKind::Ip, None, Some(&path), 5_000_000_000);
    for (now_ns, byte) in [(7, 1), (2_000_000_001, 2)] {
        bench.device.set_now_ns(now_ns);
        bench.transmit(&[vec![byte; 60]]);
    }
    let mut expected = Writer::pcap(NANOS, false, 101);
    expected.bytes[16..20].copy_from_slice(&(256_u32 * 1024).to_le_bytes());
    expected.record(5, 7, &[1; 60]);
    expected.record(7, 1, &[2; 60]);
    while fs::read(&path).unwrap() != expected.bytes {
        thread::yield_now(); // The interface is not deleted: the file fills all the same.
    }
}

#[test]
fn a_capture_without_packets_is_a_capture() {
    let directory = directory();
    let path = directory.path().join("out.pcap");
    Bench::new(None, Some(&path)).delete();
    let mut bench = Bench::new(Some((&path, None, true)), None);
    assert_eq!(bench.receive_all().len(), 0);
    assert_eq!(bench.input().error.get(), None);
}

#[test]
fn packets_are_due_as_captured_by_the_speed_from_when_the_interface_is_taken_up() {
    let capture = at_times(&[500, 1_000_500, 1_000_600, 4_000_500]);
    let mut bench = Bench::replaying(&capture, Some(2.0), false);
    bench.device.device().set_admin(true).unwrap();
    while bench.receive_at(10_000_000).is_empty() {
        thread::yield_now();
    }
    assert_eq!(bench.receive_at(10_499_999).len(), 0);
    assert_eq!(bench.receive_at(10_500_049), [[1; 60]]);
    assert_eq!(bench.receive_at(10_500_050), [[2; 60]]);
    assert_eq!(bench.receive_at(11_999_999).len(), 0);

    // Down for a while, then up: it goes on where it was, and not faster.
    bench.device.device().set_admin(false).unwrap();
    bench.device.device().set_admin(true).unwrap();
    assert_eq!(bench.receive_at(90_000_000), [[3; 60]]);
    while !bench.input().has_ended.load(Relaxed) {
        assert_eq!(bench.receive_at(90_000_000).len(), 0);
    }
}

#[test]
fn a_late_thread_catches_up() {
    let capture = at_times(&[0, 10_000, 20_000, 30_000]);
    let mut bench = Bench::replaying(&capture, Some(1.0), false);
    while bench.receive_at(0).is_empty() {
        thread::yield_now();
    }
    assert_eq!(bench.receive_at(25_000).len(), 2);
    assert_eq!(bench.receive_at(1_000_000).len(), 1);
}

#[test]
fn a_loop_goes_on_without_a_gap_and_without_end() {
    let capture = at_times(&[1_000, 2_000, 4_000]);
    let mut bench = Bench::replaying(&capture, Some(1.0), true);
    while bench.receive_at(0).is_empty() {
        thread::yield_now();
    }
    for round in 0..20_000 {
        let start = round * 3_000;
        let mut wait_for = |now_ns| loop {
            let packets = bench.receive_at(now_ns);
            if !packets.is_empty() {
                return packets;
            }
            thread::yield_now();
        };
        assert_eq!(wait_for(start + 1_000), [[1; 60]], "round {round}");
        let mut last = wait_for(start + 3_000);
        if last.len() == 1 {
            last.extend(wait_for(start + 3_000)); // That of the next round was not read yet.
        }
        assert_eq!(last, [[2; 60], [0; 60]], "round {round}");
    }
    assert!(!bench.input().has_ended.load(Relaxed));
    assert!(bench.input().rounds.load() >= 20_000);
    bench.delete();
}

#[test]
fn the_descriptor_is_quiet_until_a_packet_is_due() {
    let mut due_soon = at_times(&[0, 300_000_000]);
    due_soon.flush().unwrap();
    let mut bench = Bench::replaying(&due_soon, Some(1.0), false);
    while bench.receive_at(0).is_empty() {
        thread::yield_now();
    }
    let rx = bench.rx.as_ref().unwrap();
    assert!(!rx.is_readable(Duration::ZERO));
    assert!(rx.is_readable(Duration::from_secs(10)), "when the packet is due");
    assert_eq!(bench.receive_at(300_000_000), [[1; 60]]);
    while !bench.input().has_ended.load(Relaxed) {
        assert!(bench.rx.as_ref().unwrap().is_readable(Duration::from_secs(10)));
        bench.receive_at(300_000_000);
    }
    assert!(!bench.rx.as_ref().unwrap().is_readable(Duration::ZERO), "this was the end");
}

#[test]
fn a_thread_that_sleeps_when_there_is_nothing_misses_nothing() {
    let mut writer = Writer::pcap(MICROS, false, 1);
    for _ in 0..50_000 {
        writer.record(0, 0, &[1; 60]);
    }
    let capture = capture(&writer.bytes);
    let mut bench = Bench::replaying(&capture, None, false);
    let mut received = 0;
    while !bench.input().has_ended.load(Relaxed) {
        let rx = bench.rx.as_ref().unwrap();
        assert!(rx.is_readable(Duration::from_secs(10)), "asleep for ever after {received}");
        received += bench.receive_at(0).len();
    }
    assert_eq!(received, 50_000);
}

#[test]
fn a_capture_cut_anywhere_is_replayed_up_to_there_and_takes_the_link_down() {
    let mut writer = Writer::pcap(MICROS, true, 1);
    writer.record(1, 0, &[1; 60]);
    writer.record(2, 0, &[2; 70]);
    for Writer { bytes, starts, .. } in [writer, pcapng()] {
        for len in 0..bytes.len() {
            let capture = capture(&bytes[..len]);
            let mut bench = Bench::replaying(&capture, None, true);
            let mut received = 0;
            while !bench.input().has_ended.load(Relaxed) && received < 10_000 {
                received += bench.receive().len();
            }
            let error = bench.input().error.get();
            if let Some(error) = error {
                let path = capture.path().display().to_string();
                assert!(error.starts_with(&format!("{path}: byte ")), "{error}");
                assert!(received <= 3);
                assert_eq!(bench.device.link(), Some(false));
            } else {
                assert!(starts.contains(&len), "{len} bytes");
                assert_eq!(bench.device.link(), None);
            }
        }
    }
}

#[test]
fn packets_too_long_and_those_of_another_link_type_are_counted_and_the_others_replayed() {
    let mut writer = Writer::pcap(MICROS, false, 1);
    for len in [60, 65_536, 65_537, 200_000, 61] {
        writer.record(0, 0, &vec![1; len]);
    }
    let capture_of_long = capture(&writer.bytes);
    let mut bench = Bench::replaying(&capture_of_long, None, false);
    let lengths: Vec<_> = bench.receive_all().iter().map(Vec::len).collect();
    assert_eq!(lengths, [60, 65_536, 61]);
    assert_eq!((bench.input().too_long.load(), bench.input().packets.load()), (2, 3));

    let capture = capture(&pcapng().bytes);
    let mut bench = Bench::replaying(&capture, None, false);
    assert_eq!(bench.receive_all(), [vec![1; 5], vec![3; 60]]);
    assert_eq!(bench.input().other_link.load(), 1);
}

#[test]
fn bare_ip_packets_go_where_their_version_says() {
    let mut writer = Writer::pcap(MICROS, false, 228);
    for first in [0x45, 0x60, 0] {
        writer.record(0, 0, &[first; 60]);
    }
    writer.record(0, 0, &[]);
    let capture = capture(&writer.bytes);
    let mut bench = Bench::of(LinkKind::Ip, Some((capture.path(), None, false)), None, 0);
    let rx = bench.rx.as_mut().unwrap();
    let nexts = loop {
        let out = bench.device.receive(rx);
        if !out.nexts.is_empty() {
            break out.nexts;
        }
    };
    assert_eq!(nexts, [Some(1), Some(2), Some(2), Some(2)]);
}

#[test]
fn what_cannot_be_written_is_counted_and_told_once() {
    let directory = directory();
    let path = directory.path().join("out.pcap");
    let (made, id) = file::create(&path, None, |_| None).unwrap();
    drop(made);
    // A file open for reading cannot be written.
    let output = OutputReport::new(path.clone(), id);
    let report = Arc::new(Report::new(host(), 0, "pcap0".into(), None, Some(output)));
    let file = File::open(&path).unwrap();
    let parts = PcapDevice::open(&report, LinkKind::Ethernet, None, Some(file), 0).unwrap();
    let mut bench = DeviceBench::new(parts.device);
    let mut queue = parts.tx.into_iter().next().unwrap();
    for _ in 0..3 {
        assert_eq!(bench.transmit(&mut queue, vec![vec![1; 60]; 100]), 100);
    }
    drop(queue);
    let output = report.output.as_ref().unwrap();
    assert_eq!((output.packets.load(), output.failed.load()), (0, 300));
    let error = output.error.get().unwrap();
    assert!(error.starts_with(&format!("{}: cannot write: ", path.display())), "{error}");
}

#[test]
fn an_interface_without_an_output_counts_what_is_sent_to_it() {
    let capture = at_times(&[0]);
    let mut bench = Bench::replaying(&capture, None, false);
    bench.transmit(&[vec![1; 60], vec![2; 60]]);
    assert_eq!(bench.report.unwritten.load(), 2);
}
