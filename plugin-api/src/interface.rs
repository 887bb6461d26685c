//! Interfaces, which the host owns.

use core::fmt;

use gristmill_abi::{
    descriptor::text,
    device::{INTERFACE_L3, InterfaceInfo as RawInfo},
};

use crate::{Error, Host};

/// Names an interface of the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(transparent)]
pub struct InterfaceIndex(pub u32);

impl fmt::Display for InterfaceIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// What the host knows of an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InterfaceInfo {
    /// Index.
    pub index: InterfaceIndex,
    /// Name.
    pub name: String,
    /// MAC address; zeros if it has none.
    pub mac: [u8; 6],
    /// Bytes of the largest layer-3 packet.
    pub mtu: u32,
    /// Carries IP packets without an Ethernet header.
    pub is_l3: bool,
    /// Taken up by the operator.
    pub admin_up: bool,
    /// The link is up.
    pub link_up: bool,
}

impl Host {
    /// What is known of an interface; `None` if there is none.
    pub fn interface(&self, index: InterfaceIndex) -> Option<InterfaceInfo> {
        let (service, context) = self.interfaces().ok()?;
        let mut raw = RawInfo::empty();
        // SAFETY: main thread; all pointers are good for the call.
        let status = unsafe { (service.info)(context, index.0, &raw mut raw) };
        status.is_ok().then(|| InterfaceInfo {
            index,
            name: text(&raw.name).unwrap_or_default().to_owned(),
            mac: raw.mac,
            mtu: raw.mtu,
            is_l3: raw.flags & INTERFACE_L3 != 0,
            admin_up: raw.admin_up != 0,
            link_up: raw.link_up != 0,
        })
    }

    /// The interface of that name.
    pub fn find_interface(&self, name: &str) -> Option<InterfaceIndex> {
        let (service, context) = self.interfaces().ok()?;
        let mut index = 0;
        // SAFETY: main thread; all pointers are good for the call.
        let status = unsafe { (service.find)(context, name.into(), &raw mut index) };
        status.is_ok().then_some(InterfaceIndex(index))
    }

    /// All interfaces.
    pub fn interface_indices(&self) -> Vec<InterfaceIndex> {
        let Ok((service, context)) = self.interfaces() else { return Vec::new() };
        let (mut found, mut index) = (Vec::new(), 0);
        // SAFETY: main thread; all pointers are good for the call.
        while unsafe { (service.next)(context, index, &raw mut index) }.is_ok() {
            found.push(InterfaceIndex(index));
            index += 1;
        }
        found
    }

    /// Takes an interface up or down.
    ///
    /// # Errors
    /// If there is none, or its device refuses.
    pub fn set_interface_admin(&self, index: InterfaceIndex, up: bool) -> Result<(), Error> {
        let (service, context) = self.interfaces()?;
        self.call(|error| {
            // SAFETY: main thread; all pointers are good for the call.
            unsafe { (service.set_admin)(context, self.plugin, index.0, up.into(), error) }
        })
    }

    /// Tells the host that the link of an interface of this plugin went up or down.
    ///
    /// # Errors
    /// If the interface is not one of this plugin's.
    pub fn set_interface_link(&self, index: InterfaceIndex, up: bool) -> Result<(), Error> {
        let (service, context) = self.interfaces()?;
        // SAFETY: main thread.
        let status = unsafe { (service.set_link)(context, self.plugin, index.0, up.into()) };
        if status.is_ok() {
            Ok(())
        } else {
            Err(Error::new(format!("interface {index} is not of this plugin")))
        }
    }

    /// Deletes an interface of this plugin; its device is dropped.
    ///
    /// # Errors
    /// If it is not one of this plugin's, or still in use.
    pub fn delete_interface(&self, index: InterfaceIndex) -> Result<(), Error> {
        let (service, context) = self.interfaces()?;
        self.call(|error| {
            // SAFETY: main thread; all pointers are good for the call.
            unsafe { (service.delete)(context, self.plugin, index.0, error) }
        })
    }
}
