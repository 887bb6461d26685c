//! Ethernet II, with 802.1Q and 802.1ad tags.
//!
//! ```text
//! 0            6            12     14
//! │ destination │ source     │ type │ payload …
//!                            │ 8100 │ tag  │ type │ payload …      with one tag
//! ```

use super::{MacAddress, Malformed, be16, put16};

/// Bytes of a header without tags.
pub const HEADER: usize = 14;
/// Bytes of one tag.
pub const TAG: usize = 4;
/// Bytes of the shortest frame, without its check sequence.
pub const MIN_FRAME: usize = 60;

/// What an Ethernet frame carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(transparent)]
pub struct EtherType(pub u16);

impl EtherType {
    /// IPv4.
    pub const IP4: Self = Self(0x0800);
    /// ARP.
    pub const ARP: Self = Self(0x0806);
    /// IPv6.
    pub const IP6: Self = Self(0x86dd);
    /// An 802.1Q tag.
    pub const VLAN: Self = Self(0x8100);
    /// An 802.1ad service tag.
    pub const SERVICE_VLAN: Self = Self(0x88a8);

    /// A tag follows, and the type behind it.
    #[inline(always)]
    pub const fn is_tag(self) -> bool {
        matches!(self, Self::VLAN | Self::SERVICE_VLAN)
    }

    /// Not a type but the length of an 802.3 frame.
    #[inline(always)]
    pub const fn is_length(self) -> bool {
        self.0 < 0x0600
    }
}

/// The control information of an 802.1Q tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct VlanTag(pub u16);

impl VlanTag {
    /// VLAN, 0 to 4095.
    #[inline(always)]
    pub const fn id(self) -> u16 {
        self.0 & 0x0fff
    }

    /// Priority, 0 to 7.
    #[inline(always)]
    pub const fn priority(self) -> u8 {
        (self.0 >> 13) as u8
    }

    /// May be dropped first.
    #[inline(always)]
    pub const fn drop_eligible(self) -> bool {
        self.0 & 0x1000 != 0
    }
}

/// A view of an Ethernet header and what follows.
#[derive(Clone, Copy, Debug)]
pub struct Ethernet<'a> {
    header: &'a [u8; HEADER],
    rest: &'a [u8],
}

impl<'a> Ethernet<'a> {
    /// Checks the length.
    ///
    /// # Errors
    /// [`Malformed::Short`] if there are fewer than 14 bytes.
    #[inline(always)]
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let (header, rest) = bytes.split_first_chunk().ok_or(Malformed::Short)?;
        Ok(Self { header, rest })
    }

    /// To whom.
    #[inline(always)]
    pub const fn destination(&self) -> MacAddress {
        let [a, b, c, d, e, f, ..] = *self.header;
        MacAddress([a, b, c, d, e, f])
    }

    /// From whom.
    #[inline(always)]
    pub const fn source(&self) -> MacAddress {
        let [_, _, _, _, _, _, a, b, c, d, e, f, ..] = *self.header;
        MacAddress([a, b, c, d, e, f])
    }

    /// Type behind the addresses, that of the first tag if there is one.
    #[inline(always)]
    pub const fn ethertype(&self) -> EtherType {
        EtherType(be16(self.header, 12))
    }

    /// What follows the 14 bytes.
    #[inline(always)]
    pub const fn payload(&self) -> &'a [u8] {
        self.rest
    }

    /// The first tag, and the type and bytes behind it.
    ///
    /// # Errors
    /// [`Malformed::Version`] if there is no tag, [`Malformed::Short`] if it is cut off.
    #[inline]
    pub fn tag(&self) -> Result<(VlanTag, EtherType, &'a [u8]), Malformed> {
        if self.ethertype().is_tag() { tag(self.rest) } else { Err(Malformed::Version) }
    }
}

/// The tag at the start of `bytes`, and the type and bytes behind it.
///
/// # Errors
/// [`Malformed::Short`] if there are fewer than 4 bytes.
#[inline]
pub fn tag(bytes: &[u8]) -> Result<(VlanTag, EtherType, &[u8]), Malformed> {
    let (tag, rest) = bytes.split_first_chunk::<TAG>().ok_or(Malformed::Short)?;
    Ok((VlanTag(be16(tag, 0)), EtherType(be16(tag, 2)), rest))
}

/// Writes a header without tags.
#[inline]
pub fn emit(
    header: &mut [u8; HEADER],
    destination: MacAddress,
    source: MacAddress,
    ethertype: EtherType,
) {
    header[..6].copy_from_slice(&destination.0);
    header[6..12].copy_from_slice(&source.0);
    put16(header, 12, ethertype.0);
}

/// Writes a tag and the type behind it; the type in front must be [`EtherType::VLAN`].
#[inline]
pub const fn emit_tag(bytes: &mut [u8; TAG], tag: VlanTag, ethertype: EtherType) {
    put16(bytes, 0, tag.0);
    put16(bytes, 2, ethertype.0);
}
