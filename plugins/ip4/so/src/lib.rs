//! The shared object of the plugin `ip4`.

plugin_api::export_plugin!(gristmill_ip4);
