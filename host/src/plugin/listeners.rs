//! Who is told when an interface or a thread comes, goes or changes.

use std::sync::Arc;

use super::generation::Generation;
use crate::graph::Owner;

/// All plugins, in the order they were loaded.
#[derive(Debug, Default)]
pub struct Listeners(Vec<Arc<Generation>>);

impl Listeners {
    /// Adds a plugin.
    pub fn add(&mut self, generation: Arc<Generation>) {
        self.0.push(generation);
    }

    /// Removes a plugin.
    pub fn remove_owner(&mut self, owner: Owner) {
        self.0.retain(|generation| generation.owner != owner);
    }

    /// Those to be told now; to be called without the lock.
    pub fn all(&self) -> Vec<Arc<Generation>> {
        self.0.clone()
    }

    /// The plugin's name; `host` for the host itself.
    pub fn name(&self, owner: Owner) -> String {
        let found = self.0.iter().find(|generation| generation.owner == owner);
        found.map_or_else(|| "host".to_owned(), |generation| generation.name.clone())
    }

    /// The plugin's version; empty for the host itself.
    pub fn version(&self, owner: Owner) -> String {
        let found = self.0.iter().find(|generation| generation.owner == owner);
        found.map_or_else(String::new, |generation| generation.version.clone())
    }
}
