//! What nodes are called, and where their nexts lead: kept beyond their end.

use std::{collections::BTreeMap, sync::Arc};

use crate::graph::{NodeIndex, Plan, PlanNext};

/// A node that packets may have been in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// Its name.
    pub name: Arc<str>,
    /// Where its nexts lead.
    pub nexts: Vec<PlanNext>,
}

/// Nodes by what tells them from all others that there were.
#[derive(Clone, Debug, Default)]
pub struct Names(BTreeMap<(NodeIndex, u64), Known>);

impl Names {
    /// Notes the nodes of a plan, and their nexts, of which they may have got more.
    pub fn learn(&mut self, plan: &Plan) {
        for (index, node) in plan.nodes() {
            let known = self.0.entry((index, node.serial));
            let new = || Known { name: Arc::clone(&node.name), nexts: Vec::new() };
            let known = known.or_insert_with(new);
            if known.nexts.len() < node.nexts.len() {
                known.nexts.clone_from(&node.nexts);
            }
        }
    }

    /// A node.
    pub fn of(&self, node: NodeIndex, serial: u64) -> Option<&Known> {
        self.0.get(&(node, serial))
    }
}
