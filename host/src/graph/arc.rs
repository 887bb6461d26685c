//! Feature arcs: out-arcs that features are put on and taken off while packets flow.
//!
//! While no feature is enabled, an arc is the plain edge it was declared on. A feature that is
//! enabled on every interface makes it a plain edge to that feature. Only where interfaces differ
//! does the host look at each packet's interface.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{Owner, plan::PlanError};

/// Interfaces for which a feature is enabled.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Enabled {
    /// On all, but for `except`.
    all: bool,
    except: BTreeSet<u32>,
}

impl Enabled {
    /// On every interface.
    pub fn everywhere() -> Self {
        Self { all: true, except: BTreeSet::new() }
    }

    /// Whether it is on for `interface`.
    pub fn on(&self, interface: u32) -> bool {
        self.all != self.except.contains(&interface)
    }

    /// Turns it on or off, for one interface or for all.
    pub fn set(&mut self, interface: Option<u32>, on: bool) {
        match interface {
            None => *self = Self { all: on, except: BTreeSet::new() },
            Some(interface) if self.all == on => {
                self.except.remove(&interface);
            }
            Some(interface) => {
                self.except.insert(interface);
            }
        }
    }

    /// Whether it is on for any interface.
    pub fn anywhere(&self) -> bool {
        self.all || !self.except.is_empty()
    }
}

/// A node that can be put on an arc.
#[derive(Clone, Debug)]
pub struct Feature {
    /// Its node.
    pub node: Arc<str>,
    /// Who declared it.
    pub owner: Owner,
    /// Features that come after it.
    pub before: Vec<String>,
    /// Features that come before it.
    pub after: Vec<String>,
    /// Where it is on.
    pub enabled: Enabled,
}

/// A feature arc.
#[derive(Clone, Debug)]
pub struct FeatureArc {
    /// Who declared it.
    pub owner: Owner,
    /// Nodes it starts from.
    pub starts: Vec<String>,
    /// Node it ends at.
    pub end: String,
    /// Chosen by tx instead of rx interface.
    pub by_tx: bool,
    /// In the order packets meet them.
    pub features: Vec<Feature>,
}

impl FeatureArc {
    /// Puts the features in an order that every `before` and `after` agrees with; where they say
    /// nothing, by name.
    ///
    /// # Errors
    /// [`PlanError::FeatureCycle`] if there is no such order; it names the features on the cycle.
    pub fn sort(&mut self, name: &str) -> Result<(), PlanError> {
        let mut left: BTreeMap<Arc<str>, Feature> = self
            .features
            .iter()
            .map(|feature| (Arc::clone(&feature.node), feature.clone()))
            .collect();
        let mut sorted = Vec::with_capacity(left.len());
        while !left.is_empty() {
            let free =
                left.keys().find(|node| !left.values().any(|other| precedes(other, &left[*node])));
            let Some(free) = free.cloned() else {
                let cycle = left.keys().map(ToString::to_string).collect();
                return Err(PlanError::FeatureCycle { arc: name.to_owned(), cycle });
            };
            sorted.extend(left.remove(&free));
        }
        self.features = sorted;
        Ok(())
    }

    /// The features that are on for `interface`, from position `from` on: the first of them.
    pub fn first_on(&self, from: usize, interface: u32) -> Option<&Feature> {
        self.features.iter().skip(from).find(|feature| feature.enabled.on(interface))
    }
}

fn precedes(first: &Feature, second: &Feature) -> bool {
    first.node != second.node
        && (first.before.iter().any(|name| **name == *second.node)
            || second.after.iter().any(|name| **name == *first.node))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn feature(node: &str, before: &[&str], after: &[&str]) -> Feature {
        let names = |names: &[&str]| names.iter().map(ToString::to_string).collect();
        Feature {
            node: node.into(),
            owner: Owner::HOST,
            before: names(before),
            after: names(after),
            enabled: Enabled::default(),
        }
    }

    fn arc(features: Vec<Feature>) -> FeatureArc {
        let end = "end".to_owned();
        FeatureArc { owner: Owner::HOST, starts: Vec::new(), end, by_tx: false, features }
    }

    #[test]
    fn constraints_of_either_side_are_kept_and_names_decide_the_rest() {
        let mut arc = arc(vec![
            feature("d", &["b"], &[]),
            feature("a", &[], &["c"]),
            feature("c", &[], &[]),
            feature("b", &[], &[]),
        ]);
        arc.sort("x").unwrap();
        let order: Vec<&str> = arc.features.iter().map(|feature| &*feature.node).collect();
        assert_eq!(order, ["c", "a", "d", "b"]);
    }

    #[test]
    fn a_cycle_is_refused_by_name() {
        let mut arc =
            arc(vec![feature("a", &["b"], &[]), feature("b", &["a"], &[]), feature("c", &[], &[])]);
        let error = arc.sort("x").unwrap_err();
        assert_eq!(error.to_string(), "features on arc x want to be before each other: a, b");
    }

    #[test]
    fn a_feature_that_is_on_everywhere_can_be_taken_off_one_interface() {
        let mut enabled = Enabled::everywhere();
        enabled.set(Some(3), false);
        assert!(enabled.on(2) && !enabled.on(3));
        enabled.set(Some(3), true);
        assert_eq!(enabled, Enabled::everywhere());
        enabled.set(None, false);
        assert!(!enabled.anywhere());
        enabled.set(Some(1), true);
        assert!(enabled.on(1) && !enabled.on(0) && enabled.anywhere());
    }
}
