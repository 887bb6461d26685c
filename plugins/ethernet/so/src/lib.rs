//! The shared object of the plugin `ethernet`.

plugin_api::export_plugin!(gristmill_ethernet);
