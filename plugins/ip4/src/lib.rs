//! `ip4`: IPv4 forwarding.
//!
//! ```text
//! ethernet-input ─▶ ip4-input ──(arc ip4-unicast)──▶ ip4-lookup ─┬▶ ip4-rewrite ─▶ interface-output
//!                                                         ▲      ├▶ ip4-resolve   (ARP, packets wait)
//!                                                         │      ├▶ ip4-local     (echo reply, punt)
//!                                                         └──────┴─ ip4-icmp-error (what went wrong)
//! ethernet-input ─▶ arp-input ─▶ interface-output                   ip4-neighbor  (what timers want sent)
//! ```

pub mod adjacency;
pub mod arena;
mod arp_input;
mod cli;
pub mod fib;
pub mod icmp;
mod ip4_icmp_error;
mod ip4_input;
mod ip4_local;
mod ip4_lookup;
mod ip4_neighbor;
mod ip4_resolve;
mod ip4_rewrite;
pub mod neighbor;
#[cfg(test)]
mod node_tests;
mod router;
pub mod slots;
pub mod table;
mod trace;

pub use arp_input::ArpInput;
pub use ip4_icmp_error::Ip4IcmpError;
pub use ip4_input::Ip4Input;
pub use ip4_local::Ip4Local;
pub use ip4_lookup::Ip4Lookup;
pub use ip4_neighbor::Ip4Neighbor;
pub use ip4_resolve::Ip4Resolve;
pub use ip4_rewrite::Ip4Rewrite;
pub use router::Ip4;

use plugin_api::{declare_arc, declare_plugin, offer_service, require_service, service};

declare_plugin!(Ip4);
declare_arc!(Ip4, "ip4-unicast", starts: ["ip4-input"], end: "ip4-lookup");
require_service!(Ip4, service::ethernet_types, "^1");
offer_service!(Ip4, service::ip4_fib);
