//! The flow hash: which of several equal paths a packet takes.

use plugin_api::wire::{Ipv4, Protocol};

/// Hash of addresses, protocol and, where each packet of the flow has them, ports; never 0.
///
/// Fragments are hashed without ports, or those of one packet would part.
/// Cost: two multiplications.
#[inline]
pub fn flow_hash(packet: &Ipv4<'_>) -> u32 {
    let has_ports = matches!(packet.protocol(), Protocol::TCP | Protocol::UDP);
    let ports = if has_ports && !packet.is_fragment() {
        packet.payload().first_chunk().map_or(0, |&ports| u32::from_be_bytes(ports))
    } else {
        0
    };
    let addresses =
        u64::from(packet.source().to_bits()) << 32 | u64::from(packet.destination().to_bits());
    let rest = u64::from(packet.protocol().0) << 32 | u64::from(ports);
    // Odd factors with bits all over; the high half of a product depends on all of both.
    let mixed = fold(addresses ^ 0x9e37_79b9_7f4a_7c15, rest ^ 0xd6e8_feb8_6659_fd93);
    let hash = fold(mixed, 0xa076_1d64_78bd_642f);
    #[expect(clippy::cast_possible_truncation, reason = "the half is meant")]
    let low = hash as u32;
    low.max(1)
}

/// The 128-bit product, its halves exclusive-ored.
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "the halves are meant")]
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    (product >> 64) as u64 ^ product as u64
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use plugin_api::wire::ipv4::{HEADER, Header};

    use super::*;

    fn hash(source: u32, protocol: Protocol, ports: [u8; 4], fragment: bool) -> u32 {
        let mut bytes = [0; HEADER + 4];
        let source = Ipv4Addr::from_bits(source);
        let header = Header::new(protocol, source, Ipv4Addr::new(20, 0, 0, 1), 4);
        header.emit(bytes.first_chunk_mut().unwrap()).unwrap();
        bytes[6] = u8::from(fragment) << 5;
        bytes[HEADER..].copy_from_slice(&ports);
        flow_hash(&Ipv4::parse(&bytes).unwrap())
    }

    #[test]
    fn flows_spread_evenly_over_any_power_of_two_of_buckets() {
        for buckets in [2, 4, 16, 64] {
            let mut counts = vec![0_u32; buckets];
            for port in 0..=u16::MAX {
                let [a, b] = port.to_be_bytes();
                let hash = hash(0x0a00_0001, Protocol::UDP, [a, b, 0, 53], false);
                counts[hash as usize % buckets] += 1;
            }
            let even = 65_536 / u32::try_from(buckets).unwrap();
            let off = counts.iter().map(|count| count.abs_diff(even)).max().unwrap();
            assert!(off < even / 5, "{buckets} buckets: {counts:?}");
        }
    }

    #[test]
    fn ports_count_only_where_every_packet_of_the_flow_has_them() {
        let (one, other) = ([0, 1, 0, 2], [0, 3, 0, 4]);
        let is_same = |protocol, fragment| {
            hash(1, protocol, one, fragment) == hash(1, protocol, other, fragment)
        };
        assert!(!is_same(Protocol::TCP, false));
        assert!(!is_same(Protocol::UDP, false));
        assert!(is_same(Protocol::UDP, true));
        assert!(is_same(Protocol::ICMP, false));
        assert_ne!(hash(1, Protocol::ICMP, one, false), hash(2, Protocol::ICMP, one, false));
    }
}
