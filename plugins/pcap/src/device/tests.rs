//! Captures in and out, as the host would have them.

use std::{
    fs,
    io::{Seek, SeekFrom, Write},
    path::PathBuf,
    thread,
    time::Duration,
};

use plugin_api::testing::{DeviceBench, host};

use super::*;
use crate::capture::tests::{Directory, LITTLE, pcap};

const MICRO: u32 = 0xa1b2_c3d4;
const NANO: u32 = 0xa1b2_3c4d;

/// A device on the bench and its queues.
struct Port {
    bench: DeviceBench<PcapDevice>,
    rx: Vec<RxQueue<Rx>>,
    tx: Vec<Tx>,
}

/// A wish, to be changed by a test.
struct Wish {
    input: Option<PathBuf>,
    output: Option<PathBuf>,
    directory: Option<PathBuf>,
    replay: Replay,
}

fn wish(input: Option<PathBuf>, output: Option<PathBuf>) -> Wish {
    Wish { input, output, directory: None, replay: Replay::default() }
}

impl Wish {
    fn open(&self) -> Result<Port, String> {
        let spec = Spec {
            name: "pcap0",
            input: self.input.as_deref().map(|path| (path, File::open(path).unwrap())),
            replay: self.replay,
            output: self.output.as_deref(),
            directory: self.directory.as_deref(),
            epoch_ns: 1_000_000_000,
        };
        let parts = PcapDevice::open(host(), spec);
        let Parts { device, rx, tx } =
            parts.map_err(|error| crate::command::chain(&error).to_string())?;
        Ok(Port { bench: DeviceBench::new(device), rx, tx })
    }
}

impl Port {
    /// Receives until there were so many packets, or the input ended; nexts and packets.
    fn receive(&mut self, count: usize) -> (Vec<u16>, Vec<Vec<u8>>) {
        let (mut nexts, mut packets) = (Vec::new(), Vec::new());
        for _ in 0..10_000 {
            let out = self.bench.receive(&mut self.rx[0].queue);
            nexts.extend(out.nexts.into_iter().flatten());
            packets.extend(out.packets);
            if packets.len() >= count || self.info().state() != State::Reading {
                return (nexts, packets);
            }
            thread::park_timeout(Duration::from_millis(1));
        }
        panic!("{} of {count} packets came", packets.len());
    }

    fn info(&self) -> &Info {
        self.bench.device().info()
    }
}

fn frames(lens: impl IntoIterator<Item = usize>) -> Vec<Vec<u8>> {
    let byte = |at: usize| at.to_le_bytes()[0];
    lens.into_iter().map(|len| (0..len).map(|at| byte(at * 3 + len)).collect()).collect()
}

fn capture_of(magic: u32, frames: &[Vec<u8>]) -> Vec<u8> {
    let records: Vec<_> = frames.iter().map(|frame| (1, 0, &frame[..])).collect();
    pcap(LITTLE, magic, 1, &records)
}

#[test]
fn a_capture_goes_through_the_device_and_comes_out_byte_for_byte() {
    let directory = Directory::new();
    let frames = frames((14..3_000).chain([1, 0, 9_014, 65_536]));
    let original = capture_of(NANO, &frames);
    let input = directory.file("in.pcap", &original);
    let output =
        directory.file("out.pcap", b"what was there before, which is longer than a header");
    let mut port = wish(Some(input), Some(output.clone())).open().unwrap();
    let (nexts, packets) = port.receive(frames.len());
    assert!(packets == frames);
    assert!(nexts.iter().all(|&next| next == Next::Ethernet as u16));
    for part in packets.chunks(100) {
        let mut sent = 0;
        for _ in 0..10_000 {
            sent += port.bench.transmit(&mut port.tx[3], part[sent..].to_vec());
            if sent == part.len() {
                break;
            }
            thread::park_timeout(Duration::from_millis(1));
        }
        assert_eq!(sent, part.len());
    }
    // The host drops the queues when it deletes the interface.
    let Port { bench, rx, tx } = port;
    drop((rx, tx));
    assert!(fs::read(output).unwrap() == original);
    let info = bench.device().info();
    assert_eq!(info.counters.written.load(Ordering::Relaxed), frames.len() as u64);
    assert_eq!(info.counters.received.load(Ordering::Relaxed), frames.len() as u64);
}

#[test]
fn packets_are_in_the_file_while_the_interface_lives() {
    let directory = Directory::new();
    let output = directory.0.join("out.pcap");
    let mut port = wish(None, Some(output.clone())).open().unwrap();
    let frames = frames([60, 61]);
    assert_eq!(port.bench.transmit(&mut port.tx[0], frames.clone()), 2);
    let expected = capture_of(NANO, &frames);
    for _ in 0..1_000 {
        if fs::read(&output).unwrap() == expected {
            return;
        }
        thread::park_timeout(Duration::from_millis(1));
    }
    panic!("the file was not written within a second");
}

#[test]
fn packets_come_when_they_are_due() {
    let directory = Directory::new();
    let times = [(10, 0), (10, 500_000), (9, 0), (11, 0)];
    let records: Vec<_> = times.iter().map(|&(s, us)| (s, us, &[7_u8; 60][..])).collect();
    let input = directory.file("in.pcap", &pcap(LITTLE, MICRO, 1, &records));
    let mut wish = wish(Some(input), None);
    wish.replay.speed = Some(2.0);
    let mut port = wish.open().unwrap();
    port.bench.set_now_ns(1_000);
    assert_eq!(port.receive(1).1.len(), 1);
    for (now_ns, expected) in [
        (250_000_999, 0),
        // The third is older than the first: it comes as soon as its turn does.
        (250_001_000, 2),
        (500_000_999, 0),
        (500_001_000, 1),
    ] {
        port.bench.set_now_ns(now_ns);
        let came = port.bench.receive(&mut port.rx[0].queue).packets.len();
        assert_eq!(came, expected, "at {now_ns} ns");
    }
}

#[test]
fn a_loop_begins_again_where_it_ended_and_an_empty_one_does_not() {
    let directory = Directory::new();
    let frames = frames([60, 61, 62]);
    let input = directory.file("in.pcap", &capture_of(MICRO, &frames));
    let mut wish = wish(Some(input), None);
    wish.replay.endless = true;
    let mut port = wish.open().unwrap();
    let (_, packets) = port.receive(3_000);
    assert!(packets.chunks_exact(3).all(|round| round == frames));
    assert_eq!(port.info().state(), State::Reading);
    drop(port);
    wish.input = Some(directory.file("empty.pcap", &capture_of(MICRO, &[])));
    let mut port = wish.open().unwrap();
    assert!(port.receive(1).1.is_empty());
    assert_eq!(port.info().state(), State::Ended);
    assert_eq!(port.bench.link(), None);
}

#[test]
fn a_capture_that_goes_bad_gives_its_good_packets_and_takes_the_link_down() {
    let directory = Directory::new();
    let frames = frames([60, 61, 62]);
    let bytes = capture_of(MICRO, &frames);
    let input = directory.file("bad.pcap", &bytes[..bytes.len() - 1]);
    let mut port = wish(Some(input), None).open().unwrap();
    // One more than there are, so that the end is seen.
    assert_eq!(port.receive(4).1, frames[..2]);
    assert_eq!(port.info().state(), State::Failed);
    assert_eq!(port.bench.link(), Some(false));
    assert!(port.bench.receive(&mut port.rx[0].queue).packets.is_empty());
}

#[test]
fn raw_ip_is_sorted_by_version() {
    let directory = Directory::new();
    let records: [(u32, u32, &[u8]); 3] = [(1, 0, &[0x45; 20]), (1, 0, &[0x60; 40]), (1, 0, &[])];
    let input = directory.file("in.pcap", &pcap(LITTLE, MICRO, 101, &records));
    let output = directory.0.join("out.pcap");
    let mut port = wish(Some(input), Some(output.clone())).open().unwrap();
    assert_eq!(port.info().layer, Layer::Ip);
    let expected = [Next::Ip4, Next::NotIp4, Next::NotIp4].map(|next| next as u16);
    assert_eq!(port.receive(3).0, expected);
    assert_eq!(fs::read(output).unwrap()[20..24], 101_u32.to_ne_bytes());
}

#[test]
fn only_a_regular_file_that_nobody_uses_is_emptied() {
    let directory = Directory::new();
    let inside = |name: &str| directory.0.join(name);
    let kept = directory.file("kept", b"precious");
    std::os::unix::fs::symlink(&kept, inside("link")).unwrap();
    let refused = |wish: Wish| wish.open().err().unwrap();
    let text = refused(wish(None, Some(inside("link"))));
    assert!(text.contains("link, a symbolic link: "), "{text}");
    let text = refused(wish(None, Some(inside("no-such-directory/x"))));
    assert!(text.contains("No such file or directory"), "{text}");
    let text = refused(wish(None, Some("/dev/null".into())));
    assert_eq!(text, "/dev/null is not a regular file");
    let input = directory.file("in.pcap", &capture_of(MICRO, &frames([60])));
    let text = refused(wish(Some(input.clone()), Some(input.clone())));
    assert!(text.ends_with("in.pcap is the input"), "{text}");
    let text = refused(wish(Some(kept.clone()), Some(inside("new"))));
    assert!(text.ends_with("kept: at offset 0: neither pcap nor pcapng"), "{text}");
    assert!(!inside("new").exists(), "a bad input leaves an output behind");
    let busy = wish(None, Some(inside("busy"))).open().unwrap();
    let text = refused(wish(None, Some(inside("busy"))));
    assert!(text.ends_with("busy is being written by somebody else"), "{text}");
    drop(busy);
    wish(None, Some(inside("busy"))).open().unwrap();
    let mut only = wish(None, Some("../outside".into()));
    only.directory = Some(directory.0.clone());
    let text = refused(only);
    assert!(text.starts_with("../outside is not in /"), "{text}");
    let mut only = wish(None, Some("named".into()));
    only.directory = Some(directory.0.clone());
    only.open().unwrap();
    assert!(inside("named").exists());
    assert_eq!(fs::read(kept).unwrap(), b"precious");
    assert!(fs::read(input).unwrap().len() > 24);
}

#[test]
fn a_write_that_fails_is_counted_and_the_file_keeps_whole_packets() {
    let directory = Directory::new();
    let path = directory.file("out.pcap", b"0123456789");
    // A file that is open for reading only fails every write, as a full disk does.
    let file = File::open(&path).unwrap();
    let info = wish(None, None).open().unwrap().bench.device().info().clone();
    let queues = writer::start(host(), Arc::clone(&info), (file, 10), 1, 0).unwrap();
    let mut tx: Vec<_> = queues.into_iter().map(|queue| Tx(Some(queue))).collect();
    let mut port = wish(None, None).open().unwrap();
    for _ in 0..2 {
        assert_eq!(port.bench.transmit(&mut tx[0], frames([60, 61])), 2);
    }
    drop(tx);
    let counted = [&info.counters.write_errors, &info.counters.lost, &info.counters.written]
        .map(|counter| counter.load(Ordering::Relaxed));
    assert_eq!(counted, [2, 4, 0]);
    assert_eq!(fs::read(path).unwrap(), b"0123456789");
}

#[test]
fn a_disk_that_is_full_for_a_while_leaves_a_capture_that_can_be_read() {
    let directory = Directory::new();
    // A small file system of its own would need a mount; a limit on the file's size does not, but
    // is the whole process's. A sparse file near the largest size there is needs neither.
    let path = directory.file("out.pcap", &[]);
    let mut file = File::options().read(true).write(true).open(&path).unwrap();
    let largest = (20..63).rev().map(|power| (1_u64 << power) - 65_536);
    let Some(start) = largest.into_iter().find(|&len| file.set_len(len).is_ok()) else { return };
    file.seek(SeekFrom::Start(start)).unwrap();
    let mut probe = file.try_clone().unwrap();
    if probe.write_all(&vec![0; 1 << 20]).is_ok() {
        return; // The file system has no such limit.
    }
    file.set_len(start).unwrap();
    file.seek(SeekFrom::Start(start)).unwrap();
    let info = wish(None, None).open().unwrap().bench.device().info().clone();
    let queues = writer::start(host(), Arc::clone(&info), (file, start), 1, 0).unwrap();
    let mut tx: Vec<_> = queues.into_iter().map(|queue| Tx(Some(queue))).collect();
    let mut port = wish(None, None).open().unwrap();
    assert_eq!(port.bench.transmit(&mut tx[0], frames(vec![1_000; 200])), 200);
    assert_eq!(port.bench.transmit(&mut tx[0], frames([60])), 1);
    drop(tx);
    assert_eq!(info.counters.write_errors.load(Ordering::Relaxed), 1);
    assert_eq!(info.counters.lost.load(Ordering::Relaxed), 200);
    assert_eq!(info.counters.written.load(Ordering::Relaxed), 1);
    assert_eq!(fs::metadata(path).unwrap().len(), start + 16 + 60);
}

#[test]
fn without_an_output_packets_are_swallowed_and_counted() {
    let mut port = wish(None, None).open().unwrap();
    assert_eq!(port.bench.transmit(&mut port.tx[0], frames([60; 5])), 5);
    assert_eq!(port.info().counters.discarded.load(Ordering::Relaxed), 5);
}
