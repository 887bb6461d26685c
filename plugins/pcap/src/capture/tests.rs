//! Captures of every kind, whole and damaged.

use std::{
    fs,
    io::Write,
    process,
    sync::atomic::{AtomicU32, Ordering},
};

use super::*;

/// A directory that is gone with the test.
pub(crate) struct Directory(pub(crate) PathBuf);

impl Directory {
    pub(crate) fn new() -> Self {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("gristmill-pcap-{}-{number}", process::id()));
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    pub(crate) fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.0.join(name);
        File::create(&path).unwrap().write_all(bytes).unwrap();
        path
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Writes numbers in one byte order.
#[derive(Clone, Copy)]
pub(crate) struct Order(bool);

pub(crate) const LITTLE: Order = Order(false);
const BIG: Order = Order(true);

impl Order {
    fn u16(self, number: u16) -> [u8; 2] {
        if self.0 { number.to_be_bytes() } else { number.to_le_bytes() }
    }

    fn u32(self, number: u32) -> [u8; 4] {
        if self.0 { number.to_be_bytes() } else { number.to_le_bytes() }
    }
}

/// A pcap file; times are seconds and what is left in the file's unit.
pub(crate) fn pcap(order: Order, magic: u32, link: u32, packets: &[(u32, u32, &[u8])]) -> Vec<u8> {
    let version = [order.u16(2), order.u16(4)].concat();
    let mut file = [&order.u32(magic)[..], &version].concat();
    file.extend([0, 0, 262_144, link].map(|word| order.u32(word)).concat());
    for &(seconds, rest, bytes) in packets {
        let len = u32::try_from(bytes.len()).unwrap();
        file.extend([seconds, rest, len, len].map(|word| order.u32(word)).concat());
        file.extend_from_slice(bytes);
    }
    file
}

/// A block of a pcapng file.
fn block(order: Order, kind: u32, body: &[u8]) -> Vec<u8> {
    let padded = body.len().next_multiple_of(4);
    let len = order.u32(u32::try_from(padded + 12).unwrap());
    let mut block = [&order.u32(kind)[..], &len, body].concat();
    block.resize(padded + 8, 0);
    block.extend(len);
    block
}

fn section(order: Order) -> Vec<u8> {
    let version = [order.u16(1), order.u16(0)].concat();
    block(order, 0x0a0d_0d0a, &[&order.u32(0x1a2b_3c4d)[..], &version, &[0xff; 8]].concat())
}

fn interface(order: Order, link: u16, resolution: Option<u8>) -> Vec<u8> {
    let mut body = [&order.u16(link)[..], &[0, 0], &order.u32(0)].concat();
    if let Some(resolution) = resolution {
        body.extend([order.u16(9), order.u16(1)].concat());
        body.extend([resolution, 0, 0, 0, 0, 0, 0, 0]);
    }
    block(order, 1, &body)
}

fn packet(order: Order, interface: u32, time: u64, bytes: &[u8]) -> Vec<u8> {
    let len = u32::try_from(bytes.len()).unwrap();
    let [high, low] = [time >> 32, time & 0xffff_ffff].map(|word| u32::try_from(word).unwrap());
    let words = [interface, high, low, len, len].map(|word| order.u32(word)).concat();
    block(order, 6, &[&words[..], bytes].concat())
}

fn open(bytes: &[u8]) -> Result<Capture, CaptureError> {
    let directory = Directory::new();
    let path = directory.file("capture", bytes);
    Capture::open("capture".into(), File::open(path).unwrap())
}

/// Packets with their times.
type Packets = Vec<(u64, Vec<u8>)>;

/// The packets of a capture, and how it ended.
fn read_all(capture: &mut Capture) -> (Packets, Result<(), CaptureError>) {
    let mut packets = Vec::new();
    loop {
        let mut bytes = Vec::new();
        match capture.read(&mut bytes) {
            Ok(Some(record)) => {
                assert_eq!(record.len, bytes.len());
                packets.push((record.time_ns, bytes));
            }
            Ok(None) => return (packets, Ok(())),
            Err(error) => return (packets, Err(error)),
        }
    }
}

const PACKETS: [(u32, u32, &[u8]); 3] = [(5, 1, &[1; 60]), (5, 900_000, &[2; 61]), (6, 0, &[])];

#[test]
fn pcap_is_read_in_both_byte_orders_and_units() {
    for order in [LITTLE, BIG] {
        for (magic, unit) in [(0xa1b2_c3d4, 1_000), (0xa1b2_3c4d, 1)] {
            let mut capture = open(&pcap(order, magic, 1, &PACKETS)).unwrap();
            assert_eq!(capture.layer(), Layer::Ethernet);
            let (packets, end) = read_all(&mut capture);
            end.unwrap();
            let expected = PACKETS.map(|(seconds, rest, bytes)| {
                (u64::from(seconds) * 1_000_000_000 + u64::from(rest) * unit, bytes.to_vec())
            });
            assert_eq!(packets, expected);
        }
    }
}

#[test]
fn pcapng_is_read_in_both_byte_orders_with_every_resolution() {
    for order in [LITTLE, BIG] {
        for (resolution, time, time_ns) in [
            (None, 1_500_000, 1_500_000_000),
            (Some(9), 1_500_000_000, 1_500_000_000),
            (Some(0), 3, 3_000_000_000),
            (Some(0x80 | 10), 1_536, 1_500_000_000),
            (Some(0x7f), 1, 0),
        ] {
            let file = [
                section(order),
                interface(order, 1, resolution),
                block(order, 5, &[0; 12]),
                packet(order, 0, time, &[7; 61]),
                block(order, 3, &[&order.u32(62)[..], &[8; 62]].concat()),
            ];
            let (packets, end) = read_all(&mut open(&file.concat()).unwrap());
            end.unwrap();
            assert_eq!(packets, [(time_ns, vec![7; 61]), (time_ns, vec![8; 62])]);
        }
    }
}

#[test]
fn packets_of_another_link_type_are_left_out_and_counted() {
    let file = [
        section(LITTLE),
        interface(LITTLE, 101, None),
        interface(LITTLE, 1, None),
        interface(LITTLE, 276, None),
        packet(LITTLE, 1, 0, &[1; 60]),
        packet(LITTLE, 0, 0, &[0x45; 20]),
        packet(LITTLE, 2, 0, &[1; 60]),
        section(BIG),
        interface(BIG, 228, None),
        packet(BIG, 0, 0, &[0x45; 21]),
    ];
    let mut capture = open(&file.concat()).unwrap();
    assert_eq!(capture.layer(), Layer::Ip);
    let (packets, end) = read_all(&mut capture);
    end.unwrap();
    assert_eq!(packets, [(0, vec![0x45; 20]), (0, vec![0x45; 21])]);
    assert_eq!(capture.left_out(), 2);
}

#[test]
fn what_is_wrong_is_said_with_file_and_offset() {
    let said = |bytes: &[u8]| match open(bytes) {
        Err(error) => error.to_string(),
        Ok(mut capture) => read_all(&mut capture).1.unwrap_err().to_string(),
    };
    assert_eq!(said(&[]), "capture: at offset 0: the file is empty");
    assert_eq!(said(&[7; 100]), "capture: at offset 0: neither pcap nor pcapng");
    let link = pcap(LITTLE, 0xa1b2_c3d4, 113, &[]);
    let expected = "capture: at offset 0: link type 113 is neither Ethernet nor raw IP";
    assert_eq!(said(&link), expected);
    assert_eq!(said(&section(LITTLE)), "capture: at offset 28: no interface is described");
    let early = [section(LITTLE), packet(LITTLE, 0, 0, &[1; 60])].concat();
    let expected = "capture: at offset 28: a packet of interface 0, which was not described";
    assert_eq!(said(&early), expected);
    let whole = pcap(LITTLE, 0xa1b2_c3d4, 1, &PACKETS);
    let expected = "capture: at offset 100: the file ends inside a record";
    assert_eq!(said(&whole[..150]), expected);
    let mut long = whole;
    long[108..112].copy_from_slice(&u32::MAX.to_le_bytes());
    assert_eq!(said(&long), "capture: at offset 100: a record of more than 524288 bytes");
}

/// Checks that a damaged capture gives packets of the whole one, in order, and then ends.
fn survives(damaged: &[u8], whole: &[(u64, Vec<u8>)], what: &str) {
    match open(damaged) {
        Err(error) => assert!(error.to_string().starts_with("capture: at offset "), "{what}"),
        Ok(mut capture) => {
            let (packets, end) = read_all(&mut capture);
            assert!(whole.starts_with(&packets), "{what}");
            if let Err(error) = end {
                assert!(error.to_string().starts_with("capture: at offset "), "{what}");
            }
        }
    }
}

fn whole_captures() -> [Vec<u8>; 3] {
    let next_generation = [
        section(BIG),
        interface(BIG, 1, Some(9)),
        packet(BIG, 0, 77, &[1; 60]),
        packet(BIG, 0, 78, &[2; 61]),
    ];
    [
        pcap(LITTLE, 0xa1b2_c3d4, 1, &PACKETS),
        pcap(BIG, 0xa1b2_3c4d, 101, &PACKETS),
        next_generation.concat(),
    ]
}

#[test]
fn a_capture_cut_off_at_any_byte_gives_its_whole_packets_and_an_end() {
    for file in whole_captures() {
        let (whole, _) = read_all(&mut open(&file).unwrap());
        for len in 0..file.len() {
            survives(&file[..len], &whole, &format!("{len} bytes"));
        }
    }
}

#[test]
fn a_capture_with_any_byte_changed_ends_without_a_panic() {
    for file in whole_captures() {
        for at in 0..file.len() {
            for value in [0, 0x7f, 0xff] {
                let mut damaged = file.clone();
                damaged[at] = value;
                if let Ok(mut capture) = open(&damaged) {
                    let (packets, _) = read_all(&mut capture);
                    assert!(packets.len() <= 8, "byte {at} is {value}");
                }
            }
        }
    }
}
