//! Runs the queues of one device: no host, no threads, no clock.

use gristmill_abi::frame::{
    FRAME_SIZE, Frame as RawFrame, PANICKED, RX_LAST_POLL, RX_LINK_DOWN, RX_LINK_UP, ThreadCtx,
};

use super::{Outcome, TestPacket, build, collect, cycles, give_back, thread_ctx};
use crate::{
    Device, Frame, InterfaceIndex, RxFrame, TxFrame,
    device::Stash,
    export,
    testing::{frame_of, host_table, settle_nexts},
};

/// A bench holding one device under test; its queues stay with the test.
pub struct DeviceBench<D: Device> {
    device: D,
    interface: InterfaceIndex,
    now_ns: u64,
    stash: Stash,
    link: Option<bool>,
    last_poll: bool,
}

/// What a trip through a device costs, in clocks per packet.
#[derive(Clone, Copy, Debug)]
pub struct LoopClocks {
    /// To receive.
    pub receive: f64,
    /// To send.
    pub transmit: f64,
    /// Packets of each frame.
    pub vector: usize,
}

impl<D: Device> DeviceBench<D> {
    /// Puts `device` on the bench, as interface 0 of thread 1.
    pub fn new(device: D) -> Self {
        export::attach(host_table());
        Self {
            device,
            interface: InterfaceIndex(0),
            now_ns: 0,
            stash: Stash::default(),
            link: None,
            last_poll: false,
        }
    }

    /// The device.
    pub fn device(&self) -> &D {
        &self.device
    }

    /// Sets the clock, in nanoseconds since the host started.
    pub fn set_now_ns(&mut self, now_ns: u64) {
        self.now_ns = now_ns;
    }

    /// Whether the device is told, from now on, that a poll is the last before its descriptor is
    /// waited for.
    pub fn set_last_poll(&mut self, last_poll: bool) {
        self.last_poll = last_poll;
    }

    /// What the device last said of its link; `None` if it never did.
    pub fn link(&self) -> Option<bool> {
        self.link
    }

    /// Receives one frame.
    pub fn receive(&mut self, queue: &mut D::Rx) -> Outcome {
        let mut slots = Slots::new();
        let (n, _) = self.receive_into(queue, &mut slots);
        collect(&slots.indices[..n], &slots.nexts[..n])
    }

    /// Sends `packets` and returns how many the device took, counted from the first.
    ///
    /// # Panics
    /// If there are more than 256.
    pub fn transmit<T: Into<TestPacket>>(
        &mut self,
        queue: &mut D::Tx,
        packets: impl IntoIterator<Item = T>,
    ) -> usize {
        let mut ctx = thread_ctx(self.now_ns);
        let indices: Vec<u32> =
            packets.into_iter().map(|packet| build(&mut ctx, &packet.into())).collect();
        assert!(indices.len() <= FRAME_SIZE, "{} packets", indices.len());
        let (sent, _) = self.transmit_from(&mut ctx, queue, &indices);
        give_back(&indices);
        sent
    }

    /// Receives and sends the same packets again and again, the clock going on by `step_ns` each
    /// time; the least of all `rounds`.
    ///
    /// # Panics
    /// If a round brings no packet.
    pub fn loop_clocks(
        &mut self,
        rx: &mut D::Rx,
        tx: &mut D::Tx,
        step_ns: u64,
        rounds: u32,
    ) -> LoopClocks {
        let mut least = LoopClocks { receive: f64::INFINITY, transmit: f64::INFINITY, vector: 0 };
        let mut slots = Slots::new();
        for round in 0..rounds {
            self.now_ns += step_ns;
            let (n, receive) = self.receive_into(rx, &mut slots);
            assert!(n > 0, "round {round} brought no packet");
            let mut ctx = thread_ctx(self.now_ns);
            let (_, transmit) = self.transmit_from(&mut ctx, tx, &slots.indices[..n]);
            give_back(&slots.indices[..n]);
            least.receive = least.receive.min(cycles::each(receive, n));
            least.transmit = least.transmit.min(cycles::each(transmit, n));
            least.vector = n;
        }
        least
    }

    /// Receives into `slots`; how many packets and how many clocks.
    fn receive_into(&mut self, queue: &mut D::Rx, slots: &mut Slots) -> (usize, u64) {
        slots.nexts.fill(PANICKED);
        let mut ctx = thread_ctx(self.now_ns);
        let mut raw = slots.frame();
        raw.flags = if self.last_poll { RX_LAST_POLL } else { 0 };
        // SAFETY: context and frame are this function's own; an rx function has no node.
        let frame = unsafe { Frame::from_raw(&raw mut ctx, core::ptr::null_mut(), &mut raw) };
        let mut frame = RxFrame::new(frame, &mut self.stash, self.interface);
        let start = cycles::now();
        self.device.receive(queue, &mut frame);
        let clocks = cycles::now() - start;
        let whole = frame.result();
        match raw.flags & !RX_LAST_POLL {
            RX_LINK_UP => self.link = Some(true),
            RX_LINK_DOWN => self.link = Some(false),
            _ => {}
        }
        let n = raw.n as usize;
        settle_nexts(&mut slots.nexts[..n], whole);
        (n, clocks)
    }

    fn transmit_from(
        &mut self,
        ctx: &mut ThreadCtx,
        queue: &mut D::Tx,
        indices: &[u32],
    ) -> (usize, u64) {
        let mut frame = TxFrame::new(ctx, indices);
        let start = cycles::now();
        let sent = self.device.transmit(queue, &mut frame);
        (sent, cycles::now() - start)
    }
}

impl<D: Device> core::fmt::Debug for DeviceBench<D> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "DeviceBench({})", D::CLASS)
    }
}

/// Room for a frame's packets.
struct Slots {
    indices: [u32; FRAME_SIZE],
    nexts: [u16; FRAME_SIZE],
}

impl Slots {
    fn new() -> Self {
        Self { indices: [0; FRAME_SIZE], nexts: [PANICKED; FRAME_SIZE] }
    }

    fn frame(&mut self) -> RawFrame {
        frame_of(0, &mut self.indices, &mut self.nexts)
    }
}
