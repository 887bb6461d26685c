//! The Internet checksum (RFC 1071) and its incremental update (RFC 1624).

/// A running sum of bytes, in as many parts as the packet has.
///
/// The sum is kept in native byte order, which one's complement addition allows (RFC 1071 §2);
/// it is swapped once, at the end.
#[derive(Clone, Copy, Debug, Default)]
pub struct Checksum {
    /// Not folded; each addition of at most 2^16 words leaves room for 2^16 more.
    sum: u64,
    /// An odd number of bytes has been added so far.
    odd: bool,
}

impl Checksum {
    /// An empty sum.
    #[inline]
    pub const fn new() -> Self {
        Self { sum: 0, odd: false }
    }

    /// Adds `bytes` behind those added before.
    #[inline]
    #[must_use]
    pub fn with(self, bytes: &[u8]) -> Self {
        // A part that begins at an odd place has its bytes in the other half of each word.
        let part = u64::from(sum(bytes));
        let part = if self.odd { (part << 8 | part >> 8) & 0xffff } else { part };
        Self { sum: self.sum + part, odd: self.odd ^ (bytes.len() % 2 != 0) }
    }

    /// Adds a 16-bit field, at an even place.
    #[inline]
    #[must_use]
    pub const fn with_u16(self, word: u16) -> Self {
        Self { sum: self.sum + word.to_be() as u64, odd: self.odd }
    }

    /// Adds the pseudo header of UDP and TCP over IPv4: addresses, protocol, length of the
    /// datagram.
    #[inline]
    #[must_use]
    pub fn with_pseudo_header(self, ip: &super::Ipv4<'_>, len: u16) -> Self {
        self.with(&ip.source().octets())
            .with(&ip.destination().octets())
            .with_u16(ip.protocol().0.into())
            .with_u16(len)
    }

    /// The checksum to put into the header; over a packet that carries its own, 0 if it is right.
    #[inline]
    pub const fn finish(self) -> u16 {
        u16::from_be(!fold(self.sum))
    }
}

/// The checksum of `bytes`; if they contain their own checksum, 0 means that it is right.
///
/// Cost: about 8 bytes per clock; vectorised where the target allows.
#[inline]
pub fn checksum(bytes: &[u8]) -> u16 {
    u16::from_be(!sum(bytes))
}

/// The checksum after a 16-bit field under it changed from `old` to `new` (RFC 1624, eqn. 3).
#[inline]
pub const fn update(checksum: u16, old: u16, new: u16) -> u16 {
    let sum = !checksum as u64 + !old as u64 + new as u64;
    !fold(sum)
}

/// The checksum after a 32-bit field under it changed from `old` to `new`.
#[inline]
pub const fn update_u32(checksum: u16, old: u32, new: u32) -> u16 {
    let sum = !checksum as u64 + halves(!old) + halves(new);
    !fold(sum)
}

const fn halves(word: u32) -> u64 {
    (word >> 16) as u64 + (word & 0xffff) as u64
}

/// The folded sum of `bytes` in native byte order; an odd last byte is followed by a zero.
#[inline]
fn sum(bytes: &[u8]) -> u16 {
    let blocks = bytes.chunks_exact(8);
    let mut last = [0; 8];
    for (to, from) in last.iter_mut().zip(blocks.remainder()) {
        *to = *from;
    }
    // Two halves instead of a carry: the additions are independent and vectorise.
    let halves = |word: u64| (word & 0xffff_ffff) + (word >> 32);
    let words =
        blocks.filter_map(|block| block.first_chunk()).map(|&block| u64::from_ne_bytes(block));
    fold(words.map(halves).sum::<u64>() + halves(u64::from_ne_bytes(last)))
}

/// Folds a sum to 16 bits with end-around carry.
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "the carries have been added in")]
const fn fold(sum: u64) -> u16 {
    let sum = (sum >> 32) + (sum & 0xffff_ffff);
    let sum = (sum >> 16) + (sum & 0xffff);
    let sum = (sum >> 16) + (sum & 0xffff);
    let sum = (sum >> 16) + (sum & 0xffff);
    sum as u16
}
