//! Services: tables of functions that plugins offer each other.
#![expect(unsafe_code, reason = "calls the provider for its table")]

use std::sync::Arc;

use gristmill_abi::{
    ABI_MAJOR, ABI_MINOR,
    declaration::{OfferDecl, ServiceRef},
};
use semver::{Version, VersionReq};

use super::{generation::Generation, table::own_version};
use crate::graph::Owner;

/// Why a service was not found.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServiceError {
    /// The range is no semver requirement.
    #[error("service {name}: {range:?} is no range of versions")]
    Range {
        /// Name of the service.
        name: String,
        /// What was asked for.
        range: String,
        /// What is wrong with it.
        source: semver::Error,
    },
    /// Nobody offers it.
    #[error(
        "neither this host, of plugin ABI {ABI_MAJOR}.{ABI_MINOR}, nor a plugin offers the service \
         {name:?} {range}: load a plugin that does, or update the host"
    )]
    Unknown {
        /// Name of the service.
        name: String,
        /// What was asked for.
        range: String,
    },
    /// It is offered in another version.
    #[error("service {name} is needed in version {range}, and {provider} offers {version}")]
    Version {
        /// Name of the service.
        name: String,
        /// What was asked for.
        range: String,
        /// The plugin, or the host.
        provider: String,
        /// What it offers.
        version: Version,
    },
    /// A plugin offers it already.
    #[error("service {name} is offered by {provider} already")]
    Duplicate {
        /// Name of the service.
        name: String,
        /// The plugin.
        provider: String,
    },
}

#[derive(Debug)]
struct Offer {
    name: String,
    version: Version,
    decl: OfferDecl,
    generation: Arc<Generation>,
}

/// All services of plugins, and who requires them.
#[derive(Debug, Default)]
pub struct Services {
    offers: Vec<Offer>,
    /// Name of the service, and the plugin that requires it.
    required: Vec<(String, Arc<Generation>)>,
}

impl Services {
    /// Adds a service.
    ///
    /// # Errors
    /// [`ServiceError::Duplicate`].
    pub fn offer(
        &mut self,
        name: &str,
        version: Version,
        decl: OfferDecl,
        generation: Arc<Generation>,
    ) -> Result<(), ServiceError> {
        if let Some(other) = self.offers.iter().find(|offer| offer.name == name) {
            let (name, provider) = (name.to_owned(), other.generation.name.clone());
            return Err(ServiceError::Duplicate { name, provider });
        }
        self.offers.push(Offer { name: name.to_owned(), version, decl, generation });
        Ok(())
    }

    /// Notes that a plugin requires a service.
    ///
    /// # Errors
    /// If it is not offered in that range.
    pub fn require(
        &mut self,
        name: &str,
        range: &str,
        generation: &Arc<Generation>,
    ) -> Result<(), ServiceError> {
        self.check(name, range)?;
        self.required.push((name.to_owned(), Arc::clone(generation)));
        Ok(())
    }

    /// Checks that a service is offered in a range, by the host or by a plugin.
    ///
    /// # Errors
    /// If it is not.
    pub fn check(&self, name: &str, range: &str) -> Result<(), ServiceError> {
        match own_version(name) {
            Some(version) => fits(name, range, "this host", &version),
            None => self.select(name, range).map(|_| ()),
        }
    }

    /// The service, for a call.
    ///
    /// # Errors
    /// If it is not offered in that range.
    pub fn find(&self, name: &str, range: &str) -> Result<ServiceRef, ServiceError> {
        let offer = self.select(name, range)?;
        let context = offer.generation.state();
        // SAFETY: the state is that of the plugin that declared the offer.
        let table = unsafe { (offer.decl.table)(context) };
        Ok(ServiceRef { table, context })
    }

    fn select(&self, name: &str, range: &str) -> Result<&Offer, ServiceError> {
        let found = self.offers.iter().find(|offer| offer.name == name);
        let offer = found.ok_or_else(|| ServiceError::Unknown {
            name: name.to_owned(),
            range: range.to_owned(),
        })?;
        fits(name, range, &offer.generation.name, &offer.version)?;
        Ok(offer)
    }

    /// Services of `owner`.
    pub fn of(&self, owner: Owner) -> Vec<String> {
        let own = self.offers.iter().filter(|offer| offer.generation.owner == owner);
        own.map(|offer| format!("{} {}", offer.name, offer.version)).collect()
    }

    /// Other plugins that require services of `owner`: (plugin, service).
    pub fn users_of(&self, owner: Owner) -> Vec<(String, String)> {
        let own = |name: &str| {
            self.offers.iter().any(|offer| offer.generation.owner == owner && offer.name == name)
        };
        let users = self.required.iter().filter(|(name, user)| user.owner != owner && own(name));
        users.map(|(name, user)| (user.name.clone(), name.clone())).collect()
    }

    /// Removes what `owner` offers and requires.
    pub fn remove_owner(&mut self, owner: Owner) {
        self.offers.retain(|offer| offer.generation.owner != owner);
        self.required.retain(|(_, user)| user.owner != owner);
    }
}

/// Checks the version of a service that is there.
pub(super) fn fits(
    name: &str,
    range: &str,
    provider: &str,
    version: &Version,
) -> Result<(), ServiceError> {
    let (name, range) = (name.to_owned(), range.to_owned());
    match VersionReq::parse(&range) {
        Err(source) => Err(ServiceError::Range { name, range, source }),
        Ok(wanted) if wanted.matches(version) => Ok(()),
        Ok(_) => {
            let (provider, version) = (provider.to_owned(), version.clone());
            Err(ServiceError::Version { name, range, provider, version })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plugin_may_require_the_hosts_own_services_in_the_versions_that_they_have() {
        let services = Services::default();
        assert!(services.check("timer", "^1").is_ok());
        let error = services.check("timer", "^1.1").unwrap_err().to_string();
        assert_eq!(error, "service timer is needed in version ^1.1, and this host offers 1.0.0");
        let error = services.check("timer", "yes").unwrap_err().to_string();
        assert_eq!(error, "service timer: \"yes\" is no range of versions");
    }

    #[test]
    fn a_service_that_nobody_offers_is_named_with_the_version_and_the_hosts_own() {
        let error = Services::default().check("later", "^1.2").unwrap_err().to_string();
        let abi = format!("of plugin ABI {ABI_MAJOR}.{ABI_MINOR}");
        assert!(error.contains(&abi), "{error}");
        assert!(
            error.contains("offers the service \"later\" ^1.2: load a plugin that does"),
            "{error}"
        );
    }
}
