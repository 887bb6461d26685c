//! Addresses of interfaces, and the routes they bring.

use std::net::Ipv4Addr;

use plugin_api::{InterfaceIndex, wire::Ip4Prefix};

use super::{Fib, Path, Source};
use crate::{arena::Full, icmp::is_one_host};

/// An address of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InterfaceAddress {
    /// Whose.
    pub interface: InterfaceIndex,
    /// The address.
    pub address: Ipv4Addr,
    /// What is on the link.
    pub prefix: Ip4Prefix,
}

/// Why an address was not set or removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AddressError {
    /// No memory is left for its routes.
    #[error(transparent)]
    Full(#[from] Full),
    /// It is not the address of a single host.
    #[error("{0} cannot be an interface's address: it is not a unicast address")]
    NotUnicast(Ipv4Addr),
    /// An interface has it already.
    #[error("{0} is already an address of interface {1}")]
    Taken(Ipv4Addr, InterfaceIndex),
    /// Its prefix overlaps with that of another interface.
    #[error("the prefix overlaps with {0} of interface {1}")]
    Overlap(Ip4Prefix, InterfaceIndex),
    /// The interface does not have it.
    #[error("the interface has no address {0}")]
    Unknown(Ipv4Addr),
}

impl Fib {
    /// Gives an interface an address, with the routes to it and to its link.
    ///
    /// # Errors
    /// [`AddressError`]; nothing has changed.
    pub fn add_address(&mut self, new: InterfaceAddress) -> Result<(), AddressError> {
        let InterfaceAddress { interface, address, prefix } = new;
        if !is_one_host(address) || !prefix.contains(address) {
            return Err(AddressError::NotUnicast(address));
        }
        for other in &self.addresses {
            if other.address == address {
                return Err(AddressError::Taken(address, other.interface));
            }
            let overlap = other.prefix.covers(prefix) || prefix.covers(other.prefix);
            if overlap && other.interface != interface {
                return Err(AddressError::Overlap(other.prefix, other.interface));
            }
        }
        self.addresses.push(new);
        self.update_link_routes(new).inspect_err(|_| {
            self.addresses.pop();
            // Taking routes away again needs no memory that setting them did not.
            self.update_link_routes(new).unwrap_or_default();
        })?;
        Ok(())
    }

    /// Takes an address from an interface, with its routes.
    ///
    /// # Errors
    /// [`AddressError::Unknown`]; nothing has changed.
    pub fn remove_address(
        &mut self,
        interface: InterfaceIndex,
        address: Ipv4Addr,
    ) -> Result<(), AddressError> {
        let is_it =
            |other: &InterfaceAddress| (other.interface, other.address) == (interface, address);
        let place = self.addresses.iter().position(is_it).ok_or(AddressError::Unknown(address))?;
        let old = self.addresses.remove(place);
        Ok(self.update_link_routes(old)?)
    }

    /// All addresses of interfaces, in the order they were set.
    pub fn addresses(&self) -> &[InterfaceAddress] {
        &self.addresses
    }

    /// The address of `interface` to speak to `target` from: one on the same prefix, else its first.
    pub fn source_address(&self, interface: InterfaceIndex, target: Ipv4Addr) -> Option<Ipv4Addr> {
        let mut own = self.addresses.iter().filter(|own| own.interface == interface);
        let near = own.clone().filter(|own| own.prefix.contains(target));
        near.max_by_key(|own| own.prefix.len()).or_else(|| own.next()).map(|own| own.address)
    }

    /// The interface that has this address.
    pub fn interface_of(&self, address: Ipv4Addr) -> Option<InterfaceIndex> {
        self.addresses.iter().find(|own| own.address == address).map(|own| own.interface)
    }

    /// Sets the routes that the addresses want for the prefixes of `changed`.
    pub(super) fn update_link_routes(&mut self, changed: InterfaceAddress) -> Result<(), Full> {
        let InterfaceAddress { address, prefix, .. } = changed;
        let edges = [Ip4Prefix::host(prefix.first()), Ip4Prefix::host(prefix.last())];
        let mut touched = vec![prefix, Ip4Prefix::host(address)];
        touched.extend(edges);
        touched.sort_unstable();
        touched.dedup();
        touched.into_iter().try_for_each(|target| {
            let path = self.link_path(target);
            self.set(target, Source::Interface, path.as_slice())
        })
    }

    /// What the addresses want for `target`.
    fn link_path(&self, target: Ip4Prefix) -> Option<Path> {
        let own = |own: &InterfaceAddress| Ip4Prefix::host(own.address) == target;
        if self.addresses.iter().any(own) {
            return Some(Path::Local);
        }
        let link = self.addresses.iter().find(|own| own.prefix == target);
        if let Some(&InterfaceAddress { interface, .. }) = link {
            return Some(Path::Attached { interface });
        }
        // The first and last address of a link are its network and its broadcast address.
        let is_edge = |own: &InterfaceAddress| {
            let edges = [own.prefix.first(), own.prefix.last()].map(Ip4Prefix::host);
            own.prefix.len() <= 30 && edges.contains(&target)
        };
        self.addresses.iter().any(is_edge).then_some(Path::Drop)
    }
}
