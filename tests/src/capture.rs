//! Captures in the classic format with nanoseconds, written and read by hand: what a test compares
//! must not come from the code that is tested.

use std::{fs, path::Path};

/// pcap with nanoseconds, in this machine's byte order.
const MAGIC: u32 = 0xa1b2_3c4d;
const FILE_HEADER: usize = 24;
const RECORD_HEADER: usize = 16;
const ETHERNET: u32 = 1;
/// Bytes of a packet at most.
const SNAP_LEN: u32 = 262_144;

/// A capture file of these packets, a microsecond apart.
///
/// # Panics
/// If a packet is longer than a capture may have.
pub fn of(packets: &[Vec<u8>]) -> Vec<u8> {
    let mut file = Vec::new();
    let words =
        |words: &[u32]| words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<u8>>();
    file.extend(words(&[MAGIC, 2 | 4 << 16, 0, 0, SNAP_LEN, ETHERNET]));
    for (number, packet) in (0_u32..).zip(packets) {
        let len = u32::try_from(packet.len()).expect("packets are short");
        assert!(len <= SNAP_LEN, "a packet of {len} bytes");
        file.extend(words(&[0, number * 1_000, len, len]));
        file.extend(packet);
    }
    file
}

/// The packets in a capture file of Ethernet frames.
///
/// # Panics
/// If it is none, or a packet in it is not whole.
pub fn packets(file: &[u8]) -> Vec<Vec<u8>> {
    let mut packets = Vec::new();
    for_each(&mut file.to_vec(), |_, packet| packets.push(packet.to_vec()));
    packets
}

/// A capture file without its times, which no two runs have in common.
///
/// # Panics
/// If it is no capture of Ethernet frames, or a packet in it is not whole.
pub fn without_times(mut file: Vec<u8>) -> Vec<u8> {
    for_each(&mut file, |time, _| time.fill(0));
    file
}

/// Reads a capture file.
///
/// # Panics
/// If it cannot be read.
pub fn read(path: &Path) -> Vec<u8> {
    fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn for_each(file: &mut [u8], mut each: impl FnMut(&mut [u8], &[u8])) {
    let word = |bytes: &[u8], at: usize| {
        let bytes = bytes.get(at..at + 4).and_then(|bytes| bytes.first_chunk());
        u32::from_le_bytes(*bytes.expect("a capture that is not cut"))
    };
    assert_eq!((word(file, 0), word(file, 20)), (MAGIC, ETHERNET), "a capture of Ethernet frames");
    let mut rest = &mut file[FILE_HEADER..];
    while !rest.is_empty() {
        let (captured, len) = (word(rest, 8), word(rest, 12));
        assert_eq!(captured, len, "packets are captured whole");
        let len = usize::try_from(len).expect("usize has 32 bits at least");
        let (record, after) = rest.split_at_mut(RECORD_HEADER + len);
        let (header, packet) = record.split_at_mut(RECORD_HEADER);
        each(&mut header[..8], packet);
        rest = after;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_times_are_all_that_is_taken_out() {
        let packets = [vec![1; 60], vec![], vec![2; 1514]];
        let file = of(&packets);
        assert_eq!(super::packets(&file), packets);
        let timeless = without_times(file.clone());
        assert_eq!(super::packets(&timeless), packets);
        let differ = file.iter().zip(&timeless).filter(|(a, b)| a != b).count();
        assert_eq!(differ, 4, "1,000 ns and 2,000 ns");
    }
}
