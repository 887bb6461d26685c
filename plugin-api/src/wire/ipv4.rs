//! IPv4 (RFC 791).
//!
//! ```text
//! 0         1     2            4    6           8     9          10         12       16
//! │ ver ihl │ tos │ total len  │ id │ flags off │ ttl │ protocol │ checksum │ source │ dest │ options │ payload
//! ```

use core::net::Ipv4Addr;

use super::{Malformed, be16, be32, checksum, put16, put32};

/// Bytes of a header without options.
pub const HEADER: usize = 20;
/// Bytes of a header with all options it can have.
pub const MAX_HEADER: usize = 60;

/// What an IPv4 packet carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(transparent)]
pub struct Protocol(pub u8);

impl Protocol {
    /// ICMP.
    pub const ICMP: Self = Self(1);
    /// TCP.
    pub const TCP: Self = Self(6);
    /// UDP.
    pub const UDP: Self = Self(17);
}

/// A view of an IPv4 header and what follows.
#[derive(Clone, Copy, Debug)]
pub struct Ipv4<'a> {
    header: &'a [u8; HEADER],
    rest: &'a [u8],
}

/// A view of an IPv4 header that can be changed.
#[derive(Debug)]
pub struct Ipv4Mut<'a> {
    header: &'a mut [u8; HEADER],
    rest: &'a mut [u8],
}

impl<'a> Ipv4<'a> {
    /// Checks version and lengths; the checksum is [checked](Self::checksum_ok) apart.
    ///
    /// # Errors
    /// [`Malformed::Short`], [`Version`](Malformed::Version),
    /// [`HeaderLength`](Malformed::HeaderLength) or, if the packet is longer than `bytes` or
    /// shorter than its header, [`TotalLength`](Malformed::TotalLength).
    #[inline(always)]
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        Self::parse_first(bytes, bytes.len())
    }

    /// As [`parse`](Self::parse) for the first buffer of a chain that holds `available` bytes.
    ///
    /// # Errors
    /// As there; the header with its options must be in `bytes`.
    #[inline(always)]
    pub fn parse_first(bytes: &'a [u8], available: usize) -> Result<Self, Malformed> {
        let (header, rest) = bytes.split_first_chunk().ok_or(Malformed::Short)?;
        check(header, bytes.len(), available)?;
        Ok(Self { header, rest })
    }

    /// Bytes of the header with its options, 20 to 60.
    #[inline(always)]
    pub const fn header_len(&self) -> usize {
        header_len(self.header)
    }

    /// Type of service: six bits of DSCP, two of ECN.
    #[inline(always)]
    pub const fn tos(&self) -> u8 {
        self.header[1]
    }

    /// Bytes of the packet with its header.
    #[inline(always)]
    pub const fn total_len(&self) -> u16 {
        be16(self.header, 2)
    }

    /// Same in all fragments of a packet.
    #[inline(always)]
    pub const fn identification(&self) -> u16 {
        be16(self.header, 4)
    }

    /// May not be cut into fragments.
    #[inline(always)]
    pub const fn dont_fragment(&self) -> bool {
        self.header[6] & 0x40 != 0
    }

    /// More fragments follow.
    #[inline(always)]
    pub const fn more_fragments(&self) -> bool {
        self.header[6] & 0x20 != 0
    }

    /// Where this fragment begins. Unit: bytes.
    #[inline(always)]
    pub const fn fragment_offset(&self) -> u32 {
        ((be16(self.header, 6) & 0x1fff) as u32) << 3
    }

    /// Not a whole packet.
    #[inline(always)]
    pub const fn is_fragment(&self) -> bool {
        be16(self.header, 6) & 0x3fff != 0
    }

    /// Time to live. Unit: hops.
    #[inline(always)]
    pub const fn ttl(&self) -> u8 {
        self.header[8]
    }

    /// What it carries.
    #[inline(always)]
    pub const fn protocol(&self) -> Protocol {
        Protocol(self.header[9])
    }

    /// Checksum of the header.
    #[inline(always)]
    pub const fn checksum(&self) -> u16 {
        be16(self.header, 10)
    }

    /// From whom.
    #[inline(always)]
    pub const fn source(&self) -> Ipv4Addr {
        Ipv4Addr::from_bits(be32(self.header, 12))
    }

    /// To whom.
    #[inline(always)]
    pub const fn destination(&self) -> Ipv4Addr {
        Ipv4Addr::from_bits(be32(self.header, 16))
    }

    /// Whether the checksum of the header is right.
    ///
    /// Cost: five additions without options.
    #[inline(always)]
    pub fn checksum_ok(&self) -> bool {
        if self.header[0] == 0x45 {
            return folds_to_ones(self.header);
        }
        checksum::Checksum::new().with(self.header).with(self.options()).finish() == 0
    }

    /// Options, not checked.
    #[inline]
    pub fn options(&self) -> &'a [u8] {
        self.rest.get(..self.header_len() - HEADER).unwrap_or_default()
    }

    /// What it carries, without padding behind the packet; of a chain, what the first buffer has.
    #[inline]
    pub fn payload(&self) -> &'a [u8] {
        let end = usize::from(self.total_len()) - HEADER;
        self.rest.get(self.header_len() - HEADER..end.min(self.rest.len())).unwrap_or_default()
    }
}

impl<'a> Ipv4Mut<'a> {
    /// Checks version and lengths; the checksum is [checked](Ipv4::checksum_ok) apart.
    ///
    /// # Errors
    /// As [`Ipv4::parse`].
    #[inline(always)]
    pub fn parse(bytes: &'a mut [u8]) -> Result<Self, Malformed> {
        let available = bytes.len();
        Self::parse_first(bytes, available)
    }

    /// As [`parse`](Self::parse) for the first buffer of a chain that holds `available` bytes.
    ///
    /// # Errors
    /// As [`Ipv4::parse_first`].
    #[inline(always)]
    pub fn parse_first(bytes: &'a mut [u8], available: usize) -> Result<Self, Malformed> {
        let len = bytes.len();
        let (header, rest) = bytes.split_first_chunk_mut().ok_or(Malformed::Short)?;
        check(header, len, available)?;
        Ok(Self { header, rest })
    }

    /// The same header, to read.
    #[inline(always)]
    pub const fn view(&self) -> Ipv4<'_> {
        Ipv4 { header: self.header, rest: self.rest }
    }

    /// Takes one hop off the TTL and patches the checksum (RFC 1624, eqn. 3).
    ///
    /// A TTL of 0 becomes 255: look before.
    #[inline(always)]
    pub const fn decrement_ttl(&mut self) {
        self.header[8] = self.header[8].wrapping_sub(1);
        let sum = be16(self.header, 10);
        // One from the high byte of a word is 0x0100 onto the checksum; 0xffff is a zero no
        // computed checksum has.
        let (sum, carry) = sum.overflowing_add(0x0100);
        put16(self.header, 10, sum.wrapping_add((carry || sum == 0xffff) as u16));
    }

    /// Sets the TTL and patches the checksum.
    #[inline]
    pub const fn set_ttl(&mut self, ttl: u8) {
        let old = be16(self.header, 8);
        self.header[8] = ttl;
        let patched = checksum::update(be16(self.header, 10), old, be16(self.header, 8));
        put16(self.header, 10, patched);
    }

    /// Exchanges source and destination; the checksum stays right.
    #[inline]
    pub const fn swap_addresses(&mut self) {
        let (source, destination) = (be32(self.header, 12), be32(self.header, 16));
        put32(self.header, 12, destination);
        put32(self.header, 16, source);
    }

    /// Sets the source and patches the checksum.
    #[inline]
    pub const fn set_source(&mut self, source: Ipv4Addr) {
        self.set_address(12, source);
    }

    /// Sets the destination and patches the checksum.
    #[inline]
    pub const fn set_destination(&mut self, destination: Ipv4Addr) {
        self.set_address(16, destination);
    }

    const fn set_address(&mut self, at: usize, address: Ipv4Addr) {
        let old = be32(self.header, at);
        put32(self.header, at, address.to_bits());
        let patched = checksum::update_u32(be16(self.header, 10), old, address.to_bits());
        put16(self.header, 10, patched);
    }

    /// Computes the checksum of the header and writes it.
    #[inline]
    pub fn write_checksum(&mut self) {
        put16(self.header, 10, 0);
        let ip = self.view();
        let sum = checksum::Checksum::new().with(ip.header).with(ip.options()).finish();
        put16(self.header, 10, sum);
    }

    /// What it carries, to change; as [`Ipv4::payload`].
    #[inline]
    pub fn payload_mut(&mut self) -> &mut [u8] {
        let options = header_len(self.header) - HEADER;
        let end = (usize::from(be16(self.header, 2)) - HEADER).min(self.rest.len());
        self.rest.get_mut(options..end).unwrap_or_default()
    }
}

/// Everything `parse` promises.
#[inline(always)]
const fn check(header: &[u8; HEADER], len: usize, available: usize) -> Result<(), Malformed> {
    if header[0] >> 4 != 4 {
        return Err(Malformed::Version);
    }
    if header_len(header) < HEADER || header_len(header) > len {
        return Err(Malformed::HeaderLength);
    }
    let total = be16(header, 2) as usize;
    if total < header_len(header) || total > available {
        return Err(Malformed::TotalLength);
    }
    Ok(())
}

#[inline(always)]
const fn header_len(header: &[u8; HEADER]) -> usize {
    (header[0] & 0xf) as usize * 4
}

/// Whether the sum over the header is all ones, in native byte order.
#[inline(always)]
fn folds_to_ones(header: &[u8; HEADER]) -> bool {
    let words = header.chunks_exact(4).filter_map(|word| word.first_chunk());
    let sum: u64 = words.map(|&word| u64::from(u32::from_ne_bytes(word))).sum();
    let sum = (sum >> 32) + (sum & 0xffff_ffff);
    let sum = (sum >> 16) + (sum & 0xffff);
    let sum = (sum >> 16) + (sum & 0xffff);
    sum == 0xffff
}

/// The fields of a header without options, to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Type of service.
    pub tos: u8,
    /// Bytes behind the header.
    pub payload_len: usize,
    /// Same in all fragments of a packet.
    pub identification: u16,
    /// May not be cut into fragments.
    pub dont_fragment: bool,
    /// Unit: hops.
    pub ttl: u8,
    /// What it carries.
    pub protocol: Protocol,
    /// From whom.
    pub source: Ipv4Addr,
    /// To whom.
    pub destination: Ipv4Addr,
}

impl Header {
    /// A header with a TTL of 64, for `payload_len` bytes of `protocol`.
    pub const fn new(
        protocol: Protocol,
        source: Ipv4Addr,
        destination: Ipv4Addr,
        payload_len: usize,
    ) -> Self {
        Self {
            tos: 0,
            payload_len,
            identification: 0,
            dont_fragment: false,
            ttl: 64,
            protocol,
            source,
            destination,
        }
    }

    /// Writes the header with its checksum.
    ///
    /// # Errors
    /// [`Malformed::TotalLength`] if the packet would exceed 65,535 bytes; nothing is written.
    pub fn emit(&self, bytes: &mut [u8; HEADER]) -> Result<(), Malformed> {
        let total = self.payload_len.checked_add(HEADER).and_then(|len| u16::try_from(len).ok());
        let total = total.ok_or(Malformed::TotalLength)?;
        bytes[0] = 0x45;
        bytes[1] = self.tos;
        put16(bytes, 2, total);
        put16(bytes, 4, self.identification);
        put16(bytes, 6, u16::from(self.dont_fragment) << 14);
        bytes[8] = self.ttl;
        bytes[9] = self.protocol.0;
        put16(bytes, 10, 0);
        put32(bytes, 12, self.source.to_bits());
        put32(bytes, 16, self.destination.to_bits());
        let sum = checksum::checksum(bytes);
        put16(bytes, 10, sum);
        Ok(())
    }
}
