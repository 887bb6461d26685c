//! The shared object of the plugin `null`.

plugin_api::export_plugin!(gristmill_null);
