//! How the running graph is changed: prepared while everything runs, put in force at the barrier.
//!
//! ```text
//!  plan (a clone) ── change ──▶ plan' ── instances, runtimes ──▶ barrier: exchange pointers ──▶ old
//!   names                        checked      made outside        all threads at once       ones end
//! ```
//! A batch collects any number of changes in one plan and puts them in force in one stop.
#![expect(unsafe_code, reason = "exchanges the runtimes of parked threads")]

use std::mem;

use super::Host;
use crate::{
    engine::{Barrier, Caller, LateWorker, Pause},
    graph::{
        NodeIndex, Plan, PlanError,
        compile::{Instances, compile},
        runtime::Runtime,
    },
};

/// Why the graph was not changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GraphError {
    /// The change makes no sense.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// A worker did not come to the barrier.
    #[error("thread {thread} did not come to the barrier within {waited_ms} ms: {doing}")]
    LateWorker {
        /// The worker.
        thread: u32,
        /// How long main waited.
        waited_ms: u128,
        /// What it is at, whose that is, and for how long it has been seen at it.
        doing: String,
    },
    /// Called by a node's constructor, or from a thread that may not.
    #[error(
        "the graph can only be changed on the main thread, and not by a node or its constructor"
    )]
    NotNow,
}

/// A runtime for each thread, boxed so that the exchange is one of pointers.
type Runtimes = Vec<(u32, Box<Runtime>)>;

/// What is done once it is known whether collected changes are in force.
type Step = Box<dyn FnOnce(&Host) + Send>;

/// The graph in force.
#[derive(Default)]
pub(super) struct Graph {
    plan: Plan,
    instances: Instances,
    /// Changes that are being collected.
    staged: Option<Staged>,
    /// A change is being carried out, outside of the lock.
    busy: bool,
}

/// Collected changes, and what depends on whether they are put in force.
struct Staged {
    plan: Plan,
    /// There are any.
    changed: bool,
    /// In order.
    done: Vec<Step>,
    /// To be taken from the end.
    undone: Vec<Step>,
}

/// While it lives, a batch is open; its end, by a panic too, discards the batch.
#[derive(Debug)]
pub struct OpenBatch<'a>(&'a Host);

impl OpenBatch<'_> {
    /// Puts the collected changes in force.
    ///
    /// # Errors
    /// As of [`Host::change_graph`]; then they are discarded.
    pub fn commit(self, caller: Caller) -> Result<Pause, GraphError> {
        let host = self.0;
        mem::forget(self);
        host.commit_batch(caller)
    }
}

impl Drop for OpenBatch<'_> {
    fn drop(&mut self) {
        self.0.discard_batch();
    }
}

impl Host {
    /// The plan that changes apply to now: the collected one, while changes are being collected.
    pub fn plan(&self) -> Plan {
        let graph = self.graph.lock();
        graph.staged.as_ref().map_or(&graph.plan, |staged| &staged.plan).clone()
    }

    /// The plan in force, with the instances of its nodes.
    pub fn running_graph(&self) -> (Plan, Instances) {
        let graph = self.graph.lock();
        (graph.plan.clone(), graph.instances.clone())
    }

    /// The name of a node in force.
    pub fn node_name(&self, index: NodeIndex) -> Option<String> {
        self.graph.lock().plan.node(index).map(|node| node.name.to_string())
    }

    /// Makes any number of changes in one stop of the workers: those that `changes` makes, all if it
    /// succeeds, none if it fails. A batch inside another is part of that one.
    ///
    /// Context: main, outside of nodes.
    ///
    /// # Errors
    /// Of `changes`, or that they cannot be put in force; then nothing has changed.
    pub fn batch<R, E: From<GraphError>>(
        &self,
        caller: Caller,
        changes: impl FnOnce() -> Result<R, E>,
    ) -> Result<(R, Pause), E> {
        let Some(batch) = self.open_batch() else { return Ok((changes()?, Pause::default())) };
        let result = changes()?;
        Ok((result, batch.commit(caller)?))
    }

    /// Collects changes from now on, until what is given is committed or dropped; `None` if they are
    /// being collected already.
    pub fn open_batch(&self) -> Option<OpenBatch<'_>> {
        let mut graph = self.graph.lock();
        if graph.staged.is_some() {
            return None;
        }
        let plan = graph.plan.clone();
        graph.staged = Some(Staged { plan, changed: false, done: Vec::new(), undone: Vec::new() });
        Some(OpenBatch(self))
    }

    fn commit_batch(&self, caller: Caller) -> Result<Pause, GraphError> {
        let Some(staged) = self.graph.lock().staged.take() else { return Ok(Pause::default()) };
        let Staged { plan, changed, done, undone } = staged;
        let pause = match changed {
            true => self.put_in_force(caller, plan).inspect_err(|_| self.take_back(undone))?,
            false => Pause::default(), // Nobody is stopped for nothing.
        };
        done.into_iter().for_each(|step| step(self));
        Ok(pause)
    }

    fn discard_batch(&self) {
        let staged = self.graph.lock().staged.take();
        self.take_back(staged.map(|staged| staged.undone).unwrap_or_default());
    }

    fn take_back(&self, undone: Vec<Step>) {
        undone.into_iter().rev().for_each(|step| step(self));
    }

    /// Does `done` as soon as the change made just before is in force, which it is unless changes
    /// are being collected; does `undone` instead if it is discarded.
    pub(crate) fn when_in_force(
        &self,
        done: impl FnOnce(&Self) + Send + 'static,
        undone: impl FnOnce(&Self) + Send + 'static,
    ) {
        if let Some(staged) = &mut self.graph.lock().staged {
            staged.done.push(Box::new(done));
            staged.undone.push(Box::new(undone));
            return;
        }
        done(self);
    }

    /// Changes the graph: all of `change` or nothing. Where changes are being collected, it is
    /// collected; else it is put in force, and the workers stop while pointers are exchanged.
    ///
    /// Context: main, outside of nodes.
    ///
    /// # Errors
    /// [`GraphError`]; the graph is as it was.
    pub fn change_graph<R>(
        &self,
        caller: Caller,
        change: impl FnOnce(&mut Plan) -> Result<R, PlanError>,
    ) -> Result<R, GraphError> {
        if !self.may_control() {
            return Err(GraphError::NotNow);
        }
        let mut plan = self.plan();
        let result = change(&mut plan)?;
        if let Some(staged) = &mut self.graph.lock().staged {
            (staged.plan, staged.changed) = (plan, true);
            return Ok(result);
        }
        self.put_in_force(caller, plan)?;
        Ok(result)
    }

    /// Prepares the runtimes of `plan` while everything runs, exchanges them at the barrier, and
    /// ends what the old ones alone knew.
    fn put_in_force(&self, caller: Caller, plan: Plan) -> Result<Pause, GraphError> {
        let old = {
            let mut graph = self.graph.lock();
            if graph.busy {
                return Err(GraphError::NotNow);
            }
            graph.busy = true;
            graph.instances.clone()
        };
        // Not under the lock: this runs the constructors of plugins' nodes.
        let spliced = self.prepare(&plan, &old).and_then(|(instances, runtimes)| {
            let (old, pause) = self.splice(caller, runtimes, self.hands_off_no_more(&plan))?;
            Ok((instances, old, pause))
        });
        let mut graph = self.graph.lock();
        graph.busy = false;
        let (instances, runtimes, pause) = spliced?;
        let nodes_go = graph.plan.nodes_gone_in(&plan).next().is_some();
        let old_plan = mem::replace(&mut graph.plan, plan);
        let retired = mem::replace(&mut graph.instances, instances);
        drop(graph);
        // No thread knows of them any more, so they are freed when there is time; but nodes, with
        // their devices, end now: who had them taken away counts on it.
        self.grace.free(self, move || drop((runtimes, old, retired, old_plan)));
        if nodes_go {
            self.grace.free_now();
        }
        Ok(pause)
    }

    /// Whether a node that has handed packets to other threads is in force and not in `plan`.
    fn hands_off_no_more(&self, plan: &Plan) -> bool {
        let graph = self.graph.lock();
        graph.plan.nodes_gone_in(plan).any(|index| {
            let mut counts = graph.instances.counts(index);
            counts.any(|(_, counts)| counts.read_handed_off().is_some())
        })
    }

    fn prepare(
        &self,
        plan: &Plan,
        instances: &Instances,
    ) -> Result<(Instances, Runtimes), GraphError> {
        let threads: Vec<u32> = self.threads.read().keys().copied().collect();
        let interfaces = self.interfaces.read().end().max(plan.interfaces_end());
        let instances = instances.for_plan(plan, &threads)?;
        let runtimes = threads
            .into_iter()
            .map(|thread| Ok((thread, Box::new(compile(plan, &instances, thread, interfaces)?))))
            .collect::<Result<_, PlanError>>()?;
        Ok((instances, runtimes))
    }

    /// Gives each thread its new runtime; the old ones, which no thread knows any more. Where nodes
    /// go that have handed packets to other threads, those on their way go on as they would have.
    fn splice(
        &self,
        caller: Caller,
        mut runtimes: Runtimes,
        hands_off_no_more: bool,
    ) -> Result<(Runtimes, Pause), GraphError> {
        let threads = self.threads.read();
        let mut exchanges: Vec<_> = runtimes
            .iter_mut()
            .filter_map(|(index, runtime)| Some((threads.get(index)?.thread, runtime)))
            .collect();
        drop(threads);
        let exchange = |_: &Barrier| {
            for (thread, runtime) in &mut exchanges {
                // SAFETY: a worker is parked; main is here, outside of nodes, so nothing of its
                // runtime is in use.
                let thread = unsafe { &mut **thread };
                if hands_off_no_more {
                    thread.receive_before_splice();
                }
                mem::swap(&mut thread.runtime, runtime);
                if !thread.is_settled() {
                    thread.drop_what_is_gone(runtime);
                }
            }
        };
        let ((), pause) = self.stop_workers(caller, exchange)?;
        Ok((runtimes, pause))
    }

    /// Runs `change` with all workers parked.
    ///
    /// Context: main, outside of nodes.
    ///
    /// # Errors
    /// [`GraphError::LateWorker`], which names the node that keeps the worker; or that this is
    /// not the place.
    pub fn stop_workers<R>(
        &self,
        caller: Caller,
        change: impl FnOnce(&Barrier) -> R,
    ) -> Result<(R, Pause), GraphError> {
        if !self.may_control() {
            return Err(GraphError::NotNow);
        }
        let mut workers = self.threads();
        workers.retain(|thread| thread.index != 0 && thread.is_running());
        let plugin = self.owner_name(caller.owner);
        let stopped = self.gate.stop(&self.clock, &workers, (caller.what, &plugin), change);
        stopped.map_err(|LateWorker { thread, waited, at_it }| {
            let late = workers.iter().find(|worker| worker.index == thread);
            let node = late.and_then(|worker| worker.node());
            let doing = node.and_then(|node| self.describe_node(node));
            let doing = doing.unwrap_or_else(|| "the loop of the host".to_owned());
            let doing = format!("it has been in {doing} for {} ms", at_it.as_millis());
            GraphError::LateWorker { thread, waited_ms: waited.as_millis(), doing }
        })
    }

    /// A node in force, with its plugin, for people.
    pub fn describe_node(&self, index: NodeIndex) -> Option<String> {
        let node = self.graph.lock().plan.node(index).cloned()?;
        Some(format!("node {:?} of {}", node.name, self.owner_name(node.owner)))
    }

    /// Forgets the graph. Its threads' loops have ended.
    pub(super) fn forget_graph(&self) {
        self.grace.free_now();
        let graph = mem::take(&mut *self.graph.lock());
        drop(graph); // Not under the lock: this may run the destructors of nodes.
    }
}
