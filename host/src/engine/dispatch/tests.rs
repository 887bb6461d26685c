use std::{
    cell::{Cell, RefCell},
    sync::Arc,
};

use gristmill_abi::{
    device::{DeviceClassDecl, INTERFACE_L3, TX_PANICKED},
    frame::{ENTRY_PANICKED, Frame, NodeRuntime},
};

use super::*;
use crate::{
    buffer::{Cache, Pool},
    device::{
        DeviceOps, Interface, LinkNews, NewInterface, PuntState, error_drop, error_punt,
        output_node,
    },
    engine::{ThreadShared, inputs, mark::Mark, poller::Poller},
    graph::{
        NodeKind, Owner, Plan, PlanNext, PlanNode, Severity,
        compile::{Instances, compile},
        node::Code,
        plan::{ERROR_DROP, ERROR_PUNT},
    },
    time::{Clock, VirtualTime},
};

thread_local! {
    /// What the node `sink` was given: a list of packets for each dispatch.
    static SUNK: RefCell<Vec<Vec<u32>>> = const { RefCell::new(Vec::new()) };
    /// When the node `sched` wants to be called next.
    static ASKED: Cell<u64> = const { Cell::new(0) };
    /// How many packets the device takes at each call.
    static TAKES: RefCell<Vec<u32>> = const { RefCell::new(Vec::new()) };
}

fn packets<'a>(frame: *mut Frame) -> (&'a [u32], &'a mut [u16]) {
    // SAFETY: the dispatcher lends the frame for the call.
    let raw = unsafe { &mut *frame };
    // SAFETY: a frame has `n` indices.
    let indices = unsafe { std::slice::from_raw_parts(raw.indices, raw.n as usize) };
    // SAFETY: a frame has room for a next per packet.
    let nexts = unsafe { std::slice::from_raw_parts_mut(raw.nexts, raw.n as usize) };
    (indices, nexts)
}

/// Sends everything to its first next.
unsafe extern "C" fn pass(_: *mut ThreadCtx, _: *mut NodeRuntime, _: *mut Frame) -> u32 {
    0
}

/// Keeps what it is given, and its buffers.
unsafe extern "C" fn sink(_: *mut ThreadCtx, _: *mut NodeRuntime, frame: *mut Frame) -> u32 {
    let (indices, nexts) = packets(frame);
    SUNK.with_borrow_mut(|sunk| sunk.push(indices.to_vec()));
    nexts.fill(TAKEN);
    PER_PACKET
}

/// Packet 0 to next 0, 1 to 1, 2 to none there is, 3 kept; the others are forgotten.
unsafe extern "C" fn mixed(_: *mut ThreadCtx, _: *mut NodeRuntime, frame: *mut Frame) -> u32 {
    let (_, nexts) = packets(frame);
    for (next, decided) in nexts.iter_mut().zip([0, 1, 77, TAKEN]) {
        *next = decided;
    }
    PER_PACKET
}

/// Decides for one packet and panics.
unsafe extern "C" fn panics(_: *mut ThreadCtx, _: *mut NodeRuntime, frame: *mut Frame) -> u32 {
    packets(frame).1[0] = 0;
    ENTRY_PANICKED
}

/// Asks to be called when `ASKED` says.
unsafe extern "C" fn sched(_: *mut ThreadCtx, node: *mut NodeRuntime, _: *mut Frame) -> u32 {
    // SAFETY: the dispatcher lends the node for the call.
    let node = unsafe { &mut *node };
    assert_eq!(node.wake_at_ns, 0, "before each call");
    node.wake_at_ns = ASKED.take();
    PER_PACKET
}

unsafe extern "C" fn rx(_: *mut ThreadCtx, _: *mut std::ffi::c_void, _: u32, _: *mut Frame) -> u32 {
    PER_PACKET
}

unsafe extern "C" fn tx(
    ctx: *mut ThreadCtx,
    _: *mut std::ffi::c_void,
    _: u32,
    indices: *const u32,
    n: u32,
) -> u32 {
    let takes = TAKES.with_borrow_mut(|takes| if takes.is_empty() { 0 } else { takes.remove(0) });
    if takes == TX_PANICKED {
        return TX_PANICKED;
    }
    let took = takes.min(n);
    // SAFETY: the host passes `n` indices.
    let indices = unsafe { std::slice::from_raw_parts(indices, took as usize) };
    // SAFETY: the dispatcher holds no reference to the thread while a node runs.
    unsafe { Thread::of(ctx) }.cache.free(indices);
    took
}

unsafe extern "C" fn set_admin(_: *mut std::ffi::c_void, _: u32) -> gristmill_abi::Status {
    gristmill_abi::Status::OK
}

unsafe extern "C" fn destroy(_: *mut std::ffi::c_void) -> gristmill_abi::Status {
    gristmill_abi::Status::OK
}

/// A thread with a graph, and what is needed to look at it afterwards.
struct Bench {
    thread: Box<Thread>,
    plan: Plan,
    instances: Instances,
}

fn node(name: &str, entry: gristmill_abi::frame::NodeFn, nexts: Vec<PlanNext>) -> PlanNode {
    PlanNode::new(name, Owner::HOST, Code::stateless(entry), nexts)
}

fn to(name: &str) -> PlanNext {
    PlanNext::Node(name.to_owned())
}

impl Bench {
    fn new(
        nodes: Vec<PlanNode>,
        interface: Option<&Arc<Interface>>,
        punt: &Arc<PuntState>,
    ) -> Self {
        SUNK.take();
        let mut plan = Plan::default();
        plan.add_node(node(ERROR_DROP, error_drop, Vec::new())).unwrap();
        let (code, nexts) = error_punt(punt);
        plan.add_node(PlanNode { code, ..node(ERROR_PUNT, pass, nexts) }).unwrap();
        plan.add_node(node("sink", sink, Vec::new())).unwrap();
        for node in nodes {
            plan.add_node(node).unwrap();
        }
        if let Some(interface) = interface {
            let (code, nexts) = output_node(interface);
            let output = PlanNode { code, ..node(&interface.output_name(), pass, nexts) };
            let index = plan.add_node(output).unwrap();
            plan.outputs.insert(interface.index, index);
        }
        let instances = Instances::default().for_plan(&plan, &[0]).unwrap();
        let runtime = compile(&plan, &instances, 0, plan.interfaces_end()).unwrap();
        let shared = Arc::new(ThreadShared::new(0).unwrap());
        let poller = Poller::new(Arc::clone(shared.doorbell())).unwrap();
        let cache = Cache::new(Arc::new(Pool::new(4096).unwrap()), 0);
        let clock = Clock::virtual_at(&VirtualTime::default()).thread();
        let mut thread = Box::new(Thread::new(shared, cache, clock, poller, std::ptr::null()));
        *thread.runtime = runtime;
        Self { thread, plan, instances }
    }

    /// Gives `n` packets to a node, in one frame, and runs the graph until it is settled.
    fn run(&mut self, to: &str, n: usize) -> Vec<u32> {
        let mut indices = vec![0; n];
        assert_eq!(self.thread.cache.alloc(&mut indices), n);
        self.run_packets(to, &indices);
        indices
    }

    fn run_packets(&mut self, to: &str, indices: &[u32]) {
        let index = self.plan.find(to).unwrap();
        let frame = self.thread.frames.alloc();
        self.thread.frames.append(frame, indices);
        self.thread.put(index, frame, 0, indices.len());
        self.thread.frames.free(frame);
        // SAFETY: the thread is this test's own.
        unsafe { dispatch_pending(&raw mut *self.thread) };
        assert!(self.thread.is_settled(), "frames are left over");
    }

    fn dropped(&self, name: &str, at: usize) -> u64 {
        self.instances.on(self.plan.find(name).unwrap(), 0).unwrap().counts.drop_counter(at).get()
    }

    fn stats(&self, name: &str) -> &crate::graph::node::NodeStats {
        &self.instances.on(self.plan.find(name).unwrap(), 0).unwrap().counts.stats
    }

    fn in_use(&self) -> usize {
        self.thread.cache.pool().in_use()
    }
}

fn interface() -> Arc<Interface> {
    let class = DeviceClassDecl {
        head: gristmill_abi::Head::of::<DeviceClassDecl>(),
        nexts: gristmill_abi::List::new(&[]),
        rx,
        tx,
        set_admin,
        destroy,
    };
    let ops = DeviceOps { device: std::ptr::null_mut(), class, keep: Arc::new(()) };
    let new = NewInterface {
        name: "test0".into(),
        class: "test".into(),
        owner: Owner(1),
        mac: [0; 6],
        mtu: 1500,
        flags: INTERFACE_L3,
        kernel_index: 0,
        rx_fds: Vec::new(),
        tx_queues: 1,
    };
    let interface = Interface::new(0, new, ops, Vec::new(), Arc::new(LinkNews::default()));
    interface.admin_up.store(true, Ordering::Relaxed);
    Arc::new(interface)
}

#[test]
fn a_whole_frame_moves_on_in_order_through_the_nodes() {
    let nodes = vec![node("a", pass, vec![to("b")]), node("b", pass, vec![to("sink")])];
    let mut bench = Bench::new(nodes, None, &Arc::default());
    let sent = bench.run("a", 256);
    assert_eq!(SUNK.take(), [sent]);
    assert_eq!((bench.stats("b").calls.get(), bench.stats("b").vectors.get()), (1, 256));
}

#[test]
fn every_packet_has_an_owner_whatever_a_node_decides() {
    let nexts =
        vec![to("sink"), PlanNext::Drop { reason: "bad".into(), severity: Severity::Error }];
    let mut bench = Bench::new(vec![node("mixed", mixed, nexts)], None, &Arc::default());
    let sent = bench.run("mixed", 6);
    assert_eq!(SUNK.take(), [[sent[0]]]);
    assert_eq!(bench.dropped("mixed", 1), 1);
    assert_eq!(bench.stats("mixed").bad_next.get(), 1);
    assert_eq!(bench.stats("mixed").undecided.get(), 2);
    assert_eq!(bench.in_use(), 2, "one in the sink, one kept; the others went back to the pool");
}

#[test]
fn a_panicking_node_loses_no_buffer_and_what_it_decided_stands() {
    let mut bench =
        Bench::new(vec![node("panics", panics, vec![to("sink")])], None, &Arc::default());
    let sent = bench.run("panics", 5);
    assert_eq!(SUNK.take(), [[sent[0]]]);
    assert_eq!((bench.stats("panics").panics.get(), bench.stats("panics").undecided.get()), (1, 4));
    assert_eq!(bench.in_use(), 1);
}

#[test]
fn frames_from_several_nodes_collect_for_one_and_none_holds_more_than_256() {
    let nodes = vec![node("a", pass, vec![to("sink")]), node("b", pass, vec![to("sink")])];
    let mut bench = Bench::new(nodes, None, &Arc::default());
    let mut indices = vec![0; 400];
    bench.thread.cache.alloc(&mut indices);
    for (name, packets) in [("a", &indices[..200]), ("b", &indices[200..])] {
        let index = bench.plan.find(name).unwrap();
        let frame = bench.thread.frames.alloc();
        bench.thread.frames.append(frame, packets);
        bench.thread.put(index, frame, 0, packets.len());
        bench.thread.frames.free(frame);
    }
    // SAFETY: the thread is this test's own.
    unsafe { dispatch_pending(&raw mut *bench.thread) };
    let sunk = SUNK.take();
    assert_eq!(sunk.iter().map(Vec::len).collect::<Vec<_>>(), [256, 144]);
    assert_eq!(sunk.concat(), indices);
}

#[test]
fn an_arc_to_a_node_that_is_not_there_drops_and_counts() {
    let mut bench = Bench::new(
        vec![node("a", pass, vec![PlanNext::Optional("later".into())])],
        None,
        &Arc::default(),
    );
    bench.run("a", 10);
    assert_eq!((bench.dropped("a", 0), bench.in_use()), (10, 0));
}

#[test]
fn emitted_packets_are_dispatched_and_a_wrong_next_drops_them() {
    let mut bench = Bench::new(vec![node("a", pass, vec![to("sink")])], None, &Arc::default());
    let mut indices = vec![0; 3];
    bench.thread.cache.alloc(&mut indices);
    let a = bench.plan.find("a").unwrap();
    bench.thread.emit(a, 0, &indices[..2]);
    bench.thread.emit(a, 9, &indices[2..]);
    // SAFETY: the thread is this test's own.
    unsafe { dispatch_pending(&raw mut *bench.thread) };
    assert_eq!(SUNK.take(), [indices[..2].to_vec()]);
    assert_eq!((bench.stats("a").bad_next.get(), bench.in_use()), (1, 2));
}

/// Sends `n` packets out of the interface, of which the device takes so many at each call.
fn send(n: usize, takes: &[u32]) -> (Bench, Arc<Interface>) {
    let interface = interface();
    let nodes = vec![node("a", pass, vec![to("interface-output")])];
    let mut bench = Bench::new(nodes, Some(&interface), &Arc::default());
    TAKES.set(takes.to_vec());
    let mut indices = vec![0; n];
    bench.thread.cache.alloc(&mut indices);
    for &index in &indices {
        // SAFETY: the buffer is this test's own.
        unsafe { (*bench.thread.cache.pool().header(index)).tx_interface = 0 };
    }
    bench.run_packets("a", &indices);
    (bench, interface)
}

#[test]
fn a_device_is_offered_what_it_did_not_take_a_few_times_and_then_it_is_dropped() {
    let (bench, interface) = send(10, &[4, 0, 3, 1, 10]);
    assert_eq!(bench.dropped("test0-output", 1), 2, "the fifth try is not made");
    assert_eq!(interface.sum(|thread| &thread.tx_packets), 8);
    assert_eq!(interface.sum(|thread| &thread.tx_drops), 2);
    assert_eq!(bench.in_use(), 0);
}

#[test]
fn a_device_that_panics_or_is_down_loses_no_buffer() {
    let (bench, interface) = send(6, &[2, TX_PANICKED]);
    assert_eq!((bench.dropped("test0-output", 2), bench.in_use()), (4, 0));
    assert_eq!(interface.sum(|thread| &thread.tx_packets), 2);

    let (mut bench, interface) = send(0, &[]);
    interface.admin_up.store(false, Ordering::Relaxed);
    let sent = bench.run("test0-output", 3);
    assert_eq!((bench.dropped("test0-output", 0), bench.in_use()), (3, 0), "{sent:?}");
}

#[test]
fn a_packet_without_a_way_out_is_dropped_where_it_was_sent_from() {
    let nodes = vec![node("a", pass, vec![to("interface-output")])];
    let mut bench = Bench::new(nodes, Some(&interface()), &Arc::default());
    bench.run("a", 4); // Fresh packets have no tx interface.
    assert_eq!(bench.in_use(), 0);
}

#[test]
fn punted_packets_leave_from_their_layer_2_header_on_or_are_counted() {
    let punt = Arc::new(PuntState::default());
    let interface = interface();
    let mut bench = Bench::new(Vec::new(), Some(&interface), &punt);
    bench.run(ERROR_PUNT, 3);
    assert_eq!(bench.dropped(ERROR_PUNT, 1), 3, "no interface is set");

    punt.set(Some(0));
    TAKES.set(vec![1]);
    let mut index = [0];
    bench.thread.cache.alloc(&mut index);
    let header = bench.thread.cache.pool().header(index[0]);
    // SAFETY: the buffer is this test's own.
    let fields = unsafe { &mut *header };
    (fields.l2_off, fields.data_off, fields.len) = (128, 142, 46);
    bench.run_packets(ERROR_PUNT, &index);
    assert_eq!(interface.sum(|thread| &thread.tx_packets), 1);
    assert_eq!(interface.sum(|thread| &thread.tx_bytes), 60, "14 bytes of Ethernet again");
}

#[test]
fn a_sched_node_is_called_at_once_at_its_time_and_when_it_is_marked() {
    let kind = NodeKind::Sched;
    let nodes = vec![PlanNode { kind, ..node("sched", sched, Vec::new()) }];
    let mut bench = Bench::new(nodes, None, &Arc::default());
    let mark = Mark { node: bench.plan.find("sched").unwrap(), queue: None };
    let mut calls_at = |now_ns: u64, asks: u64, marked: bool| {
        bench.thread.ctx.now_ns = now_ns;
        ASKED.set(asks);
        if marked {
            bench.thread.shared.mark(mark);
        }
        let before = bench.stats("sched").calls.get();
        // SAFETY: the thread is this test's own.
        unsafe { inputs::dispatch_marked(&raw mut *bench.thread) };
        // SAFETY: as above.
        unsafe { inputs::dispatch_sched(&raw mut *bench.thread) };
        assert!(bench.thread.is_settled());
        bench.stats("sched").calls.get() - before
    };
    assert_eq!(calls_at(1_000_000, 1_500_000, false), 1, "spliced in");
    assert_eq!(calls_at(1_499_999, 0, false), 0);
    assert_eq!(calls_at(1_500_000, 2_000_000, false), 1);
    assert_eq!(calls_at(1_600_000, 3_000_000, true), 1, "marked: what it asks for then counts");
    assert_eq!(calls_at(2_500_000, 0, false), 0);
    assert_eq!(calls_at(3_000_000, 0, false), 1);
    assert_eq!(calls_at(9_000_000_000, 0, false), 0, "it asked for nothing");
    assert_eq!(calls_at(9_000_000_001, 0, true), 1);
}
