//! Device classes: who can make interfaces of which kind.

use std::{collections::BTreeMap, sync::Arc};

use gristmill_abi::device::DeviceClassDecl;

use super::generation::Generation;
use crate::graph::Owner;

/// A device class.
#[derive(Clone, Debug)]
pub struct Class {
    /// The class's functions.
    pub decl: DeviceClassDecl,
    /// The generation it belongs to.
    pub generation: Arc<Generation>,
}

/// All device classes, by name.
#[derive(Debug, Default)]
pub struct Classes(BTreeMap<String, Class>);

impl Classes {
    /// Adds a class; gives the name of the plugin that has it already, if one does.
    ///
    /// # Errors
    /// Name of the plugin that has it.
    pub fn add(&mut self, name: &str, class: Class) -> Result<(), String> {
        if let Some(other) = self.0.get(name) {
            return Err(other.generation.name.clone());
        }
        self.0.insert(name.to_owned(), class);
        Ok(())
    }

    /// The class `name` of `owner`.
    pub fn get(&self, name: &str, owner: Owner) -> Option<&Class> {
        self.0.get(name).filter(|class| class.generation.owner == owner)
    }

    /// Names of the classes of `owner`.
    pub fn of(&self, owner: Owner) -> Vec<String> {
        let of = |class: &Class| class.generation.owner == owner;
        self.0.iter().filter(|(_, class)| of(class)).map(|(name, _)| name.clone()).collect()
    }

    /// Removes the classes of `owner`.
    pub fn remove_owner(&mut self, owner: Owner) {
        self.0.retain(|_, class| class.generation.owner != owner);
    }
}
