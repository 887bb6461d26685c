//! ARP for IPv4 over Ethernet (RFC 826).

use core::net::Ipv4Addr;

use super::{EtherType, MacAddress, Malformed, be16, be32, put16, put32};

/// Bytes of a message.
pub const LEN: usize = 28;
/// Hardware Ethernet, protocol IPv4, addresses of 6 and 4 bytes.
const PREAMBLE: [u8; 6] = [0, 1, 8, 0, 6, 4];

/// What an ARP message wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct Operation(pub u16);

impl Operation {
    /// Who has the target address?
    pub const REQUEST: Self = Self(1);
    /// The sender has its address.
    pub const REPLY: Self = Self(2);
}

/// A view of an ARP message.
#[derive(Clone, Copy, Debug)]
pub struct Arp<'a>(&'a [u8; LEN]);

impl<'a> Arp<'a> {
    /// Checks length, hardware and protocol.
    ///
    /// # Errors
    /// [`Malformed::Short`] if there are fewer than 28 bytes, [`Malformed::Version`] if the
    /// message is not about IPv4 over Ethernet.
    #[inline]
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let message = bytes.first_chunk::<LEN>().ok_or(Malformed::Short)?;
        if message.starts_with(&PREAMBLE) { Ok(Self(message)) } else { Err(Malformed::Version) }
    }

    /// What it wants.
    #[inline]
    pub const fn operation(&self) -> Operation {
        Operation(be16(self.0, 6))
    }

    /// Who sends.
    #[inline]
    pub const fn sender_mac(&self) -> MacAddress {
        let [_, _, _, _, _, _, _, _, a, b, c, d, e, f, ..] = *self.0;
        MacAddress([a, b, c, d, e, f])
    }

    /// The sender's address.
    #[inline]
    pub const fn sender_ip(&self) -> Ipv4Addr {
        Ipv4Addr::from_bits(be32(self.0, 14))
    }

    /// Who is meant; zeros in a request.
    #[inline]
    pub const fn target_mac(&self) -> MacAddress {
        let [.., a, b, c, d, e, f, _, _, _, _] = *self.0;
        MacAddress([a, b, c, d, e, f])
    }

    /// Address that is asked for or answered to.
    #[inline]
    pub const fn target_ip(&self) -> Ipv4Addr {
        Ipv4Addr::from_bits(be32(self.0, 24))
    }

    /// Tells everyone the sender's own address (RFC 5227 §3).
    #[inline]
    pub fn is_gratuitous(&self) -> bool {
        self.sender_ip() == self.target_ip()
    }
}

/// The fields of a message to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message {
    /// What it wants.
    pub operation: Operation,
    /// Who sends.
    pub sender_mac: MacAddress,
    /// The sender's address.
    pub sender_ip: Ipv4Addr,
    /// Who is meant; zeros in a request.
    pub target_mac: MacAddress,
    /// Address that is asked for or answered to.
    pub target_ip: Ipv4Addr,
}

impl Message {
    /// Asks who has `target`.
    pub const fn request(sender_mac: MacAddress, sender_ip: Ipv4Addr, target: Ipv4Addr) -> Self {
        Self {
            operation: Operation::REQUEST,
            sender_mac,
            sender_ip,
            target_mac: MacAddress::ZERO,
            target_ip: target,
        }
    }

    /// Answers `request`: `mac` has the address that was asked for.
    pub const fn reply_to(request: &Arp<'_>, mac: MacAddress) -> Self {
        Self {
            operation: Operation::REPLY,
            sender_mac: mac,
            sender_ip: request.target_ip(),
            target_mac: request.sender_mac(),
            target_ip: request.sender_ip(),
        }
    }

    /// Type of the frame that carries it.
    pub const ETHERTYPE: EtherType = EtherType::ARP;

    /// Writes the message.
    pub fn emit(&self, bytes: &mut [u8; LEN]) {
        bytes[..6].copy_from_slice(&PREAMBLE);
        put16(bytes, 6, self.operation.0);
        bytes[8..14].copy_from_slice(&self.sender_mac.0);
        put32(bytes, 14, self.sender_ip.to_bits());
        bytes[18..24].copy_from_slice(&self.target_mac.0);
        put32(bytes, 24, self.target_ip.to_bits());
    }
}
