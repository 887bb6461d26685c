//! Header views over raw bytes: `parse` checks once, no accessor can panic afterwards.
//!
//! A view splits the bytes into the fixed header, an array reference whose fields are read
//! without bounds checks, and what follows. Views over `&[u8]` read, those named `…Mut` also
//! write. Builders (`emit`) write a header into an array of its size. Numbers are in host byte
//! order on the Rust side and in network byte order in the bytes.

pub mod arp;
pub mod checksum;
pub mod ethernet;
pub mod flow;
pub mod icmp4;
pub mod ipv4;
mod mac;
mod prefix;
pub mod tcp;
pub mod udp;

use core::{error, fmt};

pub use arp::Arp;
pub use checksum::Checksum;
pub use ethernet::{EtherType, Ethernet};
pub use flow::{FlowSense, flow_hash, fold, ip4_flow_hash};
pub use icmp4::Icmp4;
pub use ipv4::{Ipv4, Ipv4Mut, Protocol};
pub use mac::{InvalidMacAddress, MacAddress};
pub use prefix::{InvalidPrefix, Ip4Prefix};
pub use tcp::Tcp;
pub use udp::Udp;

/// Why bytes are not the header they were taken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Malformed {
    /// Fewer bytes than the shortest header.
    Short,
    /// Another version of the protocol, or types this view does not know.
    Version,
    /// A header length that is too small, or reaches past the bytes.
    HeaderLength,
    /// A length field that is smaller than the header, or reaches past the packet.
    TotalLength,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Short => "fewer bytes than the shortest header",
            Self::Version => "another version of the protocol",
            Self::HeaderLength => "the header length does not fit the bytes",
            Self::TotalLength => "the total length does not fit the bytes",
        })
    }
}

impl error::Error for Malformed {}

/// The big-endian word at `AT` of a fixed header.
#[inline(always)]
const fn be16<const N: usize>(bytes: &[u8; N], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

/// The big-endian double word at `at` of a fixed header.
#[inline(always)]
const fn be32<const N: usize>(bytes: &[u8; N], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// Writes `value` at `at` of a fixed header.
#[inline(always)]
const fn put16<const N: usize>(bytes: &mut [u8; N], at: usize, value: u16) {
    [bytes[at], bytes[at + 1]] = value.to_be_bytes();
}

/// Writes `value` at `at` of a fixed header.
#[inline(always)]
const fn put32<const N: usize>(bytes: &mut [u8; N], at: usize, value: u32) {
    [bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]] = value.to_be_bytes();
}

#[cfg(test)]
mod tests;
