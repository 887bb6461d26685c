//! The host's shared state, and how the running graph is changed.
#![expect(unsafe_code, reason = "exchanges the runtimes of parked threads")]

use std::{
    cell::Cell,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::ThreadId,
};

use parking_lot::{Mutex, RwLock};
use plugin_api::ThreadIndex;

use crate::{
    buffer::Pool,
    device::{Interfaces, LinkNews, PuntState, error_drop, error_punt, netlink::LinkWatcher},
    engine::{
        Barrier, BarrierGate, Handoff, LateWorker, Pause, Rpc, Thread, ThreadShared,
        files::{FileReport, Files},
        handoff::{CONGESTION, HandedOff, NODE_GONE},
    },
    graph::{
        NodeIndex, NodeKind, Owner, Plan, PlanError, PlanNext, PlanNode, Severity,
        compile::{Instances, compile},
        node::{Code, Stateless},
        plan::{ERROR_DROP, ERROR_PUNT},
        runtime::Runtime,
    },
    log::Log,
    plugin::{
        classes::Classes, listeners::Listeners, services::Services, slots::Slots, table::HostTimer,
    },
    process::Processes,
    time::{Clock, Nanos, ThreadClock, Ticks, timer::Timers},
};

thread_local! {
    static CURRENT: Cell<Option<ThreadIndex>> = const { Cell::new(None) };
}

/// Which forwarding thread the caller is; `None` for any other thread.
pub fn current_thread() -> Option<ThreadIndex> {
    CURRENT.get()
}

/// Says which forwarding thread the caller is.
pub fn set_current_thread(index: u32) {
    CURRENT.set(Some(ThreadIndex(index)));
}

/// Why the graph was not changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GraphError {
    /// The change makes no sense.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// A worker did not come to the barrier.
    #[error("thread {thread} did not come to the barrier within {waited_ms} ms{}", in_node(node))]
    LateWorker {
        /// The worker.
        thread: u32,
        /// How long main waited.
        waited_ms: u128,
        /// The node it is in.
        node: Option<String>,
    },
    /// Called by a node's constructor, or from a thread that may not.
    #[error(
        "the graph can only be changed on the main thread, and not by a node or its constructor"
    )]
    NotNow,
}

fn in_node(node: &Option<String>) -> String {
    node.as_ref().map(|node| format!(": it is in node {node:?}")).unwrap_or_default()
}

/// A forwarding thread, as the main thread holds it.
pub struct ThreadHandle {
    /// What everyone may look at.
    pub shared: Arc<ThreadShared>,
    /// The descriptors it watches.
    pub files: Arc<Files>,
    /// The thread's own; touched only while it is parked, or on it.
    thread: *mut Thread,
}

// SAFETY: the pointer is used only where its description allows.
unsafe impl Send for ThreadHandle {}
// SAFETY: as above.
unsafe impl Sync for ThreadHandle {}

impl fmt::Debug for ThreadHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.shared.fmt(f)
    }
}

/// A runtime for each thread, boxed so that the exchange is one of pointers.
type Runtimes = Vec<Box<Runtime>>;

/// The graph in force.
#[derive(Debug, Default)]
struct Graph {
    plan: Plan,
    instances: Instances,
    /// The plan that a plugin's load is preparing.
    staged: Option<Plan>,
    /// A change is being carried out, outside of the lock.
    busy: bool,
}

/// What all threads of the host share. One for each process; lives until its end.
pub struct Host {
    /// Lines for the operator.
    pub log: Log,
    /// All buffers.
    pub pool: Arc<Pool>,
    /// Where the workers stop.
    pub gate: BarrierGate,
    /// Raised to end main's loop; the workers go on, so that things can be taken down in order.
    pub quit: AtomicBool,
    /// Raised to end the workers' loops.
    pub stop: AtomicBool,
    /// Where packets go that are the operating system's.
    pub punt: Arc<PuntState>,
    /// Interfaces.
    pub interfaces: RwLock<Interfaces>,
    /// Device classes.
    pub classes: Mutex<Classes>,
    /// Services of plugins.
    pub services: Mutex<Services>,
    /// Plugins that want to be told of changes.
    pub listeners: Mutex<Listeners>,
    /// Named slots of the buffers.
    pub slots: Mutex<Slots>,
    /// The links of the kernel's interfaces, if they can be watched.
    pub links: Mutex<Option<LinkWatcher>>,
    /// Links that devices found up or down.
    pub link_news: Arc<LinkNews>,
    /// Calls to main.
    pub rpc: Rpc,
    /// Packets from thread to thread.
    pub handoff: Arc<Handoff>,
    /// Dynamic timers, a base for each thread.
    pub timers: Timers<HostTimer>,
    /// Processes.
    pub processes: Processes,
    /// Name and version of a generation that is being loaded: its timers and lines say whose they
    /// are.
    pub loading: Mutex<Option<(Owner, String, String)>>,
    /// Counts generations and queues.
    pub sequence: AtomicU64,
    clock: Mutex<Clock>,
    /// For threads that have no clock of their own.
    common_clock: Mutex<ThreadClock>,
    threads: RwLock<Vec<ThreadHandle>>,
    graph: Mutex<Graph>,
    main: ThreadId,
    /// Main is running nodes.
    in_nodes: AtomicBool,
    /// Most recent splice: what it cost.
    last_pause: Mutex<Pause>,
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Host").field("threads", &self.threads).finish_non_exhaustive()
    }
}

impl Host {
    /// A host with `error-drop` and `error-punt`, without threads. The calling thread is main.
    ///
    /// # Panics
    /// If its own nodes make no graph.
    pub fn new(pool: Pool, clock: Clock, log: Log) -> Self {
        let punt = Arc::new(PuntState::default());
        let host = Self {
            log,
            pool: Arc::new(pool),
            gate: BarrierGate::default(),
            quit: AtomicBool::new(false),
            stop: AtomicBool::new(false),
            interfaces: RwLock::default(),
            classes: Mutex::default(),
            services: Mutex::default(),
            listeners: Mutex::default(),
            slots: Mutex::default(),
            links: Mutex::default(),
            link_news: Arc::default(),
            rpc: Rpc::default(),
            handoff: Arc::default(),
            timers: Timers::new(Pool::THREADS, Ticks(0)),
            processes: Processes::new(clock.thread()),
            loading: Mutex::default(),
            sequence: AtomicU64::new(0),
            common_clock: Mutex::new(clock.thread()),
            clock: Mutex::new(clock),
            threads: RwLock::default(),
            graph: Mutex::default(),
            main: std::thread::current().id(),
            in_nodes: AtomicBool::new(false),
            last_pause: Mutex::default(),
            punt,
        };
        let (punt_code, punt_nexts) = error_punt(&host.punt);
        let drop_code = Code { entry: error_drop, maker: Arc::new(Stateless) };
        let built_in = |name: &str, code, nexts| PlanNode {
            name: name.into(),
            serial: 0,
            owner: Owner::HOST,
            kind: NodeKind::Internal,
            code,
            nexts,
            counters: Vec::new(),
            threads: None,
            wakes: false,
        };
        let made = host.change_graph(|plan| {
            plan.add_node(built_in(ERROR_DROP, drop_code, Vec::new()))?;
            plan.add_node(built_in(ERROR_PUNT, punt_code, punt_nexts))
        });
        made.expect("the host's own nodes make a graph");
        host
    }

    /// Nanoseconds since the start. Any thread.
    pub fn now(&self) -> Nanos {
        self.common_clock.lock().read()
    }

    /// Main's clock.
    pub fn clock(&self) -> &Mutex<Clock> {
        &self.clock
    }

    /// Whether the caller may change the graph: main, outside of nodes.
    pub fn may_control(&self) -> bool {
        self.is_main() && !self.in_nodes.load(Ordering::Relaxed)
    }

    /// Whether the caller is main.
    pub fn is_main(&self) -> bool {
        std::thread::current().id() == self.main
    }

    /// Says that main begins or ends running nodes.
    pub fn set_in_nodes(&self, in_nodes: bool) {
        self.in_nodes.store(in_nodes, Ordering::Relaxed);
    }

    /// Adds a forwarding thread, which does not run yet, with the graph in force.
    ///
    /// # Errors
    /// If a node cannot be made for it.
    ///
    /// # Safety
    /// `thread` stays where it is for as long as the host lives, and its loop touches it only
    /// between the pause points of the barrier.
    pub unsafe fn add_thread(&self, thread: *mut Thread) -> Result<(), GraphError> {
        // SAFETY: by the caller's promise; it does not run yet.
        let new = unsafe { &mut *thread };
        new.join(&self.handoff);
        let (shared, files) = (Arc::clone(&new.shared), Arc::clone(&new.files));
        if shared.index == 0 {
            self.link_news.set_main(Arc::clone(&shared));
            self.rpc.set_main(Arc::clone(&shared));
        }
        let index = shared.index;
        self.threads.write().push(ThreadHandle { shared, files, thread });
        self.change_graph(|_| Ok(())).inspect_err(|_| {
            self.threads.write().pop();
            self.handoff.close(index);
        })?;
        Ok(())
    }

    /// The shared parts of all threads, main first.
    pub fn threads(&self) -> Vec<Arc<ThreadShared>> {
        self.threads.read().iter().map(|thread| Arc::clone(&thread.shared)).collect()
    }

    /// Forgets the threads, whose loops have ended, and what they ran.
    pub fn retire(&self) {
        self.threads.write().clear();
        let graph = std::mem::take(&mut *self.graph.lock());
        drop(graph); // Not under the lock: this may run the destructors of nodes.
    }

    /// Wakes thread `index` if it sleeps.
    pub fn ring(&self, index: u32) {
        if let Some(thread) = self.threads.read().get(index as usize) {
            thread.shared.ring();
        }
    }

    /// Wakes main if it sleeps. Any thread; takes no lock, for nodes signal events.
    #[inline]
    pub fn ring_main(&self) {
        self.rpc.ring_main();
    }

    /// Name of the plugin that `owner` is a generation of; `host` for the host itself.
    pub fn owner_name(&self, owner: Owner) -> String {
        match &*self.loading.lock() {
            Some((loading, name, _)) if *loading == owner => name.clone(),
            _ => self.listeners.lock().name(owner),
        }
    }

    /// Version of the plugin that `owner` is a generation of; empty for the host itself.
    pub fn owner_version(&self, owner: Owner) -> String {
        match &*self.loading.lock() {
            Some((loading, _, version)) if *loading == owner => version.clone(),
            _ => self.listeners.lock().version(owner),
        }
    }

    /// The descriptors that thread `index` watches.
    pub fn files(&self, index: u32) -> Option<Arc<Files>> {
        self.threads.read().get(index as usize).map(|thread| Arc::clone(&thread.files))
    }

    /// The descriptors of all threads, main's first.
    pub fn all_files(&self) -> Vec<Arc<Files>> {
        self.threads.read().iter().map(|thread| Arc::clone(&thread.files)).collect()
    }

    /// Every watched descriptor, with its thread.
    pub fn watched_files(&self) -> Vec<(u32, FileReport)> {
        let threads = (0..).zip(self.all_files());
        threads
            .flat_map(|(thread, files)| {
                files.report().watched.into_iter().map(move |file| (thread, file))
            })
            .collect()
    }

    /// The plan that changes apply to now: the staged one while a plugin is being prepared.
    pub fn plan(&self) -> Plan {
        let graph = self.graph.lock();
        graph.staged.as_ref().unwrap_or(&graph.plan).clone()
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

    /// What the most recent splice cost.
    pub fn last_pause(&self) -> Pause {
        *self.last_pause.lock()
    }

    /// From now on changes of the graph are collected, until [`commit_staged`](Self::commit_staged)
    /// or [`discard_staged`](Self::discard_staged).
    pub fn stage(&self) {
        let mut graph = self.graph.lock();
        graph.staged = Some(graph.plan.clone());
    }

    /// Puts the collected changes in force.
    ///
    /// # Errors
    /// As of [`change_graph`](Self::change_graph); then they are discarded.
    pub fn commit_staged(&self) -> Result<Pause, GraphError> {
        let Some(plan) = self.graph.lock().staged.take() else { return Ok(Pause::default()) };
        self.put_in_force(plan)
    }

    /// Forgets the collected changes.
    pub fn discard_staged(&self) {
        self.graph.lock().staged = None;
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
        change: impl FnOnce(&mut Plan) -> Result<R, PlanError>,
    ) -> Result<R, GraphError> {
        if !self.may_control() {
            return Err(GraphError::NotNow);
        }
        let mut plan = self.plan();
        let result = change(&mut plan)?;
        let mut graph = self.graph.lock();
        if graph.staged.is_some() {
            graph.staged = Some(plan);
            return Ok(result);
        }
        drop(graph);
        self.put_in_force(plan)?;
        Ok(result)
    }

    /// Prepares the runtimes of `plan` while everything runs, exchanges them at the barrier, and
    /// ends what the old ones alone knew.
    fn put_in_force(&self, plan: Plan) -> Result<Pause, GraphError> {
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
            let pause = self.splice(runtimes)?;
            Ok((instances, pause))
        });
        let mut graph = self.graph.lock();
        graph.busy = false;
        let (instances, pause) = spliced?;
        graph.plan = plan;
        let retired = std::mem::replace(&mut graph.instances, instances);
        drop(graph);
        *self.last_pause.lock() = pause;
        // Not under the lock either: this may run the destructors of plugins' nodes.
        drop(old);
        drop(retired);
        Ok(pause)
    }

    fn prepare(
        &self,
        plan: &Plan,
        instances: &Instances,
    ) -> Result<(Instances, Runtimes), GraphError> {
        let threads = u32::try_from(self.threads.read().len()).expect("few threads");
        let interfaces = self.interfaces.read().end().max(plan.interfaces_end());
        let instances = instances.for_plan(plan, threads)?;
        let runtimes = (0..threads)
            .map(|thread| compile(plan, &instances, thread, interfaces).map(Box::new))
            .collect::<Result<_, _>>()?;
        Ok((instances, runtimes))
    }

    /// Gives each thread its new runtime. The old ones, which no thread knows any more, are
    /// dropped after the workers go on.
    fn splice(&self, mut runtimes: Runtimes) -> Result<Pause, GraphError> {
        let exchange = |_: &Barrier| {
            for (thread, runtime) in self.threads.read().iter().zip(&mut runtimes) {
                // SAFETY: a worker is parked; main is here, outside of nodes, so nothing of its
                // runtime is in use.
                let current = unsafe { &mut (*thread.thread).runtime };
                std::mem::swap(current, runtime);
            }
        };
        let ((), pause) = self.stop_workers(exchange)?;
        Ok(pause)
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
        change: impl FnOnce(&Barrier) -> R,
    ) -> Result<(R, Pause), GraphError> {
        if !self.may_control() {
            return Err(GraphError::NotNow);
        }
        let mut workers = self.threads();
        workers.retain(|thread| thread.index != 0 && thread.tid.load(Ordering::Relaxed) != 0);
        let stopped = self.gate.stop(&self.clock, &workers, change);
        stopped.map_err(|LateWorker { thread, waited }| {
            let late = workers.iter().find(|worker| worker.index == thread);
            let node = late.and_then(|worker| worker.node()).and_then(|node| self.node_name(node));
            GraphError::LateWorker { thread, waited_ms: waited.as_millis(), node }
        })
    }

    /// A number that was not used before.
    pub fn next_number(&self) -> u64 {
        self.sequence.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Drop reasons of all nodes with the packets they took: (node, reason, severity, count).
    pub fn drops(&self) -> Vec<(String, String, Severity, u64)> {
        let (plan, instances) = self.running_graph();
        let mut drops = Vec::new();
        for (index, node) in plan.nodes() {
            let threads = instances.of(index);
            let sum = |count: &dyn Fn(&crate::graph::node::NodeInstance) -> u64| -> u64 {
                threads.iter().map(|thread| count(thread)).sum()
            };
            for (at, next) in node.nexts.iter().enumerate() {
                let (reason, severity) = match next {
                    PlanNext::Drop { reason, severity } => (reason.as_str(), *severity),
                    PlanNext::Node(_) => ("node-gone", Severity::Error),
                    PlanNext::Optional(_) => ("next-not-loaded", Severity::Warning),
                    PlanNext::Feature => ("not-on-an-arc", Severity::Error),
                };
                let count = sum(&|thread| thread.drop_counter(at).get());
                drops.push((node.name.to_string(), reason.to_owned(), severity, count));
            }
            let undecided = sum(&|thread| thread.stats.undecided.get());
            drops.push((node.name.to_string(), "undecided".into(), Severity::Error, undecided));
            let bad_next = sum(&|thread| thread.stats.bad_next.get());
            drops.push((node.name.to_string(), "bad-next".into(), Severity::Error, bad_next));
            let congested = sum(&|thread| thread.read_handed_off().map_or(0, HandedOff::congested));
            drops.push((node.name.to_string(), CONGESTION.into(), Severity::Error, congested));
            if *node.name == *ERROR_DROP {
                let gone = self.handoff.node_gone();
                drops.push((node.name.to_string(), NODE_GONE.into(), Severity::Error, gone));
            }
        }
        drops
    }
}
