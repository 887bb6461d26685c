//! The section `[host]`.

use toml::de::DeTable;

use super::{Config, ConfigError, MAX_CORE, MAX_WORKERS, Reader, Value, in_order};

impl Reader<'_> {
    pub(super) fn host(&self, table: &DeTable<'_>, config: &mut Config) -> Result<(), ConfigError> {
        let mut workers = None;
        let mut corelist = None;
        let (mut policy, mut priority) = (None, None);
        for (key, value) in in_order(table) {
            match &**key.get_ref() {
                "workers" => {
                    config.workers = self.number(key, value, 0, MAX_WORKERS)?;
                    workers = Some(value);
                }
                "main-core" => config.main_core = Some(self.number(key, value, 0, MAX_CORE)?),
                "scheduler-policy" => policy = Some((value, self.policy(key, value)?)),
                "scheduler-priority" => priority = Some((value, self.number(key, value, 1, 99)?)),
                "corelist-workers" => {
                    config.corelist_workers = self.cores(key, value)?;
                    corelist = Some(value);
                }
                "buffers" => config.buffers = self.number(key, value, 1_024, 1 << 24)?,
                "plugins" => config.plugins = self.plugin_list(key, value)?,
                "plugin-dirs" => {
                    let dirs = self.list(key, value)?.iter();
                    config.plugin_dirs =
                        dirs.map(|dir| self.path(key, dir)).collect::<Result<_, _>>()?;
                }
                "allow-abort-plugins" => config.allow_abort_plugins = self.switch(key, value)?,
                "trust-writable-plugins" => {
                    config.trust_writable_plugins = self.switch(key, value)?;
                }
                "exec" => config.exec = self.exec(key, value)?,
                _ => {
                    let known = "workers, main-core, corelist-workers, scheduler-policy, \
                        scheduler-priority, buffers, plugins, plugin-dirs, allow-abort-plugins, \
                        trust-writable-plugins, exec";
                    return Err(self.unknown(key, "setting", known));
                }
            }
        }
        config.scheduling = self.scheduling(policy, priority)?;
        self.reconcile(workers, corelist, config)
    }

    /// Makes `workers` and `corelist-workers` say the same, on cores other than main's.
    fn reconcile(
        &self,
        workers: Option<&Value<'_>>,
        corelist: Option<&Value<'_>>,
        config: &mut Config,
    ) -> Result<(), ConfigError> {
        let Some(corelist) = corelist else {
            return Ok(());
        };
        if let Some(core) = config.main_core.filter(|core| config.corelist_workers.contains(core)) {
            let what = format!("corelist-workers names core {core}, which main-core has");
            return Err(self.error(corelist.span().start, what));
        }
        let cores = u32::try_from(config.corelist_workers.len()).unwrap_or(u32::MAX);
        if let Some(value) = workers.filter(|_| config.workers != cores) {
            let what = format!(
                "workers = {}, but corelist-workers names {cores} cores: give one core each",
                config.workers
            );
            return Err(self.error(value.span().start, what));
        }
        config.workers = cores;
        Ok(())
    }
}
