//! Services `log` and `config`: lines under classes of a plugin's own, and where its settings stand.

use std::{
    ffi::c_void,
    panic::{AssertUnwindSafe, catch_unwind},
};

use gristmill_abi::{
    Head, Status, Str,
    declaration::PluginHandle,
    log::{ConfigService, LogService},
};

use super::{guard, host_of};
use crate::{graph::Owner, host::Host, log::Level};

pub(super) static SERVICE: LogService =
    LogService { head: Head::of::<LogService>(), write, enabled };
pub(super) static CONFIG_SERVICE: ConfigService =
    ConfigService { head: Head::of::<ConfigService>(), line };

fn class_of(host: &Host, plugin: PluginHandle, class: &str) -> String {
    let name = host.owner_name(Owner(plugin));
    if class.is_empty() { name } else { format!("{name}/{class}") }
}

unsafe extern "C" fn write(
    context: *mut c_void,
    plugin: PluginHandle,
    class: Str<'_>,
    level: u32,
    text: Str<'_>,
) {
    guard(|| {
        // SAFETY: the plugin passes the context it was given.
        let host = unsafe { host_of(context) };
        let level = Level::from_abi(level);
        if host.log.enabled(level) {
            host.log.write(level, &class_of(host, plugin, class.as_str()), text.as_str());
        }
        Status::OK
    });
}

unsafe extern "C" fn enabled(
    context: *mut c_void,
    plugin: PluginHandle,
    class: Str<'_>,
    level: u32,
) -> u32 {
    // SAFETY: the plugin passes the context it was given.
    let host = unsafe { host_of(context) };
    let level = Level::from_abi(level);
    let ask = || {
        host.log.enabled(level)
            && host.log.enabled_for(&class_of(host, plugin, class.as_str()), level)
    };
    u32::from(catch_unwind(AssertUnwindSafe(ask)).unwrap_or(false))
}

unsafe extern "C" fn line(context: *mut c_void, plugin: PluginHandle, key: Str<'_>) -> u32 {
    // SAFETY: the plugin passes the context it was given.
    let host = unsafe { host_of(context) };
    let find = || {
        let loading = host.loading.lock().as_ref().is_some_and(|(owner, ..)| owner.0 == plugin);
        let lines = host.config_lines.lock();
        lines.get(key.as_str()).filter(|_| loading).map_or(0, |&line| line)
    };
    let line = catch_unwind(AssertUnwindSafe(find)).unwrap_or(0);
    u32::try_from(line).unwrap_or(0)
}
