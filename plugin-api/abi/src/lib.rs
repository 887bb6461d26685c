//! The contract between host and plugins.
