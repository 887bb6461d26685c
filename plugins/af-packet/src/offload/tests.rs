//! Checksums and segments against a second, slower computation.

use super::*;

/// The sum of RFC 1071 as it is written there; 0xffff over bytes that contain their checksum.
fn naive_sum(parts: &[&[u8]]) -> u32 {
    let bytes: Vec<u8> = parts.concat();
    let mut sum = 0_u32;
    for pair in bytes.chunks(2) {
        sum += u32::from(pair[0]) << 8 | pair.get(1).map_or(0, |&low| low.into());
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum
}

fn header(flags: u8, kind: u8, segment: usize, start: usize, offset: usize) -> Offload {
    let word = |number: usize| u16::try_from(number).unwrap().to_ne_bytes();
    let [s, c, o] = [segment, start, offset].map(word);
    Offload::parse([flags, kind, 0, 0, s[0], s[1], c[0], c[1], o[0], o[1]])
}

/// A packet of `payload` bytes as a stack hands it to a card that cuts it.
struct Large {
    bytes: Vec<u8>,
    ip: usize,
    l4: usize,
    header: usize,
    ip4: bool,
    tcp: bool,
}

fn large(tags: usize, ip4: bool, tcp: bool, payload: usize) -> Large {
    let mut bytes = vec![0xaa; 12];
    for _ in 0..tags {
        bytes.extend([0x81, 0, 0, 5]);
    }
    bytes.extend(if ip4 { [8, 0] } else { [0x86, 0xdd] });
    let ip = bytes.len();
    let l4_len = if tcp { 32 } else { 8 };
    let protocol = if tcp { 6 } else { 17 };
    if ip4 {
        let [a, b] = u16::try_from(20 + l4_len + payload).unwrap().to_be_bytes();
        bytes.extend([0x45, 0, a, b, 0xff, 0xfe, 0x40, 0, 64, protocol, 0, 0]);
        bytes.extend([10, 0, 0, 1, 10, 0, 0, 2]);
    } else {
        let [a, b] = u16::try_from(l4_len + payload).unwrap().to_be_bytes();
        bytes.extend([0x60, 0, 0, 0, a, b, protocol, 64]);
        bytes.extend((0..32).map(|at| at * 7));
    }
    let l4 = bytes.len();
    if tcp {
        bytes.extend([0x12, 0x34, 0, 80, 0xff, 0xff, 0xff, 0xf0, 0, 0, 0, 1]);
        bytes.extend([0x80, 0x99, 1, 0, 0xde, 0xad, 0, 0, 1, 1, 8, 10]);
        bytes.extend([9; 8]);
    } else {
        bytes.extend([0x12, 0x34, 0, 53, 0, 0, 0xde, 0xad]);
    }
    let header = bytes.len();
    bytes.extend((0..payload).map(|at| at.to_le_bytes()[0] ^ at.to_le_bytes()[1]));
    Large { bytes, ip, l4, header, ip4, tcp }
}

impl Large {
    fn offload(&self, segment: usize) -> Offload {
        let kind = match (self.tcp, self.ip4) {
            (true, true) => GSO_TCP4 | GSO_ECN,
            (true, false) => GSO_TCP6,
            (false, _) => GSO_UDP,
        };
        header(1, kind, segment, self.l4, if self.tcp { 16 } else { 6 })
    }

    fn pseudo_header(&self, bytes: &[u8]) -> Vec<u8> {
        let addresses =
            if self.ip4 { self.ip + 12..self.ip + 20 } else { self.ip + 8..self.ip + 40 };
        let [a, b] = u16::try_from(bytes.len() - self.l4).unwrap().to_be_bytes();
        [&bytes[addresses], &[0, if self.tcp { 6 } else { 17 }, a, b]].concat()
    }
}

#[test]
fn a_checksum_over_any_length_is_that_of_the_rfc() {
    let bytes: Vec<u8> = (0..2_000_u32).map(|at| (at * at).to_le_bytes()[0]).collect();
    for len in (34..200).chain([1_460, 1_999, 2_000]) {
        let mut packet = bytes[..len].to_vec();
        // As the stack leaves it: the sum of the pseudo-header in the checksum's place.
        let pseudo = [10, 0, 0, 1, 10, 0, 0, 2, 0, 17, 7, 208];
        let partial = naive_sum(&[&pseudo]).to_be_bytes();
        packet[20..22].copy_from_slice(&partial[2..]);
        assert!(header(1, 0, 0, 14, 6).complete_checksum(&mut packet));
        assert_eq!(naive_sum(&[&pseudo, &packet[14..]]), 0xffff, "{len} bytes");
        assert_eq!(packet[22..], bytes[22..len]);
    }
}

#[test]
fn a_complete_packet_is_left_alone_and_a_place_outside_the_packet_is_refused() {
    let mut packet = vec![7; 60];
    assert!(header(0, 0, 0, 14, 6).complete_checksum(&mut packet));
    assert_eq!(packet, [7; 60]);
    for (start, offset) in [(61, 0), (60, 0), (50, 9), (0, 59), (65_535, 65_535)] {
        assert!(!header(1, 0, 0, start, offset).complete_checksum(&mut packet), "{start} {offset}");
    }
    assert_eq!(packet, [7; 60]);
}

#[test]
fn segments_are_packets_of_their_own_and_together_the_whole_payload() {
    for (tags, ip4, tcp) in [
        (0, true, true),
        (0, false, true),
        (0, true, false),
        (0, false, false),
        (1, true, true),
        (2, false, true),
    ] {
        for (payload, size) in [(1, 1_448), (1_448, 1_448), (1_449, 1_448), (60_000, 1_449)] {
            let large = large(tags, ip4, tcp, payload);
            let plan = large.offload(size).segmentation(&large.bytes).unwrap();
            let mut room = [0; SEGMENT_HEADER_MAX];
            let mut whole = Vec::new();
            let mut at = 0;
            while let Some((header, part)) = plan.segment(&large.bytes, at, &mut room) {
                check(&large, &[header, part].concat(), at, whole.len(), payload, size);
                whole.extend_from_slice(part);
                at += 1;
            }
            assert_eq!(at, payload.div_ceil(size));
            assert_eq!(whole, large.bytes[large.header..]);
        }
    }
}

/// Checks segment number `at`, whose payload begins `start` bytes into that of `large`.
fn check(large: &Large, bytes: &[u8], at: usize, start: usize, payload: usize, size: usize) {
    let (ip, l4) = (large.ip, large.l4);
    let word = |at: usize| usize::from(u16::from_be_bytes([bytes[at], bytes[at + 1]]));
    assert_eq!(bytes[..ip], large.bytes[..ip]);
    assert_eq!(bytes.len() - large.header, size.min(payload - start));
    if large.ip4 {
        assert_eq!(word(ip + 2), bytes.len() - ip);
        assert_eq!(word(ip + 4), (0xfffe + at) & 0xffff);
        assert_eq!(naive_sum(&[&bytes[ip..l4]]), 0xffff);
    } else {
        assert_eq!(word(ip + 4), bytes.len() - ip - 40);
    }
    assert_eq!(naive_sum(&[&large.pseudo_header(bytes), &bytes[l4..]]), 0xffff);
    if large.tcp {
        let sequence = u32::from_be_bytes(bytes[l4 + 4..l4 + 8].try_into().unwrap());
        assert_eq!(sequence, 0xffff_fff0_u32.wrapping_add(u32::try_from(start).unwrap()));
        let last = start + size >= payload;
        let flags = 0x10 | if at == 0 { 0x80 } else { 0 } | if last { 0x09 } else { 0 };
        assert_eq!(bytes[l4 + 13], flags, "segment {at}");
    } else {
        assert_eq!(word(l4 + 4), bytes.len() - l4);
    }
}

#[test]
fn what_cannot_be_cut_is_refused_wherever_it_is_cut_short() {
    let large = large(1, true, true, 3_000);
    assert!(large.offload(1_448).segmentation(&large.bytes).is_some());
    assert!(large.offload(0).segmentation(&large.bytes).is_none());
    for len in 0..=large.header {
        assert!(large.offload(1_448).segmentation(&large.bytes[..len]).is_none(), "{len} bytes");
    }
    for start in [0, 14, 30, 3_100, 65_535] {
        let offload = header(1, GSO_TCP4, 1_448, start, 16);
        assert!(offload.segmentation(&large.bytes).is_none(), "{start}");
    }
    for kind in [2, 3, GSO_TCP6, 6, 0x7f] {
        let offload = header(1, kind, 1_448, large.l4, 16);
        assert!(offload.segmentation(&large.bytes).is_none(), "kind {kind}");
    }
    let unsummed = header(0, GSO_TCP4, 1_448, large.l4, 16);
    assert!(unsummed.segmentation(&large.bytes).is_none());
}
