//! Once each way between two threads has been taken, handing packets over allocates nothing.
#![expect(unsafe_code, reason = "counts what the allocator is asked for")]
#![expect(clippy::unwrap_used, reason = "a test may panic where it cannot go on")]

mod counting;

use std::sync::{Arc, atomic::Ordering};

use counting::COUNT;
use gristmill::{
    buffer::{Cache, Pool},
    device::error_drop,
    engine::{Handoff, Thread, ThreadShared, dispatch::dispatch_pending, poller::Poller},
    graph::{
        NodeIndex, Owner, Plan, PlanNext, PlanNode, Severity,
        compile::{Instances, compile},
        node::Code,
        plan::ERROR_DROP,
    },
    time::{Clock, VirtualTime},
};

fn node(name: &str, nexts: Vec<PlanNext>) -> PlanNode {
    PlanNode::new(name, Owner::HOST, Code::stateless(error_drop), nexts)
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
