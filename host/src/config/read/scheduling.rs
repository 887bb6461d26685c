//! The settings `scheduler-policy` and `scheduler-priority` of section `[host]`.

use super::{ConfigError, Key, Reader, Value};
use crate::engine::{Policy, Scheduling};

const POLICIES: &str = "\"other\", \"batch\", \"idle\", \"fifo\" or \"rr\"";

impl Reader<'_> {
    pub(super) fn policy(&self, key: &Key<'_>, value: &Value<'_>) -> Result<Policy, ConfigError> {
        let text = self.string(key, value)?;
        Policy::parse(text).ok_or_else(|| {
            let what = format!("there is no scheduler policy {text:?}: take {POLICIES}");
            self.error(value.span().start, what)
        })
    }

    /// A real-time policy has a priority, 1 unless said; another has none.
    pub(super) fn scheduling(
        &self,
        policy: Option<(&Value<'_>, Policy)>,
        priority: Option<(&Value<'_>, u32)>,
    ) -> Result<Scheduling, ConfigError> {
        let policy = policy.map(|(_, policy)| policy);
        let is_real_time = policy.is_some_and(Policy::is_real_time);
        if let Some((value, _)) = priority.filter(|_| !is_real_time) {
            let what = "scheduler-priority is for scheduler-policy \"fifo\" and \"rr\" only";
            return Err(self.error(value.span().start, what.to_owned()));
        }
        let priority = if is_real_time { priority.map_or(1, |(_, priority)| priority) } else { 0 };
        Ok(Scheduling { policy, priority })
    }
}
