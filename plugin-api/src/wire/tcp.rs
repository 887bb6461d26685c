//! TCP: ports and flags, what a forwarder looks at (RFC 9293).

use super::{Malformed, be16, be32};

/// Bytes of a header without options.
pub const HEADER: usize = 20;

/// Flags of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct Flags(pub u8);

impl Flags {
    /// The sender has no more to send.
    pub const FIN: Self = Self(0x01);
    /// Opens a connection.
    pub const SYN: Self = Self(0x02);
    /// Gives it up.
    pub const RST: Self = Self(0x04);
    /// Hand the data over now.
    pub const PSH: Self = Self(0x08);
    /// The acknowledgement number counts.
    pub const ACK: Self = Self(0x10);
    /// The urgent pointer counts.
    pub const URG: Self = Self(0x20);

    /// Whether all of `flags` are set.
    #[inline]
    pub const fn contains(self, flags: Self) -> bool {
        self.0 & flags.0 == flags.0
    }
}

/// A view of a TCP header and what follows.
#[derive(Clone, Copy, Debug)]
pub struct Tcp<'a> {
    header: &'a [u8; HEADER],
    rest: &'a [u8],
    /// Bytes of options, at most `rest.len()`.
    options_len: usize,
}

impl<'a> Tcp<'a> {
    /// Checks the lengths.
    ///
    /// # Errors
    /// [`Malformed::Short`] if there are fewer than 20 bytes, [`Malformed::HeaderLength`] if the
    /// data offset is smaller than the header or larger than `bytes`.
    #[inline]
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let (header, rest) = bytes.split_first_chunk::<HEADER>().ok_or(Malformed::Short)?;
        let header_len = usize::from(header[12] >> 4) * 4;
        match header_len.checked_sub(HEADER) {
            Some(options_len) if options_len <= rest.len() => {
                Ok(Self { header, rest, options_len })
            }
            _ => Err(Malformed::HeaderLength),
        }
    }

    /// Port it comes from.
    #[inline]
    pub const fn source_port(&self) -> u16 {
        be16(self.header, 0)
    }

    /// Port it goes to.
    #[inline]
    pub const fn destination_port(&self) -> u16 {
        be16(self.header, 2)
    }

    /// Number of the first byte.
    #[inline]
    pub const fn sequence(&self) -> u32 {
        be32(self.header, 4)
    }

    /// Number of the byte expected next.
    #[inline]
    pub const fn acknowledgement(&self) -> u32 {
        be32(self.header, 8)
    }

    /// Flags.
    #[inline]
    pub const fn flags(&self) -> Flags {
        Flags(self.header[13])
    }

    /// Bytes of the header with its options.
    #[inline]
    pub const fn header_len(&self) -> usize {
        HEADER + self.options_len
    }

    /// Options, not checked.
    #[inline]
    pub fn options(&self) -> &'a [u8] {
        self.rest.get(..self.options_len).unwrap_or_default()
    }

    /// What it carries.
    #[inline]
    pub fn payload(&self) -> &'a [u8] {
        self.rest.get(self.options_len..).unwrap_or_default()
    }
}
