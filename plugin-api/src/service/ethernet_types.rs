//! Service `ethernet-types`: who gets the packets of an EtherType.
#![expect(clippy::allow_attributes, reason = "the macro is at home in this crate")]

crate::service! {
    /// Offered by the plugin `ethernet`.
    pub mod table("ethernet-types", "1.0.0") {
        /// Sends packets of `ethertype` to `node` from now on, with the Ethernet header behind
        /// them; returns the next number of `ethernet-input`. The node must be in the graph: to
        /// be called from [`Plugin::start`](crate::Plugin::start) or later.
        fn register(ethertype: u16, node: Str<'_>) -> u16;
    }
}

pub use table::*;
