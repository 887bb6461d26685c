//! The host: it owns the loops, the clock, the graph and the interfaces; all else is plugins.

pub mod buffer;
pub mod graph;
pub mod plugin;
pub mod time;
