//! What the kernel left undone because it took us for hardware: checksums and segmentation.
//!
//! A packet that a local stack sends over a veth reaches us as the stack made it: its checksum
//! covers only the pseudo-header, and it may be 64 KiB long, to be cut into segments by the "card".

/// Bytes of `struct virtio_net_hdr`, which comes before each packet.
pub(crate) const HEADER: usize = 10;

/// Bytes of the headers of a segment at most: Ethernet, two tags, IP and TCP with all options,
/// and IPv6 extension headers within reason.
pub(crate) const SEGMENT_HEADER_MAX: usize = 256;

const NEEDS_CHECKSUM: u8 = 1;
const GSO_TCP4: u8 = 1;
const GSO_TCP6: u8 = 4;
const GSO_UDP: u8 = 5;
/// Beside a kind: the segments carry ECN.
const GSO_ECN: u8 = 0x80;

const TCP_FIN_PSH: u8 = 0x09;
const TCP_CWR: u8 = 0x80;

/// What is left to do with a packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Offload {
    needs_checksum: bool,
    kind: u8,
    segment: usize,
    checksum_start: usize,
    checksum_offset: usize,
}

impl Offload {
    /// Reads the header the kernel puts before a packet.
    pub(crate) fn parse(header: [u8; HEADER]) -> Self {
        let [flags, kind, _, _, s0, s1, c0, c1, o0, o1] = header;
        Self {
            needs_checksum: flags & NEEDS_CHECKSUM != 0,
            kind: kind & !GSO_ECN,
            segment: u16::from_ne_bytes([s0, s1]).into(),
            checksum_start: u16::from_ne_bytes([c0, c1]).into(),
            checksum_offset: u16::from_ne_bytes([o0, o1]).into(),
        }
    }

    /// Whether the packet is to be cut into segments.
    pub(crate) fn is_segmented(&self) -> bool {
        self.kind != 0
    }

    /// Completes the checksum, if that is left to do; `false` if the packet has no place for it.
    pub(crate) fn complete_checksum(&self, packet: &mut [u8]) -> bool {
        if !self.needs_checksum {
            return true;
        }
        let Some(covered) = packet.get_mut(self.checksum_start..) else { return false };
        let mut sum = Checksum::default();
        sum.add(covered);
        let Some(place) = covered.get_mut(self.checksum_offset..self.checksum_offset + 2) else {
            return false;
        };
        place.copy_from_slice(&sum.finish());
        true
    }

    /// How to cut the packet; `None` if it is not of a kind that can be cut.
    pub(crate) fn segmentation(&self, packet: &[u8]) -> Option<Segmentation> {
        let (mut at, mut ether_type) = (14, [*packet.get(12)?, *packet.get(13)?]);
        while matches!(ether_type, [0x81, 0x00] | [0x88, 0xa8]) && at < 22 {
            ether_type = [*packet.get(at + 2)?, *packet.get(at + 3)?];
            at += 4;
        }
        let (ip, l4) = (at, self.checksum_start);
        let (tcp, ip4) = match (self.kind, ether_type) {
            (GSO_TCP4, [0x08, 0x00]) => (true, true),
            (GSO_TCP6, [0x86, 0xdd]) => (true, false),
            (GSO_UDP, [0x08, 0x00]) => (false, true),
            (GSO_UDP, [0x86, 0xdd]) => (false, false),
            _ => return None,
        };
        let l4_len = if tcp { usize::from(packet.get(l4 + 12)? >> 4) * 4 } else { 8 };
        let header = l4 + l4_len;
        let sound = self.needs_checksum
            && self.segment > 0
            && l4 >= ip + if ip4 { 20 } else { 40 }
            && l4_len >= if tcp { 20 } else { 8 }
            && header <= SEGMENT_HEADER_MAX
            && header < packet.len();
        sound.then_some(Segmentation { ip, l4, header, segment: self.segment, tcp, ip4 })
    }
}

/// How to cut a packet into segments.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Segmentation {
    ip: usize,
    l4: usize,
    header: usize,
    segment: usize,
    tcp: bool,
    ip4: bool,
}

impl Segmentation {
    /// Segment number `at`: its headers, written into `header`, and its part of the packet's
    /// payload. `None` behind the last.
    pub(crate) fn segment<'h, 'p>(
        &self,
        packet: &'p [u8],
        at: usize,
        header: &'h mut [u8; SEGMENT_HEADER_MAX],
    ) -> Option<(&'h [u8], &'p [u8])> {
        let payload = &packet[self.header..];
        let start = at * self.segment;
        let rest = payload.get(start..).filter(|rest| !rest.is_empty())?;
        let part = &rest[..rest.len().min(self.segment)];
        let header = &mut header[..self.header];
        header.copy_from_slice(&packet[..self.header]);
        self.write_ip(&mut header[self.ip..self.l4], at, self.header - self.l4 + part.len());
        if self.tcp {
            write_tcp(&mut header[self.l4..], start, part.len() == rest.len());
        } else {
            header[self.l4 + 4..self.l4 + 6].copy_from_slice(&short(8 + part.len()));
        }
        self.write_checksum(header, part);
        Some((header, part))
    }

    /// `behind`: bytes behind the IP header.
    fn write_ip(&self, ip: &mut [u8], at: usize, behind: usize) {
        if !self.ip4 {
            let len = short(ip.len() - 40 + behind);
            ip[4..6].copy_from_slice(&len);
            return;
        }
        let len = short(ip.len() + behind);
        ip[2..4].copy_from_slice(&len);
        let id = u16::from_be_bytes([ip[4], ip[5]]).wrapping_add(u16::from_be_bytes(short(at)));
        ip[4..6].copy_from_slice(&id.to_be_bytes());
        ip[10..12].fill(0);
        let mut sum = Checksum::default();
        sum.add(ip);
        ip[10..12].copy_from_slice(&sum.finish());
    }

    /// The checksum of the layer-4 header at the end of `header`, over `part` too.
    fn write_checksum(&self, header: &mut [u8], part: &[u8]) {
        let (front, l4) = header.split_at_mut(self.l4);
        let (at, protocol) = if self.tcp { (16, 6) } else { (6, 17) };
        l4[at..at + 2].fill(0);
        let addresses =
            if self.ip4 { self.ip + 12..self.ip + 20 } else { self.ip + 8..self.ip + 40 };
        let mut sum = Checksum::default();
        sum.add(&front[addresses]);
        sum.add(&[0, protocol]);
        sum.add(&short(l4.len() + part.len()));
        sum.add(l4);
        sum.add(part);
        l4[at..at + 2].copy_from_slice(&sum.finish());
    }
}

fn write_tcp(tcp: &mut [u8], start: usize, last: bool) {
    let sequence = u32::from_be_bytes([tcp[4], tcp[5], tcp[6], tcp[7]]);
    #[expect(clippy::cast_possible_truncation, reason = "less than 64 KiB into a packet")]
    let sequence = sequence.wrapping_add(start as u32);
    tcp[4..8].copy_from_slice(&sequence.to_be_bytes());
    if start > 0 {
        tcp[13] &= !TCP_CWR;
    }
    if !last {
        tcp[13] &= !TCP_FIN_PSH;
    }
}

#[expect(clippy::cast_possible_truncation, reason = "lengths inside a packet")]
fn short(len: usize) -> [u8; 2] {
    (len as u16).to_be_bytes()
}

/// The Internet checksum over parts, each but the last of an even length.
///
/// Source: RFC 1071; its sum comes out in the byte order it was read in.
#[derive(Clone, Copy, Debug, Default)]
struct Checksum(u64);

impl Checksum {
    fn add(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<4>();
        for &word in words {
            self.0 += u64::from(u32::from_ne_bytes(word));
        }
        let (pairs, odd) = rest.as_chunks::<2>();
        for &pair in pairs {
            self.0 += u64::from(u16::from_ne_bytes(pair));
        }
        if let [last] = *odd {
            self.0 += u64::from(u16::from_ne_bytes([last, 0]));
        }
    }

    /// As it is put into a header; never 0, which in UDP says that there is none.
    fn finish(self) -> [u8; 2] {
        let mut sum = self.0;
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        #[expect(clippy::cast_possible_truncation, reason = "folded to 16 bits")]
        let sum = !(sum as u16);
        (if sum == 0 { 0xffff } else { sum }).to_ne_bytes()
    }
}

#[cfg(test)]
mod tests;
