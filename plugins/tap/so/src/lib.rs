//! The shared object of the plugin `tap`.

plugin_api::export_plugin!(gristmill_tap);
