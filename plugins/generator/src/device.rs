//! The device class `generator`.

use plugin_api::{Device, RxFrame, TxFrame, declare_device, next_nodes};

use crate::{Generator, sink::SinkQueue, source::SourceQueue};

next_nodes! {
    /// Where the packets go.
    pub enum Next { Ethernet => Optional("ethernet-input") }
}

/// A generator: streams come in by it, and what leaves by it is accounted for. All its state is in
/// its queues.
#[derive(Debug)]
pub struct GeneratorDevice;

impl Device for GeneratorDevice {
    const CLASS: &'static str = "generator";
    type Plugin = Generator;
    type Next = Next;
    type Rx = SourceQueue;
    type Tx = SinkQueue;

    fn receive(&self, queue: &mut SourceQueue, frame: &mut RxFrame<'_, Next>) {
        queue.receive(frame);
    }

    fn transmit(&self, queue: &mut SinkQueue, frame: &mut TxFrame<'_>) -> usize {
        queue.account(frame);
        frame.len()
    }
}

declare_device!(GeneratorDevice);

#[cfg(test)]
mod tests;
