//! Tracing allocates nothing on a packet's way, comes to an end with the packets, and cuts what goes
//! round for ever.
#![expect(unsafe_code, reason = "counts what the allocator is asked for")]
#![expect(clippy::unwrap_used, reason = "a test may panic where it cannot go on")]

mod counting;

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use counting::COUNT;
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
    trace::{HOPS, Outcome, ThreadTrace, Tracer, packets},
};
use gristmill_abi::frame::{Frame, NodeFn, NodeRuntime, ThreadCtx};

/// Rounds that `around` makes of each frame.
const ROUNDS: u32 = 200;
static LEFT: AtomicU32 = AtomicU32::new(0);

/// To itself, so many times; then to be dropped.
unsafe extern "C" fn around(_: *mut ThreadCtx, _: *mut NodeRuntime, _: *mut Frame) -> u32 {
    let more = |left: u32| left.checked_sub(1);
    u32::from(LEFT.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_err())
}

unsafe extern "C" fn pass(_: *mut ThreadCtx, _: *mut NodeRuntime, _: *mut Frame) -> u32 {
    0
}

struct Traced {
    thread: Box<Thread>,
    tracer: Arc<Tracer>,
    plan: Plan,
}

impl Traced {
    fn new() -> Self {
        let mut plan = Plan::default();
        let to = |name: &str| PlanNext::Node(name.to_owned());
        let drop = || PlanNext::Drop { reason: "end".into(), severity: Severity::Info };
        let nodes: [(&str, NodeFn, Vec<PlanNext>); 5] = [
            (ERROR_DROP, error_drop, Vec::new()),
            ("last", pass, vec![drop()]),
            ("first", pass, vec![to("last")]),
            ("around", around, vec![to("around"), drop()]),
            ("source", pass, vec![to("first"), to("around")]),
        ];
        for (name, entry, nexts) in nodes {
            let node = PlanNode::new(name, Owner::HOST, Code::stateless(entry), nexts);
            plan.add_node(node).unwrap();
        }
        let instances = Instances::default().for_plan(&plan, &[0]).unwrap();
        let shared = Arc::new(ThreadShared::new(0).unwrap());
        let poller = Poller::new(Arc::clone(shared.doorbell())).unwrap();
        let cache = Cache::new(Arc::new(Pool::new(4096).unwrap()), 0);
        let clock = Clock::virtual_at(&VirtualTime::default()).thread();
        let mut thread = Box::new(Thread::new(shared, cache, clock, poller, std::ptr::null()));
        *thread.runtime = compile(&plan, &instances, 0, 0).unwrap();
        let tracer = Arc::<Tracer>::default();
        tracer.admit(0);
        thread.trace = ThreadTrace::new(&tracer);
        Self { thread, tracer, plan }
    }

    fn node(&self, name: &str) -> NodeIndex {
        self.plan.find(name).unwrap()
    }

    fn add(&self, name: &str, count: u32) {
        let marks = &self.thread.cache.pool().marks;
        self.tracer.add(marks, &self.plan, self.node(name), count).unwrap();
    }

    /// Sends `n` packets from `source` and lets them arrive.
    fn send(&mut self, next: u32, n: usize) {
        let mut indices = [0; 256];
        assert_eq!(self.thread.cache.alloc(&mut indices[..n]), n);
        let source = self.node("source");
        self.thread.begin_turn();
        self.thread.emit(source, next, &indices[..n]);
        // SAFETY: the thread is this test's own.
        unsafe { dispatch_pending(&raw mut *self.thread) };
    }

    fn is_on(&self) -> bool {
        self.thread.cache.pool().marks.any()
    }
}

#[test]
fn packets_are_traced_without_an_allocation_until_the_last_of_them_is_freed() {
    let mut bench = Traced::new();
    bench.send(0, 256); // Frames are there after this.
    bench.send(1, 256);
    bench.add("first", 300);
    bench.send(0, 1); // The thread has looked the trace up.
    let before = COUNT.load(Ordering::Relaxed);
    bench.send(0, 100);
    assert!(bench.is_on());
    bench.send(0, 256);
    assert!(!bench.is_on(), "300 packets have come and gone");
    assert_eq!(COUNT.load(Ordering::Relaxed), before);

    let traced = packets(&bench.tracer.session());
    assert_eq!(traced.len(), 300);
    let nodes = ["first", "last", ERROR_DROP].map(|name| bench.node(name));
    for packet in &traced {
        let hops: Vec<_> = packet.hops.iter().map(|(_, hop)| (hop.node, hop.outcome)).collect();
        let outcomes = [Outcome::Next(0), Outcome::Next(0), Outcome::Taken];
        assert_eq!(hops, nodes.into_iter().zip(outcomes).collect::<Vec<_>>());
    }

    // What goes round and round is cut.
    bench.add("around", 2);
    LEFT.store(ROUNDS, Ordering::Relaxed);
    bench.send(1, 2);
    assert!(!bench.is_on());
    let traced = packets(&bench.tracer.session());
    let long: Vec<_> = traced.iter().filter(|packet| packet.missing > 0).collect();
    assert_eq!(long.len(), 2);
    for packet in long {
        assert_eq!(packet.hops.len(), HOPS as usize);
        assert_eq!(packet.missing, (ROUNDS + 2 - HOPS) as usize, "the rounds, and the drop");
    }

    // Marked where they are sent from, and forgotten while they are under way.
    bench.add("source", 5);
    bench.send(0, 3);
    bench.tracer.clear(&bench.thread.cache.pool().marks);
    assert!(!bench.is_on());
    bench.send(0, 3);
    assert!(packets(&bench.tracer.session()).is_empty());
    bench.add("source", 1);
    bench.send(0, 3);
    let traced = packets(&bench.tracer.session());
    assert_eq!((traced.len(), traced[0].hops.len(), bench.is_on()), (1, 4, false));
}
