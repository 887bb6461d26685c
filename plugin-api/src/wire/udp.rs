//! UDP (RFC 768).

use super::{Malformed, be16, put16};

/// Bytes of the header.
pub const HEADER: usize = 8;

/// A view of a UDP header and what follows.
#[derive(Clone, Copy, Debug)]
pub struct Udp<'a> {
    header: &'a [u8; HEADER],
    rest: &'a [u8],
}

impl<'a> Udp<'a> {
    /// Checks the lengths; bytes behind the datagram are left out.
    ///
    /// # Errors
    /// [`Malformed::Short`] if there are fewer than 8 bytes, [`Malformed::TotalLength`] if the
    /// length field is smaller than that or larger than `bytes`.
    #[inline]
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let (header, rest) = bytes.split_first_chunk::<HEADER>().ok_or(Malformed::Short)?;
        let payload = usize::from(be16(header, 4)).checked_sub(HEADER);
        let rest = payload.and_then(|len| rest.get(..len)).ok_or(Malformed::TotalLength)?;
        Ok(Self { header, rest })
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

    /// Bytes of header and payload.
    #[inline]
    pub const fn total_len(&self) -> u16 {
        be16(self.header, 4)
    }

    /// Checksum over pseudo header, header and payload; 0 if the sender made none.
    #[inline]
    pub const fn checksum(&self) -> u16 {
        be16(self.header, 6)
    }

    /// What it carries.
    #[inline]
    pub const fn payload(&self) -> &'a [u8] {
        self.rest
    }
}

/// Writes a header for `payload_len` bytes of payload, with no checksum.
///
/// # Errors
/// [`Malformed::TotalLength`] if the datagram would exceed 65,535 bytes; nothing is written.
#[inline]
pub fn emit(
    header: &mut [u8; HEADER],
    source_port: u16,
    destination_port: u16,
    payload_len: usize,
) -> Result<(), Malformed> {
    let total = u16::try_from(HEADER + payload_len).map_err(|_| Malformed::TotalLength)?;
    put16(header, 0, source_port);
    put16(header, 2, destination_port);
    put16(header, 4, total);
    put16(header, 6, 0);
    Ok(())
}

/// Sets the checksum of a header; 0 is sent as its other form, all ones (RFC 768).
#[inline]
pub const fn set_checksum(header: &mut [u8; HEADER], checksum: u16) {
    put16(header, 6, if checksum == 0 { 0xffff } else { checksum });
}
