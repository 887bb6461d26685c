use super::*;

/// Bytes of a capture in the making.
#[derive(Default)]
pub(crate) struct Writer {
    pub(crate) bytes: Vec<u8>,
    /// Where records begin.
    pub(crate) starts: Vec<usize>,
    big: bool,
}

impl Writer {
    fn u16(&mut self, value: u16) {
        let bytes = if self.big { value.to_be_bytes() } else { value.to_le_bytes() };
        self.bytes.extend(bytes);
    }

    fn u32(&mut self, value: u32) {
        let bytes = if self.big { value.to_be_bytes() } else { value.to_le_bytes() };
        self.bytes.extend(bytes);
    }

    /// A pcap file without packets.
    pub(crate) fn pcap(magic: u32, big: bool, link_type: u32) -> Self {
        let mut writer = Self { big, ..Self::default() };
        writer.u32(magic);
        writer.u16(2);
        writer.u16(4);
        for word in [0, 0, 65_535, link_type] {
            writer.u32(word);
        }
        writer
    }

    pub(crate) fn record(&mut self, seconds: u32, fraction: u32, bytes: &[u8]) {
        self.starts.push(self.bytes.len());
        let len = u32::try_from(bytes.len()).unwrap();
        for word in [seconds, fraction, len, len] {
            self.u32(word);
        }
        self.bytes.extend(bytes);
    }

    fn block(&mut self, block_type: u32, body: impl FnOnce(&mut Self)) {
        let first = self.bytes.len();
        self.starts.push(first);
        self.u32(block_type);
        self.u32(0);
        body(self);
        while !self.bytes.len().is_multiple_of(4) {
            self.bytes.push(0);
        }
        let len = self.bytes.len() - first + 4;
        self.u32(u32::try_from(len).unwrap());
        let (head, tail) = self.bytes.split_at_mut(first + len - 4);
        head[first + 4..first + 8].copy_from_slice(tail);
    }

    fn section(&mut self, big: bool) {
        self.big = big;
        self.block(SHB_MAGIC, |writer| {
            writer.u32(0x1a2b_3c4d);
            writer.u16(1);
            writer.u16(0);
            writer.u32(u32::MAX);
            writer.u32(u32::MAX);
        });
    }

    /// An interface with a unit of time, and an offset of 5 seconds.
    fn interface(&mut self, link_type: u16, resolution: u8) {
        self.block(1, |writer| {
            writer.u16(link_type);
            writer.u16(0);
            writer.u32(60);
            writer.u16(9);
            writer.u16(1);
            writer.bytes.extend([resolution, 0, 0, 0]);
            writer.u16(14);
            writer.u16(8);
            let offset = if writer.big { 5_i64.to_be_bytes() } else { 5_i64.to_le_bytes() };
            writer.bytes.extend(offset);
            writer.u32(0);
        });
    }

    fn packet(&mut self, interface: u32, ticks: u32, bytes: &[u8]) {
        self.block(6, |writer| {
            let len = u32::try_from(bytes.len()).unwrap();
            for word in [interface, 0, ticks, len, len + 3] {
                writer.u32(word);
            }
            writer.bytes.extend(bytes);
        });
    }
}

pub(crate) fn pcapng() -> Writer {
    let mut writer = Writer::default();
    writer.section(false);
    writer.interface(1, 6);
    writer.packet(0, 1_000_000, &[1; 5]);
    writer.block(0xbad, |writer| writer.bytes.extend([9; 100]));
    writer.section(true);
    writer.interface(1, 9);
    writer.interface(101, 3);
    writer.packet(1, 1_000, &[2; 64]);
    writer.block(3, |writer| {
        writer.u32(70);
        writer.bytes.extend([3; 60]);
    });
    writer
}

pub(crate) type Packets = Vec<(u64, u16, Vec<u8>)>;

fn read(bytes: &[u8]) -> (Packets, Option<CaptureError>) {
    let mut packets = Vec::new();
    let mut capture = match Capture::open(bytes, Path::new("/a.pcap"), Buffer::default()) {
        Ok(capture) => capture,
        Err(error) => return (packets, Some(error)),
    };
    loop {
        match capture.next() {
            Ok(Some(record)) => {
                packets.push((record.at_ns, record.link_type, record.bytes.to_vec()));
            }
            Ok(None) => return (packets, None),
            Err(error) => return (packets, Some(error)),
        }
    }
}

#[test]
fn pcap_is_read_in_both_byte_orders_and_both_units() {
    for (magic, unit) in [(0xa1b2_c3d4, 1_000), (0xa1b2_3c4d, 1)] {
        for big in [false, true] {
            let mut writer = Writer::pcap(magic, big, 0x5000_0065);
            writer.record(7, 999_999, &[1; 60]);
            writer.record(8, 1, &[]);
            let (packets, error) = read(&writer.bytes);
            assert!(error.is_none(), "{error:?}");
            let first = (7_000_000_000 + 999_999 * unit, 101, vec![1; 60]);
            assert_eq!(packets, [first, (8_000_000_000 + unit, 101, vec![])]);
        }
    }
}

#[test]
fn pcapng_is_read_over_sections_and_interfaces() {
    let (packets, error) = read(&pcapng().bytes);
    assert!(error.is_none(), "{error:?}");
    let expected = [
        (6_000_000_000, 1, vec![1; 5]),
        (6_000_000_000, 101, vec![2; 64]),
        (6_000_000_000, 1, vec![3; 60]),
    ];
    assert_eq!(packets, expected);
}

#[test]
fn a_capture_cut_anywhere_gives_the_records_before_and_tells_which_is_cut() {
    let mut pcap = Writer::pcap(0xa1b2_c3d4, false, 1);
    pcap.record(1, 0, &[1; 60]);
    pcap.record(2, 0, &[2; 70]);
    for Writer { bytes, starts, .. } in [pcap, pcapng()] {
        let (whole, _) = read(&bytes);
        for len in 0..bytes.len() {
            let (packets, error) = read(&bytes[..len]);
            assert_eq!(packets, whole[..packets.len()], "{len} bytes");
            let Some(CaptureError { offset, fault, .. }) = error else {
                assert!(starts.contains(&len), "{len} bytes");
                continue;
            };
            let begun = starts.iter().rfind(|&&start| start < len);
            let begun = begun.copied().unwrap_or(0) as u64;
            match fault {
                Fault::Format => assert!(len < 4),
                Fault::Cut => assert_eq!(offset, begun, "{len} bytes"),
                fault => panic!("{len} bytes: {fault}"),
            }
        }
    }
}

#[test]
fn no_byte_that_is_wrong_does_harm() {
    for bytes in [
        {
            let mut pcap = Writer::pcap(0xa1b2_3c4d, true, 1);
            pcap.record(1, 0, &[1; 60]);
            pcap.record(2, 0, &[2; 70]);
            pcap.bytes
        },
        pcapng().bytes,
    ] {
        for at in 0..bytes.len() {
            for wrong in [0, 1, 0x7f, 0x80, 0xff, bytes[at] ^ 1] {
                let mut bytes = bytes.clone();
                bytes[at] = wrong;
                let (_, error) = read(&bytes);
                if let Some(error) = error {
                    assert!(error.offset < bytes.len() as u64, "{error}");
                }
            }
        }
    }
}

#[test]
fn an_error_names_file_and_place() {
    let mut writer = Writer::pcap(0xa1b2_c3d4, false, 1);
    writer.record(1, 0, &[1; 60]);
    for word in [2, 0, 300_000, 300_000] {
        writer.u32(word);
    }
    let text = |bytes: &[u8]| read(bytes).1.unwrap().to_string();
    assert_eq!(text(&writer.bytes), "/a.pcap: byte 100: a record of 300000 bytes cannot be");
    let other = "/a.pcap: byte 0: this is neither a pcap nor a pcapng capture";
    assert_eq!([text(b""), text(b"abc"), text(&[7; 100])], [other; 3]);
}

#[test]
fn a_block_nobody_wants_may_be_longer_than_the_buffer() {
    let mut writer = Writer::default();
    writer.section(true);
    writer.block(0x8000_0001, |writer| writer.bytes.resize(3 * LONGEST_BLOCK, 7));
    writer.interface(1, 6);
    writer.packet(0, 1, &[1; 60]);
    let (packets, error) = read(&writer.bytes);
    assert!(error.is_none(), "{error:?}");
    assert_eq!(packets.len(), 1);
}
