//! A plugin's load: inspect, copy, map, prepare, splice, start.
//!
//! ```text
//! main ─ LoadRequest ─▶ work thread: inspect, copy ─ LoadReady ─▶ main: map, prepare, splice, start
//! ```
//! Where nobody can wait (at the start, in a script) main does the work thread's part too.

use std::{
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::{Arc, atomic::Ordering},
};

use gristmill_abi::declaration::{ArcDecl, FeatureDecl, NodeDecl, node_flag};
use semver::Version;

use super::{
    LoadError,
    classes::Class,
    command::command,
    copies::{Copied, Copies},
    declarations::Declarations,
    generation::{Generation, PluginMaker},
    inspect::{Ownership, Trust, inspect},
    lifecycle::Loaded,
    search::SearchPath,
};
use crate::{
    control::Control,
    device::control::plan_next,
    engine::{
        Caller, Pause,
        watchdog::{self, Job},
    },
    graph::{
        NodeKind, Owner, Plan, PlanError, PlanNode,
        arc::{Enabled, Feature, FeatureArc},
        node::Code,
    },
    host::{GraphError, Host},
    log::Level,
    time::Nanos,
};

/// What a load did and cost.
#[derive(Clone, Debug)]
pub struct LoadReport {
    /// Name of the plugin.
    pub name: String,
    /// From the request to running, with the time that others had main in between.
    pub total: Nanos,
    /// Reading and checking the file.
    pub inspect: Nanos,
    /// Copying it, mapping the copy and reading its declarations.
    pub map: Nanos,
    /// Creating its state and, while everything ran, the new runtimes.
    pub prepare: Nanos,
    /// What the splice cost the workers.
    pub pause: Pause,
}

/// A load before anything is known of the file.
#[derive(Debug)]
pub struct LoadRequest {
    wanted: String,
    file: Option<OwnedFd>,
    search: SearchPath,
    trust: Trust,
    copies: Arc<Copies>,
    host: &'static Host,
    began: Nanos,
}

/// A load whose file was read, checked and copied: all that it takes from here on is main.
///
/// Where it is not loaded after all, leave it to a thread that may block: to drop it removes the copy.
#[derive(Debug)]
pub struct LoadReady {
    wanted: String,
    copied: Copied,
    began: Nanos,
    inspect: Nanos,
    copy: Nanos,
}

impl LoadRequest {
    /// Finds the file, reads, checks and copies it. Any thread that may block.
    ///
    /// # Errors
    /// [`LoadError`] for all that can be known to be wrong without running any of its code.
    pub fn read(self) -> Result<LoadReady, LoadError> {
        let Self { wanted, file, search, mut trust, copies, host, began } = self;
        let by_name = !wanted.contains('/');
        let path = if by_name { search.find(&wanted)? } else { PathBuf::from(&wanted) };
        if by_name && search.is_beside_executable(&path) {
            trust.ownership = Ownership::Unchecked; // Who owns that directory owns the host.
        }
        let opened_at = host.now();
        let inspected = inspect(&path, file, &trust)?;
        let inspected_at = host.now();
        let copied = copies.copy(&inspected)?;
        let inspect = inspected_at.since(opened_at);
        Ok(LoadReady { wanted, copied, began, inspect, copy: host.now().since(inspected_at) })
    }
}

impl LoadReady {
    /// Whether its copy is still there.
    pub fn has_copy(&self) -> bool {
        self.copied.copy.is_some()
    }
}

impl Control {
    /// Loads a plugin by name, or by path where `wanted` has a slash; `file` is the file itself
    /// where the caller opened it. Main stands still meanwhile.
    ///
    /// # Errors
    /// [`LoadError`]; nothing of it stays behind.
    pub fn load_plugin(
        &mut self,
        wanted: &str,
        file: Option<OwnedFd>,
    ) -> Result<LoadReport, LoadError> {
        let mut ready = watchdog::job(&job(wanted), || self.request_load(wanted, file).read())?;
        self.finish_load(&mut ready)
    }

    /// Begins a load: what is to be [read](LoadRequest::read) then, here or elsewhere.
    pub fn request_load(&self, wanted: &str, file: Option<OwnedFd>) -> LoadRequest {
        LoadRequest {
            wanted: wanted.to_owned(),
            file,
            search: self.search.clone(),
            trust: self.trust,
            copies: Arc::clone(self.images.copies()),
            host: self.host,
            began: self.host.now(),
        }
    }

    /// Loads what was read; much may have happened since then. Takes its copy if it needs it.
    ///
    /// # Errors
    /// [`LoadError`]; nothing of it stays behind.
    pub fn finish_load(&mut self, ready: &mut LoadReady) -> Result<LoadReport, LoadError> {
        let wanted = ready.wanted.clone();
        watchdog::job(&job(&wanted), || self.load(ready))
    }

    fn load(&mut self, ready: &mut LoadReady) -> Result<LoadReport, LoadError> {
        let resumed_at = self.host.now();
        let copied = &mut ready.copied;
        self.check_it_may_come(copied)?;
        let image = self.images.map(copied, self.table)?;
        let mapped_at = self.host.now();
        let path = copied.path().to_path_buf();
        let generation = Arc::new(Generation::new(
            &copied.description().name,
            Owner(self.host.next_number()),
            path.clone(),
            Some(Arc::clone(&image)),
            *image.declarations().plugin(),
        ));
        let owner = generation.owner;
        let (name, version) = (generation.name.clone(), generation.version.clone());
        *self.host.loading.lock() = Some((owner, name, version));
        let done = self.bring_up(&path, &generation, image.declarations());
        let done = done.inspect_err(|_| {
            self.revoke_at_once(owner);
            self.keep_what_is_used(&generation);
        });
        *self.host.loading.lock() = None;
        let (pause, spliced_at) = done?;
        let report = LoadReport {
            name: generation.name.clone(),
            total: self.host.now().since(ready.began),
            inspect: ready.inspect,
            map: Nanos(ready.copy.0 + mapped_at.since(resumed_at).0),
            prepare: Nanos(
                spliced_at.since(mapped_at).0.saturating_sub(pause.wait.0 + pause.hold.0),
            ),
            pause,
        };
        let text = format!("{} {} loaded", generation.name, generation.version);
        self.host.log.write(Level::Notice, "plugin", &text);
        let loaded = Loaded { generation, report: report.clone() };
        self.plugins.insert(report.name.clone(), loaded);
        Ok(report)
    }

    /// Whether its name is free, and nobody has ended the host while its file was read.
    fn check_it_may_come(&self, copied: &Copied) -> Result<(), LoadError> {
        let path = || copied.path().to_path_buf();
        if self.host.quit.load(Ordering::Relaxed) {
            return Err(LoadError::Ending { path: path() });
        }
        let name = &copied.description().name;
        if let Some(other) = self.plugins.get(name) {
            let version = other.generation.version.clone();
            return Err(LoadError::Loaded { path: path(), name: name.clone(), version });
        }
        Ok(())
    }

    /// Prepare, splice, start. What it registered until it failed is the caller's to revoke.
    fn bring_up(
        &mut self,
        path: &Path,
        generation: &Arc<Generation>,
        declarations: &Declarations,
    ) -> Result<(Pause, Nanos), LoadError> {
        let at = || path.to_path_buf();
        let graph = |cause| LoadError::Graph { path: at(), cause: Box::new(cause) };
        let batch = self.host.open_batch().ok_or_else(|| graph(GraphError::NotNow))?;
        let loader = Caller::of(generation.owner, "load");
        self.register_services(path, generation, declarations)?;
        for (name, decl) in declarations.device_classes() {
            let class = Class { decl: *decl, generation: Arc::clone(generation) };
            self.host.classes.lock().add(name, class).map_err(|other| LoadError::Taken {
                path: at(),
                what: "device class",
                name: name.to_owned(),
                other,
            })?;
        }
        self.host
            .change_graph(loader, |plan| add_nodes(plan, generation, declarations))
            .map_err(graph)?;
        let config = self.plugin_config(&generation.name);
        generation.create(&config).map_err(|reason| LoadError::Create { path: at(), reason })?;
        self.host
            .change_graph(loader, |plan| add_arcs(plan, generation.owner, declarations))
            .map_err(graph)?;
        for (_, decl) in declarations.commands() {
            let command = command(*decl, generation)
                .map_err(|source| LoadError::Command { path: at(), reason: source.to_string() })?;
            self.commands
                .add(command)
                .map_err(|source| LoadError::Command { path: at(), reason: source.to_string() })?;
        }
        let pause = batch.commit(loader).map_err(graph)?;
        let spliced_at = self.host.now();
        self.host.listeners.lock().add(Arc::clone(generation));
        generation.start().map_err(|reason| LoadError::Start { path: at(), reason })?;
        Ok((pause, spliced_at))
    }

    fn register_services(
        &self,
        path: &Path,
        generation: &Arc<Generation>,
        declarations: &Declarations,
    ) -> Result<(), LoadError> {
        let failed =
            |cause| LoadError::Service { path: path.to_path_buf(), cause: Box::new(cause) };
        let mut services = self.host.services.lock();
        for (name, decl) in declarations.requirements() {
            services.require(name, decl.range.as_str(), generation).map_err(failed)?;
        }
        for (name, decl) in declarations.offers() {
            let version = Version::parse(decl.version.as_str()).expect("checked when it was read");
            services.offer(name, version, *decl, Arc::clone(generation)).map_err(failed)?;
        }
        Ok(())
    }
}

/// What the watchdog calls a load, which may take its time.
fn job(wanted: &str) -> Job<'_> {
    let longest = Some(watchdog::LOAD);
    Job { what: "load of", name: wanted, owner: Owner::HOST, longest }
}

fn add_nodes(
    plan: &mut Plan,
    generation: &Arc<Generation>,
    declarations: &Declarations,
) -> Result<(), PlanError> {
    for (name, decl) in declarations.nodes() {
        plan.add_node(plan_node(name, decl, generation))?;
    }
    plan.check_nexts(generation.owner)
}

/// A declared node as the plan has it.
fn plan_node(name: &str, decl: &NodeDecl, generation: &Arc<Generation>) -> PlanNode {
    let plain = decl.variants.as_slice().iter().find(|variant| variant.cpu_level == 0);
    let code = Code {
        entry: plain.expect("checked when it was read").entry,
        maker: Arc::new(PluginMaker { decl: *decl, generation: Arc::clone(generation) }),
    };
    let nexts = decl.nexts.as_slice().iter().map(plan_next).collect();
    let counters = decl.counters.as_slice().iter();
    PlanNode {
        kind: NodeKind::of(decl).expect("checked when it was read"),
        counters: counters.map(|counter| counter.name.as_str().to_owned()).collect(),
        wakes: decl.flags & node_flag::MAY_SLEEP != 0,
        format_trace: decl.format_trace,
        ..PlanNode::new(name, generation.owner, code, nexts)
    }
}

fn add_arcs(plan: &mut Plan, owner: Owner, declarations: &Declarations) -> Result<(), PlanError> {
    for (name, decl) in declarations.arcs() {
        plan.add_arc(name, plan_arc(decl, owner))?;
    }
    for (node, decl) in declarations.features() {
        plan.add_feature(decl.arc.as_str(), plan_feature(node, decl, owner))?;
    }
    Ok(())
}

fn plan_arc(decl: &ArcDecl, owner: Owner) -> FeatureArc {
    FeatureArc {
        owner,
        starts: names(decl.starts.as_slice()),
        end: decl.end.as_str().to_owned(),
        by_tx: decl.by_tx_interface != 0,
        features: Vec::new(),
    }
}

fn plan_feature(node: &str, decl: &FeatureDecl, owner: Owner) -> Feature {
    Feature {
        node: node.into(),
        owner,
        before: names(decl.before.as_slice()),
        after: names(decl.after.as_slice()),
        enabled: if decl.default_on != 0 { Enabled::everywhere() } else { Enabled::default() },
    }
}

fn names(names: &[gristmill_abi::Str<'static>]) -> Vec<String> {
    names.iter().map(|name| name.as_str().to_owned()).collect()
}
