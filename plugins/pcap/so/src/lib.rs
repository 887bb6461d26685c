//! The shared object of the plugin `pcap`.

plugin_api::export_plugin!(gristmill_pcap);
