//! A plugin's own section of the host's configuration.

use core::{cell::RefCell, fmt::Display, str::FromStr};

use gristmill_abi::declaration::ConfigEntry;

use crate::Error;

/// The settings under `[plugin.NAME]`, already split into keys and values.
///
/// A key that the plugin never asks for is an error, so that a misspelt one does not go unnoticed.
#[derive(Debug, Default)]
pub struct Config<'a> {
    entries: &'a [ConfigEntry<'a>],
    asked: RefCell<Vec<&'a str>>,
}

impl<'a> Config<'a> {
    pub(crate) fn new(entries: &'a [ConfigEntry<'a>]) -> Self {
        Self { entries, asked: RefCell::default() }
    }

    /// The text of `key`, if it is set.
    pub fn text(&self, key: &str) -> Option<&'a str> {
        let entry = self.entries.iter().find(|entry| entry.key.as_str() == key)?;
        self.asked.borrow_mut().push(entry.key.as_str());
        Some(entry.value.as_str())
    }

    /// The value of `key`, if it is set.
    ///
    /// # Errors
    /// If it is set to something that is not a `T`.
    pub fn parse<T: FromStr<Err: Display>>(&self, key: &str) -> Result<Option<T>, Error> {
        let parse = |text: &str| {
            text.parse().map_err(|error| Error::new(format!("{key} = {text:?}: {error}")))
        };
        self.text(key).map(parse).transpose()
    }

    pub(crate) fn unknown(&self) -> Option<&'a str> {
        let asked = self.asked.borrow();
        self.entries.iter().map(|entry| entry.key.as_str()).find(|key| !asked.contains(key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_nobody_asked_for_is_named_and_a_wrong_value_is_shown() {
        let entries = [
            ConfigEntry { key: "ring".into(), value: "1x".into() },
            ConfigEntry { key: "rign".into(), value: "2".into() },
        ];
        let config = Config::new(&entries);
        let error = config.parse::<u32>("ring").unwrap_err();
        assert_eq!(error.to_string(), "ring = \"1x\": invalid digit found in string");
        assert_eq!(config.unknown(), Some("rign"));
        assert_eq!(config.parse::<u32>("absent"), Ok(None));
    }
}
