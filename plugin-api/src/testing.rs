//! Runs one node on hand-made packets: no host, no threads, no clock.

#![expect(
    clippy::disallowed_types,
    reason = "the SDK has no other lock and this is no packet path"
)]

use core::ffi::c_void;
use std::{
    alloc::{Layout, alloc_zeroed, handle_alloc_error},
    cell::RefCell,
    sync::{Arc, Mutex, OnceLock},
};

use gristmill_abi::{
    ErrorText, Head, Status, Str,
    buffer::{LINE, STRIDE},
    declaration::{PluginHandle, ServiceRef},
    frame::{FRAME_SIZE, Frame as RawFrame, NodeRuntime, PANICKED, PER_PACKET, TAKEN, ThreadCtx},
    host::HostTable,
};

use crate::{Buffer, Error, Frame, InterfaceIndex, NextNodes, Node, Packet, ThreadIndex, export};

/// Buffers of the bench's pool, shared by all benches of a process.
const BUFFERS: usize = 2048;
const LINES: u32 = 37;
const _: () = assert!(LINES as usize * LINE == STRIDE);

/// A bench holding one node under test.
pub struct NodeBench<N: Node> {
    node: N,
    plugin: Arc<N::Plugin>,
    now_ns: u64,
    counters: Vec<u64>,
}

/// A packet to be: its bytes and what a node before this one would have set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TestPacket {
    bytes: Vec<u8>,
    rx_interface: Option<u32>,
    adjacency: u32,
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

/// Where each packet went and what it looked like then.
#[derive(Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Next number for each packet; `None` if the node kept it.
    pub nexts: Vec<Option<u16>>,
    /// The bytes of each packet, from its current header on; empty for those kept.
    pub packets: Vec<Vec<u8>>,
    /// Tx interface of each packet.
    pub tx_interfaces: Vec<Option<InterfaceIndex>>,
    /// Packets that the node sent beside those it was given: next number and bytes.
    pub emitted: Vec<(u16, Vec<u8>)>,
}

impl<N: Node> NodeBench<N> {
    /// Puts the node of `plugin` on the bench, as thread 1 would have it.
    ///
    /// # Panics
    /// If the node cannot be made.
    pub fn new(plugin: N::Plugin) -> Self {
        export::attach(host_table());
        let plugin = Arc::new(plugin);
        let node = N::new(&plugin, ThreadIndex(1)).expect("the node can be made");
        Self { node, plugin, now_ns: 0, counters: vec![0; N::COUNTERS.len()] }
    }

    /// The plugin, to change what the node works on.
    pub fn plugin(&self) -> &Arc<N::Plugin> {
        &self.plugin
    }

    /// Sets the clock, in nanoseconds since the host started.
    pub fn set_now_ns(&mut self, now_ns: u64) {
        self.now_ns = now_ns;
    }

    /// The value of a counter.
    pub fn counter(&self, counter: impl Into<usize>) -> u64 {
        self.counters[counter.into()]
    }

    /// Dispatches `packets` as one frame.
    ///
    /// # Panics
    /// If there are more than 256, or the node panics.
    pub fn run<T: Into<TestPacket>>(&mut self, packets: impl IntoIterator<Item = T>) -> Outcome {
        EMITTED.with_borrow_mut(Vec::clear);
        let mut ctx = thread_ctx(self.now_ns);
        let mut indices = [0; FRAME_SIZE];
        let mut nexts = [PANICKED; FRAME_SIZE];
        let mut n = 0;
        for packet in packets {
            indices[n] = build(&mut ctx, &packet.into());
            n += 1;
        }
        let mut runtime = self.runtime();
        let mut raw = RawFrame {
            n: u32::try_from(n).expect("at most 256"),
            flags: 0,
            indices: indices.as_mut_ptr(),
            nexts: nexts.as_mut_ptr(),
            aux: core::ptr::null_mut(),
            bytes: 0,
            reserved: [0; 2],
        };
        // SAFETY: the three are this function's own.
        let mut frame =
            unsafe { Frame::<N::Next>::from_raw(&raw mut ctx, &raw mut runtime, &mut raw) };
        self.node.dispatch(&mut frame);
        let whole = frame.result();
        let n = raw.n as usize;
        if whole != PER_PACKET {
            nexts[..n].fill(u16::try_from(whole).expect("a next number"));
        }
        collect(&indices[..n], &nexts[..n])
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
            reserved: [0; 2],
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

/// A buffer with the packet's bytes in it.
fn build(ctx: &mut ThreadCtx, packet: &TestPacket) -> u32 {
    let mut index = 0;
    // SAFETY: room for one index.
    let got = unsafe { buffer_alloc(ctx, &raw mut index, 1) };
    assert_eq!(got, 1, "the bench's pool of {BUFFERS} buffers is used up");
    // SAFETY: it was just allocated.
    let mut buffer = unsafe { Packet::at(pool().base, index) };
    assert!(buffer.replace(&packet.bytes), "a test packet has at most 2048 bytes");
    buffer.mark_l2();
    if let Some(interface) = packet.rx_interface {
        buffer.set_rx_interface(InterfaceIndex(interface));
    }
    buffer.set_adjacency(packet.adjacency);
    index
}

/// Takes the packets apart and gives their buffers back.
fn collect(indices: &[u32], nexts: &[u16]) -> Outcome {
    let emitted = EMITTED.with_borrow_mut(core::mem::take);
    let mut outcome = Outcome {
        nexts: nexts.iter().map(|&next| (next != TAKEN).then_some(next)).collect(),
        packets: Vec::new(),
        tx_interfaces: Vec::new(),
        emitted: Vec::new(),
    };
    for (&index, &next) in indices.iter().zip(nexts) {
        let (bytes, tx) = if next == TAKEN { (Vec::new(), None) } else { open(index) };
        outcome.packets.push(bytes);
        outcome.tx_interfaces.push(tx);
    }
    outcome.emitted = emitted.into_iter().map(|(next, index)| (next, open(index).0)).collect();
    outcome
}

fn open(index: u32) -> (Vec<u8>, Option<InterfaceIndex>) {
    // SAFETY: the packet left the node's hands.
    let mut buffer = unsafe { Buffer::own(pool().base, index) };
    let packet = buffer.packet();
    (packet.segments().flatten().copied().collect(), packet.tx_interface())
}

thread_local! {
    /// What the node of this thread emitted: next number and buffer.
    static EMITTED: RefCell<Vec<(u16, u32)>> = const { RefCell::new(Vec::new()) };
}

struct Pool {
    base: *mut u8,
    free: Mutex<Vec<u32>>,
}

// SAFETY: `base` is never written through without owning the buffer.
unsafe impl Send for Pool {}
// SAFETY: as above.
unsafe impl Sync for Pool {}

fn pool() -> &'static Pool {
    static POOL: OnceLock<Pool> = OnceLock::new();
    POOL.get_or_init(|| {
        let layout = Layout::from_size_align(BUFFERS * STRIDE, LINE).expect("a small layout");
        // SAFETY: the layout is not empty.
        let base = unsafe { alloc_zeroed(layout) };
        if base.is_null() {
            handle_alloc_error(layout);
        }
        let free = (0..u32::try_from(BUFFERS).expect("few")).map(|at| at * LINES).collect();
        Pool { base, free: Mutex::new(free) }
    })
}

fn host_table() -> *const HostTable {
    static TABLE: HostTable = HostTable {
        head: Head::of::<HostTable>(),
        shared: core::ptr::null(),
        log,
        service,
        buffer_alloc,
        buffer_free,
        buffer_release,
        enqueue,
        now,
        reserved: [core::ptr::null::<c_void>(); 2],
    };
    &raw const TABLE
}

unsafe extern "C" fn log(_: *const HostTable, _: PluginHandle, level: u32, text: Str<'_>) {
    #[expect(clippy::print_stderr, reason = "the bench's log is the test's output")]
    {
        eprintln!("log({level}): {text}");
    }
}

unsafe extern "C" fn service(
    _: *const HostTable,
    _: PluginHandle,
    name: Str<'_>,
    _: Str<'_>,
    _: *mut ServiceRef,
    error: *mut ErrorText,
) -> Status {
    let reason = Error::new(format!("the bench has no service {name}"));
    // SAFETY: the caller passes room for an error.
    unsafe { &mut *error }.set(&reason.to_string());
    Status::MISSING
}

unsafe extern "C" fn buffer_alloc(_: *mut ThreadCtx, indices: *mut u32, n: u32) -> u32 {
    let mut free = pool().free.lock().expect("no test panics with the lock");
    let mut got = 0;
    while got < n {
        let Some(index) = free.pop() else { break };
        // SAFETY: a free buffer is nobody's.
        unsafe { Packet::at(pool().base, index) }.reset();
        let to = indices.wrapping_add(got as usize);
        // SAFETY: the caller has room for `n` indices.
        unsafe { to.write(index) };
        got += 1;
    }
    got
}

unsafe extern "C" fn buffer_free(_: *mut ThreadCtx, indices: *const u32, n: u32) {
    // SAFETY: the caller passes `n` indices.
    let indices = unsafe { core::slice::from_raw_parts(indices, n as usize) };
    for &index in indices {
        release(index);
    }
}

unsafe extern "C" fn buffer_release(_: *const HostTable, index: u32) {
    release(index);
}

fn release(index: u32) {
    // Chains are built of buffers of this pool, so each of them goes back to it.
    let mut next = Some(index);
    while let Some(index) = next {
        // SAFETY: the packet was given up by its owner.
        next = unsafe { Packet::at(pool().base, index) }.chained();
        pool().free.lock().expect("no test panics with the lock").push(index);
    }
}

unsafe extern "C" fn enqueue(
    _: *mut ThreadCtx,
    _: *mut NodeRuntime,
    next: u32,
    indices: *const u32,
    n: u32,
) {
    // SAFETY: the caller passes `n` indices.
    let indices = unsafe { core::slice::from_raw_parts(indices, n as usize) };
    for &index in indices {
        let next = u16::try_from(next).expect("a next number");
        EMITTED.with_borrow_mut(|emitted| emitted.push((next, index)));
    }
}

unsafe extern "C" fn now(_: *const HostTable) -> u64 {
    0
}
