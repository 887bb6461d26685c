//! A packet to be put on the bench.

use crate::InterfaceIndex;

/// A packet to be: its bytes and what a node before this one would have set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TestPacket {
    pub(super) bytes: Vec<u8>,
    pub(super) rx_interface: Option<u32>,
    pub(super) adjacency: u32,
}

impl TestPacket {
    /// A packet of these bytes.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self { bytes: bytes.into(), ..Self::default() }
    }

    /// As received on `interface`.
    #[must_use]
    pub fn received_on(mut self, interface: InterfaceIndex) -> Self {
        self.rx_interface = Some(interface.0);
        self
    }

    /// With an adjacency chosen.
    #[must_use]
    pub fn with_adjacency(mut self, adjacency: u32) -> Self {
        self.adjacency = adjacency;
        self
    }
}

impl<T: Into<Vec<u8>>> From<T> for TestPacket {
    fn from(bytes: T) -> Self {
        Self::new(bytes)
    }
}
