//! Runs one node or device on hand-made packets: no host, no threads, no clock.

#![expect(
    clippy::disallowed_types,
    reason = "the SDK has no other lock and this is no packet path"
)]

mod cycles;
mod device;
mod namespace;
mod packet;
mod pool;
mod work;

use std::sync::Arc;

use gristmill_abi::{
    Head,
    buffer::DATA,
    declaration::ConfigEntry,
    frame::{
        CTX_TRACED, FRAME_SIZE, Frame as RawFrame, NodeRuntime, PANICKED, PER_PACKET, TAKEN,
        ThreadCtx,
    },
};

use self::pool::{
    BUFFERS, EMITTED, HANDED, Handed, RECORDS, buffer_alloc, host_table, pool, release,
};
pub use self::{
    device::{DeviceBench, LoopClocks},
    namespace::Namespace,
    packet::TestPacket,
};
use crate::{
    Buffer, Error, Frame, Host, InterfaceIndex, NextNodes, Node, Plugin, ThreadIndex, export,
    plugin::make, trace,
};

/// A host with which plugins can be made in tests; of its services it has `handoff`, with main and
/// three workers, `work`, with a thread for each queue, without delays, and `trace`.
pub fn host() -> Host {
    export::attach(host_table());
    trace::attach(Host::new(0));
    Host::new(0)
}

/// A plugin made as the host makes it, with these settings, keys and values as text, in its section
/// of the configuration. It is not started.
///
/// # Errors
/// What [`Plugin::create`] says, or that it does not know a setting.
pub fn create<P: Plugin>(settings: &[(&str, &str)]) -> Result<P, Error> {
    let entries: Vec<ConfigEntry<'_>> = settings
        .iter()
        .map(|&(key, value)| ConfigEntry { key: key.into(), value: value.into() })
        .collect();
    make(host(), &entries)
}

/// A bench holding one node under test.
///
/// It gives the node frames and keeps what comes out; the clock stands where the test sets it. What
/// the node's plugin would ask of the host's services is not there.
///
/// ```
/// # use std::sync::Arc;
/// # use plugin_api::{Config, Error, Frame, Host, Node, Plugin, ThreadIndex, next_nodes};
/// # struct Acme { shortest: usize }
/// # impl Plugin for Acme {
/// #     const NAME: &'static str = "acme";
/// #     fn create(_: Host, config: &Config<'_>) -> Result<Self, Error> {
/// #         Ok(Self { shortest: config.parse("shortest")?.unwrap_or(60) })
/// #     }
/// # }
/// # next_nodes! { enum Next { Ethernet => Optional("ethernet-input"), Short => Drop("acme-runt") } }
/// # struct Runts(Arc<Acme>);
/// # impl Node for Runts {
/// #     const NAME: &'static str = "acme-runts";
/// #     type Plugin = Acme;
/// #     type Next = Next;
/// #     fn new(acme: &Arc<Acme>, _: ThreadIndex) -> Result<Self, Error> { Ok(Self(acme.clone())) }
/// #     fn dispatch(&mut self, frame: &mut Frame<'_, Next>) {
/// #         let shortest = self.0.shortest;
/// #         frame.enqueue_each(|packet| {
/// #             if packet.len() < shortest { Next::Short } else { Next::Ethernet }
/// #         });
/// #     }
/// # }
/// use plugin_api::{NextNodes as _, testing::{NodeBench, create}};
///
/// let mut bench = NodeBench::<Runts>::new(create(&[("shortest", "64")])?);
/// let out = bench.run([vec![0; 63], vec![0; 64]]);
/// assert_eq!(out.nexts, [Next::Short, Next::Ethernet].map(|next| Some(next.index())));
/// # Ok::<(), Error>(())
/// ```
pub struct NodeBench<N: Node> {
    node: N,
    plugin: Arc<N::Plugin>,
    now_ns: u64,
    wake_at_ns: u64,
    counters: Vec<u64>,
    is_traced: bool,
}

/// Where each packet went and what it looked like then.
#[derive(Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Next number for each packet; `None` if the node kept it.
    pub nexts: Vec<Option<u16>>,
    /// The bytes of each packet, from its current header on; empty for those kept.
    pub packets: Vec<Vec<u8>>,
    /// Tx interface of each packet.
    pub tx_interfaces: Vec<Option<InterfaceIndex>>,
    /// Flow hash of each packet, 0 if it has none.
    pub flow_hashes: Vec<u32>,
    /// Packets that the node sent beside those it was given: next number and bytes.
    pub emitted: Vec<(u16, Vec<u8>)>,
    /// Packets that the node handed to other threads, in that order; it counts as keeping them.
    pub handed_off: Vec<HandedOff>,
    /// The record that the node left of each packet, as `show trace` shows it; none where it left
    /// none, or packets are not traced.
    pub traces: Vec<Option<String>>,
}

/// A packet on its way to another thread.
#[derive(Debug, PartialEq, Eq)]
pub struct HandedOff {
    /// To which.
    pub thread: ThreadIndex,
    /// Number of the next that it takes there.
    pub next: u16,
    /// Its bytes.
    pub packet: Vec<u8>,
    /// Its flow hash, 0 if it has none.
    pub flow_hash: u32,
}

impl<N: Node> NodeBench<N> {
    /// Puts the node of `plugin` on the bench, as thread 1 would have it.
    ///
    /// # Panics
    /// If the node cannot be made.
    pub fn new(plugin: N::Plugin) -> Self {
        Self::sharing(Arc::new(plugin))
    }

    /// Puts a node on the bench whose plugin another bench has too: for nodes of one thread that
    /// work together.
    ///
    /// # Panics
    /// If the node cannot be made.
    pub fn sharing(plugin: Arc<N::Plugin>) -> Self {
        host();
        let node = N::new(&plugin, ThreadIndex(1)).expect("the node can be made");
        let counters = vec![0; N::COUNTERS.len()];
        Self { node, plugin, now_ns: 0, wake_at_ns: 0, counters, is_traced: false }
    }

    /// The plugin, to change what the node works on.
    pub fn plugin(&self) -> &Arc<N::Plugin> {
        &self.plugin
    }

    /// Sets the clock, in nanoseconds since the host started.
    pub fn set_now_ns(&mut self, now_ns: u64) {
        self.now_ns = now_ns;
    }

    /// Has packets traced from now on, or not: [`Outcome::traces`] shows the records.
    pub fn trace(&mut self, is_traced: bool) {
        self.is_traced = is_traced;
    }

    /// When the node, of the kind `Sched`, wants to be called next, as it said in its last
    /// dispatch; `None` if it did not.
    pub fn wake_at_ns(&self) -> Option<u64> {
        (self.wake_at_ns != 0).then_some(self.wake_at_ns)
    }

    /// The value of a counter.
    pub fn counter(&self, counter: impl Into<usize>) -> u64 {
        self.counters[counter.into()]
    }

    /// Dispatches `packets` as one frame.
    ///
    /// # Panics
    /// If there are more than 256, the node panics, or its trace records cannot be shown.
    pub fn run<T: Into<TestPacket>>(&mut self, packets: impl IntoIterator<Item = T>) -> Outcome {
        let mut indices = [0; FRAME_SIZE];
        let mut nexts = [PANICKED; FRAME_SIZE];
        let packets = packets.into_iter().map(Into::into);
        let (n, _) = self.dispatch(packets, &mut indices, &mut nexts);
        let records = RECORDS.take();
        let text = |index: &u32| {
            let record = records.iter().find(|(packet, _)| packet == index);
            record.map(|(_, record)| trace::text_of(N::TRACE, record))
        };
        let traces = indices[..n].iter().map(text).collect();
        Outcome { traces, ..collect(&indices[..n], &nexts[..n]) }
    }

    /// Clocks per packet of dispatching `packets` as one frame, the least of `rounds`.
    ///
    /// # Panics
    /// As [`run`](Self::run).
    pub fn clocks(&mut self, packets: &[TestPacket], rounds: u32) -> f64 {
        let mut indices = [0; FRAME_SIZE];
        let mut nexts = [PANICKED; FRAME_SIZE];
        let mut least = u64::MAX;
        for _ in 0..rounds {
            let packets = packets.iter().cloned();
            let (n, clocks) = self.dispatch(packets, &mut indices, &mut nexts);
            least = least.min(clocks);
            let kept = |at: &usize| nexts[*at] != TAKEN;
            let left: Vec<u32> = (0..n).filter(kept).map(|at| indices[at]).collect();
            give_back(&left);
            for (_, index) in EMITTED.with_borrow_mut(core::mem::take) {
                give_back(&[index]);
            }
            for handed in HANDED.with_borrow_mut(core::mem::take) {
                give_back(&[handed.index]);
            }
        }
        cycles::each(least, packets.len())
    }

    /// Dispatches one frame; how many packets are in it then, and the clocks it took.
    fn dispatch(
        &mut self,
        packets: impl Iterator<Item = TestPacket>,
        indices: &mut [u32; FRAME_SIZE],
        nexts: &mut [u16; FRAME_SIZE],
    ) -> (usize, u64) {
        EMITTED.with_borrow_mut(Vec::clear);
        HANDED.with_borrow_mut(Vec::clear);
        RECORDS.with_borrow_mut(Vec::clear);
        let mut ctx = thread_ctx(self.now_ns);
        ctx.flags = if self.is_traced { CTX_TRACED } else { 0 };
        let mut n = 0;
        for packet in packets {
            indices[n] = build(&mut ctx, &packet);
            if self.is_traced {
                // SAFETY: the buffer was made just now.
                unsafe { crate::Packet::at(pool().base, indices[n]) }.mark_traced();
            }
            n += 1;
        }
        nexts.fill(PANICKED);
        let mut runtime = self.runtime();
        let mut raw = frame_of(n, indices, nexts);
        // SAFETY: the three are this function's own.
        let mut frame =
            unsafe { Frame::<N::Next>::from_raw(&raw mut ctx, &raw mut runtime, &mut raw) };
        let start = cycles::now();
        self.node.dispatch(&mut frame);
        let clocks = cycles::now() - start;
        let whole = frame.result();
        self.wake_at_ns = runtime.wake_at_ns;
        let n = raw.n as usize;
        settle_nexts(&mut nexts[..n], whole);
        (n, clocks)
    }

    fn runtime(&mut self) -> NodeRuntime {
        NodeRuntime {
            head: Head::of::<NodeRuntime>(),
            node_index: 0,
            n_nexts: u16::try_from(N::Next::TARGETS.len()).expect("few nexts"),
            flags: 0,
            state: core::ptr::null_mut(),
            counters: self.counters.as_mut_ptr(),
            n_counters: u32::try_from(self.counters.len()).expect("few counters"),
            reserved32: 0,
            wake_at_ns: 0,
            reserved: 0,
        }
    }
}

impl<N: Node> core::fmt::Debug for NodeBench<N> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "NodeBench({})", N::NAME)
    }
}

fn thread_ctx(now_ns: u64) -> ThreadCtx {
    ThreadCtx {
        head: Head::of::<ThreadCtx>(),
        thread_index: 1,
        flags: 0,
        now_ns,
        buffer_base: pool().base,
        host: host_table(),
        reserved: [0; 2],
    }
}

/// A frame of the first `n` of `indices`.
fn frame_of(n: usize, indices: &mut [u32; FRAME_SIZE], nexts: &mut [u16; FRAME_SIZE]) -> RawFrame {
    RawFrame {
        n: u32::try_from(n).expect("at most 256"),
        flags: 0,
        indices: indices.as_mut_ptr(),
        nexts: nexts.as_mut_ptr(),
        aux: core::ptr::null_mut(),
        bytes: 0,
        reserved: [0; 2],
    }
}

/// Writes a decision for the whole frame out for each packet, as the host would read it.
fn settle_nexts(nexts: &mut [u16], whole: u32) {
    if whole != PER_PACKET {
        nexts.fill(u16::try_from(whole).expect("a next number"));
    }
}

/// Gives packets that are of no more interest back to the pool.
fn give_back(indices: &[u32]) {
    for &index in indices {
        release(index);
    }
}

/// A buffer with the packet's bytes in it; a chain if it is long.
fn build(ctx: &mut ThreadCtx, packet: &TestPacket) -> u32 {
    let (first, rest) = packet.bytes.split_at(packet.bytes.len().min(DATA));
    let mut first = buffer_of(ctx, first);
    for part in rest.chunks(DATA) {
        let part = buffer_of(ctx, part);
        first.packet().chain(part);
    }
    let mut buffer = first.packet();
    buffer.mark_l2();
    if let Some(interface) = packet.rx_interface {
        buffer.set_rx_interface(InterfaceIndex(interface));
    }
    buffer.set_adjacency(packet.adjacency);
    first.into_index().0
}

fn buffer_of(ctx: &mut ThreadCtx, bytes: &[u8]) -> Buffer {
    let mut index = 0;
    // SAFETY: room for one index.
    let got = unsafe { buffer_alloc(ctx, &raw mut index, 1) };
    assert_eq!(got, 1, "the bench's pool of {BUFFERS} buffers is used up");
    // SAFETY: it was just allocated.
    let mut buffer = unsafe { Buffer::own(pool().base, index) };
    assert!(buffer.packet().replace(bytes), "{} bytes in one buffer", bytes.len());
    buffer
}

/// Takes the packets apart and gives their buffers back.
fn collect(indices: &[u32], nexts: &[u16]) -> Outcome {
    let emitted = EMITTED.with_borrow_mut(core::mem::take);
    let mut outcome = Outcome {
        nexts: nexts.iter().map(|&next| (next != TAKEN).then_some(next)).collect(),
        packets: Vec::new(),
        tx_interfaces: Vec::new(),
        flow_hashes: Vec::new(),
        emitted: Vec::new(),
        handed_off: HANDED.with_borrow_mut(core::mem::take).into_iter().map(receive).collect(),
        traces: Vec::new(),
    };
    for (&index, &next) in indices.iter().zip(nexts) {
        let kept = (Vec::new(), None, 0);
        let (bytes, tx, flow_hash) = if next == TAKEN { kept } else { open(index) };
        outcome.packets.push(bytes);
        outcome.tx_interfaces.push(tx);
        outcome.flow_hashes.push(flow_hash);
    }
    outcome.emitted = emitted.into_iter().map(|(next, index)| (next, open(index).0)).collect();
    outcome
}

fn receive(Handed { thread, next, index }: Handed) -> HandedOff {
    let (packet, _, flow_hash) = open(index);
    HandedOff { thread: ThreadIndex(thread.into()), next, packet, flow_hash }
}

fn open(index: u32) -> (Vec<u8>, Option<InterfaceIndex>, u32) {
    // SAFETY: the packet left the node's hands.
    let mut buffer = unsafe { Buffer::own(pool().base, index) };
    let packet = buffer.packet();
    (packet.segments().flatten().copied().collect(), packet.tx_interface(), packet.flow_hash())
}
