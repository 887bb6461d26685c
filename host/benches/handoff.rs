//! Packets from thread to thread, and the ring they go through, beside their peers, in one run.
//!
//! Prints a line `WHAT/SIZE/PEER ours=.. peer=.. ratio=..` for each comparison, the least of seven
//! rounds in which all take turns; lower is better. Of the ring: nanoseconds for a vector of 32
//! packets, written and read by one thread, made in its place or moved in and out, and as another
//! queue does. Of the handoff: nanoseconds for a packet, from the sender's buffer cache to the end of
//! the receiver's `error-drop`, in frames of so many: `steps` with one thread in both parts, beside
//! the same packets enqueued on the thread itself; `across` with two threads and all that moves
//! between their cores.
#![expect(clippy::print_stdout, reason = "a benchmark's results go to standard output")]
#![expect(clippy::cast_precision_loss, reason = "a figure has a few digits")]
#![expect(unsafe_code, reason = "makes values in a ring and dispatches frames")]

use std::{
    hint::black_box,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Instant,
};

use crossbeam_queue::ArrayQueue;
use gristmill::{
    buffer::{Cache, Pool},
    device::error_drop,
    engine::{
        Handoff, Thread, ThreadShared, dispatch::dispatch_pending, poller::Poller, ring::ring,
    },
    graph::{
        NodeIndex, NodeKind, Owner, Plan, PlanNext, PlanNode, Severity,
        compile::{Instances, compile},
        node::{Code, Stateless},
        plan::ERROR_DROP,
    },
    time::Clock,
};

const ROUNDS: usize = 7;
const VECTORS: usize = 200_000;
const PACKETS: usize = 1 << 20;
const FRAME: usize = 256;

/// As large as what goes through the rings of threads.
#[derive(Clone, Copy)]
struct Vector {
    head: [u64; 3],
    indices: [u32; 32],
    nexts: [u16; 32],
}

fn main() {
    rings();
    for frame in [1, 32, FRAME] {
        steps(frame);
        across(frame);
    }
}

/// Nanoseconds per operation of a piece of work.
fn measure(operations: usize, work: impl FnOnce()) -> f64 {
    #[expect(clippy::disallowed_methods, reason = "a benchmark measures time")]
    let start = Instant::now();
    work();
    start.elapsed().as_nanos() as f64 / operations as f64
}

/// The least of the rounds of each kind of work, which take turns.
fn least<const N: usize>(mut works: [&mut dyn FnMut() -> f64; N]) -> [f64; N] {
    let mut least = [f64::INFINITY; N];
    for _ in 0..ROUNDS {
        for (least, work) in least.iter_mut().zip(&mut works) {
            *least = least.min(work());
        }
    }
    least
}

fn line(what: &str, peer: &str, ours: f64, figure: f64) {
    println!("{what}/{peer} ours={ours:.2} peer={figure:.2} ratio={:.3}", ours / figure);
}

fn rings() {
    let vector = |at: usize| {
        let at = at as u64;
        Vector { head: [at; 3], indices: [black_box(7); 32], nexts: [black_box(3); 32] }
    };
    let sum = |vector: &Vector| {
        let nexts = vector.nexts.iter().map(|&next| u32::from(next));
        black_box((vector.indices.iter().copied().chain(nexts).sum::<u32>(), vector.head[0]));
    };
    let (in_place, mut owner) = ring::<Vector>(256);
    let (moved, mut other) = ring::<Vector>(256);
    let queue = ArrayQueue::<Vector>::new(256);
    let figures = least([
        &mut || {
            measure(VECTORS, || {
                for at in 0..VECTORS {
                    // SAFETY: the room is filled, and nothing panics.
                    let pushed = unsafe {
                        in_place.push_with(|room| {
                            room.write(vector(at));
                        })
                    };
                    assert!(pushed && owner.pop_with(|vector| sum(vector)).is_some());
                }
            })
        },
        &mut || {
            measure(VECTORS, || {
                for at in 0..VECTORS {
                    assert!(moved.push(vector(at)).is_ok());
                    sum(&other.pop().expect("just pushed"));
                }
            })
        },
        &mut || {
            measure(VECTORS, || {
                for at in 0..VECTORS {
                    assert!(queue.push(vector(at)).is_ok());
                    sum(&queue.pop().expect("just pushed"));
                }
            })
        },
    ]);
    let [ours, moved, queue] = figures;
    line("ring/vector", "moved", ours, moved);
    line("ring/vector", "crossbeam-queue", ours, queue);
}

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

fn steps(frame: usize) {
    let ([mut from, mut to], sender) = threads();
    let (mut alone, _) = threads();
    let figures = least([
        &mut || {
            let mut indices = [0; FRAME];
            measure(PACKETS, || {
                for _ in 0..PACKETS / frame {
                    let n = from.cache.alloc(&mut indices[..frame]);
                    from.hand_off(sender, &indices[..n], &[0; FRAME][..n], &[1; FRAME][..n]);
                    to.begin_turn();
                    to.receive_handoff();
                    dispatch(&mut to);
                }
            })
        },
        &mut || {
            let mut indices = [0; FRAME];
            measure(PACKETS, || {
                for _ in 0..PACKETS / frame {
                    let n = alone[0].cache.alloc(&mut indices[..frame]);
                    alone[0].begin_turn();
                    alone[0].emit(sender, 0, &indices[..n]);
                    dispatch(&mut alone[0]);
                }
            })
        },
    ]);
    line(&format!("handoff/steps/{frame}"), "same-thread", figures[0], figures[1]);
}

fn across(frame: usize) {
    let mut figures = Vec::new();
    for _ in 0..ROUNDS {
        let ([mut from, mut to], sender) = threads();
        let done = AtomicBool::new(false);
        figures.push(thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Acquire) || !to.is_inbox_empty() {
                    to.begin_turn();
                    to.receive_handoff();
                    dispatch(&mut to);
                }
            });
            let mut indices = [0; FRAME];
            measure(PACKETS, || {
                let mut sent = 0;
                while sent < PACKETS {
                    let n = from.cache.alloc(&mut indices[..frame]);
                    sent +=
                        from.hand_off(sender, &indices[..n], &[0; FRAME][..n], &[1; FRAME][..n]);
                }
                done.store(true, Ordering::Release);
            })
        }));
    }
    let least = figures.iter().copied().fold(f64::INFINITY, f64::min);
    println!("handoff/across/{frame} ours={least:.2}");
}
