//! What was: the counters of nodes and drops, summed by the reader. No thread is stopped for it.

use std::{collections::BTreeMap, fmt};

use crate::{
    control::Control,
    graph::{NodeKind, Owner, PlanNode, Severity, node::NodeStats},
};

/// What a node did since the counters were last cleared.
#[derive(Clone, Debug)]
pub struct NodeReport {
    /// Name.
    pub name: String,
    /// Who registered it.
    pub owner: Owner,
    /// When it is dispatched.
    pub kind: NodeKind,
    /// Whether the thread dispatches it: always for internal nodes; for inputs whether it polls
    /// them.
    pub state: NodeState,
    /// The thread; `None` for the sum of all.
    pub thread: Option<u32>,
    /// Dispatches.
    pub calls: u64,
    /// Packets.
    pub vectors: u64,
    /// Cycles of the clock's counter.
    pub clocks: u64,
    /// Most cycles of one dispatch since the node was loaded.
    pub max_clocks: u64,
    /// Panics.
    pub panics: u64,
}

/// Whether a thread dispatches a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeState {
    /// Dispatched with the packets enqueued to it.
    Active,
    /// An input that is dispatched every turn.
    Polling,
    /// An input that is dispatched every turn, on a thread that may sleep until a descriptor says
    /// that packets wait.
    Interrupt,
    /// An input that this thread does not dispatch.
    Disabled,
}

impl NodeState {
    fn of(node: &PlanNode, thread: u32) -> Self {
        let polled = node.threads.as_ref().is_none_or(|threads| threads.contains(&thread));
        match (node.kind, polled, node.wakes) {
            (NodeKind::Internal, ..) => Self::Active,
            (_, false, _) => Self::Disabled,
            (NodeKind::Input, true, true) => Self::Interrupt,
            (_, true, _) => Self::Polling,
        }
    }
}

impl fmt::Display for NodeState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Active => "active",
            Self::Polling => "polling",
            Self::Interrupt => "interrupt",
            Self::Disabled => "disabled",
        })
    }
}

impl NodeReport {
    /// Packets of a dispatch, on average.
    pub fn vectors_per_call(&self) -> f64 {
        ratio(self.vectors, self.calls)
    }

    /// Cycles of a packet, on average; of a call, where there were no packets.
    pub fn clocks_per_packet(&self) -> f64 {
        ratio(self.clocks, if self.vectors == 0 { self.calls } else { self.vectors })
    }
}

#[expect(clippy::cast_precision_loss, reason = "for people")]
fn ratio(numerator: u64, denominator: u64) -> f64 {
    if denominator == 0 { 0.0 } else { numerator as f64 / denominator as f64 }
}

/// Packets dropped by a node for a reason since the counters were last cleared.
#[derive(Clone, Debug)]
pub struct DropReport {
    /// The node.
    pub node: String,
    /// The reason.
    pub reason: String,
    /// How bad it is.
    pub severity: Severity,
    /// Packets.
    pub count: u64,
}

/// What the counters stood at when they were cleared: the counters themselves have one writer,
/// and that is not main.
#[derive(Debug, Default)]
pub struct Baseline {
    /// By the node's serial number and thread: calls, vectors, clocks.
    nodes: BTreeMap<(u64, u32), [u64; 3]>,
    /// By node and reason.
    drops: BTreeMap<(String, String), u64>,
}

fn tally(stats: &NodeStats) -> [u64; 3] {
    [stats.calls.get(), stats.vectors.get(), stats.clocks.get()]
}

impl Control {
    /// What every node did on every thread.
    pub fn node_reports(&self) -> Vec<NodeReport> {
        let (plan, instances) = self.host.running_graph();
        let mut reports = Vec::new();
        for (index, node) in plan.nodes() {
            for (thread, counts) in instances.counts(index) {
                let stats = &counts.stats;
                let before = self.baseline.nodes.get(&(node.serial, thread));
                let [calls, vectors, clocks] = before.copied().unwrap_or_default();
                reports.push(NodeReport {
                    name: node.name.to_string(),
                    owner: node.owner,
                    kind: node.kind,
                    state: NodeState::of(node, thread),
                    thread: Some(thread),
                    calls: stats.calls.get().wrapping_sub(calls),
                    vectors: stats.vectors.get().wrapping_sub(vectors),
                    clocks: stats.clocks.get().wrapping_sub(clocks),
                    max_clocks: stats.max_clocks.get(),
                    panics: stats.panics.get(),
                });
            }
        }
        reports
    }

    /// What every node did, summed over the threads.
    pub fn node_sums(&self) -> Vec<NodeReport> {
        let mut sums: Vec<NodeReport> = Vec::new();
        for report in self.node_reports() {
            match sums.last_mut().filter(|sum| sum.name == report.name) {
                Some(sum) => {
                    sum.calls += report.calls;
                    sum.vectors += report.vectors;
                    sum.clocks += report.clocks;
                    sum.max_clocks = sum.max_clocks.max(report.max_clocks);
                    sum.panics += report.panics;
                }
                None => sums.push(NodeReport { thread: None, ..report }),
            }
        }
        sums
    }

    /// Starts the nodes' counters again from nothing.
    pub fn clear_runtime(&mut self) {
        let (plan, instances) = self.host.running_graph();
        self.baseline.nodes.clear();
        for (index, node) in plan.nodes() {
            for (thread, counts) in instances.counts(index) {
                self.baseline.nodes.insert((node.serial, thread), tally(&counts.stats));
            }
        }
    }

    /// Packets dropped, by node and reason; only reasons that took any.
    pub fn drop_reports(&self) -> Vec<DropReport> {
        let drops = self.host.drops().into_iter().map(|(node, reason, severity, count)| {
            let key = (node, reason);
            let before = self.baseline.drops.get(&key).copied().unwrap_or_default();
            let count = count.wrapping_sub(before);
            DropReport { node: key.0, reason: key.1, severity, count }
        });
        drops.filter(|drop| drop.count > 0).collect()
    }

    /// Starts the drop counters again from nothing.
    pub fn clear_errors(&mut self) {
        let drops = self.host.drops().into_iter();
        self.baseline.drops =
            drops.map(|(node, reason, _, count)| ((node, reason), count)).collect();
    }
}
