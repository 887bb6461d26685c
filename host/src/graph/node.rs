//! A node: its name's index, its code, and its instance on one thread.
#![expect(unsafe_code, reason = "instances are made and ended by the plugin's functions")]

use std::{
    cell::UnsafeCell,
    fmt,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicI64, AtomicU8, AtomicU64, Ordering},
    },
};

use gristmill_abi::{
    Head,
    declaration::{NodeDecl, node_flag, node_type},
    frame::{NodeFn, NodeRuntime},
    text::Opaque,
};
use parking_lot::Mutex;

use crate::engine::handoff::HandedOff;

/// Names a node for its whole life; used again only when no thread can know it any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeIndex(pub u32);

impl NodeIndex {
    /// As an index of a table.
    pub fn at(self) -> usize {
        self.0 as usize
    }
}

/// Who registered something: the host, or one generation of a plugin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Owner(pub u64);

impl Owner {
    /// The host itself.
    pub const HOST: Self = Self(0);
}

/// When a node is dispatched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeKind {
    /// When packets were enqueued to it.
    Internal,
    /// Every turn of the loop; of an interface's, as its queues are polled or waited for.
    Input,
    /// When it was marked.
    MarkedInput,
    /// Every turn of the loop, before all inputs.
    PreInput,
    /// At the time it asked for, and when it was marked.
    Sched,
}

impl NodeKind {
    /// The kind of a declaration; `None` if this host does not know it.
    pub fn of(decl: &NodeDecl) -> Option<Self> {
        match decl.node_type {
            node_type::INTERNAL => Some(Self::Internal),
            node_type::INPUT if decl.flags & node_flag::ON_INTERRUPT != 0 => {
                Some(Self::MarkedInput)
            }
            node_type::INPUT => Some(Self::Input),
            node_type::PRE_INPUT => Some(Self::PreInput),
            node_type::SCHED => Some(Self::Sched),
            _ => None,
        }
    }
}

impl fmt::Display for NodeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Internal => "internal",
            Self::Input | Self::MarkedInput => "input",
            Self::PreInput => "pre-input",
            Self::Sched => "sched",
        })
    }
}

/// How bad a drop is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// A fault.
    Error,
    /// Odd.
    Warning,
    /// As wished.
    Info,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Info => "info",
        })
    }
}

/// Makes the instances of a node.
pub trait Maker: Send + Sync {
    /// The state of the instance on `thread`, or why there can be none.
    ///
    /// # Errors
    /// The plugin's reason.
    fn make(&self, thread: u32) -> Result<Opaque, String>;
    /// Ends a state that `make` made; no thread uses it any more.
    fn end(&self, state: Opaque);
}

/// What a node runs, on every thread.
#[derive(Clone)]
pub struct Code {
    /// Its entry.
    pub entry: NodeFn,
    /// Makes its instances.
    pub maker: Arc<dyn Maker>,
}

impl Code {
    /// That of a node of the host's that has no state.
    pub fn stateless(entry: NodeFn) -> Self {
        Self { entry, maker: Arc::new(Stateless) }
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Code({:p})", self.entry)
    }
}

/// The maker of a host's node that has no state.
#[derive(Debug)]
pub struct Stateless;

impl Maker for Stateless {
    fn make(&self, _: u32) -> Result<Opaque, String> {
        Ok(std::ptr::null_mut())
    }

    fn end(&self, _: Opaque) {}
}

/// A counter with one writer and any readers.
#[derive(Debug, Default)]
#[repr(transparent)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds; only the owning thread does.
    #[inline(always)]
    pub fn add(&self, amount: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(amount), Ordering::Relaxed);
    }

    /// Raises to `value` if that is more; only the owning thread does.
    #[inline(always)]
    pub fn raise(&self, value: u64) {
        if value > self.0.load(Ordering::Relaxed) {
            self.0.store(value, Ordering::Relaxed);
        }
    }

    /// Reads.
    #[inline(always)]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What one node did on one thread since it was loaded.
#[derive(Debug, Default)]
#[repr(align(64))]
pub struct NodeStats {
    /// Dispatches.
    pub calls: Counter,
    /// Packets.
    pub vectors: Counter,
    /// Cycles of the clock's counter.
    pub clocks: Counter,
    /// Most cycles of one dispatch.
    pub max_clocks: Counter,
    /// Panics that its shim caught.
    pub panics: Counter,
    /// Packets dropped because the node panicked or decided nothing for them.
    pub undecided: Counter,
    /// Packets dropped because the node sent them to a next it does not have.
    pub bad_next: Counter,
    /// Packets that went with the thread, which was given up because the node did not come back.
    /// Written by main, and by the thread should it come back; the two need not come in this order.
    pub lost: AtomicI64,
}

/// What one node counted on one thread. An allocation of its own, which outlives the instance: a
/// node that is made anew on the thread, and a thread that comes back, count on.
#[derive(Debug)]
pub struct NodeCounts {
    /// Dispatches and what came of them.
    pub stats: NodeStats,
    /// The counters that the node declared.
    declared: Box<[Counter]>,
    /// Packets on each out-arc; grows with the arcs, never shrinks.
    arcs: Mutex<Vec<Arc<Counter>>>,
    /// Packets dropped on each out-arc.
    drops: Mutex<Vec<Arc<Counter>>>,
    /// Packets handed to other threads; made with the first.
    handed_off: OnceLock<HandedOff>,
}

impl NodeCounts {
    /// Nothing counted yet, with room for `declared` counters of the node's own.
    pub fn new(declared: usize) -> Arc<Self> {
        Arc::new(Self {
            stats: NodeStats::default(),
            declared: (0..declared).map(|_| Counter::default()).collect(),
            arcs: Mutex::default(),
            drops: Mutex::default(),
            handed_off: OnceLock::new(),
        })
    }

    /// Declared counters.
    pub fn declared(&self) -> impl Iterator<Item = u64> {
        self.declared.iter().map(Counter::get)
    }

    /// Counts packets handed to other threads, on the owning thread.
    pub fn handed_off(&self) -> &HandedOff {
        self.handed_off.get_or_init(HandedOff::default)
    }

    /// What was handed to other threads, if anything ever was.
    pub fn read_handed_off(&self) -> Option<&HandedOff> {
        self.handed_off.get()
    }

    /// The counter of packets that went on over out-arc `at`.
    pub fn arc_counter(&self, at: usize) -> Arc<Counter> {
        counter_at(&self.arcs, at)
    }

    /// The counter of packets that out-arc `at` dropped.
    pub fn drop_counter(&self, at: usize) -> Arc<Counter> {
        counter_at(&self.drops, at)
    }
}

/// When a thread dispatches an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attention {
    /// Every turn.
    pub polled: bool,
    /// A part of it only when it was marked.
    pub waits: bool,
}

const POLLED: u8 = 1;
const WAITS: u8 = 2;

impl Attention {
    fn bits(self) -> u8 {
        (u8::from(self.polled) * POLLED) | (u8::from(self.waits) * WAITS)
    }
}

/// A node on one thread. Shared by the runtimes that know it; ended with the last of them.
pub struct NodeInstance {
    /// What the node's entry is given. Only the owning thread touches it, and only while it runs.
    runtime: UnsafeCell<NodeRuntime>,
    /// What it counts.
    pub counts: Arc<NodeCounts>,
    /// Of an input: bits of its [`Attention`], which the owning thread alone changes.
    attention: AtomicU8,
    maker: Arc<dyn Maker>,
}

// SAFETY: `runtime` is touched by the owning thread alone; all else is shared safely.
unsafe impl Send for NodeInstance {}
// SAFETY: as above.
unsafe impl Sync for NodeInstance {}

impl NodeInstance {
    /// The instance of `code` on `thread`.
    ///
    /// # Errors
    /// The plugin's reason why there is none.
    pub fn new(
        index: NodeIndex,
        code: &Code,
        thread: u32,
        counts: Arc<NodeCounts>,
    ) -> Result<Arc<Self>, String> {
        let state = code.maker.make(thread)?;
        let declared = &counts.declared;
        let runtime = NodeRuntime {
            head: Head::of::<NodeRuntime>(),
            node_index: index.0,
            n_nexts: 0,
            flags: 0,
            state,
            counters: declared.as_ptr().cast::<u64>().cast_mut(),
            n_counters: u32::try_from(declared.len()).unwrap_or(u32::MAX),
            reserved32: 0,
            wake_at_ns: 0,
            reserved: 0,
        };
        let maker = Arc::clone(&code.maker);
        let attention = AtomicU8::new(POLLED);
        Ok(Arc::new(Self { runtime: UnsafeCell::new(runtime), counts, attention, maker }))
    }

    /// Of an input: when its thread dispatches it. At first, every turn.
    #[inline(always)]
    pub fn attention(&self) -> Attention {
        let bits = self.attention.load(Ordering::Relaxed);
        Attention { polled: bits & POLLED != 0, waits: bits & WAITS != 0 }
    }

    /// Of an input, on the owning thread: when it is dispatched from now on.
    pub fn attend(&self, attention: Attention) {
        self.attention.store(attention.bits(), Ordering::Relaxed);
    }

    /// For the entry, on the owning thread.
    pub fn runtime(&self) -> *mut NodeRuntime {
        self.runtime.get()
    }
}

fn counter_at(counters: &Mutex<Vec<Arc<Counter>>>, at: usize) -> Arc<Counter> {
    let mut counters = counters.lock();
    while counters.len() <= at {
        counters.push(Arc::default());
    }
    Arc::clone(&counters[at])
}

impl Drop for NodeInstance {
    fn drop(&mut self) {
        self.maker.end(self.runtime.get_mut().state);
    }
}

impl fmt::Debug for NodeInstance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NodeInstance").field("counts", &self.counts).finish_non_exhaustive()
    }
}
