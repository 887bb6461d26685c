//! The shared object of the `null` plugin.
