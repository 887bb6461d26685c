//! The plugin's section of the configuration:
//!
//! ```toml
//! [plugin.acme-dpi]
//! block = "quic"      # a class whose packets are dropped; none if not set
//! interval-ms = 1000  # how often rates are taken
//! ```

use plugin_api::{Config, Error};

use crate::class::Class;

/// What the section says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Class whose packets are dropped.
    pub blocked: Option<Class>,
    /// Time between two takings of the rates.
    pub interval_ns: u64,
}

impl Settings {
    /// Reads the section. Keys that nobody asks for are refused by the SDK.
    ///
    /// # Errors
    /// If a value does not do.
    pub fn read(config: &Config<'_>) -> Result<Self, Error> {
        let blocked = config.parse("block")?;
        let interval_ms: u64 = config.within("interval-ms", 1..=60_000)?.unwrap_or(1000);
        Ok(Self { blocked, interval_ns: interval_ms * 1_000_000 })
    }
}

#[cfg(test)]
mod tests {
    use plugin_api::testing::create;

    use super::*;
    use crate::AcmeDpi;

    #[test]
    fn what_is_not_set_has_a_default_and_what_is_set_counts() {
        let settings = create::<AcmeDpi>(&[]).unwrap().settings;
        assert_eq!(settings, Settings { blocked: None, interval_ns: 1_000_000_000 });
        let set = [("block", "tls"), ("interval-ms", "20")];
        let settings = create::<AcmeDpi>(&set).unwrap().settings;
        assert_eq!(settings, Settings { blocked: Some(Class::Tls), interval_ns: 20_000_000 });
    }

    #[test]
    fn a_wrong_value_or_an_unknown_key_is_named() {
        for (set, reason) in [
            (("block", "ftp"), "block = \"ftp\" (line 7): no such class, there are dns,"),
            (("interval-ms", "0"), "interval-ms = \"0\" (line 7): must be 1 to 60000"),
            (("interval-ms", "1s"), "interval-ms = \"1s\" (line 7): invalid digit"),
            (("blok", "tls"), "unknown setting \"blok\" (line 7): did you mean \"block\"?"),
        ] {
            let error = create::<AcmeDpi>(&[set]).unwrap_err().to_string();
            assert!(error.starts_with(reason), "{error}");
        }
    }
}
