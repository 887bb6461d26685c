//! Reads what a plugin says of itself in the section `.gristmill`.

mod record;

use std::{collections::HashSet, mem::offset_of};

use gristmill_abi::{
    ABI_MAJOR, ABI_MINOR,
    descriptor::{FLAG_PANIC_UNWIND, NameRecord, PluginRecord},
    layout::{digest, first_size},
};
use semver::{Version, VersionReq};

use record::{Record, split};

use super::{fault::RecordFault, kind::Kind, name::is_kebab, table::own_version};

/// A feature arc.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArcRecord {
    /// Its name.
    pub name: String,
    /// Node it ends at.
    pub end: String,
}

/// A node that can be put on an arc.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeatureRecord {
    /// The node.
    pub node: String,
    /// The arc.
    pub arc: String,
}

/// A command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandRecord {
    /// Its path, such as `show ip fib`.
    pub path: String,
    /// Path, arguments and usage; the first 191 bytes.
    pub grammar: String,
}

/// A service for other plugins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OfferRecord {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: Version,
}

/// A service of another plugin or of the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequireRecord {
    /// Its name.
    pub name: String,
    /// Versions that will do.
    pub range: VersionReq,
}

/// What a plugin says of itself before any of its code runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// Name of the plugin.
    pub name: String,
    /// Its version.
    pub version: Version,
    /// Version of the SDK it was built with.
    pub sdk_version: Version,
    /// One sentence.
    pub summary: String,
    /// Major and minor version of the ABI it needs.
    pub abi: (u16, u16),
    /// Whether a panic in it can be caught.
    pub panics_unwind: bool,
    /// Nodes.
    pub nodes: Vec<String>,
    /// Feature arcs.
    pub arcs: Vec<ArcRecord>,
    /// Features.
    pub features: Vec<FeatureRecord>,
    /// Classes of devices.
    pub device_classes: Vec<String>,
    /// Commands.
    pub commands: Vec<CommandRecord>,
    /// Services offered.
    pub offers: Vec<OfferRecord>,
    /// Services required.
    pub requirements: Vec<RequireRecord>,
}

impl Description {
    /// Kind and name of each record but the plugin's own.
    pub(super) fn records(&self) -> impl Iterator<Item = (Kind, &str)> {
        let nodes = self.nodes.iter().map(|name| (Kind::Node, name.as_str()));
        let arcs = self.arcs.iter().map(|arc| (Kind::Arc, arc.name.as_str()));
        let features = self.features.iter().map(|on| (Kind::Feature, on.node.as_str()));
        let classes = self.device_classes.iter().map(|name| (Kind::DeviceClass, name.as_str()));
        let commands = self.commands.iter().map(|command| (Kind::Command, command.path.as_str()));
        let offers = self.offers.iter().map(|offer| (Kind::Offer, offer.name.as_str()));
        let requirements =
            self.requirements.iter().map(|wanted| (Kind::Require, wanted.name.as_str()));
        nodes
            .chain(arcs)
            .chain(features)
            .chain(classes)
            .chain(commands)
            .chain(offers)
            .chain(requirements)
    }
}

/// How a plugin's ABI differs from the host's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum AbiFault {
    Major {
        found: u16,
    },
    Minor {
        found: u16,
        /// What it has or wants that this host does not know.
        lacking: Vec<String>,
    },
    Layout {
        found: u64,
        host: u64,
    },
}

/// Why a section is no good.
#[derive(Debug)]
pub(super) enum Fault {
    Record(RecordFault),
    Abi(AbiFault),
}

impl From<RecordFault> for Fault {
    fn from(fault: RecordFault) -> Self {
        Self::Record(fault)
    }
}

/// Reads the section. The ABI is compared before other records are looked at: those of a newer
/// ABI may be of kinds this host does not know.
pub(super) fn read(section: &[u8]) -> Result<Description, Fault> {
    let records = split(section)?;
    let mut plugins =
        records.iter().filter(|record| Kind::of_record(record.number) == Some(Kind::Plugin));
    let plugin = plugins.next().ok_or(RecordFault::NoPlugin)?;
    match plugins.count() {
        0 => {}
        more => return Err(RecordFault::ManyPlugins { count: more + 1 }.into()),
    }
    let mut description = read_plugin(plugin).map_err(|fault| match fault {
        Fault::Abi(AbiFault::Minor { found, .. }) => {
            Fault::Abi(AbiFault::Minor { found, lacking: lacking(&records) })
        }
        fault => fault,
    })?;
    let mut seen = HashSet::new();
    for record in &records {
        let kind = Kind::of_record(record.number)
            .ok_or_else(|| RecordFault::Kind { number: record.number, name: record.name() })?;
        if kind == Kind::Plugin {
            continue;
        }
        let name = read_name(kind, record, &mut description)?;
        if !seen.insert((kind, name.clone())) {
            return Err(RecordFault::Duplicate { kind, name }.into());
        }
    }
    Ok(description)
}

/// What a plugin of a newer ABI has and wants that this host does not have, as far as its records say.
fn lacking(records: &[Record<'_>]) -> Vec<String> {
    let missing = records.iter().filter_map(|record| match Kind::of_record(record.number) {
        None => Some(format!("it has a record of kind {}, {:?}", record.number, record.name())),
        Some(Kind::Require) => {
            let (name, detail) = (record.name(), record.detail());
            let range = VersionReq::parse(&detail).ok();
            let has = own_version(&name).zip(range).is_some_and(|(own, range)| range.matches(&own));
            (!has).then(|| {
                format!("it requires {name:?} {detail}, which is no service of this host's own")
            })
        }
        Some(_) => None,
    });
    missing.collect()
}

/// Reads the plugin record; all other lists are still empty.
fn read_plugin(record: &Record<'_>) -> Result<Description, Fault> {
    record.check_size(offset_of!(PluginRecord, flags))?;
    let found = u16::from_ne_bytes(record.field(offset_of!(PluginRecord, abi_major)));
    if found != ABI_MAJOR {
        return Err(Fault::Abi(AbiFault::Major { found }));
    }
    let minor = u16::from_ne_bytes(record.field(offset_of!(PluginRecord, abi_minor)));
    if minor > ABI_MINOR {
        return Err(Fault::Abi(AbiFault::Minor { found: minor, lacking: Vec::new() }));
    }
    record.check_size(const { first_size("PluginRecord") })?;
    let layouts = u64::from_ne_bytes(record.field(offset_of!(PluginRecord, layout_digest)));
    let host = digest(minor);
    if layouts != host {
        return Err(Fault::Abi(AbiFault::Layout { found: layouts, host }));
    }
    let flags = u32::from_ne_bytes(record.field(offset_of!(PluginRecord, flags)));
    let text = |field, offset, size| record.text(Kind::Plugin, field, offset, size);
    let name = text("name", offset_of!(PluginRecord, name), 64)?;
    let plugin_version = text("version", offset_of!(PluginRecord, version), 32)?;
    let sdk_version = text("SDK version", offset_of!(PluginRecord, sdk_version), 32)?;
    let summary = text("description", offset_of!(PluginRecord, description), 128)?;
    Ok(Description {
        name: kebab(Kind::Plugin, name)?,
        version: version("the version", plugin_version)?,
        sdk_version: version("the SDK version", sdk_version)?,
        summary: summary.to_owned(),
        abi: (found, minor),
        panics_unwind: flags & FLAG_PANIC_UNWIND != 0,
        nodes: Vec::new(),
        arcs: Vec::new(),
        features: Vec::new(),
        device_classes: Vec::new(),
        commands: Vec::new(),
        offers: Vec::new(),
        requirements: Vec::new(),
    })
}

/// Reads any other record into its list; returns its name.
fn read_name(kind: Kind, record: &Record<'_>, to: &mut Description) -> Result<String, RecordFault> {
    record.check_size(const { first_size("NameRecord") })?;
    let detail = record.text(kind, "detail", offset_of!(NameRecord, detail), 192)?;
    let name = record.text(kind, "name", offset_of!(NameRecord, name), 64)?;
    if kind == Kind::Command {
        let (path, grammar) = (command_path(name)?, detail.to_owned());
        to.commands.push(CommandRecord { path: path.clone(), grammar });
        return Ok(path);
    }
    let name = kebab(kind, name)?;
    match kind {
        Kind::Node => to.nodes.push(name.clone()),
        Kind::DeviceClass => to.device_classes.push(name.clone()),
        Kind::Arc => {
            to.arcs.push(ArcRecord { name: name.clone(), end: kebab(Kind::Node, detail)? });
        }
        Kind::Feature => {
            let arc = kebab(Kind::Arc, detail)?;
            to.features.push(FeatureRecord { node: name.clone(), arc });
        }
        Kind::Offer => {
            let version = version("a service's version", detail)?;
            to.offers.push(OfferRecord { name: name.clone(), version });
        }
        Kind::Require => {
            let range = range(detail)?;
            to.requirements.push(RequireRecord { name: name.clone(), range });
        }
        Kind::Plugin | Kind::Command => {}
    }
    Ok(name)
}

fn kebab(kind: Kind, name: &str) -> Result<String, RecordFault> {
    if is_kebab(name) {
        Ok(name.to_owned())
    } else {
        Err(RecordFault::Name { kind, name: name.to_owned() })
    }
}

/// A command's path: names with a blank between.
fn command_path(path: &str) -> Result<String, RecordFault> {
    if path.split(' ').all(is_kebab) {
        Ok(path.to_owned())
    } else {
        Err(RecordFault::Name { kind: Kind::Command, name: path.to_owned() })
    }
}

fn version(field: &'static str, text: &str) -> Result<Version, RecordFault> {
    Version::parse(text).map_err(|cause| RecordFault::Version {
        field,
        text: text.to_owned(),
        cause: cause.to_string(),
    })
}

fn range(text: &str) -> Result<VersionReq, RecordFault> {
    VersionReq::parse(text).map_err(|cause| RecordFault::Version {
        field: "a requirement's range",
        text: text.to_owned(),
        cause: cause.to_string(),
    })
}

#[cfg(test)]
mod tests;
