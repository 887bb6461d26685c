//! The shared object of the plugin `handoff`.

plugin_api::export_plugin!(gristmill_handoff);
