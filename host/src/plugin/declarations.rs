//! What a plugin's code declares, checked against what its file said.

use std::collections::BTreeSet;

use gristmill_abi::{
    command::{CommandDecl, role},
    declaration::{
        ArcDecl, FeatureDecl, NextDecl, NodeDecl, OfferDecl, PluginDecl, RequireDecl, next_kind,
    },
    device::DeviceClassDecl,
};
use semver::{Version, VersionReq};

use super::{descriptor::Description, fault::DeclarationFault, kind::Kind, name::is_kebab};
use crate::graph::NodeKind;

/// Highest x86-64 level there is.
const CPU_LEVEL_MAX: u32 = 4;
/// Highest severity number of a drop.
const SEVERITY_MAX: u32 = 2;

/// One declared thing. Its functions, texts and lists are in the image, which is never unmapped.
#[derive(Clone, Debug)]
pub struct Declared {
    pub(super) plugin: String,
    /// Its name; of a command, the path.
    pub name: String,
    /// What it is.
    pub body: Body,
}

/// What a declaration holds; one for each kind.
#[derive(Clone, Copy, Debug)]
#[expect(missing_docs, reason = "each is named like its structure")]
pub enum Body {
    Plugin(PluginDecl),
    Node(NodeDecl),
    Arc(ArcDecl),
    Feature(FeatureDecl),
    DeviceClass(DeviceClassDecl),
    Command(CommandDecl),
    Offer(OfferDecl),
    Require(RequireDecl),
}

impl Body {
    /// Its kind.
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Plugin(_) => Kind::Plugin,
            Self::Node(_) => Kind::Node,
            Self::Arc(_) => Kind::Arc,
            Self::Feature(_) => Kind::Feature,
            Self::DeviceClass(_) => Kind::DeviceClass,
            Self::Command(_) => Kind::Command,
            Self::Offer(_) => Kind::Offer,
            Self::Require(_) => Kind::Require,
        }
    }
}

/// Everything a plugin declares.
#[derive(Clone, Debug)]
pub struct Declarations {
    plugin: PluginDecl,
    all: Vec<Declared>,
}

macro_rules! of_kind {
    ($($(#[$doc:meta])* $method:ident: $variant:ident($body:ty);)*) => {$(
        $(#[$doc])*
        pub fn $method(&self) -> impl Iterator<Item = (&str, &$body)> {
            self.all.iter().filter_map(|declared| match &declared.body {
                Body::$variant(body) => Some((declared.name.as_str(), body)),
                _ => None,
            })
        }
    )*};
}

impl Declarations {
    /// Checks and sorts what was read.
    pub(super) fn new(
        mut all: Vec<Declared>,
        description: &Description,
    ) -> Result<Self, DeclarationFault> {
        for declared in &all {
            check_owner(declared, description)?;
            check_value(declared)?;
        }
        all.sort_by(|one, other| {
            (one.body.kind(), &one.name).cmp(&(other.body.kind(), &other.name))
        });
        let plugin = all.iter().find_map(|declared| match declared.body {
            Body::Plugin(plugin) => Some(plugin),
            _ => None,
        });
        let plugin = plugin.ok_or_else(|| DeclarationFault::NotDeclared {
            kind: Kind::Plugin,
            name: description.name.clone(),
        })?;
        compare(&all, description)?;
        Ok(Self { plugin, all })
    }

    /// The plugin itself.
    pub fn plugin(&self) -> &PluginDecl {
        &self.plugin
    }

    /// All, by kind and name.
    pub fn iter(&self) -> impl Iterator<Item = &Declared> {
        self.all.iter()
    }

    of_kind! {
        /// Nodes, by name.
        nodes: Node(NodeDecl);
        /// Feature arcs, by name.
        arcs: Arc(ArcDecl);
        /// Features, by the node's name.
        features: Feature(FeatureDecl);
        /// Device classes, by name.
        device_classes: DeviceClass(DeviceClassDecl);
        /// Commands, by path.
        commands: Command(CommandDecl);
        /// Services offered, by name.
        offers: Offer(OfferDecl);
        /// Services required, by name.
        requirements: Require(RequireDecl);
    }
}

fn check_owner(declared: &Declared, description: &Description) -> Result<(), DeclarationFault> {
    let kind = declared.body.kind();
    let is_own = kind != Kind::Plugin || declared.name == description.name;
    if declared.plugin == description.name && is_own {
        return Ok(());
    }
    let found = if is_own { &declared.plugin } else { &declared.name };
    Err(DeclarationFault::Plugin {
        kind,
        name: declared.name.clone(),
        found: found.clone(),
        plugin: description.name.clone(),
    })
}

/// Holds what was declared against the file's records: kind by kind, name by name.
fn compare(all: &[Declared], description: &Description) -> Result<(), DeclarationFault> {
    let mut declared = BTreeSet::new();
    for one in all {
        let kind = one.body.kind();
        if !declared.insert((kind, one.name.as_str())) {
            let what = "the same name as another".to_owned();
            return Err(DeclarationFault::Value { kind, name: one.name.clone(), what });
        }
    }
    let mut recorded: BTreeSet<_> = description.records().collect();
    recorded.insert((Kind::Plugin, &description.name));
    if let Some(&(kind, name)) = declared.difference(&recorded).next() {
        return Err(DeclarationFault::NotRecorded { kind, name: name.to_owned() });
    }
    if let Some(&(kind, name)) = recorded.difference(&declared).next() {
        return Err(DeclarationFault::NotDeclared { kind, name: name.to_owned() });
    }
    Ok(())
}

/// Checks what can be checked of one declaration without knowing the others.
fn check_value(declared: &Declared) -> Result<(), DeclarationFault> {
    let what = match &declared.body {
        Body::Plugin(plugin) => version_fault(plugin.version.as_str()),
        Body::Node(node) => node_fault(node),
        Body::Arc(arc) => match arc.by_tx_interface {
            0 | 1 => None,
            other => Some(format!("by_tx_interface {other}: 0 or 1")),
        },
        Body::Feature(feature) => match feature.default_on {
            0 | 1 => None,
            other => Some(format!("default_on {other}: 0 or 1")),
        },
        Body::DeviceClass(class) => nexts_fault(class.nexts.as_slice()),
        Body::Command(command) => command_fault(&declared.name, command),
        Body::Offer(offer) => version_fault(offer.version.as_str()),
        Body::Require(require) => VersionReq::parse(require.range.as_str())
            .err()
            .map(|cause| format!("the range {:?}: {cause}", require.range.as_str())),
    };
    match what {
        None => Ok(()),
        Some(what) => Err(DeclarationFault::Value {
            kind: declared.body.kind(),
            name: declared.name.clone(),
            what,
        }),
    }
}

fn version_fault(text: &str) -> Option<String> {
    Version::parse(text).err().map(|cause| format!("the version {text:?}: {cause}"))
}

fn command_fault(path: &str, command: &CommandDecl) -> Option<String> {
    let grammar = command.grammar.as_str();
    let arguments = grammar.strip_prefix(path);
    if arguments.is_none_or(|rest| !rest.is_empty() && !rest.starts_with(' ')) {
        return Some(format!("the grammar {grammar:?}: it begins with the path"));
    }
    match command.role {
        role::READ | role::WRITE => None,
        other => Some(format!("role {other}: update the host")),
    }
}

fn node_fault(node: &NodeDecl) -> Option<String> {
    if NodeKind::of(node).is_none() {
        return Some(format!("node type {}: update the host", node.node_type));
    }
    let variants = node.variants.as_slice();
    if !variants.iter().any(|variant| variant.cpu_level == 0) {
        return Some("no entry that runs on every CPU".to_owned());
    }
    if let Some(variant) = variants.iter().find(|variant| variant.cpu_level > CPU_LEVEL_MAX) {
        return Some(format!("an entry for CPU level {}: 0 to {CPU_LEVEL_MAX}", variant.cpu_level));
    }
    let mut counters = node.counters.as_slice().iter().map(|counter| counter.name.as_str());
    if let Some(name) = counters.find(|name| !is_kebab(name)) {
        return Some(format!("the counter {name:?}: lower-case words joined by hyphens"));
    }
    nexts_fault(node.nexts.as_slice())
}

fn nexts_fault(nexts: &[NextDecl]) -> Option<String> {
    for next in nexts {
        let name = next.name.as_str();
        // Nodes of interfaces are named after them, and those names are not ours to choose.
        let is_node = !name.is_empty() && !name.contains(|c: char| c.is_control() || c == ' ');
        let fault = match next.kind {
            next_kind::NODE | next_kind::OPTIONAL if is_node => None,
            next_kind::NODE | next_kind::OPTIONAL => Some("not a node's name".to_owned()),
            next_kind::DROP if !is_kebab(name) => Some("not a reason's name".to_owned()),
            next_kind::DROP if next.severity > SEVERITY_MAX => {
                Some(format!("severity {}", next.severity))
            }
            next_kind::DROP => None,
            next_kind::FEATURE if name.is_empty() => None,
            next_kind::FEATURE => Some("the feature's next has no name".to_owned()),
            other => Some(format!("kind {other}: update the host")),
        };
        if let Some(fault) = fault {
            return Some(format!("the next {name:?}: {fault}"));
        }
    }
    None
}

#[cfg(test)]
mod tests;
