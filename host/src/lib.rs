//! The host.

pub mod cli;
