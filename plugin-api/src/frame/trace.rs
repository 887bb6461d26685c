//! What a node leaves of the traced packets of its frame.

use gristmill_abi::frame::{CTX_TRACED, TAKEN};

use super::Frame;
use crate::{NextNodes, Packet, TraceRecord, Tracer};

impl<'a, N: NextNodes> Frame<'a, N> {
    /// Whether packets of the frame are traced.
    #[inline(always)]
    pub fn is_traced(&self) -> bool {
        self.ctx().flags & CTX_TRACED != 0
    }

    /// Leaves a record of each traced packet that is in the frame, as it is now: called before the
    /// node works on the packets, what came; called after, what became of them. `record` may answer
    /// `None`; the host then shows the packet's first bytes.
    ///
    /// Cost: one test, where no packet is traced.
    #[inline(always)]
    pub fn trace_each<R: TraceRecord>(&mut self, record: impl FnMut(&Packet<'_>) -> Option<R>) {
        if self.is_traced() {
            self.trace_marked(record);
        }
    }

    #[cold]
    #[inline(never)]
    fn trace_marked<R: TraceRecord>(&mut self, mut record: impl FnMut(&Packet<'_>) -> Option<R>) {
        let tracer = self.tracer();
        for at in 0..self.len() {
            if self.nexts()[at] == TAKEN {
                continue;
            }
            let packet = self.packet(at);
            let record = if packet.is_traced() { record(&packet) } else { None };
            if let Some(record) = record {
                tracer.keep(&packet, &record);
            }
        }
    }

    /// Leaves a record of packet number `at`. Where it is not traced, or was taken, `record` is not
    /// called, and nothing happens.
    ///
    /// # Panics
    /// If there are not so many.
    #[inline(always)]
    pub fn trace<R: TraceRecord>(&mut self, at: usize, record: impl FnOnce(&Packet<'_>) -> R) {
        if self.is_traced() && self.nexts()[at] != TAKEN {
            let tracer = self.tracer();
            let packet = self.packet(at);
            tracer.record(&packet, || record(&packet));
        }
    }

    /// What leaves records where packets are handled one by one, as in
    /// [`enqueue_each`](Self::enqueue_each). Costs a test for each packet;
    /// [`trace_each`](Self::trace_each) does not.
    ///
    /// ```
    /// # use plugin_api::{Frame, Packet, next_nodes, trace_record};
    /// # next_nodes! { enum Next { Onward => Feature } }
    /// # trace_record! { struct Seen { class: u8 } }
    /// # impl std::fmt::Display for Seen {
    /// #     fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result { write!(f, "{}", self.class) }
    /// # }
    /// # fn classify(packet: &Packet<'_>) -> u8 { packet.data().first().copied().unwrap_or(0) }
    /// fn dispatch(frame: &mut Frame<'_, Next>) {
    ///     let tracer = frame.tracer();
    ///     frame.enqueue_each(|packet| {
    ///         let class = classify(packet);
    ///         tracer.record(packet, || Seen { class });
    ///         Next::Onward
    ///     });
    /// }
    /// # fn main() {}
    /// ```
    #[inline(always)]
    pub fn tracer(&self) -> Tracer<'a> {
        // SAFETY: `from_raw` promised that the context is good during `'a`.
        unsafe { Tracer::new(self.ctx) }
    }
}
