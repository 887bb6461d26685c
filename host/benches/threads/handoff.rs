//! Packets from one thread to another, and the ring they go through, beside other queues.
//!
//! `ring`: the queue alone, with buffer indices; `handoff`: with what is at both ends, from the
//! sender's buffer cache to the end of the receiver's `error-drop`. `steps`: one thread does both
//! parts; `across`: two threads, and all that moves between their cores.
#![expect(unsafe_code, reason = "makes values in a ring and dispatches frames")]

use std::{
    hint::{black_box, spin_loop},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

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
    time::Clock,
};
use rustix::thread::{CpuSet, sched_setaffinity};

use crate::{
    ROUNDS, nanoseconds, processors,
    queues::{FRAME, OURS, PEERS, Queue},
    report,
};

/// Packets of a round.
const PACKETS: usize = 1 << 19;
/// What the peer took for a packet in bursts of 256 when it was measured, on a processor of 2 GHz.
const RTE_RING_STEPS: f64 = 696.0 / 256.0 / 2.0;
const RTE_RING_ACROSS: f64 = 3.5 / 2.0;

pub(crate) fn run() {
    if processors() < 2 {
        println!("# handoff: both threads share a processor");
    }
    for frame in [1, 32, FRAME] {
        let mut ours = [[f64::INFINITY; 2]; 2];
        let mut alone = f64::INFINITY;
        let mut theirs = [[[f64::INFINITY; 2]; 2]; PEERS.len()];
        for _ in 0..ROUNDS {
            let round = [
                [ring_steps(&OURS, frame), ring_across(&OURS, frame)],
                [steps(frame), across(frame)],
            ];
            lower(&mut ours, round);
            alone = alone.min(same_thread(frame));
            for (theirs, queue) in theirs.iter_mut().zip(&PEERS) {
                let round = [
                    [ring_steps(queue, frame), ring_across(queue, frame)],
                    [steps_by(queue, frame), across_by(queue, frame)],
                ];
                lower(theirs, round);
            }
        }
        for (at, what) in ["ring", "handoff"].into_iter().enumerate() {
            for (by, how) in ["steps", "across"].into_iter().enumerate() {
                let what = format!("{what}/{how}-ns-{frame}");
                for (theirs, queue) in theirs.iter().zip(&PEERS) {
                    report(&what, queue.name, ours[at][by], theirs[at][by]);
                }
            }
        }
        report(&format!("handoff/steps-ns-{frame}"), "same-thread", ours[1][0], alone);
        if frame == FRAME {
            report("ring/steps-ns-256", "rte-ring-recorded", ours[0][0], RTE_RING_STEPS);
            report("ring/across-ns-256", "rte-ring-recorded", ours[0][1], RTE_RING_ACROSS);
        }
        let [steps, across] = ours[1].map(|nanoseconds| 1e3 / nanoseconds);
        println!("# handoff, frames of {frame}: steps {steps:.1} Mpps, across {across:.1} Mpps");
    }
}

fn lower(least: &mut [[f64; 2]; 2], round: [[f64; 2]; 2]) {
    for (least, figure) in least.iter_mut().flatten().zip(round.into_iter().flatten()) {
        *least = least.min(figure);
    }
}

fn per_packet(work: impl FnOnce()) -> f64 {
    nanoseconds(work) / PACKETS as f64
}

fn ring_steps(queue: &Queue, frame: usize) -> f64 {
    let (mut sender, mut receiver) = (queue.open)();
    let packets = black_box([7; FRAME]);
    let mut room = [0; FRAME];
    per_packet(|| {
        for _ in 0..PACKETS / frame {
            assert_eq!(sender.send(&packets[..frame]), frame);
            let mut received = 0;
            while received < frame {
                received += receiver.receive(&mut room);
            }
            black_box(&mut room);
        }
    })
}

fn ring_across(queue: &Queue, frame: usize) -> f64 {
    let (mut sender, mut receiver) = (queue.open)();
    both(
        move || {
            let packets = black_box([7; FRAME]);
            send_all(frame, |n| sender.send(&packets[..n]));
        },
        move |_| {
            let mut room = [0; FRAME];
            let mut received = 0;
            while received < PACKETS {
                received += receiver.receive(&mut room);
                black_box(&mut room);
            }
        },
    )
}

/// Sends all packets of a round, as many at a time as go.
fn send_all(frame: usize, mut send: impl FnMut(usize) -> usize) {
    let mut sent = 0;
    while sent < PACKETS {
        let went = send(frame.min(PACKETS - sent));
        if went == 0 {
            spin_loop();
        }
        sent += went;
    }
}

/// Two threads, each on a processor of its own as far as there are two; nanoseconds of a packet.
fn both(send: impl FnOnce() + Send, receive: impl FnOnce(&AtomicBool) + Send) -> f64 {
    let [ready, done] = [const { AtomicBool::new(false) }; 2];
    thread::scope(|scope| {
        let receiver = scope.spawn(|| {
            pin(1);
            ready.store(true, Ordering::Release);
            receive(&done);
        });
        let sender = scope.spawn(|| {
            pin(0);
            while !ready.load(Ordering::Acquire) {
                spin_loop();
            }
            per_packet(|| {
                send();
                done.store(true, Ordering::Release);
                receiver.join().expect("it receives all");
            })
        });
        sender.join().expect("it sends all")
    })
}

fn pin(core: usize) {
    let mut set = CpuSet::new();
    set.set(core % processors());
    sched_setaffinity(None, &set).expect("there is that processor");
}

fn node(name: &str, nexts: Vec<PlanNext>) -> PlanNode {
    PlanNode::new(name, Owner::HOST, Code::stateless(error_drop), nexts)
}

/// Two threads of one graph, in which a node can drop, and that node.
fn threads() -> ([Box<Thread>; 2], NodeIndex) {
    let pool = Arc::new(Pool::new(32_768).expect("memory"));
    let handoff = Arc::new(Handoff::default());
    let mut plan = Plan::default();
    plan.add_node(node(ERROR_DROP, Vec::new())).expect("a fresh plan");
    let reason = PlanNext::Drop { reason: "measured".into(), severity: Severity::Info };
    let sender = plan.add_node(node("sender", vec![reason])).expect("a fresh plan");
    let instances = Instances::default().for_plan(&plan, &[0, 1]).expect("nodes without state");
    let clock = Clock::calibrate();
    let thread = |index: u32| {
        let shared = Arc::new(ThreadShared::new(index).expect("a descriptor"));
        let poller = Poller::new(Arc::clone(shared.doorbell())).expect("a descriptor");
        let cache = Cache::new(Arc::clone(&pool), index as usize);
        let thread = Thread::new(shared, cache, clock.thread(), poller, std::ptr::null());
        let mut thread = Box::new(thread);
        thread.join(&handoff);
        *thread.runtime = compile(&plan, &instances, index, 0).expect("it has error-drop");
        thread
    };
    ([thread(0), thread(1)], sender)
}

fn dispatch(thread: &mut Thread) {
    // SAFETY: the thread is the caller's own.
    unsafe { dispatch_pending(thread) };
}

/// Hands so many new packets to thread 1; how many went.
fn hand_off(from: &mut Thread, node: NodeIndex, n: usize) -> usize {
    let mut packets = [0; FRAME];
    let n = from.cache.alloc(&mut packets[..n]);
    from.hand_off(node, &packets[..n], &[0; FRAME][..n], &[1; FRAME][..n])
}

fn receive(to: &mut Thread) {
    to.begin_turn();
    to.receive_handoff();
    dispatch(to);
}

fn steps(frame: usize) -> f64 {
    let ([mut from, mut to], node) = threads();
    per_packet(|| {
        for _ in 0..PACKETS / frame {
            hand_off(&mut from, node, frame);
            receive(&mut to);
        }
    })
}

fn across(frame: usize) -> f64 {
    let ([mut from, mut to], node) = threads();
    both(
        move || send_all(frame, |n| hand_off(&mut from, node, n)),
        move |done| {
            while !done.load(Ordering::Acquire) || !to.is_inbox_empty() {
                receive(&mut to);
            }
        },
    )
}

/// The same packets without another thread.
fn same_thread(frame: usize) -> f64 {
    let ([mut thread, _], node) = threads();
    let mut packets = [0; FRAME];
    per_packet(|| {
        for _ in 0..PACKETS / frame {
            let n = thread.cache.alloc(&mut packets[..frame]);
            enqueue(&mut thread, node, &packets[..n]);
        }
    })
}

fn enqueue(thread: &mut Thread, node: NodeIndex, packets: &[u32]) {
    thread.begin_turn();
    thread.emit(node, 0, packets);
    dispatch(thread);
}

fn steps_by(queue: &Queue, frame: usize) -> f64 {
    let ([mut from, mut to], node) = threads();
    let (mut sender, mut receiver) = (queue.open)();
    let mut packets = [0; FRAME];
    per_packet(|| {
        for _ in 0..PACKETS / frame {
            let n = from.cache.alloc(&mut packets[..frame]);
            sender.send(&packets[..n]);
            let n = receiver.receive(&mut packets);
            enqueue(&mut to, node, &packets[..n]);
        }
    })
}

fn across_by(queue: &Queue, frame: usize) -> f64 {
    let ([mut from, mut to], node) = threads();
    let (mut sender, mut receiver) = (queue.open)();
    both(
        move || {
            let mut packets = [0; FRAME];
            send_all(frame, |n| {
                let n = from.cache.alloc(&mut packets[..n]);
                let went = sender.send(&packets[..n]);
                from.cache.free(&packets[went..n]);
                went
            });
        },
        move |_| {
            let mut packets = [0; FRAME];
            let mut received = 0;
            while received < PACKETS {
                let n = receiver.receive(&mut packets);
                enqueue(&mut to, node, &packets[..n]);
                received += n;
            }
        },
    )
}
