//! The host: it owns the loops, the clock, the graph and the interfaces; all else is plugins.

pub mod args;
pub mod boot;
pub mod buffer;
pub mod cli;
pub mod config;
pub mod control;
pub mod deferred;
pub mod demo;
pub mod device;
pub mod engine;
pub mod graph;
pub mod host;
pub mod log;
pub mod plugin;
pub mod process;
pub mod run;
pub mod stats;
pub mod sync;
pub mod time;
