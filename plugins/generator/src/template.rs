//! Packets from a template: copied, then patched where they differ.

use core::ops::Range;

use crate::{
    stream::{Order, Settings},
    tag::{self, HEAD, Magic},
};

const ETHERNET: usize = 14;
const UDP_AT: usize = ETHERNET + 20;
/// The first of the ports that flows send from (RFC 6335: dynamic ports).
const SOURCE_PORT: u16 = 49152;
/// The port that discards (RFC 863).
const DESTINATION_PORT: u16 = 9;

/// Fields of the headers.
mod field {
    use super::{ETHERNET, Range, UDP_AT};

    pub(super) const IP4: Range<usize> = ETHERNET..UDP_AT;
    pub(super) const TOTAL_LEN: Range<usize> = ETHERNET + 2..ETHERNET + 4;
    pub(super) const CHECKSUM: Range<usize> = ETHERNET + 10..ETHERNET + 12;
    pub(super) const SOURCE: Range<usize> = ETHERNET + 12..ETHERNET + 16;
    pub(super) const DESTINATION: Range<usize> = ETHERNET + 16..ETHERNET + 20;
    pub(super) const UDP_PORTS: Range<usize> = UDP_AT..UDP_AT + 4;
    pub(super) const UDP_LEN: Range<usize> = UDP_AT + 4..UDP_AT + 6;
}

/// Makes the packets of one flow.
#[derive(Debug)]
pub struct Template {
    head: [u8; HEAD],
    /// What comes behind the head of the longest packet.
    filler: Box<[u8]>,
    /// Sum of the IPv4 header's words that all packets have in common.
    sum: u32,
    sizes: Sizes,
    destinations: Destinations,
    random: Random,
}

impl Template {
    /// The template of flow `flow`.
    pub fn new(settings: &Settings, magic: Magic, flow: u16) -> Self {
        let mut head = [0; HEAD];
        let [source_mac, destination_mac] = settings.macs;
        head[..6].copy_from_slice(&destination_mac);
        head[6..12].copy_from_slice(&source_mac);
        head[12..14].copy_from_slice(&0x0800_u16.to_be_bytes());
        // Version and header length, no differentiated services; don't fragment; TTL 64, UDP.
        let fixed = [0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, 17];
        head[ETHERNET..ETHERNET + fixed.len()].copy_from_slice(&fixed);
        head[field::SOURCE].copy_from_slice(&settings.source.octets());
        let [a, b] = (SOURCE_PORT | flow).to_be_bytes();
        let [c, d] = DESTINATION_PORT.to_be_bytes();
        head[field::UDP_PORTS].copy_from_slice(&[a, b, c, d]);
        tag::write_flow(&mut head, magic, flow);

        let sum = sum_of_words(&head[field::IP4]);
        let [least, most] = settings.sizes;
        let filler = (HEAD..usize::from(most)).map(|at| at.to_le_bytes()[0]).collect();
        Self {
            head,
            filler,
            sum,
            sizes: Sizes { least, spread: u32::from(most - least) + 1 },
            destinations: Destinations {
                first: settings.destination.to_bits(),
                n: settings.destinations,
                order: settings.order,
                turn: 0,
            },
            random: Random(u64::from(flow)),
        }
    }

    /// Sets the time that the packets will carry from now on.
    #[inline]
    pub fn set_time(&mut self, now_ns: u64) {
        tag::write_sent_at(&mut self.head, now_ns);
    }

    /// Writes the packet numbered `sequence` and returns its length; `None` if there is too
    /// little room.
    #[inline(always)]
    pub fn write(&mut self, room: &mut [u8], sequence: u64) -> Option<usize> {
        let size = self.sizes.next(&mut self.random);
        let destination = self.destinations.next(&mut self.random);
        let (head, rest) = room.split_first_chunk_mut::<HEAD>()?;
        *head = self.head;
        let total_len = size - 14;
        head[field::TOTAL_LEN].copy_from_slice(&total_len.to_be_bytes());
        head[field::UDP_LEN].copy_from_slice(&(total_len - 20).to_be_bytes());
        head[field::DESTINATION].copy_from_slice(&destination.to_be_bytes());
        let sum = self.sum + u32::from(total_len) + (destination >> 16) + (destination & 0xffff);
        head[field::CHECKSUM].copy_from_slice(&(!fold(sum)).to_be_bytes());
        tag::write_sequence(head, sequence);
        let size = usize::from(size);
        if size > HEAD {
            let filler = &self.filler[..size - HEAD];
            rest.get_mut(..filler.len())?.copy_from_slice(filler);
        }
        Some(size)
    }
}

/// Sum of big-endian 16-bit words (RFC 1071), not folded.
fn sum_of_words(bytes: &[u8]) -> u32 {
    bytes.chunks_exact(2).map(|word| u32::from(u16::from_be_bytes([word[0], word[1]]))).sum()
}

/// Folds the carries of at most 2^15 words.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "two folds leave 16 bits")]
fn fold(sum: u32) -> u16 {
    let sum = (sum & 0xffff) + (sum >> 16);
    ((sum & 0xffff) + (sum >> 16)) as u16
}

#[derive(Debug)]
struct Sizes {
    least: u16,
    /// How many sizes there are.
    spread: u32,
}

impl Sizes {
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "less than the spread of two u16")]
    fn next(&self, random: &mut Random) -> u16 {
        if self.spread == 1 { self.least } else { self.least + random.below(self.spread) as u16 }
    }
}

#[derive(Debug)]
struct Destinations {
    first: u32,
    n: u32,
    order: Order,
    turn: u32,
}

impl Destinations {
    #[inline(always)]
    fn next(&mut self, random: &mut Random) -> u32 {
        match self.order {
            Order::Cycled => {
                let turn = self.turn;
                self.turn = if turn + 1 < self.n { turn + 1 } else { 0 };
                self.first + turn
            }
            Order::Random => self.first + random.below(self.n),
        }
    }
}

/// The splitmix64 generator (Steele et al., 2014): fast, and good enough to scatter addresses.
#[derive(Debug)]
struct Random(u64);

impl Random {
    /// A number less than `bound`.
    #[inline(always)]
    fn below(&mut self, bound: u32) -> u32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (((z >> 32) * u64::from(bound)) >> 32) as u32
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::tag::{SHORTEST, Tag};

    const MAGIC: u16 = 0x55aa;

    fn settings() -> Settings {
        Settings {
            source: [198, 18, 0, 1].into(),
            destination: [198, 19, 255, 250].into(),
            destinations: 1,
            order: Order::Cycled,
            macs: [[2; 6], [4; 6]],
            sizes: [64, 64],
            pps: None,
            count: None,
        }
    }

    fn packets(settings: &Settings, n: u64) -> Vec<Vec<u8>> {
        let mut template = Template::new(settings, Magic::new(MAGIC), 7);
        template.set_time(123);
        let write = |sequence| {
            let mut room = [0xee; 2048];
            let len = template.write(&mut room, sequence).unwrap();
            room[..len].to_vec()
        };
        (0..n).map(write).collect()
    }

    fn destination(packet: &[u8]) -> u32 {
        u32::from_be_bytes(packet[field::DESTINATION].try_into().unwrap())
    }

    #[test]
    fn headers_are_right_for_every_size_and_destination() {
        let all = Settings { sizes: [62, 2048], destinations: 1000, ..settings() };
        for (sequence, packet) in (0..).zip(packets(&all, 5000)) {
            assert_eq!(fold(sum_of_words(&packet[field::IP4])), 0xffff, "checksum of {sequence}");
            let len = |field: Range<usize>| u16::from_be_bytes(packet[field].try_into().unwrap());
            assert_eq!(usize::from(len(field::TOTAL_LEN)), packet.len() - 14);
            assert_eq!(usize::from(len(field::UDP_LEN)), packet.len() - 34);
            let tag = Tag { flow: 7, sequence, sent_at: 123 };
            assert_eq!(Tag::read(&packet, Magic::new(MAGIC)), Some(tag));
        }
    }

    #[test]
    fn a_packet_is_ethernet_ip4_and_udp_to_the_byte() {
        let [packet] = packets(&settings(), 1).try_into().unwrap();
        let mut expected = vec![4, 4, 4, 4, 4, 4, 2, 2, 2, 2, 2, 2, 8, 0];
        expected.extend([0x45, 0, 0, 50, 0, 0, 0x40, 0, 64, 17, 0xae, 0x99]);
        expected.extend([198, 18, 0, 1, 198, 19, 255, 250]);
        expected.extend([0xc0, 7, 0, 9, 0, 30, 0, 0]);
        expected.extend([b'g', b'r', 0x55, 0xaa, 0, 7, 0, 0, 0, 0, 0, 0, 0, 0]);
        expected.extend([0, 0, 0, 0, 0, 123, 0, 0]);
        assert_eq!(packet, expected);
    }

    #[test]
    fn nothing_of_what_was_in_the_buffer_before_is_sent() {
        let long = Settings { sizes: [1514, 1514], ..settings() };
        let packet = packets(&long, 1).remove(0);
        let filler: Vec<u8> = (64..1514_usize).map(|at| at.to_le_bytes()[0]).collect();
        assert_eq!(packet[62..64], [0, 0]);
        assert_eq!(packet[64..], filler);
    }

    #[test]
    fn destinations_come_in_turn_or_scattered_and_none_but_those() {
        let three = Settings { destinations: 3, ..settings() };
        let first = three.destination.to_bits();
        let turns: Vec<u32> = packets(&three, 7).iter().map(|p| destination(p) - first).collect();
        assert_eq!(turns, [0, 1, 2, 0, 1, 2, 0]);

        let scattered = Settings { destinations: 100, order: Order::Random, ..settings() };
        let found: Vec<u32> =
            packets(&scattered, 5000).iter().map(|p| destination(p) - first).collect();
        assert_eq!(found.iter().collect::<BTreeSet<_>>().len(), 100, "all are met");
        assert!(found.iter().all(|&at| at < 100));
        assert!(!found.is_sorted());
    }

    #[test]
    fn random_sizes_reach_both_ends_and_no_further() {
        let varied = Settings { sizes: [62, 70], ..settings() };
        let sizes: BTreeSet<usize> = packets(&varied, 500).iter().map(Vec::len).collect();
        assert_eq!(sizes, (SHORTEST..=70).collect());
    }
}
