//! The graph as one thread runs it: everything is an index, nothing is shared.
#![expect(unsafe_code, reason = "a runtime is made on the main thread and runs on another")]

use std::sync::Arc;

use gristmill_abi::frame::{NodeFn, NodeRuntime};

use super::{
    NodeIndex,
    frame::FrameId,
    node::{Counter, NodeCounts, NodeInstance},
};

/// Where an out-arc leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dest {
    /// To a node.
    Node(NodeIndex),
    /// To a node that depends on the packet's interface.
    Steer(u32),
    /// To `error-drop`.
    Drop,
}

/// An out-arc.
#[derive(Debug)]
pub struct Edge {
    /// Where it leads.
    pub to: Dest,
    /// Packets that took it.
    pub count: Arc<Counter>,
}

/// Destinations by interface.
#[derive(Debug)]
pub struct Steer {
    /// Looks at the tx interface instead of the rx interface.
    pub by_tx: bool,
    /// By interface index.
    pub table: Box<[Dest]>,
    /// For a packet whose interface is not in the table.
    pub other: Dest,
}

/// A node of a thread's graph.
#[derive(Debug)]
pub struct Slot {
    /// Its entry.
    pub entry: NodeFn,
    /// What the entry is given.
    pub node: *mut NodeRuntime,
    /// Its out-arcs: the first, and how many.
    pub edges: (u32, u16),
    /// The frame that packets for it are collected in.
    pub open: Option<FrameId>,
    /// Tells it from other nodes that had its index.
    pub serial: u64,
    /// What it counts here.
    pub counts: Arc<NodeCounts>,
    /// Keeps `node` alive.
    pub instance: Arc<NodeInstance>,
}

/// The graph of one thread. Exchanged as a whole, while the thread is at the barrier.
#[derive(Debug)]
pub struct Runtime {
    /// By node index.
    pub slots: Vec<Option<Slot>>,
    /// Out-arcs of all nodes.
    pub edges: Vec<Edge>,
    /// Tables by interface.
    pub steers: Vec<Steer>,
    /// Nodes dispatched before the inputs.
    pub pre_inputs: Vec<NodeIndex>,
    /// Nodes dispatched every turn.
    pub inputs: Vec<NodeIndex>,
    /// `error-drop`.
    pub drop: NodeIndex,
    /// Every input has something that wakes the thread.
    pub may_sleep: bool,
}

// SAFETY: `Slot::node` belongs to the thread whose runtime this is; the rest is `Send`.
unsafe impl Send for Runtime {}

impl Runtime {
    /// A graph without nodes.
    pub fn empty() -> Self {
        Self {
            slots: Vec::new(),
            edges: Vec::new(),
            steers: Vec::new(),
            pre_inputs: Vec::new(),
            inputs: Vec::new(),
            drop: NodeIndex(0),
            may_sleep: true,
        }
    }

    /// The slot of a node.
    #[inline(always)]
    pub fn slot(&self, index: NodeIndex) -> Option<&Slot> {
        self.slots.get(index.at())?.as_ref()
    }

    /// The slot of a node.
    #[inline(always)]
    pub fn slot_mut(&mut self, index: NodeIndex) -> Option<&mut Slot> {
        self.slots.get_mut(index.at())?.as_mut()
    }
}
