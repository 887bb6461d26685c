//! When the *sched* nodes of one thread are to be called.
//!
//! ```text
//!             splice                     call: it asks for a time                 time
//!  (nothing) ───────▶ due at once ─────────────────────────────▶ in the wheel ─────────▶ due
//!                          ▲ │ call: it asks for none
//!                    mark  │ ▼
//!                        waiting
//! ```
//! A node that a splice leaves in the graph keeps its time; one that goes is forgotten. What the
//! last call asked for counts, also if a mark was the reason of the call.

use plugin_api::wheel::{Expiry, TimerHandle, Wheel1t3w1024slOv};

use crate::{
    graph::{NodeIndex, runtime::SchedNode},
    time::Nanos,
};

/// Nanoseconds of a tick.
const TICK: u64 = 10_000;

/// The *sched* nodes of a thread, with the times that they asked for.
pub(super) struct Sched {
    nodes: Vec<Known>,
    wheel: Wheel1t3w1024slOv,
    expired: Vec<Expiry<1>>,
}

struct Known {
    node: SchedNode,
    timer: Option<TimerHandle>,
}

impl Sched {
    pub(super) fn new() -> Self {
        Self { nodes: Vec::new(), wheel: Wheel1t3w1024slOv::new(0), expired: Vec::new() }
    }

    /// The nodes are these from now on; appends those that are new to `due`.
    pub(super) fn follow(&mut self, nodes: &[SchedNode], due: &mut Vec<NodeIndex>) {
        for gone in self.nodes.extract_if(.., |known| !nodes.contains(&known.node)) {
            if let Some(timer) = gone.timer {
                self.wheel.stop(timer);
            }
        }
        for &node in nodes {
            if !self.nodes.iter().any(|known| known.node == node) {
                self.nodes.push(Known { node, timer: None });
                due.push(node.index);
            }
        }
    }

    /// The time is `now`: appends the nodes whose time has come to `due`, the earliest first.
    #[inline]
    pub(super) fn expire(&mut self, now: Nanos, due: &mut Vec<NodeIndex>) {
        if self.nodes.is_empty() {
            return;
        }
        self.wheel.expire(now.0 / TICK, &mut self.expired);
        for expiry in self.expired.drain(..) {
            let index = NodeIndex(expiry.object());
            if let Some(known) = self.nodes.iter_mut().find(|known| known.node.index == index) {
                known.timer = None;
                due.push(index);
            }
        }
    }

    /// A node was called and asks to be called next at `at`, or only when marked.
    pub(super) fn called(&mut self, index: NodeIndex, at: Option<Nanos>) {
        let Self { nodes, wheel, .. } = self;
        let Some(known) = nodes.iter_mut().find(|known| known.node.index == index) else { return };
        if let Some(timer) = known.timer.take() {
            wheel.stop(timer);
        }
        known.timer = at.and_then(|at| {
            let tick = at.0.div_ceil(TICK); // Never too early.
            wheel.start(index.0, 0, tick.saturating_sub(wheel.now())).ok()
        });
    }

    /// When the next node is to be called.
    pub(super) fn next_call(&self) -> Option<Nanos> {
        self.wheel.next_expiry().map(|tick| Nanos(tick.saturating_mul(TICK)))
    }
}

impl std::fmt::Debug for Sched {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let nodes = self.nodes.iter().map(|known| (known.node.index, known.timer.is_some()));
        f.debug_map().entries(nodes).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(index: u32, serial: u64) -> SchedNode {
        SchedNode { index: NodeIndex(index), serial, epoch: 0 }
    }

    /// Who is due at `now`.
    fn due(sched: &mut Sched, now: u64) -> Vec<u32> {
        let mut due = Vec::new();
        sched.expire(Nanos(now), &mut due);
        due.into_iter().map(|node| node.0).collect()
    }

    fn spliced(sched: &mut Sched, nodes: &[SchedNode]) -> Vec<u32> {
        let mut due = Vec::new();
        sched.follow(nodes, &mut due);
        due.into_iter().map(|node| node.0).collect()
    }

    #[test]
    fn a_node_is_due_when_it_was_spliced_in_and_then_at_its_times_and_never_before() {
        let mut sched = Sched::new();
        assert_eq!(spliced(&mut sched, &[node(3, 1), node(5, 2)]), [3, 5]);
        assert_eq!(due(&mut sched, 1_000_000), [0; 0]);
        sched.called(NodeIndex(3), Some(Nanos(1_300_001)));
        sched.called(NodeIndex(5), Some(Nanos(1_200_000)));
        assert_eq!(sched.next_call(), Some(Nanos(1_200_000)));
        assert_eq!(due(&mut sched, 1_199_999), [0; 0]);
        assert_eq!(due(&mut sched, 1_200_000), [5]);
        assert_eq!(due(&mut sched, 1_300_001), [0; 0], "a tick is 10 us");
        assert_eq!(due(&mut sched, 1_310_000), [3]);
        assert_eq!(sched.next_call(), None);
        assert_eq!(due(&mut sched, u64::MAX), [0; 0], "who asked for nothing is not called");
    }

    #[test]
    fn what_was_asked_for_last_counts() {
        let mut sched = Sched::new();
        spliced(&mut sched, &[node(3, 1)]);
        sched.called(NodeIndex(3), Some(Nanos(100_000)));
        sched.called(NodeIndex(3), Some(Nanos(500_000)));
        assert_eq!(due(&mut sched, 499_999), [0; 0]);
        sched.called(NodeIndex(3), None);
        assert_eq!((due(&mut sched, 9_000_000), sched.next_call()), (vec![], None));
    }

    #[test]
    fn a_time_that_has_passed_is_the_next_tick() {
        let mut sched = Sched::new();
        spliced(&mut sched, &[node(3, 1)]);
        assert_eq!(due(&mut sched, 700_000), [0; 0]);
        sched.called(NodeIndex(3), Some(Nanos(1)));
        assert_eq!(due(&mut sched, 709_999), [0; 0]);
        assert_eq!(due(&mut sched, 710_000), [3]);
    }

    #[test]
    fn a_splice_keeps_the_times_of_nodes_that_stay_and_forgets_those_that_go() {
        let mut sched = Sched::new();
        spliced(&mut sched, &[node(3, 1), node(5, 2)]);
        sched.called(NodeIndex(3), Some(Nanos(100_000)));
        sched.called(NodeIndex(5), Some(Nanos(100_000)));
        assert_eq!(spliced(&mut sched, &[node(3, 1), node(7, 4)]), [7]);
        assert_eq!(due(&mut sched, 100_000), [3]);
        // Another node with the same index, and the same node made anew, are new.
        assert_eq!(spliced(&mut sched, &[node(3, 9)]), [3]);
        assert_eq!(spliced(&mut sched, &[SchedNode { epoch: 1, ..node(3, 9) }]), [3]);
    }
}
