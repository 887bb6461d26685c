//! Lines of a plugin's under classes of its own.

use core::ffi::c_void;

use crate::{Head, Str, declaration::PluginHandle};

/// Service `log`, version 1. Any thread.
///
/// A class is written `PLUGIN/CLASS`; the operator can set its level and its rate.
#[repr(C)]
#[derive(Debug)]
pub struct LogService {
    /// Size and version.
    pub head: Head,
    /// Writes a line; `level` as in [`log_level`](crate::host::log_level).
    pub write: unsafe extern "C" fn(
        context: *mut c_void,
        plugin: PluginHandle,
        class: Str<'_>,
        level: u32,
        text: Str<'_>,
    ),
    /// 1 if lines of that class and level are logged.
    pub enabled: unsafe extern "C" fn(
        context: *mut c_void,
        plugin: PluginHandle,
        class: Str<'_>,
        level: u32,
    ) -> u32,
}

/// Service `config`, version 1. Main thread, while the plugin is created.
#[repr(C)]
#[derive(Debug)]
pub struct ConfigService {
    /// Size and version.
    pub head: Head,
    /// Line of the configuration file that sets a key of the plugin's section, from 1; 0 if none does.
    pub line: unsafe extern "C" fn(context: *mut c_void, plugin: PluginHandle, key: Str<'_>) -> u32,
}
