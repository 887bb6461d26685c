//! Where packets come from and go to: interfaces, their input and output nodes, and the two ends
//! of packets that go nowhere. The drivers are plugins.

pub mod balance;
pub mod control;
mod drop;
mod input;
mod interface;
mod link;
pub mod netlink;
mod output;
mod placement;
mod punt;

pub use control::InterfaceError;
pub use drop::error_drop;
pub use input::input_node;
pub use interface::{DeviceOps, Interface, InterfaceCounters, Interfaces, NewInterface};
pub use link::LinkNews;
pub use output::output_node;
pub use punt::{PuntState, error_punt};
