//! The flow hash: the same for all packets of a flow, spread evenly over flows.

use super::{EtherType, Ethernet, Ipv4, MacAddress, Protocol, ethernet::tag};

/// Tags that are looked behind.
const TAGS: usize = 2;

/// Whether the two directions of a flow are one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FlowSense {
    /// Each direction is a flow of its own.
    #[default]
    Directed,
    /// What goes forth and what comes back have the same hash.
    Symmetrical,
}

/// Hash of an Ethernet frame's flow; never 0. Of an IPv4 packet, behind two tags at most, that of
/// [`ip4_flow_hash`]; else of the MAC addresses.
///
/// `frame` is the frame, or as much of it as the first buffer holds.
/// Cost: two multiplications.
#[inline]
pub fn flow_hash(frame: &[u8], sense: FlowSense) -> u32 {
    let Ok(ethernet) = Ethernet::parse(frame) else { return 1 };
    let (mut ethertype, mut payload) = (ethernet.ethertype(), ethernet.payload());
    for _ in 0..TAGS {
        if !ethertype.is_tag() {
            break;
        }
        let Ok((_, behind, rest)) = tag(payload) else { break };
        (ethertype, payload) = (behind, rest);
    }
    if ethertype == EtherType::IP4 {
        if let Ok(ip) = Ipv4::parse_first(payload, usize::from(u16::MAX)) {
            return ip4_flow_hash(&ip, sense);
        }
    }
    let (source, destination) = (word(ethernet.source()), word(ethernet.destination()));
    hash(ordered((source, 0), (destination, 0), sense).map(|(address, _)| address))
}

/// Hash of addresses, protocol and, where each packet of the flow has them, TCP or UDP ports;
/// never 0.
///
/// Fragments are hashed without ports, or those of one packet would part.
/// Cost: two multiplications.
#[inline]
pub fn ip4_flow_hash(packet: &Ipv4<'_>, sense: FlowSense) -> u32 {
    let has_ports = matches!(packet.protocol(), Protocol::TCP | Protocol::UDP);
    let [a, b, c, d] = if has_ports && !packet.is_fragment() {
        packet.payload().first_chunk().copied().unwrap_or_default()
    } else {
        [0; 4]
    };
    let source = (packet.source().to_bits().into(), u16::from_be_bytes([a, b]));
    let destination = (packet.destination().to_bits().into(), u16::from_be_bytes([c, d]));
    let [(source, from), (destination, to)] = ordered(source, destination, sense);
    let ports = u64::from(from) << 16 | u64::from(to);
    hash([source << 32 | destination, u64::from(packet.protocol().0) << 32 | ports])
}

/// One end of a flow: its address, and its port if it has one.
type End = (u64, u16);

/// The two ends of a flow in an order that, if it is symmetrical, does not tell who sent.
#[inline(always)]
fn ordered(source: End, destination: End, sense: FlowSense) -> [End; 2] {
    if sense == FlowSense::Symmetrical && source > destination {
        [destination, source]
    } else {
        [source, destination]
    }
}

fn word(MacAddress([a, b, c, d, e, f]): MacAddress) -> u64 {
    u64::from_be_bytes([0, 0, a, b, c, d, e, f])
}

#[inline(always)]
fn hash([a, b]: [u64; 2]) -> u32 {
    // Odd factors with bits all over; the high half of a product depends on all of both.
    let mixed = fold(a ^ 0x9e37_79b9_7f4a_7c15, b ^ 0xd6e8_feb8_6659_fd93);
    let hash = fold(mixed, 0xa076_1d64_78bd_642f);
    #[expect(clippy::cast_possible_truncation, reason = "the half is meant")]
    let low = hash as u32;
    low.max(1)
}

/// The 128-bit product, its halves exclusive-ored: mixes two words into one, as hash functions do.
///
/// Cost: a multiplication.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "the halves are meant")]
pub fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    (product >> 64) as u64 ^ product as u64
}

#[cfg(test)]
mod tests {
    use core::net::Ipv4Addr;

    use super::*;
    use crate::{
        ThreadSet,
        wire::{
            ethernet::{self, TAG, VlanTag, emit_tag},
            ipv4::{HEADER, Header},
        },
    };

    const A: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
    const B: Ipv4Addr = Ipv4Addr::new(20, 0, 0, 1);

    /// A packet from one end to another.
    fn packet(
        protocol: Protocol,
        source: (Ipv4Addr, u16),
        destination: (Ipv4Addr, u16),
    ) -> Vec<u8> {
        let mut bytes = vec![0; HEADER + 4];
        let header = Header::new(protocol, source.0, destination.0, 4);
        header.emit(bytes.first_chunk_mut().unwrap()).unwrap();
        bytes[HEADER..HEADER + 2].copy_from_slice(&source.1.to_be_bytes());
        bytes[HEADER + 2..].copy_from_slice(&destination.1.to_be_bytes());
        bytes
    }

    /// A frame from the station `source` to `destination`, behind so many tags.
    fn frame(ends: [u8; 2], ethertype: EtherType, tags: usize, payload: &[u8]) -> Vec<u8> {
        let [source, destination] = ends.map(|end| MacAddress([2, 0, 0, 0, 0, end]));
        let mut header = [0; ethernet::HEADER];
        let first = if tags == 0 { ethertype } else { EtherType::VLAN };
        ethernet::emit(&mut header, destination, source, first);
        let mut bytes = header.to_vec();
        for left in (0..tags).rev() {
            let mut tag = [0; TAG];
            let behind = if left == 0 { ethertype } else { EtherType::VLAN };
            emit_tag(&mut tag, VlanTag(7), behind);
            bytes.extend(tag);
        }
        bytes.extend(payload);
        bytes
    }

    fn ip4(packet: &[u8], sense: FlowSense) -> u32 {
        ip4_flow_hash(&Ipv4::parse(packet).unwrap(), sense)
    }

    #[test]
    fn flows_spread_evenly_by_low_bits_and_over_any_number_of_threads() {
        let hashes = |sense| {
            let hash = move |port| ip4(&packet(Protocol::UDP, (A, port), (B, 53)), sense);
            (0..=u16::MAX).map(hash)
        };
        for sense in [FlowSense::Directed, FlowSense::Symmetrical] {
            for buckets in [2_usize, 3, 4, 7, 16, 63] {
                let threads = ThreadSet::from_bits((1 << buckets) - 1);
                let (mut low, mut chosen) = (vec![0_u32; buckets], vec![0_u32; buckets]);
                for hash in hashes(sense) {
                    low[hash as usize % buckets] += 1;
                    chosen[threads.choose(hash).unwrap().0 as usize] += 1;
                }
                let even = 65_536 / u32::try_from(buckets).unwrap();
                for counts in [low, chosen] {
                    let off = counts.iter().map(|count| count.abs_diff(even)).max().unwrap();
                    assert!(off < even / 5, "{sense:?}, {buckets} buckets: {counts:?}");
                }
            }
        }
    }

    #[test]
    fn ports_count_only_where_every_packet_of_the_flow_has_them() {
        let hash = |protocol, port, fragment: bool| {
            let mut bytes = packet(protocol, (A, port), (B, 53));
            bytes[6] = u8::from(fragment) << 5;
            ip4(&bytes, FlowSense::Directed)
        };
        let is_same =
            |protocol, fragment| hash(protocol, 1, fragment) == hash(protocol, 2, fragment);
        assert!(!is_same(Protocol::TCP, false));
        assert!(!is_same(Protocol::UDP, false));
        assert!(is_same(Protocol::UDP, true));
        assert!(is_same(Protocol::ICMP, false));
        assert_ne!(hash(Protocol::ICMP, 1, false), hash(Protocol::UDP, 1, true));
    }

    #[test]
    fn both_directions_have_one_symmetrical_hash_and_two_directed_ones() {
        let hash = |source, destination, sense| {
            let (source, destination): ((Ipv4Addr, u16), (Ipv4Addr, u16)) = (source, destination);
            ip4(&packet(Protocol::TCP, source, destination), sense)
        };
        let [one, other] = [(A, 1000), (B, 80)];
        let (directed, symmetrical) = (FlowSense::Directed, FlowSense::Symmetrical);
        assert_eq!(hash(one, other, symmetrical), hash(other, one, symmetrical));
        assert_ne!(hash(one, other, directed), hash(other, one, directed));
        let crossed = [(A, 80), (B, 1000)];
        assert_ne!(hash(one, other, symmetrical), hash(crossed[0], crossed[1], symmetrical));
        let same_host = [(A, 5), (A, 4)];
        let [a, b] = same_host;
        assert_eq!(hash(a, b, symmetrical), hash(b, a, symmetrical));
        let arp = |ends| flow_hash(&frame(ends, EtherType::ARP, 0, &[0; 28]), symmetrical);
        assert_eq!(arp([1, 2]), arp([2, 1]));
        assert_ne!(arp([1, 2]), arp([1, 3]));
    }

    #[test]
    fn a_frame_has_the_hash_of_its_packet_behind_two_tags_at_most() {
        let packet = packet(Protocol::UDP, (A, 1), (B, 2));
        let own = ip4(&packet, FlowSense::Directed);
        let of = |ends, tags| {
            flow_hash(&frame(ends, EtherType::IP4, tags, &packet), FlowSense::Directed)
        };
        assert_eq!([0, 1, 2].map(|tags| of([1, 2], tags)), [own; 3]);
        assert_ne!(of([1, 2], 3), own);
        assert_ne!(of([1, 2], 3), of([1, 3], 3), "then stations are what tells flows apart");
        assert_eq!(of([1, 2], 0), of([3, 4], 0));
    }

    #[test]
    fn what_is_cut_off_anywhere_has_a_hash() {
        let packet = packet(Protocol::UDP, (A, 1), (B, 2));
        for tags in 0..=3 {
            let whole = frame([1, 2], EtherType::IP4, tags, &packet);
            for len in 0..whole.len() {
                assert_ne!(flow_hash(&whole[..len], FlowSense::Directed), 0, "{len} bytes");
            }
        }
    }
}
