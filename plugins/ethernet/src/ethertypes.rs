//! Who gets the packets of an EtherType: one entry for each of the 65,536.

use std::sync::atomic::{AtomicU16, Ordering::Relaxed};

use plugin_api::{Error, NextIndex};

/// Smaller values are the length of an IEEE 802.3 frame.
const FIRST: u16 = 0x0600;
/// A customer's VLAN tag.
const VLAN: u16 = 0x8100;
/// A service provider's VLAN tag.
const SERVICE_VLAN: u16 = 0x88a8;

/// In an entry: the EtherType was registered, and its packets go on without the header.
const REGISTERED: u16 = 1 << 15;
const ENTRIES: usize = 1 << 16;

/// Where the packets of one EtherType go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route(u16);

impl Route {
    /// Number of the next.
    #[inline(always)]
    pub fn next(self) -> NextIndex {
        NextIndex(self.0 & !REGISTERED)
    }

    /// Whether the packet goes on without its Ethernet header.
    #[inline(always)]
    pub fn strips_header(self) -> bool {
        self.0 & REGISTERED != 0
    }
}

/// The routes of all EtherTypes. Any thread reads; the main thread writes.
#[derive(Debug)]
pub struct EtherTypes(Box<[AtomicU16; ENTRIES]>);

impl EtherTypes {
    /// A table that sends all VLAN tags to `vlan` and all else to `unknown`.
    pub fn new(unknown: NextIndex, vlan: NextIndex) -> Self {
        let entries: Box<[AtomicU16]> = (0..ENTRIES).map(|_| AtomicU16::new(unknown.0)).collect();
        let entries: Box<[AtomicU16; ENTRIES]> = entries.try_into().expect("as many as were made");
        for tag in [VLAN, SERVICE_VLAN] {
            entries[usize::from(tag)].store(vlan.0, Relaxed);
        }
        Self(entries)
    }

    /// Where packets of `ethertype` go.
    #[inline(always)]
    pub fn route(&self, ethertype: u16) -> Route {
        Route(self.0[usize::from(ethertype)].load(Relaxed))
    }

    /// Sends packets of `ethertype` to `next`, without their header.
    ///
    /// # Errors
    /// If the number is too high for an entry.
    pub fn set(&self, ethertype: u16, next: NextIndex) -> Result<(), Error> {
        if next.0 & REGISTERED != 0 {
            return Err(
                format!("next {} is beyond the {REGISTERED} there is room for", next.0).into()
            );
        }
        self.0[usize::from(ethertype)].store(next.0 | REGISTERED, Relaxed);
        Ok(())
    }
}

/// Whether an EtherType may be registered.
///
/// # Errors
/// If it is a length, or a VLAN tag, which is looked into here.
pub fn check(ethertype: u16) -> Result<(), Error> {
    match ethertype {
        ..FIRST => Err(format!("{ethertype:#06x} is a length, not an EtherType").into()),
        VLAN | SERVICE_VLAN => {
            Err(format!("{ethertype:#06x} is a VLAN tag, which ethernet-input looks into").into())
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_registered_types_lose_their_header() {
        let types = EtherTypes::new(NextIndex(1), NextIndex(2));
        types.set(0x0800, NextIndex(9)).unwrap();

        let routes = [0x0800, 0x0806, 0x8100, 0x88a8, 0x05ff].map(|ethertype| {
            let route = types.route(ethertype);
            (route.next().0, route.strips_header())
        });
        assert_eq!(routes, [(9, true), (1, false), (2, false), (2, false), (1, false)]);
    }

    #[test]
    fn a_later_registration_replaces_an_earlier_one() {
        let types = EtherTypes::new(NextIndex(1), NextIndex(2));
        types.set(0x0800, NextIndex(9)).unwrap();
        types.set(0x0800, NextIndex(10)).unwrap();
        assert_eq!(types.route(0x0800).next(), NextIndex(10));
        assert!(types.set(0x0800, NextIndex(0x8000)).is_err());
        assert_eq!(types.route(0x0800).next(), NextIndex(10));
    }

    #[test]
    fn lengths_and_tags_cannot_be_registered() {
        assert!(check(0x0800).is_ok());
        assert!(check(0x0600).is_ok());
        assert_eq!(check(0x05ff).unwrap_err().to_string(), "0x05ff is a length, not an EtherType");
        assert!(check(0x8100).is_err() && check(0x88a8).is_err());
    }
}
