//! The section `[barrier]`.

use toml::de::DeTable;

use super::{Config, ConfigError, Reader, in_order};
use crate::time::Nanos;

/// A minute: a host that waits longer for a worker does nothing else meanwhile.
const MAX_MS: u32 = 60_000;

impl Reader<'_> {
    pub(super) fn barrier(
        &self,
        table: &DeTable<'_>,
        config: &mut Config,
    ) -> Result<(), ConfigError> {
        for (key, value) in in_order(table) {
            if &**key.get_ref() != "deadline-ms" {
                return Err(self.unknown(key, "setting", "deadline-ms"));
            }
            let deadline = self.number(key, value, 1, MAX_MS)?;
            config.barrier_deadline = Nanos::from_millis(deadline.into());
        }
        Ok(())
    }
}
