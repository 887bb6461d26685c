//! `handoff`: spreads the packets of an interface over the workers, flow by flow.
//!
//! ```text
//!               arc device-input, on the interface's own thread
//! NAME-input ─▶ worker-handoff ─▶ flow hash ─▶ a worker of the interface's list ─▶ ethernet-input
//!                                                  (that worker itself goes on)
//! ```

mod choices;
mod cli;
mod handoff;
mod worker_handoff;

pub use choices::Choice;
pub use handoff::WorkerHandoffs;
pub use worker_handoff::WorkerHandoff;

use plugin_api::declare_plugin;

declare_plugin!(WorkerHandoffs);
