//! The section `[handoff]`.

use toml::de::DeTable;

use super::{Config, ConfigError, Reader, in_order};

/// Most vectors of a ring: 14 MiB of them.
const MAX_RING: u32 = 1 << 16;

impl Reader<'_> {
    pub(super) fn handoff(
        &self,
        table: &DeTable<'_>,
        config: &mut Config,
    ) -> Result<(), ConfigError> {
        for (key, value) in in_order(table) {
            if &**key.get_ref() != "ring-size" {
                return Err(self.unknown(key, "setting", "ring-size"));
            }
            let size = self.number(key, value, 2, MAX_RING)?;
            if !size.is_power_of_two() {
                let near = size.next_power_of_two();
                let what =
                    format!("ring-size = {size}: must be a power of two, {} or {near}", near / 2);
                return Err(self.error(value.span().start, what));
            }
            config.handoff.ring_size = size as usize;
        }
        Ok(())
    }
}
