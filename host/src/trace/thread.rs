//! What a thread does for the traced packets of its frames. All of it is cold: nothing here runs while
//! no packet is traced or to be traced.
#![expect(unsafe_code, reason = "reads the headers of packets that are in the thread's frames")]

use std::sync::{Arc, atomic::Ordering};

use gristmill_abi::{
    buffer::{DATA, HEADER, HEADROOM, Header, LINE_SHIFT},
    frame::{
        CTX_TRACED, ENTRY_PANICKED, FRAME_SIZE, Frame, NodeRuntime, PANICKED, PER_PACKET, TAKEN,
        ThreadCtx,
    },
};

use super::{
    Tracer,
    capture::{Capture, HOPS, Session},
    hop::{Form, Hop, Outcome, Place, Record, SHOWN},
};
use crate::{engine::Thread, graph::NodeIndex, time::Nanos};

/// A thread's part in tracing.
#[derive(Debug)]
pub struct ThreadTrace {
    /// Packets are traced or to be traced, as seen at the begin of the turn: what is looked at for each
    /// frame.
    is_on: bool,
    tracer: Arc<Tracer>,
    /// [`Tracer::changes`] when the session was looked up.
    seen: u64,
    session: Arc<Session>,
    /// Traced packets of the frame that is dispatched.
    open: Vec<OpenHop>,
    /// The queue that the input that runs has received from.
    queue: Option<u32>,
}

/// A packet in the node that runs.
#[derive(Clone, Copy, Debug)]
struct OpenHop {
    /// Its buffer.
    packet: u32,
    /// Where it is in the frame.
    at: usize,
    mark: u32,
    number: u16,
    place: Place,
    /// What is known to become of it, before the node comes back.
    outcome: Option<Outcome>,
}

/// A dispatch, as far as hops are concerned.
#[derive(Clone, Copy)]
struct Dispatch {
    node: NodeIndex,
    serial: u64,
    at: Nanos,
}

impl Default for ThreadTrace {
    /// Of a thread that nothing is traced on.
    fn default() -> Self {
        Self::new(&Arc::default())
    }
}

impl ThreadTrace {
    /// That of a thread of a host with this tracer.
    pub fn new(tracer: &Arc<Tracer>) -> Self {
        Self {
            is_on: false,
            tracer: Arc::clone(tracer),
            seen: 0,
            session: Arc::default(),
            open: Vec::with_capacity(FRAME_SIZE),
            queue: None,
        }
    }

    /// What is traced now.
    fn session(&mut self) -> Arc<Session> {
        let changes = self.tracer.changes.load(Ordering::Acquire);
        if changes != self.seen {
            self.seen = changes;
            self.session = self.tracer.session();
        }
        Arc::clone(&self.session)
    }

    fn open_hop(&mut self, packet: u32) -> Option<&mut OpenHop> {
        self.open.iter_mut().find(|open| open.packet == packet)
    }
}

/// A node's entry while packets are traced: calls the node's own, and notes what comes and what becomes
/// of it.
///
/// # Safety
/// As of every node's entry; `ctx` is that of a [`Thread`], and the node is one of its runtime.
#[cold]
pub(crate) unsafe extern "C" fn entry(
    ctx: *mut ThreadCtx,
    node: *mut NodeRuntime,
    frame: *mut Frame,
) -> u32 {
    // SAFETY: the dispatcher passes the runtime of a node that is not running.
    let index = NodeIndex(unsafe { (*node).node_index });
    // SAFETY: the dispatcher holds no reference to the thread while a node runs.
    let thread = unsafe { Thread::of(ctx) };
    // SAFETY: the dispatcher lent the frame, whose packets are in a frame of the thread.
    let (n, packets) = unsafe { packets_of(frame) };
    thread.trace_arrivals(index, packets);
    let Some(entry) = thread.runtime.slot(index).map(|slot| slot.entry) else { return PER_PACKET };
    // SAFETY: by the caller's promise; the borrow of the thread has ended.
    let result = unsafe { entry(ctx, node, frame) };
    // SAFETY: as above; the node has returned.
    let thread = unsafe { Thread::of(ctx) };
    // SAFETY: as above.
    let (_, packets) = unsafe { packets_of(frame) };
    if n == 0 {
        thread.trace_received(index, packets);
    }
    thread.trace_departures(index, result);
    result
}

/// How many packets a frame has, and which.
///
/// # Safety
/// It is lent to the caller, and has so many indices, if they are not more than 256, for as long as
/// `'a`.
unsafe fn packets_of<'a>(frame: *const Frame) -> (usize, &'a [u32]) {
    // SAFETY: by the caller's promise.
    let frame = unsafe { &*frame };
    let n = (frame.n as usize).min(FRAME_SIZE);
    // SAFETY: as above.
    (n, unsafe { std::slice::from_raw_parts(frame.indices, n) })
}

impl Thread {
    /// Whether packets are traced, or to be traced: once for each frame.
    #[inline(always)]
    pub(crate) fn is_tracing(&self) -> bool {
        self.trace.is_on
    }

    /// Looks whether packets are traced: once in a turn, and when others have handed packets over.
    #[inline(always)]
    pub(crate) fn look_for_traces(&mut self) {
        self.trace.is_on = self.cache.pool().marks.any();
    }

    /// Packets come to a node: those that are traced make a hop.
    fn trace_arrivals(&mut self, node: NodeIndex, packets: &[u32]) {
        self.begin_hops(node, packets);
        self.ctx.flags = if self.trace.open.is_empty() { 0 } else { CTX_TRACED };
    }

    /// A node that was called with an empty frame has put packets into it.
    fn trace_received(&mut self, node: NodeIndex, packets: &[u32]) {
        self.begin_hops(node, packets);
        if let Some(queue) = self.trace.queue {
            self.set_form(Form::Received, queue);
        }
    }

    fn begin_hops(&mut self, node: NodeIndex, packets: &[u32]) {
        let session = self.trace.session();
        let Some(dispatch) = self.dispatch_of(node) else { return };
        let armed = session.armed(node, dispatch.serial);
        for (at, &packet) in packets.iter().enumerate() {
            if let Some(mark) = self.mark_of(packet, armed)
                && let Some(hop) = self.begin_hop(&session, dispatch, mark, packet, at)
            {
                self.trace.open.push(hop);
            }
        }
    }

    /// A node has come back: what became of the packets.
    fn trace_departures(&mut self, node: NodeIndex, result: u32) {
        self.ctx.flags = 0;
        let n_edges = self.runtime.slot(node).map_or(0, |slot| slot.edges.1);
        let session = Arc::clone(&self.trace.session);
        let index = self.shared.index;
        let next_of = |at: usize| match result {
            PER_PACKET | ENTRY_PANICKED => self.nexts[at],
            next => u16::try_from(next).unwrap_or(PANICKED - 1),
        };
        for open in &self.trace.open {
            let outcome = open.outcome.unwrap_or_else(|| match next_of(open.at) {
                next if next < n_edges => Outcome::Next(next),
                TAKEN => Outcome::Taken,
                PANICKED => Outcome::Undecided,
                _ => Outcome::BadNext,
            });
            if let Some(log) = session.of(open.mark).and_then(|capture| capture.log(index)) {
                log.close(open.place, open.mark, open.number, outcome);
            }
        }
        self.trace.open.clear();
        self.trace.queue = None;
    }

    /// A node sends packets beside those of its frame: held ones, or new ones.
    #[cold]
    #[inline(never)]
    pub(crate) fn trace_emitted(&mut self, node: NodeIndex, next: u32, packets: &[u32]) {
        let session = self.trace.session();
        let Some(dispatch) = self.dispatch_of(node) else { return };
        let n_edges = self.runtime.slot(node).map_or(0, |slot| slot.edges.1);
        let next = u16::try_from(next).ok().filter(|&next| next < n_edges);
        let outcome = next.map_or(Outcome::BadNext, Outcome::Next);
        let armed = session.armed(node, dispatch.serial);
        for &packet in packets {
            let mark = self.header(packet).trace;
            if let Some(open) = self.trace.open_hop(packet).filter(|open| open.mark == mark) {
                open.outcome = Some(outcome); // It was of the frame, and was taken.
                continue;
            }
            let Some(mark) = self.mark_of(packet, armed) else { continue };
            let index = self.shared.index;
            if let Some(hop) = self.begin_hop(&session, dispatch, mark, packet, 0)
                && let Some(log) = session.of(mark).and_then(|capture| capture.log(index))
            {
                log.close(hop.place, mark, hop.number, outcome);
            }
        }
    }

    /// Packets of the frame are handed to another thread.
    #[cold]
    #[inline(never)]
    pub(crate) fn trace_handed_off(&mut self, packets: &[u32], nexts: &[u16], threads: &[u16]) {
        let own = self.shared.index;
        for ((&packet, &next), &thread) in packets.iter().zip(nexts).zip(threads) {
            let thread = u32::from(thread);
            if let Some(open) = self.trace.open_hop(packet).filter(|_| thread != own) {
                open.outcome = Some(Outcome::HandedTo { thread, next });
            }
        }
    }

    /// Packets were to be handed to another thread, which has no room for them.
    #[cold]
    #[inline(never)]
    pub(crate) fn trace_congested(&mut self, packets: &[u32]) {
        for &packet in packets {
            if let Some(open) = self.trace.open_hop(packet)
                && let Some(Outcome::HandedTo { thread, .. }) = open.outcome
            {
                open.outcome = Some(Outcome::Congested { thread });
            }
        }
    }

    /// The node that runs leaves a record of a packet of its frame.
    #[cold]
    pub(crate) fn trace_record(&mut self, packet: u32, record: &[u8]) {
        let index = self.shared.index;
        let Some(&mut OpenHop { mark, place, .. }) = self.trace.open_hop(packet) else { return };
        if let Some(log) = self.trace.session.of(mark).and_then(|capture| capture.log(index)) {
            log.set_record(place, Form::Own, &Record::new(record));
        }
    }

    /// The trace of a packet goes on with a copy of it as well.
    #[cold]
    pub(crate) fn trace_copy(&mut self, packet: u32, copy: u32) {
        let mark = self.header(packet).trace;
        if self.trace.session().of(mark).is_some() && self.header(copy).trace == 0 {
            self.set_mark(copy, mark);
            self.cache.pool().marks.add(1);
        }
    }

    /// The input that runs has received from this queue.
    #[inline(always)]
    pub(crate) fn trace_queue(&mut self, queue: u32) {
        if self.is_tracing() {
            self.trace.queue = Some(queue);
        }
    }

    /// The packets of the frame are about to be sent to this queue.
    #[inline(always)]
    pub(crate) fn trace_sending(&mut self, queue: u32) {
        if self.ctx.flags & CTX_TRACED != 0 {
            self.set_form(Form::Sent, queue);
        }
    }

    #[cold]
    fn set_form(&self, form: Form, queue: u32) {
        for open in &self.trace.open {
            let capture = self.trace.session.of(open.mark);
            if let Some(log) = capture.and_then(|capture| capture.log(self.shared.index)) {
                log.set_form(open.place, form, queue);
            }
        }
    }

    fn dispatch_of(&mut self, node: NodeIndex) -> Option<Dispatch> {
        let serial = self.runtime.slot(node)?.serial;
        Some(Dispatch { node, serial, at: self.clock.at(self.last) })
    }

    /// The mark of a packet, which gets one if packets of its node are to be traced.
    fn mark_of(&self, packet: u32, armed: Option<&Capture>) -> Option<u32> {
        match self.header(packet).trace {
            0 => {
                let mark = armed?.choose()?;
                self.set_mark(packet, mark);
                Some(mark)
            }
            mark => Some(mark),
        }
    }

    /// Writes the begin of a hop; `None` if the packet is traced no more, or made too many.
    fn begin_hop(
        &self,
        session: &Session,
        Dispatch { node, serial, at: began }: Dispatch,
        mark: u32,
        packet: u32,
        at: usize,
    ) -> Option<OpenHop> {
        let capture = session.of(mark)?;
        let number = Some(capture.count_hop(mark)).filter(|&number| number < HOPS)?;
        let number = u16::try_from(number).ok()?;
        let header = self.header(packet);
        let total_len = u32::from(header.len).saturating_add(header.chain_len);
        let hop = Hop {
            mark,
            number,
            outcome: Outcome::Open,
            node,
            serial,
            at: began,
            rx_interface: header.rx_interface,
            form: Form::Bytes,
            record: Record::of_packet(total_len, None, self.first_bytes(packet)),
        };
        let place = capture.log(self.shared.index)?.push(&hop)?;
        Some(OpenHop { packet, at, mark, number, place, outcome: None })
    }

    fn header_at(&self, packet: u32) -> *mut Header {
        self.ctx.buffer_base.wrapping_add((packet as usize) << LINE_SHIFT).cast()
    }

    /// Line 0 of a packet's buffer.
    fn header(&self, packet: u32) -> &Header {
        // SAFETY: the packet is in a frame of this thread, or the node that runs owns it.
        unsafe { &*self.header_at(packet) }
    }

    fn set_mark(&self, packet: u32, mark: u32) {
        // SAFETY: as above, and no reference to the header is in use.
        unsafe { (*self.header_at(packet)).trace = mark };
    }

    /// The first bytes of a packet's first buffer.
    fn first_bytes(&self, packet: u32) -> &[u8] {
        let header = self.header(packet);
        let (off, len) = (usize::from(header.data_off), usize::from(header.len));
        let len = len.min((HEADROOM + DATA).saturating_sub(off)).min(SHOWN);
        let at = ((packet as usize) << LINE_SHIFT) + HEADER + off;
        let data = self.ctx.buffer_base.wrapping_add(at);
        // SAFETY: as above; it was just seen to lie inside the buffer.
        unsafe { std::slice::from_raw_parts(data, len) }
    }
}
