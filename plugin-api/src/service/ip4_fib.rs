//! Service `ip4-fib`: routes from other plugins.
#![expect(clippy::allow_attributes, reason = "the macro is at home in this crate")]

crate::service! {
    /// Offered by the plugin `ip4`. Addresses are in host byte order.
    pub mod table("ip4-fib", "1.0.0") {
        /// Adds a path to the route of `prefix`/`len`: through `next_hop`, or straight to
        /// `interface` if that is 0; `interface` is `u32::MAX` where the next hop decides.
        fn add_route(prefix: u32, len: u32, next_hop: u32, interface: u32) -> u32;
        /// Removes the route of `prefix`/`len`.
        fn remove_route(prefix: u32, len: u32) -> u32;
    }
}

pub use table::*;
