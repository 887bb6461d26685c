//! What a packet costs on its way through a graph in which nothing is traced: instructions, counted by
//! callgrind, for times of day and neighbours do not change them.
//!
//! ```text
//! cargo build --release -p gristmill --bench trace
//! valgrind --tool=callgrind --collect-atstart=no --toggle-collect='*trace_bench_turns*' \
//!     target/release/deps/trace-* 256
//! ```
//! Its argument is the packets of a frame. It prints the packets that were forwarded.
#![expect(unsafe_code, reason = "nodes are written by their calling convention")]

use std::{hint::black_box, sync::Arc};

use gristmill::{
    buffer::{Cache, Pool},
    device::error_drop,
    engine::{Thread, ThreadShared, dispatch::dispatch_pending, poller::Poller},
    graph::{
        NodeIndex, Owner, Plan, PlanNext, PlanNode, Severity,
        compile::{Instances, compile},
        node::Code,
        plan::ERROR_DROP,
    },
    time::{Clock, VirtualTime},
};
use gristmill_abi::frame::{Frame, NodeRuntime, PER_PACKET, ThreadCtx};

const TURNS: u64 = 2_000;

/// All packets to one next.
unsafe extern "C" fn whole(_: *mut ThreadCtx, _: *mut NodeRuntime, _: *mut Frame) -> u32 {
    0
}

/// Eight packets to one next, eight to another.
unsafe extern "C" fn split(_: *mut ThreadCtx, _: *mut NodeRuntime, frame: *mut Frame) -> u32 {
    // SAFETY: the host lent the frame for the dispatch.
    let raw = unsafe { &mut *frame };
    // SAFETY: a frame has room for a next per packet.
    let nexts = unsafe { std::slice::from_raw_parts_mut(raw.nexts, raw.n as usize) };
    for (next, at) in nexts.iter_mut().zip(0_u16..) {
        *next = (at >> 3) & 1;
    }
    PER_PACKET
}

/// A thread with the graph `source → first → (left | right) → last → error-drop`.
fn thread() -> (Box<Thread>, NodeIndex) {
    let to = |name: &str| PlanNext::Node(name.to_owned());
    let drop = PlanNext::Drop { reason: "end".to_owned(), severity: Severity::Info };
    let mut plan = Plan::default();
    let nodes = [
        (ERROR_DROP, Code::stateless(error_drop), Vec::new()),
        ("last", Code::stateless(whole), vec![drop]),
        ("left", Code::stateless(whole), vec![to("last")]),
        ("right", Code::stateless(whole), vec![to("last")]),
        ("first", Code::stateless(split), vec![to("left"), to("right")]),
        ("source", Code::stateless(whole), vec![to("first")]),
    ];
    for (name, code, nexts) in nodes {
        plan.add_node(PlanNode::new(name, Owner::HOST, code, nexts)).expect("a graph");
    }
    let instances = Instances::default().for_plan(&plan, &[0]).expect("instances");
    let shared = Arc::new(ThreadShared::new(0).expect("a descriptor"));
    let poller = Poller::new(Arc::clone(shared.doorbell())).expect("a descriptor");
    let cache = Cache::new(Arc::new(Pool::new(4096).expect("memory")), 0);
    let clock = Clock::virtual_at(&VirtualTime::default()).thread();
    let mut thread = Box::new(Thread::new(shared, cache, clock, poller, std::ptr::null()));
    *thread.runtime = compile(&plan, &instances, 0, 0).expect("a runtime");
    let source = plan.find("source").expect("just added");
    (thread, source)
}

/// Forwards `n` packets in each turn.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn trace_bench_turns(thread: *mut Thread, source: u32, n: usize, turns: u64) {
    let mut indices = [0; 256];
    for _ in 0..turns {
        // SAFETY: the thread is the caller's own; the borrow ends before a node runs.
        let this = unsafe { &mut *thread };
        let got = this.cache.alloc(&mut indices[..n]);
        this.begin_turn();
        this.emit(NodeIndex(source), 0, &indices[..got]);
        // SAFETY: as above.
        unsafe { dispatch_pending(thread) };
    }
}

fn main() {
    let n = std::env::args().find_map(|argument| argument.parse().ok()).unwrap_or(256).min(256);
    let (mut thread, source) = thread();
    trace_bench_turns(&raw mut *thread, source.0, n, 10); // Frames and buffers are there after this.
    trace_bench_turns(&raw mut *thread, source.0, n, black_box(TURNS));
    #[expect(clippy::print_stdout, reason = "its result")]
    {
        println!("packets={}", (TURNS + 10) * n as u64);
    }
}
