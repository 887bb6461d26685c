//! The host: it owns the loops, the clock, the graph and the interfaces; all else is plugins.

pub mod buffer;
pub mod cli;
pub mod device;
pub mod engine;
pub mod graph;
pub mod host;
pub mod plugin;
pub mod time;
