//! `ip4`: IPv4 forwarding.

pub mod arena;
pub mod table;
