//! What packets of one flow have in common.

use std::{
    collections::hash_map::RandomState,
    hash::{BuildHasher as _, Hasher as _},
    net::Ipv4Addr,
};

use plugin_api::wire::{Ipv4, Protocol, fold};

/// Bits of [`Key::bits`] that are used of its second word.
const REST_BITS: u32 = 40;

/// Source, destination, protocol and ports.
///
/// ```text
/// addresses  │ source 32 │ destination 32 │
/// rest       │ 0 24 │ protocol 8 │ source port 16 │ destination port 16 │
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    addresses: u64,
    rest: u64,
}

impl Key {
    /// Mask of what the second word of [`bits`](Self::bits) uses.
    pub const REST: u64 = (1 << REST_BITS) - 1;

    /// The key of a flow from one socket to another.
    pub fn new(
        protocol: Protocol,
        (source, source_port): (Ipv4Addr, u16),
        (destination, destination_port): (Ipv4Addr, u16),
    ) -> Self {
        let ports = u32::from(source_port) << 16 | u32::from(destination_port);
        Self::pack(source, destination, protocol, ports)
    }

    /// The key of a packet's flow. Ports are 0 unless each packet of the flow has them: in
    /// fragments, and in other protocols than TCP and UDP.
    #[inline(always)]
    pub fn of(packet: &Ipv4<'_>) -> Self {
        let has_ports = matches!(packet.protocol(), Protocol::TCP | Protocol::UDP);
        let ports = if has_ports && !packet.is_fragment() {
            packet.payload().first_chunk().map_or(0, |&ports| u32::from_be_bytes(ports))
        } else {
            0
        };
        Self::pack(packet.source(), packet.destination(), packet.protocol(), ports)
    }

    #[inline(always)]
    fn pack(source: Ipv4Addr, destination: Ipv4Addr, protocol: Protocol, ports: u32) -> Self {
        Self {
            addresses: u64::from(source.to_bits()) << 32 | u64::from(destination.to_bits()),
            rest: u64::from(protocol.0) << 32 | u64::from(ports),
        }
    }

    /// The key as two words; [`REST`](Self::REST) says what the second uses.
    #[inline(always)]
    pub fn bits(self) -> [u64; 2] {
        [self.addresses, self.rest]
    }

    /// The key of [`bits`](Self::bits); other bits of the second word are ignored.
    #[inline(always)]
    pub fn from_bits([addresses, rest]: [u64; 2]) -> Self {
        Self { addresses, rest: rest & Self::REST }
    }

    /// From whom.
    pub fn source(self) -> Ipv4Addr {
        let [a, b, c, d, ..] = self.addresses.to_be_bytes();
        Ipv4Addr::new(a, b, c, d)
    }

    /// To whom.
    pub fn destination(self) -> Ipv4Addr {
        let [.., a, b, c, d] = self.addresses.to_be_bytes();
        Ipv4Addr::new(a, b, c, d)
    }

    /// What it carries.
    pub fn protocol(self) -> Protocol {
        let [.., protocol, _, _, _, _] = self.rest.to_be_bytes();
        Protocol(protocol)
    }

    /// Source and destination port.
    pub fn ports(self) -> [u16; 2] {
        let [.., a, b, c, d] = self.rest.to_be_bytes();
        [u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])]
    }
}

/// What hashes depend on besides the key: nobody outside knows which flows collide.
#[derive(Clone, Copy, Debug)]
pub struct Seed([u64; 2]);

impl Seed {
    /// A seed that differs from one plugin to the next.
    pub fn random() -> Self {
        let word = || RandomState::new().build_hasher().finish();
        Self([word(), word()])
    }

    /// Hash of a key.
    ///
    /// Cost: two multiplications.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "the half is meant")]
    pub fn hash(self, key: Key) -> u32 {
        let mixed = fold(key.addresses ^ self.0[0], key.rest ^ self.0[1]);
        fold(mixed, 0xa076_1d64_78bd_642f) as u32
    }
}

/// IPv4 packets, for the tests of this crate.
#[cfg(test)]
pub(crate) mod testing {
    use plugin_api::wire::ipv4::{HEADER, Header};

    use super::*;

    /// A packet of a flow with so many bytes behind its ports.
    pub(crate) fn packet(key: Key, payload: usize) -> Vec<u8> {
        let [source, destination] = key.ports();
        let len = 4 + payload;
        let header = Header::new(key.protocol(), key.source(), key.destination(), len);
        let mut bytes = vec![0; HEADER];
        header.emit(bytes.first_chunk_mut().unwrap()).unwrap();
        bytes.extend(source.to_be_bytes());
        bytes.extend(destination.to_be_bytes());
        bytes.resize(HEADER + 4 + payload, 0);
        bytes
    }

    /// One flow of many.
    pub(crate) fn udp(number: u32) -> Key {
        let source = Ipv4Addr::from_bits(0x0a00_0000 + number);
        Key::new(Protocol::UDP, (source, 1000), (Ipv4Addr::new(20, 0, 0, 1), 53))
    }
}

#[cfg(test)]
mod tests {
    use super::{testing::packet, *};

    const A: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
    const B: Ipv4Addr = Ipv4Addr::new(20, 0, 0, 2);

    fn key_of(bytes: &[u8]) -> Key {
        Key::of(&Ipv4::parse(bytes).unwrap())
    }

    #[test]
    fn a_key_tells_what_it_was_made_of() {
        let key = Key::new(Protocol::TCP, (A, 443), (B, 50_000));
        assert_eq!((key.source(), key.destination()), (A, B));
        assert_eq!((key.protocol(), key.ports()), (Protocol::TCP, [443, 50_000]));
        let [addresses, rest] = key.bits();
        assert_eq!(Key::from_bits([addresses, rest | !Key::REST]), key);
        assert_eq!(key_of(&packet(key, 16)), key);
    }

    #[test]
    fn a_flow_has_ports_only_where_each_of_its_packets_has_them() {
        let icmp = packet(Key::new(Protocol::ICMP, (A, 0x0800), (B, 7)), 4);
        assert_eq!(key_of(&icmp).ports(), [0, 0]);
        let whole = packet(Key::new(Protocol::UDP, (A, 5), (B, 6)), 16);
        for (at, bits) in [(6, 0x20), (7, 1)] {
            let mut fragment = whole.clone();
            fragment[at] |= bits; // More fragments follow; not the first.
            assert_eq!(key_of(&fragment).ports(), [0, 0]);
        }
        let mut short = whole;
        short.truncate(23);
        short[3] = 23;
        assert_eq!(key_of(&short).ports(), [0, 0]);
    }

    #[test]
    fn hashes_of_flows_that_differ_little_spread_evenly() {
        let seed = Seed([0x1234_5678_9abc_def0, 0x0fed_cba9_8765_4321]);
        let mut buckets = [0_u32; 256];
        for number in 0..65_536 {
            buckets[seed.hash(testing::udp(number)) as usize % 256] += 1;
        }
        let off = buckets.iter().map(|count| count.abs_diff(256)).max().unwrap();
        assert!(off < 96, "{buckets:?}");
    }
}
