//! The section `[rx]`.

use toml::de::DeTable;

use super::{Config, ConfigError, Reader, in_order};

/// Packets of a vector at most.
const VECTOR: u32 = 256;

impl Reader<'_> {
    pub(super) fn rx(&self, table: &DeTable<'_>, config: &mut Config) -> Result<(), ConfigError> {
        let mut last = None;
        for (key, value) in in_order(table) {
            let setting = match &**key.get_ref() {
                "polling-threshold" => &mut config.rx.polling,
                "interrupt-threshold" => &mut config.rx.interrupt,
                _ => {
                    let known = "polling-threshold, interrupt-threshold";
                    return Err(self.unknown(key, "setting", known));
                }
            };
            *setting = self.number(key, value, 0, VECTOR)?;
            last = Some(value);
        }
        if let Some(value) = last.filter(|_| config.rx.interrupt >= config.rx.polling) {
            let what = format!(
                "interrupt-threshold = {}, polling-threshold = {}: it must be less",
                config.rx.interrupt, config.rx.polling
            );
            return Err(self.error(value.span().start, what));
        }
        Ok(())
    }
}
