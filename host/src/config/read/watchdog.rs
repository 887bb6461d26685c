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
            let setting = match &**key.get_ref() {
                "threshold-ms" => &mut config.watchdog,
                "hang-ms" => &mut config.hang,
                _ => return Err(self.unknown(key, "setting", "threshold-ms, hang-ms")),
            };
            *setting = Nanos::from_millis(self.number(key, value, 0, MAX_MS)?.into());
        }
        Ok(())
    }
}
