//! The shared object of the plugin `af-packet`.

plugin_api::export_plugin!(gristmill_af_packet);
