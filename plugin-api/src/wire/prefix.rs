//! IPv4 prefixes.

use core::{error, fmt, net::Ipv4Addr, str::FromStr};

/// An IPv4 prefix in canonical form: the bits behind its length are zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ip4Prefix {
    /// First address; no bit is set behind `len`.
    first: u32,
    /// 0 to 32.
    len: u8,
}

/// Not an IPv4 prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum InvalidPrefix {
    /// The length is over 32.
    Length(u8),
    /// The text is not `A.B.C.D/LEN`.
    Text(String),
}

impl Ip4Prefix {
    /// All addresses.
    pub const DEFAULT: Self = Self { first: 0, len: 0 };

    /// The prefix of `len` bits that `address` is in; its other bits are cleared.
    ///
    /// # Errors
    /// [`InvalidPrefix::Length`] if `len` is over 32.
    pub const fn new(address: Ipv4Addr, len: u8) -> Result<Self, InvalidPrefix> {
        if len > 32 {
            return Err(InvalidPrefix::Length(len));
        }
        Ok(Self { first: address.to_bits() & mask(len), len })
    }

    /// The prefix that has only `address` in it.
    pub const fn host(address: Ipv4Addr) -> Self {
        Self { first: address.to_bits(), len: 32 }
    }

    /// Reads `A.B.C.D/LEN` as an interface address: the address itself and its prefix.
    ///
    /// # Errors
    /// [`InvalidPrefix`] if the text is not of that form or the length over 32.
    pub fn parse_with_address(text: &str) -> Result<(Ipv4Addr, Self), InvalidPrefix> {
        let invalid = || InvalidPrefix::Text(text.to_owned());
        let (address, len) = text.split_once('/').ok_or_else(invalid)?;
        let address = address.parse().map_err(|_| invalid())?;
        if len.is_empty() || !len.bytes().all(|digit| digit.is_ascii_digit()) {
            return Err(invalid());
        }
        let len = len.parse().map_err(|_| invalid())?;
        Ok((address, Self::new(address, len)?))
    }

    /// First address.
    #[inline]
    pub const fn first(self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.first)
    }

    /// Last address.
    #[inline]
    pub const fn last(self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.first | !mask(self.len))
    }

    /// Bits that are fixed, 0 to 32.
    #[inline]
    #[expect(clippy::len_without_is_empty, reason = "no prefix is empty")]
    pub const fn len(self) -> u8 {
        self.len
    }

    /// Whether `address` is in it.
    #[inline]
    pub const fn contains(self, address: Ipv4Addr) -> bool {
        (address.to_bits() ^ self.first) & mask(self.len) == 0
    }

    /// Whether every address of `other` is in it.
    #[inline]
    pub const fn covers(self, other: Self) -> bool {
        self.len <= other.len && self.contains(other.first())
    }

    /// The prefix one bit shorter; `None` for the default.
    pub const fn parent(self) -> Option<Self> {
        match self.len {
            0 => None,
            len => Some(Self { first: self.first & mask(len - 1), len: len - 1 }),
        }
    }
}

/// `len` ones from the top.
const fn mask(len: u8) -> u32 {
    match u32::MAX.checked_shl(32 - len as u32) {
        Some(mask) => mask,
        None => 0,
    }
}

impl fmt::Display for Ip4Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.first(), self.len)
    }
}

impl FromStr for Ip4Prefix {
    type Err = InvalidPrefix;

    fn from_str(text: &str) -> Result<Self, InvalidPrefix> {
        Self::parse_with_address(text).map(|(_, prefix)| prefix)
    }
}

impl fmt::Display for InvalidPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length(len) => write!(f, "prefix length {len} is over 32"),
            Self::Text(text) => write!(f, "`{text}` is not a prefix such as 10.0.0.0/8"),
        }
    }
}

impl error::Error for InvalidPrefix {}
