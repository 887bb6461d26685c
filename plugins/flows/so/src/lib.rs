//! The shared object of the plugin `flows`.

plugin_api::export_plugin!(gristmill_flows);
