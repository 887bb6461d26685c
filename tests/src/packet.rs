//! Packets byte by byte, made without the code that is tested.

/// A hardware address.
pub type Mac = [u8; 6];

/// Reads a hardware address as `show interface` has it.
///
/// # Panics
/// If it is none.
pub fn mac(text: &str) -> Mac {
    let bytes = text.split(':').map(|byte| u8::from_str_radix(byte, 16).expect("two digits"));
    bytes.collect::<Vec<u8>>().try_into().expect("six bytes")
}

/// The checksum of the Internet (RFC 1071), over bytes in which it is still 0.
pub fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes
        .chunks(2)
        .map(|pair| u64::from(pair[0]) << 8 | u64::from(pair.get(1).copied().unwrap_or(0)));
    let mut sum: u64 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).expect("the carries are in")
}

/// An Ethernet frame.
pub fn ethernet(to: Mac, from: Mac, ether_type: u16, body: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(14 + body.len());
    frame.extend(to);
    frame.extend(from);
    frame.extend(ether_type.to_be_bytes());
    frame.extend(body);
    frame
}

/// An IPv4 header.
#[derive(Clone, Copy, Debug)]
pub struct Ip4<'a> {
    /// Hops left.
    pub ttl: u8,
    /// What the payload is.
    pub protocol: u8,
    /// Its number.
    pub id: u16,
    /// From where.
    pub source: [u8; 4],
    /// Where to.
    pub destination: [u8; 4],
    /// Options, a multiple of four bytes.
    pub options: &'a [u8],
}

impl Ip4<'_> {
    /// The packet with its payload, with the right length and checksum.
    ///
    /// # Panics
    /// If it gets too long, or the options do not fit.
    pub fn with(&self, payload: &[u8]) -> Vec<u8> {
        let header = 20 + self.options.len();
        assert!(header.is_multiple_of(4) && header <= 60, "a header of {header} bytes");
        let words = u8::try_from(header / 4).expect("at most 15");
        let len = u16::try_from(header + payload.len()).expect("a packet is shorter");
        let mut packet = vec![0x40 | words, 0];
        packet.extend(len.to_be_bytes());
        packet.extend(self.id.to_be_bytes());
        packet.extend([0, 0, self.ttl, self.protocol, 0, 0]);
        packet.extend(self.source);
        packet.extend(self.destination);
        packet.extend(self.options);
        seal(&mut packet, 0..header, 10);
        packet.extend(payload);
        packet
    }
}

/// An ICMP message with the right checksum.
pub fn icmp(kind: u8, code: u8, rest: [u8; 4], data: &[u8]) -> Vec<u8> {
    let mut message = vec![kind, code, 0, 0];
    message.extend(rest);
    message.extend(data);
    let len = message.len();
    seal(&mut message, 0..len, 2);
    message
}

/// Writes the checksum of a part of `bytes` into it, at `at`.
///
/// # Panics
/// If that is not inside.
pub fn seal(bytes: &mut [u8], part: std::ops::Range<usize>, at: usize) {
    bytes[at..at + 2].fill(0);
    let sum = checksum(&bytes[part]);
    bytes[at..at + 2].copy_from_slice(&sum.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_that_others_have_computed_comes_out_the_same() {
        // From RFC 1071's own numbers, and a header found in many textbooks.
        assert_eq!(checksum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]), !0xddf2);
        let header = Ip4 {
            ttl: 64,
            protocol: 17,
            id: 0,
            source: [192, 168, 0, 1],
            destination: [192, 168, 0, 199],
            options: &[],
        };
        let mut packet = header.with(&[0; 95]);
        packet[6] = 0x40;
        seal(&mut packet, 0..20, 10);
        assert_eq!(packet[..12], [0x45, 0, 0, 0x73, 0, 0, 0x40, 0, 0x40, 0x11, 0xb8, 0x61]);
    }
}
