//! The host.

pub mod time;
