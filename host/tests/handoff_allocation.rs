//! Once each way between two threads has been taken, handing packets over allocates nothing.
#![expect(unsafe_code, reason = "counts what the allocator is asked for")]
#![expect(clippy::unwrap_used, reason = "a test may panic where it cannot go on")]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use gristmill::{
    buffer::{Cache, Pool},
    device::error_drop,
    engine::{Handoff, Thread, ThreadShared, dispatch::dispatch_pending, poller::Poller},
    graph::{
        NodeIndex, NodeKind, Owner, Plan, PlanNext, PlanNode, Severity,
        compile::{Instances, compile},
        node::{Code, Stateless},
        plan::ERROR_DROP,
    },
    time::{Clock, VirtualTime},
};

struct Counting;

static COUNT: AtomicU64 = AtomicU64::new(0);

// SAFETY: as the system's, which it calls.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.fetch_add(1, Ordering::Relaxed);
        // SAFETY: by the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: by the caller's promise.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn node(name: &str, nexts: Vec<PlanNext>) -> PlanNode {
    PlanNode {
        name: name.into(),
        serial: 0,
        epoch: 0,
        owner: Owner::HOST,
        kind: NodeKind::Internal,
        code: Code { entry: error_drop, maker: Arc::new(Stateless) },
        nexts,
        counters: Vec::new(),
        threads: None,
        wakes: false,
    }
}

/// Two threads of one graph, in which a node can drop, and that node.
fn threads() -> ([Box<Thread>; 2], NodeIndex) {
    let (handoff, pool) = (Arc::new(Handoff::default()), Arc::new(Pool::new(4096).unwrap()));
    let mut plan = Plan::default();
    plan.add_node(node(ERROR_DROP, Vec::new())).unwrap();
    let reason = PlanNext::Drop { reason: "counted".into(), severity: Severity::Info };
    let sender = plan.add_node(node("sender", vec![reason])).unwrap();
    let instances = Instances::default().for_plan(&plan, &[0, 1]).unwrap();
    let clock = Clock::virtual_at(&VirtualTime::default());
    let thread = |index: u32| {
        let shared = Arc::new(ThreadShared::new(index).unwrap());
        let poller = Poller::new(Arc::clone(shared.doorbell())).unwrap();
        let cache = Cache::new(Arc::clone(&pool), index as usize);
        let mut thread =
            Box::new(Thread::new(shared, cache, clock.thread(), poller, std::ptr::null()));
        thread.join(&handoff);
        *thread.runtime = compile(&plan, &instances, index, 0).unwrap();
        thread
    };
    ([thread(0), thread(1)], sender)
}

#[test]
fn nothing_is_allocated_for_a_packet_that_is_handed_over_or_finds_no_room() {
    let ([mut from, mut to], sender) = threads();
    let mut indices = [0; 256];
    let mut round = |overfull: bool| {
        for _ in 0..if overfull { 40 } else { 1 } {
            let n = from.cache.alloc(&mut indices);
            from.hand_off(sender, &indices[..n], &[0; 256][..n], &[1; 256][..n]);
        }
        while !to.is_inbox_empty() {
            to.begin_turn();
            to.receive_handoff();
            // SAFETY: the thread is this test's own.
            unsafe { dispatch_pending(&raw mut *to) };
        }
    };
    round(true); // 40 frames are more than a ring of 256 vectors.
    round(false);
    let before = COUNT.load(Ordering::Relaxed);
    for turn in 0..1_000 {
        round(turn % 10 == 0);
    }
    assert_eq!(COUNT.load(Ordering::Relaxed), before);
    drop((from, to));
}
