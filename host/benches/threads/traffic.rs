//! A host whose workers forward as fast as they can, by nodes of this program's own.
//!
//! ```text
//!  source ──▶ start ──▶ (feature) ──▶ step-1 … step-5 ──▶ sink       filler-1 ──▶ filler-2 ──▶ …
//! ```
//! With the host's own two these are ten nodes; no packet comes to the further ones.
#![expect(unsafe_code, reason = "nodes have the calling convention of plugins'")]

use std::{
    slice,
    sync::atomic::{AtomicU64, Ordering},
};

use gristmill::{
    boot::{Running, boot},
    config::{Config, Logging},
    engine::{Caller, Pause, Thread},
    graph::{
        NodeKind, Owner, Plan, PlanError, PlanNext, PlanNode, Severity,
        arc::{Enabled, Feature, FeatureArc},
        node::Code,
    },
    host::Host,
    log::Level,
};
use gristmill_abi::frame::{FRAME_SIZE, Frame, NodeFn, NodeRuntime, PER_PACKET, TAKEN, ThreadCtx};
use rustix::thread::{CpuSet, sched_setaffinity};

use crate::processors;

/// Nodes that packets meet or that the host has anyway.
pub(crate) const NODES_AT_LEAST: usize = 10;
/// Most workers.
pub(crate) const WORKERS: usize = 2;
/// Who loads and unloads.
const PLUGIN: Owner = Owner(1_000_001);
/// Who has the nodes that no packet comes to.
const FILLER: Owner = Owner(1_000_002);
const ARC: &str = "bench-arc";

/// What each worker has seen; main is 0.
static SEEN: [Seen; WORKERS + 1] = [const { Seen::new() }; WORKERS + 1];

#[repr(align(128))]
struct Seen {
    made: AtomicU64,
    sunk: AtomicU64,
    /// Packets that the feature was given.
    featured: AtomicU64,
    /// Nanoseconds of its longest turn since main asked.
    longest: AtomicU64,
}

impl Seen {
    const fn new() -> Self {
        let [made, sunk, featured, longest] = [const { AtomicU64::new(0) }; 4];
        Self { made, sunk, featured, longest }
    }

    /// Of the thread that a node runs on, which alone counts there.
    fn of(ctx: *mut ThreadCtx) -> &'static Self {
        // SAFETY: the dispatcher hands the context out for the call.
        let index = unsafe { (*ctx).thread_index };
        &SEEN[index as usize]
    }
}

fn add(counter: &AtomicU64, amount: usize) {
    counter.store(counter.load(Ordering::Relaxed) + amount as u64, Ordering::Relaxed);
}

/// The packets of a frame, and where they are to go.
fn packets<'a>(frame: *mut Frame) -> (&'a [u32], &'a mut [u16]) {
    // SAFETY: the dispatcher lends the frame for the call.
    let raw = unsafe { &mut *frame };
    // SAFETY: a frame has `n` indices.
    let indices = unsafe { slice::from_raw_parts(raw.indices, raw.n as usize) };
    // SAFETY: a frame has room for a next per packet.
    let nexts = unsafe { slice::from_raw_parts_mut(raw.nexts, raw.n as usize) };
    (indices, nexts)
}

/// Makes a whole frame of packets.
unsafe extern "C" fn source(ctx: *mut ThreadCtx, _: *mut NodeRuntime, frame: *mut Frame) -> u32 {
    // SAFETY: the dispatcher lends the frame for the call.
    let raw = unsafe { &mut *frame };
    // SAFETY: there is room for a whole frame of indices, which are all initialised.
    let indices = unsafe { slice::from_raw_parts_mut(raw.indices, FRAME_SIZE) };
    // SAFETY: the dispatcher holds no reference to the thread while a node runs.
    let made = unsafe { Thread::of(ctx) }.cache.alloc(indices);
    raw.n = u32::try_from(made).expect("at most a frame");
    add(&Seen::of(ctx).made, made);
    0
}

/// Looks for packets that never come.
unsafe extern "C" fn in_vain(_: *mut ThreadCtx, _: *mut NodeRuntime, _: *mut Frame) -> u32 {
    0
}

/// Reads and writes each packet's header, and passes all on.
unsafe extern "C" fn step(ctx: *mut ThreadCtx, _: *mut NodeRuntime, frame: *mut Frame) -> u32 {
    // SAFETY: the dispatcher holds no reference to the thread while a node runs.
    let cache = &unsafe { Thread::of(ctx) }.cache;
    for &index in packets(frame).0 {
        let header = cache.pool().header(index);
        // SAFETY: the packet is in a frame of this thread, so its buffer is this node's.
        let scratch = unsafe { &mut (*header).scratch };
        scratch[0] = scratch[0].wrapping_add(1);
    }
    0
}

/// As a step, and counts.
unsafe extern "C" fn feature(
    ctx: *mut ThreadCtx,
    node: *mut NodeRuntime,
    frame: *mut Frame,
) -> u32 {
    add(&Seen::of(ctx).featured, packets(frame).0.len());
    // SAFETY: what the dispatcher gave.
    unsafe { step(ctx, node, frame) }
}

/// Frees its packets, and notes how long the turn has taken.
unsafe extern "C" fn sink(ctx: *mut ThreadCtx, _: *mut NodeRuntime, frame: *mut Frame) -> u32 {
    let (indices, nexts) = packets(frame);
    // SAFETY: the dispatcher holds no reference to the thread while a node runs.
    let thread = unsafe { Thread::of(ctx) };
    thread.cache.free(indices);
    let ended = thread.clock.read().0;
    nexts.fill(TAKEN);
    let seen = Seen::of(ctx);
    add(&seen.sunk, indices.len());
    // SAFETY: as above; the host wrote it at the top of the turn.
    let begun = unsafe { (*ctx).now_ns };
    seen.longest.fetch_max(ended.saturating_sub(begun), Ordering::Relaxed);
    PER_PACKET
}

fn node(name: &str, owner: Owner, entry: NodeFn, nexts: Vec<PlanNext>) -> PlanNode {
    PlanNode::new(name, owner, Code::stateless(entry), nexts)
}

fn to(name: &str) -> Vec<PlanNext> {
    vec![PlanNext::Node(name.to_owned())]
}

/// What workers do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    /// Nothing: they sleep in their pollers.
    Asleep,
    /// They poll an input to which nothing comes.
    Polling,
    /// They forward all that they can.
    Forwarding,
}

/// A host with workers, each on a processor of its own as far as there are any, where main has one
/// too.
pub(crate) struct Traffic {
    pub(crate) running: Running,
    pub(crate) host: &'static Host,
}

impl Traffic {
    /// Boots it; its workers are at work once it runs.
    pub(crate) fn boot(workers: usize, work: Work) -> Self {
        for seen in &SEEN {
            for counter in [&seen.made, &seen.sunk, &seen.featured, &seen.longest] {
                counter.store(0, Ordering::Relaxed);
            }
        }
        let core = |worker: usize| u32::try_from(worker % processors()).expect("few processors");
        let running = boot(Config {
            workers: u32::try_from(workers).expect("few workers"),
            buffers: 16_384,
            main_core: Some(0),
            corelist_workers: (1..=WORKERS).map(core).collect(),
            log: Logging { level: Level::Error, ..Config::default().log },
            ..Config::default()
        });
        let running = running.expect("a host");
        let host = running.main.control.host;
        let made = host.change_graph(Caller::host("start"), |plan| match work {
            Work::Asleep => Ok(()),
            Work::Polling => input(plan, in_vain, Vec::new()),
            Work::Forwarding => forward(plan),
        });
        made.expect("these nodes make a graph");
        Self { running, host }
    }

    /// Ends the host, which has lost no packet and no buffer, and lets the program run anywhere.
    pub(crate) fn end(self) {
        assert_eq!(self.running.end(), 0, "buffers did not come back");
        let [made, sunk] = [made(), sunk()];
        assert_eq!(made, sunk, "packets are lost");
        println!("# {made} packets, lost=0");
        let mut all = CpuSet::new();
        (0..processors()).for_each(|core| all.set(core));
        sched_setaffinity(None, &all).expect("it ran there before");
    }
}

/// An input of all workers.
fn input(plan: &mut Plan, entry: NodeFn, nexts: Vec<PlanNext>) -> Result<(), PlanError> {
    let threads = Some((1..).take(WORKERS).collect());
    let input = node("source", Owner::HOST, entry, nexts);
    plan.add_node(PlanNode { kind: NodeKind::Input, threads, ..input }).map(|_| ())
}

/// The nodes that packets go through.
fn forward(plan: &mut Plan) -> Result<(), PlanError> {
    plan.add_node(node("sink", Owner::HOST, sink, Vec::new()))?;
    for number in 1..=5 {
        let next = if number == 5 { "sink".to_owned() } else { step_name(number + 1) };
        plan.add_node(node(&step_name(number), Owner::HOST, step, to(&next)))?;
    }
    plan.add_node(node("start", Owner::HOST, step, to(&step_name(1))))?;
    input(plan, source, to("start"))?;
    let (starts, end) = (vec!["start".to_owned()], step_name(1));
    let (owner, features) = (Owner::HOST, Vec::new());
    plan.add_arc(ARC, FeatureArc { owner, starts, end, by_tx: false, features })
}

fn step_name(number: usize) -> String {
    format!("step-{number}")
}

fn sum(counter: impl Fn(&Seen) -> &AtomicU64) -> u64 {
    SEEN.iter().map(|seen| counter(seen).load(Ordering::Relaxed)).sum()
}

fn made() -> u64 {
    sum(|seen| &seen.made)
}

/// Packets that came to the end, of all threads.
pub(crate) fn sunk() -> u64 {
    sum(|seen| &seen.sunk)
}

/// Packets that went through the feature.
pub(crate) fn featured() -> u64 {
    sum(|seen| &seen.featured)
}

/// Nanoseconds of the longest turn of any worker since this was asked before.
pub(crate) fn longest_turn() -> u64 {
    SEEN.iter().map(|seen| seen.longest.swap(0, Ordering::Relaxed)).max().unwrap_or(0)
}

/// Has the graph consist of so many nodes, of which most see no packet.
pub(crate) fn resize(host: &Host, nodes: usize) {
    let resized = host.change_graph(Caller::host("resize"), |plan| {
        plan.remove_owner(FILLER);
        for number in 1..=nodes - NODES_AT_LEAST {
            let drop = PlanNext::Drop { reason: "none".into(), severity: Severity::Info };
            let next = PlanNext::Optional(format!("filler-{}", number + 1));
            plan.add_node(node(&format!("filler-{number}"), FILLER, step, vec![next, drop]))?;
        }
        Ok(())
    });
    resized.expect("they need nothing");
}

/// A change that a plugin's coming and going makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// A node and its feature come.
    Load,
    /// Others take their place.
    Replace,
    /// They go.
    Unload,
}

impl Change {
    pub(crate) const ALL: [Self; 3] = [Self::Load, Self::Replace, Self::Unload];

    /// Makes it; what that cost the workers.
    pub(crate) fn make(self, host: &Host) -> Pause {
        let caller = Caller::of(PLUGIN, "bench");
        let made = host.batch(caller, || {
            host.change_graph(caller, |plan| {
                plan.remove_owner(PLUGIN);
                if self == Self::Unload { Ok(()) } else { add_feature(plan) }
            })
        });
        let ((), pause) = made.expect("the workers come and the plan is right");
        pause
    }
}

fn add_feature(plan: &mut Plan) -> Result<(), PlanError> {
    let name = "bench-feature";
    plan.add_node(node(name, PLUGIN, feature, vec![PlanNext::Feature]))?;
    let (before, after, enabled) = (Vec::new(), Vec::new(), Enabled::everywhere());
    plan.add_feature(ARC, Feature { node: name.into(), owner: PLUGIN, before, after, enabled })
}
