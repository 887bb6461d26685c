//! `flows`: packets and bytes of each IPv4 flow, with idle and active time-outs.
//!
//! ```text
//!                  flows-expire (input, each turn)
//!                       │ turns the wheel, ends flows
//!                       ▼
//!   a table and a wheel for each thread ──▶ what is shown: words that this thread alone writes
//!                       ▲                                        ▲
//!                       │ counts, starts and restarts flows      │ reads, in nobody's way
//! ip4-input ─▶ flows-meter ─▶ ip4-lookup (arc ip4-unicast)     show flows (main)
//! ```

pub mod cli;
pub mod config;
mod flows;
pub mod flows_expire;
pub mod flows_meter;
mod index;
pub mod key;
pub mod shown;
pub mod table;
mod thread;
mod versioned;

pub use flows::Flows;
pub use flows_expire::FlowsExpire;
pub use flows_meter::FlowsMeter;

use plugin_api::declare_plugin;

declare_plugin!(Flows);
