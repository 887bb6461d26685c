//! From names to indices: compiles the plan into a runtime for each thread.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    NodeIndex, NodeKind, Plan, PlanError, PlanNext, PlanNode,
    arc::FeatureArc,
    node::{NodeCounts, NodeInstance},
    plan::{ERROR_DROP, INTERFACE_OUTPUT},
    runtime::{Dest, Edge, Input, OnMark, Runtime, SchedNode, Slot, Steer},
};

/// The instances of every node, by thread. Kept across changes of the plan.
#[derive(Clone, Debug, Default)]
pub struct Instances {
    by_node: BTreeMap<NodeIndex, NodeThreads>,
}

/// A node on the threads it was ever on, by thread index.
#[derive(Clone, Debug)]
struct NodeThreads {
    serial: u64,
    epoch: u64,
    threads: Vec<Option<OnThread>>,
}

#[derive(Clone, Debug)]
struct OnThread {
    /// `None` once the thread has gone.
    instance: Option<Arc<NodeInstance>>,
    counts: Arc<NodeCounts>,
}

impl Instances {
    /// The instances for `plan` on `threads`: those of nodes that are still there, and new ones.
    /// Nothing is changed if one cannot be made.
    ///
    /// # Errors
    /// [`PlanError::Instance`].
    pub fn for_plan(&self, plan: &Plan, threads: &[u32]) -> Result<Self, PlanError> {
        let mut by_node = BTreeMap::new();
        for (index, node) in plan.nodes() {
            let old = self.by_node.get(&index).filter(|old| old.serial == node.serial);
            by_node.insert(index, NodeThreads::new(index, node, old, threads)?);
        }
        Ok(Self { by_node })
    }

    /// The instance of a node on a thread.
    pub fn on(&self, index: NodeIndex, thread: u32) -> Option<&Arc<NodeInstance>> {
        self.by_node.get(&index)?.threads.get(thread as usize)?.as_ref()?.instance.as_ref()
    }

    /// What a node counted, by thread; also on threads that have gone.
    pub fn counts(&self, index: NodeIndex) -> impl Iterator<Item = (u32, &NodeCounts)> {
        let threads = self.by_node.get(&index).map_or(&[][..], |node| &node.threads);
        let there = (0..).zip(threads).filter_map(|(at, thread)| Some((at, thread.as_ref()?)));
        there.map(|(at, thread)| (at, &*thread.counts))
    }
}

impl NodeThreads {
    /// `node` on `threads`, with what there is of it already.
    fn new(
        index: NodeIndex,
        node: &PlanNode,
        old: Option<&Self>,
        threads: &[u32],
    ) -> Result<Self, PlanError> {
        let mut all = old.map(|old| old.threads.clone()).unwrap_or_default();
        let same = old.is_some_and(|old| old.epoch == node.epoch);
        for (at, thread) in (0..).zip(&mut all) {
            if let Some(thread) = thread.as_mut().filter(|_| !same || !threads.contains(&at)) {
                thread.instance = None;
            }
        }
        for &thread in threads {
            let at = thread as usize;
            if all.len() <= at {
                all.resize(at + 1, None);
            }
            let place = &mut all[at];
            if place.as_ref().is_some_and(|there| there.instance.is_some()) {
                continue;
            }
            let counts = match place {
                Some(there) => Arc::clone(&there.counts),
                None => NodeCounts::new(node.counters.len()),
            };
            let made = NodeInstance::new(index, &node.code, thread, Arc::clone(&counts));
            let instance = made.map_err(|reason| PlanError::Instance {
                node: node.name.to_string(),
                thread,
                reason,
            })?;
            *place = Some(OnThread { instance: Some(instance), counts });
        }
        Ok(Self { serial: node.serial, epoch: node.epoch, threads: all })
    }
}

/// The runtime of `thread`.
///
/// # Errors
/// [`PlanError::UnknownNode`] if the plan has no `error-drop`.
///
/// # Panics
/// If `instances` are not those of this plan.
pub fn compile(
    plan: &Plan,
    instances: &Instances,
    thread: u32,
    interfaces: u32,
) -> Result<Runtime, PlanError> {
    let drop =
        plan.find(ERROR_DROP).ok_or_else(|| PlanError::UnknownNode(ERROR_DROP.to_owned()))?;
    let outputs = outputs(plan, interfaces);
    let mut compiler = Compiler { plan, interfaces, edges: Vec::new(), steers: vec![outputs] };
    let mut runtime = Runtime { drop, ..Runtime::empty() };
    runtime.slots.resize_with(plan.end(), || None);
    for (index, node) in plan.nodes() {
        let instance = instances.on(index, thread).expect("made for this plan and thread");
        let counts = Arc::clone(&instance.counts);
        let edges = compiler.edges_of(index, node, &counts);
        let slot = Slot {
            entry: node.code.entry,
            node: instance.runtime(),
            edges,
            on_mark: OnMark::Nothing,
            open: None,
            counts,
            serial: node.serial,
            instance: Arc::clone(instance),
        };
        let slot = runtime.slots[index.at()].insert(slot);
        let is_here = node.threads.as_ref().is_none_or(|threads| threads.contains(&thread));
        match node.kind {
            NodeKind::Input if is_here => {
                slot.on_mark = OnMark::Dispatch;
                runtime.inputs.push(Input { index, wakes: node.wakes });
            }
            NodeKind::MarkedInput if is_here => slot.on_mark = OnMark::Dispatch,
            NodeKind::Sched if is_here => {
                slot.on_mark = OnMark::Call;
                let &PlanNode { serial, epoch, .. } = node;
                runtime.scheds.push(SchedNode { index, serial, epoch });
            }
            NodeKind::PreInput if is_here => runtime.pre_inputs.push(index),
            _ => {}
        }
    }
    runtime.edges = compiler.edges;
    runtime.steers = compiler.steers;
    Ok(runtime)
}

/// Steer number 0: from tx interface to output node.
fn outputs(plan: &Plan, interfaces: u32) -> Steer {
    let to = |interface| plan.outputs.get(&interface).map_or(Dest::Drop, |&node| Dest::Node(node));
    Steer { by_tx: true, table: (0..interfaces).map(to).collect(), other: Dest::Drop }
}

struct Compiler<'a> {
    plan: &'a Plan,
    interfaces: u32,
    edges: Vec<Edge>,
    steers: Vec<Steer>,
}

impl Compiler<'_> {
    fn edges_of(&mut self, index: NodeIndex, node: &PlanNode, counts: &NodeCounts) -> (u32, u16) {
        let first = u32::try_from(self.edges.len()).expect("fewer than 2^32 arcs");
        for (at, next) in node.nexts.iter().enumerate() {
            let to = self.dest_of(index, node, next);
            let count =
                if to == Dest::Drop { counts.drop_counter(at) } else { counts.arc_counter(at) };
            self.edges.push(Edge { to, count });
        }
        (first, u16::try_from(node.nexts.len()).expect("checked when they were added"))
    }

    fn dest_of(&mut self, index: NodeIndex, node: &PlanNode, next: &PlanNext) -> Dest {
        match next {
            PlanNext::Drop { .. } => Dest::Drop,
            PlanNext::Feature => match self.plan.feature_of(&node.name) {
                Some((arc, at)) => self.along(&self.plan.arcs[arc], at + 1),
                None => Dest::Drop,
            },
            PlanNext::Node(name) | PlanNext::Optional(name) => {
                let starts = |arc: &&FeatureArc| {
                    arc.end == *name && self.plan.starts(arc, index, &node.name)
                };
                match self.plan.arcs.values().find(starts) {
                    Some(arc) => self.along(arc, 0),
                    None => self.named(name),
                }
            }
        }
    }

    fn named(&self, name: &str) -> Dest {
        if name == INTERFACE_OUTPUT {
            return Dest::Steer(0);
        }
        self.plan.find(name).map_or(Dest::Drop, Dest::Node)
    }

    /// Onward on an arc from position `from`: a plain edge where all interfaces agree.
    fn along(&mut self, arc: &FeatureArc, from: usize) -> Dest {
        let to = |interface| match arc.first_on(from, interface) {
            Some(feature) => self.named(&feature.node),
            None => self.named(&arc.end),
        };
        let other = to(u32::MAX);
        let table: Box<[Dest]> = (0..self.interfaces).map(to).collect();
        if table.iter().all(|&dest| dest == other) {
            return other;
        }
        self.steers.push(Steer { by_tx: arc.by_tx, table, other });
        Dest::Steer(u32::try_from(self.steers.len() - 1).expect("fewer than 2^32 arcs"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{
        Owner,
        arc::{Enabled, Feature},
        node::Code,
    };

    #[expect(unsafe_code, reason = "a node's entry has this type")]
    unsafe extern "C" fn nothing(
        _: *mut gristmill_abi::frame::ThreadCtx,
        _: *mut gristmill_abi::frame::NodeRuntime,
        _: *mut gristmill_abi::frame::Frame,
    ) -> u32 {
        0
    }

    fn add(plan: &mut Plan, name: &str, nexts: Vec<PlanNext>) -> NodeIndex {
        plan.add_node(PlanNode::new(name, Owner(1), Code::stateless(nothing), nexts)).unwrap()
    }

    /// start → end with features f and g declared on the arc between them.
    fn plan() -> Plan {
        let mut plan = Plan::default();
        add(&mut plan, ERROR_DROP, Vec::new());
        add(&mut plan, "start", vec![PlanNext::Node("end".into())]);
        add(&mut plan, "end", Vec::new());
        add(&mut plan, "f", vec![PlanNext::Feature]);
        add(&mut plan, "g", vec![PlanNext::Feature]);
        let arc = FeatureArc {
            owner: Owner(1),
            starts: vec!["start".into()],
            end: "end".into(),
            by_tx: false,
            features: Vec::new(),
        };
        plan.add_arc("x", arc).unwrap();
        for node in ["f", "g"] {
            let (before, after) = (Vec::new(), Vec::new());
            let enabled = Enabled::default();
            let feature = Feature { node: node.into(), owner: Owner(1), before, after, enabled };
            plan.add_feature("x", feature).unwrap();
        }
        plan
    }

    fn first_edge(plan: &Plan, node: &str) -> (Dest, Runtime) {
        let instances = Instances::default().for_plan(plan, &[0]).unwrap();
        let runtime = compile(plan, &instances, 0, 4).unwrap();
        let slot = runtime.slot(plan.find(node).unwrap()).unwrap();
        (runtime.edges[slot.edges.0 as usize].to, runtime)
    }

    #[test]
    fn an_arc_without_features_is_a_plain_edge() {
        let plan = plan();
        let end = plan.find("end").unwrap();
        assert_eq!(first_edge(&plan, "start").0, Dest::Node(end));
        assert_eq!(first_edge(&plan, "f").0, Dest::Node(end));
    }

    #[test]
    fn a_feature_on_every_interface_takes_over_the_edge() {
        let mut plan = plan();
        plan.set_feature("x", "g", None, true).unwrap();
        assert_eq!(first_edge(&plan, "start").0, Dest::Node(plan.find("g").unwrap()));
        assert_eq!(first_edge(&plan, "f").0, Dest::Node(plan.find("g").unwrap()));
        assert_eq!(first_edge(&plan, "g").0, Dest::Node(plan.find("end").unwrap()));
    }

    #[test]
    fn a_feature_on_one_interface_makes_the_host_look_at_each_packet() {
        let mut plan = plan();
        plan.set_feature("x", "f", Some(2), true).unwrap();
        let (f, end) = (plan.find("f").unwrap(), plan.find("end").unwrap());
        let (dest, runtime) = first_edge(&plan, "start");
        let Dest::Steer(at) = dest else { panic!("{dest:?}") };
        let steer = &runtime.steers[at as usize];
        assert_eq!(
            *steer.table,
            [Dest::Node(end), Dest::Node(end), Dest::Node(f), Dest::Node(end)]
        );
        assert_eq!(steer.other, Dest::Node(end));
    }

    #[test]
    fn an_arc_from_interface_input_begins_at_each_input_of_an_interface_and_at_no_other() {
        let mut plan = plan();
        let input = add(&mut plan, "test0-input", vec![PlanNext::Node("end".into())]);
        add(&mut plan, "ticker", vec![PlanNext::Node("end".into())]);
        plan.inputs.insert(7, input);
        plan.arcs.get_mut("x").unwrap().starts = vec!["interface-input".into()];
        plan.set_feature("x", "f", None, true).unwrap();
        let (f, end) = (plan.find("f").unwrap(), plan.find("end").unwrap());
        assert_eq!(first_edge(&plan, "test0-input").0, Dest::Node(f));
        assert_eq!(first_edge(&plan, "ticker").0, Dest::Node(end));
        assert_eq!(first_edge(&plan, "start").0, Dest::Node(end));
    }

    #[test]
    fn an_arc_to_a_node_that_is_gone_drops() {
        let mut plan = plan();
        plan.remove_node(plan.find("end").unwrap());
        assert_eq!(first_edge(&plan, "start").0, Dest::Drop);
    }

    #[test]
    fn instances_survive_a_change_and_a_reused_index_gets_new_ones() {
        let mut plan = plan();
        let before = Instances::default().for_plan(&plan, &[0, 1]).unwrap();
        let end = plan.find("end").unwrap();
        let same = before.for_plan(&plan, &[0, 1]).unwrap();
        let on = |instances: &Instances| Arc::as_ptr(instances.on(end, 1).unwrap());
        assert_eq!(on(&before), on(&same));

        plan.remove_node(end);
        assert_eq!(add(&mut plan, "other", Vec::new()), end);
        let after = same.for_plan(&plan, &[0, 1]).unwrap();
        assert_ne!(on(&before), on(&after));
    }

    #[test]
    fn what_a_node_counted_survives_its_instance_and_its_thread() {
        let mut plan = plan();
        let end = plan.find("end").unwrap();
        let first = Instances::default().for_plan(&plan, &[0, 2]).unwrap();
        first.on(end, 2).unwrap().counts.stats.calls.add(5);
        let calls = |instances: &Instances| -> Vec<(u32, u64)> {
            instances
                .counts(end)
                .map(|(thread, counts)| (thread, counts.stats.calls.get()))
                .collect()
        };

        plan.node_mut(end).unwrap().epoch += 1;
        let anew = first.for_plan(&plan, &[0, 2]).unwrap();
        assert!(!Arc::ptr_eq(first.on(end, 2).unwrap(), anew.on(end, 2).unwrap()));
        assert_eq!(calls(&anew), [(0, 0), (2, 5)]);

        let gone = anew.for_plan(&plan, &[0, 1]).unwrap();
        assert!(gone.on(end, 2).is_none() && gone.on(end, 1).is_some());
        assert_eq!(calls(&gone), [(0, 0), (1, 0), (2, 5)]);
        let back = gone.for_plan(&plan, &[0, 1, 2]).unwrap();
        back.on(end, 2).unwrap().counts.stats.calls.add(1);
        assert_eq!(calls(&back), [(0, 0), (1, 0), (2, 6)]);
    }
}
