//! Workers come and go, nodes are put in and taken out, and packets are made, kept, dropped and handed
//! from thread to thread, all at random: at every barrier each buffer is accounted for.
//!
//! ```text
//!  source, on each thread ─▶ stray ─┬─▶ extra, at times ─┬─▶ error-drop
//!     ▲ some of what is kept        │ freed, kept,       │
//!     └─────────────────────────────┴ to another thread ─┘
//! ```
//! `GRISTMILL_STRESS_SECONDS` says how long, `GRISTMILL_SEED` which random numbers.
#![expect(unsafe_code, reason = "nodes have the calling convention of plugins'")]
#![expect(clippy::unwrap_used, reason = "a test may panic where it cannot go on")]

use std::{
    cell::Cell,
    sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
};

use gristmill::{
    boot::boot,
    config::{Config, Handoff},
    control::Control,
    engine::{Barrier, Caller, Thread},
    graph::{
        NodeIndex, NodeKind, Owner, PlanError, PlanNext, PlanNode, Severity, node::Code,
        plan::ERROR_DROP,
    },
    host::{GraphError, Host},
    time::Nanos,
};
use gristmill_abi::frame::{Frame, NodeFn, NodeRuntime, PER_PACKET, TAKEN, ThreadCtx};
use parking_lot::Mutex;

const CALLER: Caller = Caller::host("stress");
/// Workers at most.
const WORKERS: u64 = 3;
/// Packets that a thread's nodes keep at most.
const KEEP: usize = 100;
/// Fewer than the nodes would have, so that the pool is empty at times.
const BUFFERS: u32 = 1024;

/// What the nodes of each thread keep: a thread that comes back finds it again.
static KEPT: [Mutex<Vec<u32>>; 64] = [const { Mutex::new(Vec::new()) }; 64];
/// Whether packets are made, and kept.
static FLOWS: AtomicBool = AtomicBool::new(true);
/// What the nodes' random numbers begin with.
static SEED: AtomicU64 = AtomicU64::new(0);
/// Packets made; handed off.
static MADE: AtomicU64 = AtomicU64::new(0);
static HANDED: AtomicU64 = AtomicU64::new(0);

thread_local! {
    static RANDOM: Cell<u64> = const { Cell::new(0) };
}

fn next(random: u64) -> u64 {
    let random = random ^ (random << 13);
    let random = random ^ (random >> 7);
    random ^ (random << 17)
}

/// A random number below `end`, of the calling thread.
fn below(end: u64) -> u64 {
    RANDOM.with(|cell| {
        let seed =
            if cell.get() == 0 { SEED.fetch_add(0x9e37_79b9, Relaxed) | 1 } else { cell.get() };
        cell.set(next(seed));
        (cell.get() >> 11) % end
    })
}

/// Makes packets, gives some of those that are kept their way, and all of them in the end.
unsafe extern "C" fn source(ctx: *mut ThreadCtx, _: *mut NodeRuntime, frame: *mut Frame) -> u32 {
    // SAFETY: the dispatcher holds no reference to the thread while a node runs.
    let thread = unsafe { Thread::of(ctx) };
    // SAFETY: the dispatcher lends the frame for the call.
    let raw = unsafe { &mut *frame };
    let mut kept = KEPT[thread.shared.index as usize].lock();
    let mut packets = if FLOWS.load(Relaxed) {
        let few = usize::try_from(below(8)).unwrap().min(kept.len());
        let rest = kept.len() - few;
        kept.split_off(rest)
    } else {
        std::mem::take(&mut *kept)
    };
    if FLOWS.load(Relaxed) && below(4) > 0 {
        let mut new = vec![0; usize::try_from(below(100)).unwrap()];
        let made = thread.cache.alloc(&mut new);
        MADE.fetch_add(made as u64, Relaxed);
        packets.extend_from_slice(&new[..made]);
    }
    // SAFETY: a frame has room for 256 packets.
    let room = unsafe { std::slice::from_raw_parts_mut(raw.indices, 256) };
    room[..packets.len()].copy_from_slice(&packets);
    raw.n = u32::try_from(packets.len()).unwrap();
    0
}

/// Has each packet go on, or does away with it: drops it, frees it, keeps it, hands it off.
unsafe extern "C" fn stray(ctx: *mut ThreadCtx, node: *mut NodeRuntime, frame: *mut Frame) -> u32 {
    // SAFETY: as above.
    let thread = unsafe { Thread::of(ctx) };
    // SAFETY: the dispatcher lends the node for the call.
    let node = NodeIndex(unsafe { (*node).node_index });
    // SAFETY: as above.
    let raw = unsafe { &mut *frame };
    // SAFETY: a frame has `n` indices.
    let indices = unsafe { std::slice::from_raw_parts(raw.indices, raw.n as usize) };
    // SAFETY: a frame has room for a next per packet.
    let nexts = unsafe { std::slice::from_raw_parts_mut(raw.nexts, raw.n as usize) };
    let mut kept = KEPT[thread.shared.index as usize].lock();
    let (mut leaving, mut threads, mut theirs) = (Vec::new(), Vec::new(), Vec::new());
    for (&index, decided) in indices.iter().zip(nexts) {
        *decided = TAKEN;
        match below(if FLOWS.load(Relaxed) { 8 } else { 3 }) {
            0 | 1 => *decided = 0,
            2 => *decided = 1,
            3 => thread.cache.free(&[index]),
            4 if kept.len() < KEEP => kept.push(index),
            _ => {
                leaving.push(index);
                theirs.push(u16::try_from(below(2)).unwrap());
                threads.push(u16::try_from(below(WORKERS + 2)).unwrap()); // One that never is, too.
            }
        }
    }
    drop(kept);
    HANDED.fetch_add(thread.hand_off(node, &leaving, &theirs, &threads) as u64, Relaxed);
    PER_PACKET
}

fn node(name: &str, kind: NodeKind, entry: NodeFn, first: PlanNext) -> PlanNode {
    let reason = PlanNext::Drop { reason: "strayed".into(), severity: Severity::Info };
    PlanNode {
        kind,
        ..PlanNode::new(name, Owner::HOST, Code::stateless(entry), vec![first, reason])
    }
}

/// Puts `extra` in or takes it out.
fn splice(host: &Host) -> Result<(), GraphError> {
    host.change_graph(CALLER, |plan| match plan.find("extra") {
        Some(extra) => {
            plan.remove_node(extra);
            Ok(())
        }
        None => {
            let onward = PlanNext::Node(ERROR_DROP.into());
            plan.add_node(node("extra", NodeKind::Internal, stray, onward)).map(|_| ())
        }
    })
}

/// What main does, one random thing after the other, and the books that it keeps.
struct Stress {
    seed: u64,
    steps: [u64; 5],
    ends: Nanos,
    drains: u32,
}

impl Stress {
    /// Every buffer is free, in a ring, or kept.
    fn balance(&self, host: &Host, barrier: &Barrier) {
        let kept: usize = KEPT.iter().map(|kept| kept.lock().len()).sum();
        // A splice leaves with main what it received for it, until main's next frames.
        let waiting = host.handoff.waiting(barrier) + host.packets_under_way(barrier);
        let in_use = host.pool.in_use();
        let books = format!(
            "seed {}, step {:?}: {in_use} in use, {waiting} in rings, {kept} kept",
            self.seed, self.steps
        );
        assert_eq!(in_use, waiting + kept, "{books}");
    }

    fn check(&self, host: &Host) {
        host.stop_workers(CALLER, |barrier| self.balance(host, barrier)).unwrap();
    }

    /// One random change, and a look at the books.
    fn step(&mut self, control: &mut Control) {
        let host = control.host;
        let step = usize::try_from(below(10)).unwrap().saturating_sub(5);
        match step {
            0 => {} // The workers are stopped and looked at, no more.
            1 | 2 => splice(host).unwrap(),
            3 => {
                // Several changes at once, of which every other batch comes to nothing.
                let wanted = below(2) == 0;
                let made = host.batch(CALLER, || {
                    splice(host)?;
                    splice(host)?;
                    splice(host)?;
                    if wanted { Ok(()) } else { Err(GraphError::NotNow) }
                });
                assert_eq!(made.is_ok(), wanted, "seed {}", self.seed);
            }
            _ => {
                let workers = u32::try_from(below(WORKERS + 1)).unwrap();
                control.set_workers(workers).unwrap_or_else(|error| {
                    panic!("seed {}, step {:?}: {error}", self.seed, self.steps)
                });
                assert_eq!(host.workers().len(), workers as usize);
            }
        }
        self.steps[step] += 1;
        self.check(host);
    }

    /// Called in each turn of main.
    fn tick(&mut self, control: &mut Control, now: Nanos) -> Option<Nanos> {
        if self.ends == Nanos(0) {
            let seconds = std::env::var("GRISTMILL_STRESS_SECONDS");
            let seconds = seconds.map_or(8, |seconds| seconds.parse().expect("a number"));
            self.ends = Nanos(now.0 + seconds * 1_000_000_000);
            self.seed_nodes();
        }
        if now < self.ends {
            self.step(control);
            return Some(Nanos(0));
        }
        self.drain(control)
    }

    fn seed_nodes(&self) {
        SEED.store(self.seed, Relaxed);
        let make = |cell: &Cell<u64>| cell.set(next(self.seed | 1));
        RANDOM.with(make); // Main's own numbers are the same each time.
    }

    /// Nothing is made any more: what is under way ends within some turns.
    fn drain(&mut self, control: &mut Control) -> Option<Nanos> {
        FLOWS.store(false, Relaxed);
        let host = control.host;
        for kept in &KEPT {
            kept.lock().drain(..).for_each(|index| host.pool.release(index));
        }
        self.check(host);
        self.drains += 1;
        assert!(self.drains < 10_000, "seed {}: {} in use", self.seed, host.pool.in_use());
        (host.pool.in_use() > 0).then_some(Nanos(0))
    }
}

#[test]
fn every_buffer_is_accounted_for_at_every_barrier() {
    let seed = std::env::var("GRISTMILL_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| u64::from(std::process::id()) | 1);
    let config = Config {
        workers: u32::try_from(WORKERS).unwrap(),
        buffers: BUFFERS,
        barrier_deadline: Nanos::from_secs(60),
        watchdog: Nanos(0),
        handoff: Handoff { ring_size: 8 }, // Too small at times.
        ..Config::default()
    };
    let mut running = boot(config).unwrap();
    let host = running.main.control.host;
    let added = host.change_graph(CALLER, |plan| {
        let onward = PlanNext::Optional("extra".into());
        plan.add_node(node("stray", NodeKind::Internal, stray, onward))?;
        let onward = PlanNext::Node("stray".into());
        plan.add_node(node("source", NodeKind::Input, source, onward))?;
        Ok::<_, PlanError>(())
    });
    added.unwrap();
    let mut stress = Stress { seed, steps: [0; 5], ends: Nanos(0), drains: 0 };
    running.run(&mut |control, now| stress.tick(control, now));
    assert_eq!(host.pool.in_use(), 0, "seed {seed}");
    let dropped: u64 = host.drops().iter().map(|(_, _, _, count)| count).sum();
    let (made, handed) = (MADE.load(Relaxed), HANDED.load(Relaxed));
    let books = format!(
        "seed {seed}: steps {:?}, {made} made, {handed} handed off, {dropped} dropped",
        stress.steps
    );
    assert_eq!(running.end(), 0, "{books}");
    let _ = std::io::Write::write_all(&mut std::io::stderr(), format!("{books}\n").as_bytes());
    assert!(stress.steps.iter().all(|&steps| steps > 3) && made > 10_000, "{books}");
    assert!(handed > 1000, "{books}");
}
