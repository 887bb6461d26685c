//! A plugin's life in the host: what there is of it once it is [loaded](super::load), and unload.

use std::sync::{Arc, atomic::Ordering};

use super::{UnloadError, generation::Generation, load::LoadReport, registry};
use crate::{
    control::Control,
    engine::{
        Caller, Pause,
        watchdog::{self, Job},
    },
    graph::{Owner, Plan, PlanNext},
    log::Level,
};

/// A plugin that is loaded.
#[derive(Debug)]
pub struct Loaded {
    /// Its generation.
    pub generation: Arc<Generation>,
    /// What loading it did.
    pub report: LoadReport,
}

/// A plugin that was unloaded, but for processes of it that waited on though they were to end, work items
/// that did not come to their end, or what was put off on a thread that does not come back: what these
/// use stays.
#[derive(Debug)]
pub struct Draining {
    /// Its generation.
    pub generation: Arc<Generation>,
    /// How many processes are parked.
    pub parked: usize,
    /// Something of it may run still on a thread that does not come back.
    pub is_kept: bool,
    /// How many work items ran on.
    pub stuck: usize,
}

impl Control {
    /// Unloads a plugin: nothing of it can be reached any more when this returns.
    ///
    /// # Errors
    /// [`UnloadError`] if there is none of that name, others hold on to it, or the workers do not
    /// come to the barrier; it runs on then.
    pub fn unload_plugin(&mut self, name: &str) -> Result<(), UnloadError> {
        let longest = Some(watchdog::LOAD);
        let job = Job { what: "unload of", name, owner: Owner::HOST, longest };
        watchdog::job(&job, || self.unload(name))
    }

    fn unload(&mut self, name: &str) -> Result<(), UnloadError> {
        let loaded = self.plugins.get(name).ok_or_else(|| UnloadError::Unknown(name.to_owned()))?;
        let generation = Arc::clone(&loaded.generation);
        let holders = self.holders(&generation);
        if !holders.is_empty() {
            return Err(UnloadError::Held { name: name.to_owned(), holders });
        }
        // From here on there is no way back, and each step needs the workers to come: so see
        // first that they do.
        let unloader = Caller::of(generation.owner, "unload");
        let graph = |source| UnloadError::Graph { name: name.to_owned(), source };
        self.host.stop_workers(unloader, |_| ()).map_err(graph)?;
        // Its threads are waited for while it stops: none of them may wait for main then.
        self.host.close_calls(generation.owner);
        generation.stop();
        let (version, owner) = (generation.version.clone(), generation.owner);
        *self.host.loading.lock() = Some((owner, name.to_owned(), version));
        self.revoke_at_once(owner);
        *self.host.loading.lock() = None;
        self.plugins.remove(name);
        self.keep_what_is_used(&generation);
        self.host.log.write(Level::Notice, "plugin", format!("{name} unloaded"));
        Ok(())
    }

    /// Has what was put off done; keeps a generation of which something may run on. Frames of processes
    /// may use it for ever, though they never run again, and what runs at the end of a turn may be on
    /// a thread that does not come back.
    pub(super) fn keep_what_is_used(&mut self, generation: &Arc<Generation>) {
        let grace_is_over = self.host.grace.flush(self.host, generation.owner);
        let parked = self.host.processes.parked(generation.owner);
        let stuck = self.host.work.running_of(generation.owner).len();
        let is_kept = !grace_is_over || self.host.grace.is_kept(generation.owner);
        if parked + stuck > 0 || is_kept {
            let generation = Arc::clone(generation);
            self.draining.push(Draining { generation, parked, stuck, is_kept });
        }
    }

    /// Who cannot do without a plugin: interfaces of its classes, interfaces that are up and whose
    /// packets go to its nodes, plugins that use its services or have features on its arcs.
    fn holders(&self, generation: &Generation) -> Vec<String> {
        let owner = generation.owner;
        let plan = self.host.plan();
        let mut holders = Vec::new();
        for interface in self.host.interfaces.read().iter() {
            let input = plan.find(&interface.input_name()).and_then(|index| plan.node(index));
            let mut nexts = input.map(|node| node.nexts.iter()).into_iter().flatten();
            if interface.owner == owner {
                holders.push(format!("interface {}", interface.name));
            } else if interface.admin_up.load(Ordering::Relaxed)
                && let Some(node) = nexts.find_map(|next| node_of(&plan, next, owner))
            {
                holders.push(format!("interface {} is up and leads to {node}", interface.name));
            }
        }
        if generation.running_commands() > 0 {
            holders.push("a command of it that is not over yet".to_owned());
        }
        let users = self.host.services.lock().users_of(owner);
        holders.extend(users.into_iter().map(|(user, service)| format!("{user} uses {service}")));
        for (name, arc) in plan.arcs.iter().filter(|(_, arc)| arc.owner == owner) {
            let others = arc.features.iter().filter(|feature| feature.owner != owner);
            holders.extend(others.map(|other| format!("feature {} is on arc {name}", other.node)));
        }
        holders
    }

    /// As [`revoke`](Self::revoke), with one stop of the workers for all that is in the graph.
    pub(super) fn revoke_at_once(&mut self, owner: Owner) {
        let batch = self.host.open_batch();
        self.revoke(owner);
        let done = batch.map_or_else(
            || Ok(Pause::default()),
            |batch| batch.commit(Caller::of(owner, "unload")),
        );
        if let Err(reason) = done {
            let text = format!("nodes stay behind: {reason}");
            self.host.log.write(Level::Error, "plugin", &text);
        }
    }

    /// Takes away all that `owner` registered, of every kind there is.
    pub(crate) fn revoke(&mut self, owner: Owner) {
        for kind in registry::KINDS {
            if let Err(reason) = (kind.revoke)(self, owner) {
                let text = format!("{} stay behind: {reason}", kind.name);
                self.host.log.write(Level::Error, "plugin", &text);
            }
        }
    }

    /// All that `owner` registered: kind and name.
    pub fn resources_of(&self, owner: Owner) -> Vec<(&'static str, String)> {
        registry::KINDS
            .iter()
            .flat_map(|kind| (kind.list)(self, owner).into_iter().map(|name| (kind.name, name)))
            .collect()
    }
}

/// The node that a next leads to, if it is `owner`'s.
fn node_of<'a>(plan: &'a Plan, next: &PlanNext, owner: Owner) -> Option<&'a str> {
    let (PlanNext::Node(name) | PlanNext::Optional(name)) = next else { return None };
    let node = plan.node(plan.find(name)?)?;
    (node.owner == owner).then_some(&*node.name)
}
