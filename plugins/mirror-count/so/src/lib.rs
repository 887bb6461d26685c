//! The shared object of the plugin `mirror-count`.

plugin_api::export_plugin!(gristmill_mirror_count);
