//! `ip4`: IPv4 forwarding.

pub mod adjacency;
pub mod arena;
pub mod fib;
pub mod flow;
pub mod icmp;
pub mod neighbor;
pub mod slots;
pub mod table;
