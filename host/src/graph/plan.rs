//! The plan: the graph by names, on the main thread.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    Owner, Severity,
    arc::{Feature, FeatureArc},
    node::{Code, NodeIndex, NodeKind},
};

/// The name by which a packet is sent to the output of its tx interface.
pub const INTERFACE_OUTPUT: &str = "interface-output";
/// In an arc's starts: the input node of each interface.
pub const INTERFACE_INPUT: &str = "interface-input";
/// The node where packets end that go nowhere.
pub const ERROR_DROP: &str = "error-drop";
/// The node where packets end that are the operating system's.
pub const ERROR_PUNT: &str = "error-punt";

/// Nexts of a node at most.
const MAX_NEXTS: usize = gristmill_abi::frame::MAX_NEXTS as usize;

/// Why the graph cannot be changed like that; nothing was.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError {
    /// The name is taken.
    #[error("the node name {0:?} is taken")]
    DuplicateNode(String),
    /// A next leads nowhere.
    #[error("node {node:?} has a next {next:?}, and there is no node of that name")]
    UnknownNext {
        /// The node.
        node: String,
        /// The name that was not found.
        next: String,
    },
    /// A node of that name is needed.
    #[error("there is no node {0:?}")]
    UnknownNode(String),
    /// The node has as many nexts as there can be.
    #[error("node {0:?} has {MAX_NEXTS} nexts already")]
    TooManyNexts(String),
    /// The arc's name is taken.
    #[error("the feature arc name {0:?} is taken")]
    DuplicateArc(String),
    /// There is no such arc.
    #[error("there is no feature arc {0:?}")]
    UnknownArc(String),
    /// The node cannot be put on that arc.
    #[error("{node:?} is no feature of arc {arc:?}")]
    UnknownFeature {
        /// The arc.
        arc: String,
        /// The node.
        node: String,
    },
    /// A node can be a feature of one arc only.
    #[error("node {node:?} is a feature of arc {arc:?} already")]
    DuplicateFeature {
        /// The arc.
        arc: String,
        /// The node.
        node: String,
    },
    /// A feature has no next that leads onward.
    #[error("feature {0:?} has no next of the kind Feature")]
    NoFeatureNext(String),
    /// The order that features ask for does not exist.
    #[error("features on arc {arc} want to be before each other: {}", cycle.join(", "))]
    FeatureCycle {
        /// The arc.
        arc: String,
        /// The features.
        cycle: Vec<String>,
    },
    /// A node could not be made for a thread.
    #[error("node {node:?} cannot be made for thread {thread}: {reason}")]
    Instance {
        /// The node.
        node: String,
        /// The thread.
        thread: u32,
        /// The plugin's reason.
        reason: String,
    },
}

/// One out-arc, by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PlanNext {
    /// To the node of that name.
    Node(String),
    /// To the node of that name, once there is one.
    Optional(String),
    /// To `error-drop`, for a reason.
    Drop {
        /// The reason.
        reason: String,
        /// How bad it is.
        severity: Severity,
    },
    /// To the next feature of the arc, or its end.
    Feature,
}

/// A node of the plan.
#[derive(Clone, Debug)]
pub struct PlanNode {
    /// Name.
    pub name: Arc<str>,
    /// Tells it from other nodes that had its index; [`Plan::add_node`] sets it.
    pub serial: u64,
    /// Raised where its instances are to be made anew at the next splice, as when a queue of its
    /// was placed elsewhere; its statistics stay.
    pub epoch: u64,
    /// Who registered it.
    pub owner: Owner,
    /// When it is dispatched.
    pub kind: NodeKind,
    /// What it runs.
    pub code: Code,
    /// Out-arcs.
    pub nexts: Vec<PlanNext>,
    /// Names of its counters.
    pub counters: Vec<String>,
    /// For all but internal nodes: the threads that dispatch it; `None` is all of them.
    pub threads: Option<Vec<u32>>,
    /// For inputs: a descriptor or a timer wakes the thread when there is work, so the thread may
    /// sleep although it polls them.
    pub wakes: bool,
}

impl PlanNode {
    /// An internal node without counters, on every thread; [`Plan::add_node`] says which it is.
    pub fn new(name: impl Into<Arc<str>>, owner: Owner, code: Code, nexts: Vec<PlanNext>) -> Self {
        Self {
            name: name.into(),
            serial: 0,
            epoch: 0,
            owner,
            kind: NodeKind::Internal,
            code,
            nexts,
            counters: Vec::new(),
            threads: None,
            wakes: false,
        }
    }
}

/// The graph by names. A change is made on a clone and committed whole or not at all.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// Shared with the plans it was cloned from and to: a clone costs little for each node.
    nodes: Vec<Option<Arc<PlanNode>>>,
    names: BTreeMap<Arc<str>, NodeIndex>,
    serial: u64,
    /// Feature arcs by name.
    pub arcs: BTreeMap<String, FeatureArc>,
    /// The output node of each interface.
    pub outputs: BTreeMap<u32, NodeIndex>,
    /// The input node of each interface that receives.
    pub inputs: BTreeMap<u32, NodeIndex>,
}

impl Plan {
    /// Adds a node; its index is one that no node has.
    ///
    /// # Errors
    /// [`PlanError::DuplicateNode`].
    pub fn add_node(&mut self, mut node: PlanNode) -> Result<NodeIndex, PlanError> {
        if [INTERFACE_INPUT, INTERFACE_OUTPUT].contains(&&*node.name)
            || self.names.contains_key(&node.name)
        {
            return Err(PlanError::DuplicateNode(node.name.to_string()));
        }
        self.serial += 1;
        node.serial = self.serial;
        let free = self.nodes.iter().position(Option::is_none).unwrap_or(self.nodes.len());
        let index = NodeIndex(u32::try_from(free).expect("fewer than 2^32 nodes"));
        self.names.insert(Arc::clone(&node.name), index);
        if free == self.nodes.len() {
            self.nodes.push(Some(Arc::new(node)));
        } else {
            self.nodes[free] = Some(Arc::new(node));
        }
        Ok(index)
    }

    /// Removes what `owner` registered. Arcs that led to its nodes stay, to nowhere.
    pub fn remove_owner(&mut self, owner: Owner) {
        for slot in &mut self.nodes {
            if slot.as_ref().is_some_and(|node| node.owner == owner) {
                self.names.remove(&slot.take().expect("just seen").name);
            }
        }
        self.arcs.retain(|_, arc| arc.owner != owner);
        for arc in self.arcs.values_mut() {
            arc.features.retain(|feature| feature.owner != owner);
        }
        self.inputs.retain(|_, input| self.nodes[input.at()].is_some());
    }

    /// Removes one node.
    pub fn remove_node(&mut self, index: NodeIndex) {
        if let Some(node) = self.nodes.get_mut(index.at()).and_then(Option::take) {
            self.names.remove(&node.name);
        }
        self.inputs.retain(|_, input| *input != index);
    }

    /// The node of that index.
    pub fn node(&self, index: NodeIndex) -> Option<&PlanNode> {
        self.nodes.get(index.at())?.as_deref()
    }

    /// The node of that index.
    pub fn node_mut(&mut self, index: NodeIndex) -> Option<&mut PlanNode> {
        self.nodes.get_mut(index.at())?.as_mut().map(Arc::make_mut)
    }

    /// Nodes that are not in `other`, or are others there.
    pub fn nodes_gone_in<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = NodeIndex> + 'a {
        let stays = |index, serial| other.node(index).is_some_and(|node| node.serial == serial);
        let gone = self.nodes().filter(move |(index, node)| !stays(*index, node.serial));
        gone.map(|(index, _)| index)
    }

    /// All nodes, in index order.
    pub fn nodes(&self) -> impl Iterator<Item = (NodeIndex, &PlanNode)> {
        (0..).map(NodeIndex).zip(&self.nodes).filter_map(|(at, node)| Some((at, node.as_deref()?)))
    }

    /// One more than the highest index in use.
    pub fn end(&self) -> usize {
        self.nodes.len()
    }

    /// One more than the highest interface that has an output node.
    pub fn interfaces_end(&self) -> u32 {
        self.outputs.last_key_value().map_or(0, |(&index, _)| index + 1)
    }

    /// The node of that name.
    pub fn find(&self, name: &str) -> Option<NodeIndex> {
        self.names.get(name).copied()
    }

    /// Whether an arc begins at a node.
    pub fn starts(&self, arc: &FeatureArc, node: NodeIndex, name: &str) -> bool {
        let is_input = || self.inputs.values().any(|&input| input == node);
        arc.starts.iter().any(|start| start == name || (start == INTERFACE_INPUT && is_input()))
    }

    /// Whether packets can be sent to that name.
    fn resolves(&self, name: &str) -> bool {
        name == INTERFACE_OUTPUT || self.names.contains_key(name)
    }

    /// The number of `node`'s next that leads to `target`, added if there is none.
    ///
    /// # Errors
    /// If either is unknown, or the node is full.
    pub fn add_next(&mut self, node: &str, target: &str) -> Result<u16, PlanError> {
        if !self.resolves(target) {
            let (node, next) = (node.to_owned(), target.to_owned());
            return Err(PlanError::UnknownNext { node, next });
        }
        let unknown = || PlanError::UnknownNode(node.to_owned());
        let index = self.find(node).ok_or_else(unknown)?;
        let found = self.node_mut(index).ok_or_else(unknown)?;
        let leads = |next: &PlanNext| matches!(next, PlanNext::Node(name) | PlanNext::Optional(name) if name == target);
        let at = match found.nexts.iter().position(leads) {
            Some(at) => at,
            None if found.nexts.len() >= MAX_NEXTS => {
                return Err(PlanError::TooManyNexts(node.to_owned()));
            }
            None => {
                found.nexts.push(PlanNext::Node(target.to_owned()));
                found.nexts.len() - 1
            }
        };
        u16::try_from(at).map_err(|_| PlanError::TooManyNexts(node.to_owned()))
    }

    /// Declares a feature arc.
    ///
    /// # Errors
    /// [`PlanError::DuplicateArc`].
    pub fn add_arc(&mut self, name: &str, arc: FeatureArc) -> Result<(), PlanError> {
        if self.arcs.contains_key(name) {
            return Err(PlanError::DuplicateArc(name.to_owned()));
        }
        self.arcs.insert(name.to_owned(), arc);
        Ok(())
    }

    /// Declares that a node can be put on an arc.
    ///
    /// # Errors
    /// If there is no such arc or node, or the node is on an arc already, or the order that the
    /// features ask for does not exist.
    pub fn add_feature(&mut self, arc: &str, feature: Feature) -> Result<(), PlanError> {
        let node = feature.node.to_string();
        let index = self.find(&node).ok_or_else(|| PlanError::UnknownNode(node.clone()))?;
        if !self.node(index).is_some_and(|node| node.nexts.contains(&PlanNext::Feature)) {
            return Err(PlanError::NoFeatureNext(node));
        }
        if let Some((arc, _)) = self.feature_of(&node) {
            return Err(PlanError::DuplicateFeature { arc: arc.to_owned(), node });
        }
        let found = self.arcs.get_mut(arc).ok_or_else(|| PlanError::UnknownArc(arc.to_owned()))?;
        found.features.push(feature);
        found.sort(arc)
    }

    /// Turns a feature on or off, for one interface or for all.
    ///
    /// # Errors
    /// If there is no such arc or feature.
    pub fn set_feature(
        &mut self,
        arc: &str,
        node: &str,
        interface: Option<u32>,
        on: bool,
    ) -> Result<(), PlanError> {
        let found = self.arcs.get_mut(arc).ok_or_else(|| PlanError::UnknownArc(arc.to_owned()))?;
        let feature = found.features.iter_mut().find(|feature| *feature.node == *node);
        let unknown = || PlanError::UnknownFeature { arc: arc.to_owned(), node: node.to_owned() };
        feature.ok_or_else(unknown)?.enabled.set(interface, on);
        Ok(())
    }

    /// The arc a node is a feature of, and its position on it.
    pub fn feature_of(&self, node: &str) -> Option<(&str, usize)> {
        self.arcs.iter().find_map(|(name, arc)| {
            let at = arc.features.iter().position(|feature| *feature.node == *node)?;
            Some((name.as_str(), at))
        })
    }

    /// Checks that every next of `owner`'s nodes that must lead somewhere does.
    ///
    /// # Errors
    /// [`PlanError::UnknownNext`] for the first that does not.
    pub fn check_nexts(&self, owner: Owner) -> Result<(), PlanError> {
        for (_, node) in self.nodes().filter(|(_, node)| node.owner == owner) {
            for next in &node.nexts {
                if let PlanNext::Node(name) = next
                    && !self.resolves(name)
                {
                    let (node, next) = (node.name.to_string(), name.clone());
                    return Err(PlanError::UnknownNext { node, next });
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(unsafe_code, reason = "a node's entry has this type")]
    unsafe extern "C" fn nothing(
        _: *mut gristmill_abi::frame::ThreadCtx,
        _: *mut gristmill_abi::frame::NodeRuntime,
        _: *mut gristmill_abi::frame::Frame,
    ) -> u32 {
        0
    }

    fn node(name: &str, owner: u64, nexts: Vec<PlanNext>) -> PlanNode {
        PlanNode::new(name, Owner(owner), Code::stateless(nothing), nexts)
    }

    #[test]
    fn a_name_is_taken_once_and_free_again_when_its_owner_goes() {
        let mut plan = Plan::default();
        let first = plan.add_node(node("a", 1, Vec::new())).unwrap();
        assert_eq!(
            plan.add_node(node("a", 2, Vec::new())),
            Err(PlanError::DuplicateNode("a".into()))
        );
        plan.remove_owner(Owner(1));
        assert_eq!(plan.find("a"), None);
        assert_eq!(plan.add_node(node("b", 2, Vec::new())).unwrap(), first);
    }

    #[test]
    fn a_next_that_leads_nowhere_is_named() {
        let mut plan = Plan::default();
        plan.add_node(node("a", 1, vec![PlanNext::Node("b".into())])).unwrap();
        let error = plan.check_nexts(Owner(1)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "node \"a\" has a next \"b\", and there is no node of that name"
        );
        plan.add_node(node("b", 2, Vec::new())).unwrap();
        assert_eq!(plan.check_nexts(Owner(1)), Ok(()));
    }

    #[test]
    fn a_next_is_added_once() {
        let mut plan = Plan::default();
        plan.add_node(node("a", 1, vec![PlanNext::Optional("b".into())])).unwrap();
        plan.add_node(node("b", 1, Vec::new())).unwrap();
        plan.add_node(node("c", 1, Vec::new())).unwrap();
        assert_eq!(plan.add_next("a", "b"), Ok(0));
        assert_eq!(plan.add_next("a", "c"), Ok(1));
        assert_eq!(plan.add_next("a", "c"), Ok(1));
        assert!(plan.add_next("a", "d").is_err());
    }

    #[test]
    fn a_node_is_a_feature_of_one_arc_and_must_lead_onward() {
        let mut plan = Plan::default();
        plan.add_node(node("end", 1, Vec::new())).unwrap();
        plan.add_node(node("f", 1, vec![PlanNext::Feature])).unwrap();
        let arc = FeatureArc {
            owner: Owner(1),
            starts: Vec::new(),
            end: "end".into(),
            by_tx: false,
            features: Vec::new(),
        };
        plan.add_arc("x", arc.clone()).unwrap();
        plan.add_arc("y", arc).unwrap();
        let feature = |node: &str| Feature {
            node: node.into(),
            owner: Owner(1),
            before: Vec::new(),
            after: Vec::new(),
            enabled: super::super::arc::Enabled::default(),
        };
        assert_eq!(
            plan.add_feature("x", feature("end")),
            Err(PlanError::NoFeatureNext("end".into()))
        );
        plan.add_feature("x", feature("f")).unwrap();
        assert!(matches!(
            plan.add_feature("y", feature("f")),
            Err(PlanError::DuplicateFeature { .. })
        ));
        assert_eq!(plan.feature_of("f"), Some(("x", 0)));
    }
}
