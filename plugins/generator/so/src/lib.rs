//! The shared object of the plugin `generator`.

plugin_api::export_plugin!(gristmill_generator);
