//! Ethernet addresses.

use core::{error, fmt, str::FromStr};

/// An Ethernet address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(transparent)]
pub struct MacAddress(pub [u8; 6]);

/// The text is not six hexadecimal bytes with colons between.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidMacAddress(String);

impl MacAddress {
    /// Everyone on the link.
    pub const BROADCAST: Self = Self([0xff; 6]);
    /// No address.
    pub const ZERO: Self = Self([0; 6]);

    /// Addressed to a group, which broadcast is too.
    #[inline(always)]
    pub const fn is_multicast(self) -> bool {
        self.0[0] & 1 != 0
    }

    /// Addressed to one station.
    #[inline(always)]
    pub const fn is_unicast(self) -> bool {
        !self.is_multicast()
    }

    /// Where IPv4 multicast packets to `group` go (RFC 1112 §6.4).
    pub const fn of_ip4_multicast(group: core::net::Ipv4Addr) -> Self {
        let [_, b, c, d] = group.octets();
        Self([0x01, 0x00, 0x5e, b & 0x7f, c, d])
    }
}

impl From<[u8; 6]> for MacAddress {
    fn from(bytes: [u8; 6]) -> Self {
        Self(bytes)
    }
}

impl fmt::Display for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl FromStr for MacAddress {
    type Err = InvalidMacAddress;

    fn from_str(text: &str) -> Result<Self, InvalidMacAddress> {
        let invalid = || InvalidMacAddress(text.to_owned());
        let mut bytes = [0; 6];
        let mut parts = text.split(':');
        for byte in &mut bytes {
            let part = parts.next().ok_or_else(invalid)?;
            let is_hex = part.bytes().all(|digit| digit.is_ascii_hexdigit());
            if !is_hex || part.is_empty() || part.len() > 2 {
                return Err(invalid());
            }
            *byte = u8::from_str_radix(part, 16).map_err(|_| invalid())?;
        }
        parts.next().map_or(Ok(Self(bytes)), |_| Err(invalid()))
    }
}

impl fmt::Display for InvalidMacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` is not an Ethernet address such as 02:00:00:00:00:01", self.0)
    }
}

impl error::Error for InvalidMacAddress {}
