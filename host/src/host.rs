//! What all threads of the host share.

mod change;
mod threads;

pub use change::GraphError;
pub use threads::ThreadHandle;

use std::{
    cell::Cell,
    collections::{BTreeMap, BTreeSet},
    fmt,
    os::fd::RawFd,
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
    deferred::{Softirqs, grace::Reclaim, tasklet::AllTasklets, work::WorkQueues},
    device::{
        Interfaces, LinkNews, PuntState, Thresholds, error_drop, error_punt, netlink::LinkWatcher,
    },
    engine::{
        BarrierGate, Caller, Handoff, Rpc,
        files::FileId,
        handoff::{CONGESTION, HandedOff, NODE_GONE},
    },
    graph::{
        Owner, PlanNext, PlanNode, Severity,
        node::{Code, NodeCounts},
        plan::{ERROR_DROP, ERROR_PUNT},
    },
    log::Log,
    plugin::{
        classes::Classes, listeners::Listeners, services::Services, slots::Slots, table::HostTimer,
    },
    process::Processes,
    time::{Clock, Nanos, ThreadClock, Ticks, timer::Timers},
    trace::Tracer,
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
    /// Something is to be done about a thread: one has ended, or is stuck. Main looks at it in each
    /// turn.
    pub thread_news: AtomicBool,
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
    /// By what load adaptive receive queues change; for interfaces to come.
    pub rx_thresholds: Mutex<Thresholds>,
    /// Calls to main.
    pub rpc: Rpc,
    /// Packets from thread to thread.
    pub handoff: Arc<Handoff>,
    /// Packets whose ways are watched.
    pub tracer: Arc<Tracer>,
    /// Dynamic timers, a base for each thread.
    pub timers: Timers<HostTimer>,
    /// What runs at the end of a turn.
    pub softirqs: Softirqs,
    /// Tasklets.
    pub tasklets: AllTasklets,
    /// What is freed once nobody sees it any more.
    pub grace: Reclaim,
    /// Processes.
    pub processes: Processes,
    /// Work queues.
    pub work: WorkQueues,
    /// Name and version of a generation that is being loaded or taken away: its timers, lines and
    /// stops say whose they are.
    pub loading: Mutex<Option<(Owner, String, String)>>,
    /// Lines of the settings of the plugin that is being created, by key.
    pub config_lines: Mutex<BTreeMap<String, usize>>,
    /// Counts generations and queues.
    pub sequence: AtomicU64,
    clock: Mutex<Clock>,
    /// For threads that have no clock of their own.
    common_clock: Mutex<ThreadClock>,
    /// By index: main is 0; workers come and go.
    threads: RwLock<BTreeMap<u32, ThreadHandle>>,
    /// Descriptors of threads that have gone: what they were, and what they are now.
    moved_files: Mutex<BTreeMap<(u32, FileId), (u32, FileId)>>,
    /// How often a receive queue's descriptor is to be watched by a thread.
    pub(crate) rx_watches: Mutex<BTreeMap<(u32, RawFd), u32>>,
    /// Interfaces into whose devices a thread is stuck that was given up: their queues stay with it.
    pub(crate) stuck_interfaces: Mutex<BTreeSet<u32>>,
    graph: Mutex<change::Graph>,
    main: ThreadId,
    /// Main is running nodes.
    in_nodes: AtomicBool,
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Host").field("threads", &self.threads).finish_non_exhaustive()
    }
}

impl Host {
    /// A host with `error-drop` and `error-punt`, without forwarding threads; the log is written by its
    /// work queues. The calling thread is main.
    ///
    /// # Panics
    /// If its own nodes make no graph.
    pub fn new(pool: Pool, clock: Clock, log: Log, work: WorkQueues) -> Self {
        let punt = Arc::new(PuntState::default());
        let host = Self {
            log,
            pool: Arc::new(pool),
            gate: BarrierGate::default(),
            quit: AtomicBool::new(false),
            thread_news: AtomicBool::new(false),
            interfaces: RwLock::default(),
            classes: Mutex::default(),
            services: Mutex::default(),
            listeners: Mutex::default(),
            slots: Mutex::default(),
            links: Mutex::default(),
            link_news: Arc::default(),
            rx_thresholds: Mutex::default(),
            rpc: Rpc::default(),
            handoff: Arc::default(),
            tracer: Arc::default(),
            timers: Timers::new(Pool::THREADS, Ticks(0)),
            softirqs: Softirqs::default(),
            tasklets: AllTasklets::default(),
            grace: Reclaim::default(),
            processes: Processes::new(clock.thread()),
            work,
            loading: Mutex::default(),
            config_lines: Mutex::default(),
            sequence: AtomicU64::new(0),
            common_clock: Mutex::new(clock.thread()),
            clock: Mutex::new(clock),
            threads: RwLock::default(),
            moved_files: Mutex::default(),
            rx_watches: Mutex::default(),
            stuck_interfaces: Mutex::default(),
            graph: Mutex::default(),
            main: std::thread::current().id(),
            in_nodes: AtomicBool::new(false),
            punt,
        };
        let (punt_code, punt_nexts) = error_punt(&host.punt);
        let drop_code = Code::stateless(error_drop);
        let built_in = |name: &str, code, nexts| PlanNode::new(name, Owner::HOST, code, nexts);
        let made = host.change_graph(Caller::host("start"), |plan| {
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

    /// Wakes main if it sleeps. Any thread; takes no lock, for nodes signal events.
    #[inline]
    pub fn ring_main(&self) {
        self.rpc.ring_main();
    }

    /// Has main look at the threads: one has ended or is stuck. Any thread.
    pub fn tell_thread_news(&self) {
        // Sequentially consistent, as main's exchange: what was done before is seen after that.
        self.thread_news.store(true, Ordering::SeqCst);
        self.ring_main();
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

    /// A number that was not used before.
    pub fn next_number(&self) -> u64 {
        self.sequence.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Drop reasons of all nodes with the packets they took: (node, reason, severity, count).
    pub fn drops(&self) -> Vec<(String, String, Severity, u64)> {
        let (plan, instances) = self.running_graph();
        let mut drops = Vec::new();
        for (index, node) in plan.nodes() {
            let sum = |count: &dyn Fn(&NodeCounts) -> u64| -> u64 {
                instances.counts(index).map(|(_, counts)| count(counts)).sum()
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
            let lost = sum(&|thread| {
                u64::try_from(thread.stats.lost.load(Ordering::Relaxed)).unwrap_or(0)
            });
            drops.push((node.name.to_string(), "thread-given-up".into(), Severity::Error, lost));
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
