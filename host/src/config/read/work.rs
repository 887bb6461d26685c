//! The section `[work]`.

use toml::de::DeTable;

use super::{Config, ConfigError, Reader, in_order};

/// More threads than a process should have.
const MAX_THREADS: u32 = 4_096;

impl Reader<'_> {
    pub(super) fn work(&self, table: &DeTable<'_>, config: &mut Config) -> Result<(), ConfigError> {
        for (key, value) in in_order(table) {
            if &**key.get_ref() != "max-threads" {
                return Err(self.unknown(key, "setting", "max-threads"));
            }
            config.work_threads = self.number(key, value, 1, MAX_THREADS)? as usize;
        }
        Ok(())
    }
}
