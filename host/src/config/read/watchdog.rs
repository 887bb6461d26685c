//! The section `[watchdog]`.

use toml::de::DeTable;

use super::{Config, ConfigError, Reader, in_order};
use crate::time::Nanos;

/// A minute: who waits longer for a report does not want one.
const MAX_MS: u32 = 60_000;

impl Reader<'_> {
    pub(super) fn watchdog(
        &self,
        table: &DeTable<'_>,
        config: &mut Config,
    ) -> Result<(), ConfigError> {
        for (key, value) in in_order(table) {
            if &**key.get_ref() != "threshold-ms" {
                return Err(self.unknown(key, "setting", "threshold-ms"));
            }
            let threshold = self.number(key, value, 0, MAX_MS)?;
            config.watchdog = Nanos::from_millis(threshold.into());
        }
        Ok(())
    }
}
