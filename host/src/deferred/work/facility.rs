//! The work queues of a host: their lock, their threads, who waits for them.

use std::{
    fmt, io,
    sync::{Arc, OnceLock},
    time::Duration,
};

use parking_lot::{Condvar, Mutex};
use rustix::thread::CpuSet;

use super::{
    Kind, Queue, QueueSpec, WorkError,
    core::{Core, Key, Wake},
    parker::Parker,
};
use crate::{
    graph::Owner,
    host::Host,
    log::Level,
    process::ProcessShared,
    time::{Clock, Nanos, ThreadClock},
};

/// Threads of a pool at most, unless told.
pub const MAX_THREADS: usize = 64;
/// How long main waits for an item.
pub const PATIENCE: Duration = Duration::from_secs(3);

/// What an item does. It may block.
pub(crate) trait Work: Send + 'static {
    /// Does it; false if it panicked, which was contained.
    fn run(&mut self) -> bool;

    /// It was not taken, and is its maker's again.
    fn give_back(self: Box<Self>) {}
}

/// What work threads are started with.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where the threads of the unbound pool run; `None` if anywhere.
    pub cpus: Option<CpuSet>,
    /// Items that run at once there, those that are blocked aside; at least 1.
    pub limit: usize,
    /// Threads of a pool at most.
    pub max_threads: usize,
}

impl Settings {
    /// For a host whose forwarding threads are pinned to `cores`: the CPUs that it may use beside
    /// them, or all if there are no others. To be asked before anything is pinned.
    pub fn beside(cores: impl Iterator<Item = u32>, max_threads: usize) -> Self {
        let Ok(all) = rustix::thread::sched_getaffinity(None) else {
            return Self { cpus: None, limit: 1, max_threads };
        };
        let mut cpus = all;
        for core in cores.filter(|&core| (core as usize) < CpuSet::MAX_CPU) {
            cpus.unset(core as usize);
        }
        if cpus.count() == 0 {
            cpus = all;
        }
        Self { cpus: Some(cpus), limit: (cpus.count() as usize).max(1), max_threads }
    }
}

/// All that is behind the lock.
pub(super) struct State {
    pub(super) core: Core<Box<dyn Work>>,
    cpus: Option<CpuSet>,
    /// There is a supervisor.
    pub(super) supervised: bool,
    /// No queue is made any more.
    ended: bool,
    /// All threads are to end.
    pub(super) ending: bool,
    /// Threads that wait.
    pub(super) waiters: usize,
    /// Processes that wait.
    pub(super) processes: Vec<Arc<ProcessShared>>,
    /// The queue of the host's own odd jobs.
    system: Option<Key>,
    /// Counts threads, for their names.
    started: u64,
}

/// What all threads of the work queues share.
pub(super) struct Shared {
    pub(super) state: Mutex<State>,
    /// Something was done, or cancelled.
    pub(super) settled: Condvar,
    pub(super) supervisor: Parker,
    host: OnceLock<&'static Host>,
    clock: Mutex<ThreadClock>,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

/// The work queues of a host. Any thread.
#[derive(Debug)]
pub struct WorkQueues {
    pub(super) shared: Arc<Shared>,
}

impl Default for WorkQueues {
    fn default() -> Self {
        let settings = Settings::beside(std::iter::empty(), MAX_THREADS);
        Self::new(&settings, Clock::monotonic().thread())
    }
}

impl Drop for WorkQueues {
    fn drop(&mut self) {
        self.shared.quit();
    }
}

impl WorkQueues {
    /// Without queues, and without threads until there is one; `clock` is the host's.
    pub fn new(settings: &Settings, clock: ThreadClock) -> Self {
        let core = Core::new(settings.limit.max(1), settings.max_threads.max(1));
        let state = State {
            core,
            cpus: settings.cpus,
            supervised: false,
            ended: false,
            ending: false,
            waiters: 0,
            processes: Vec::new(),
            system: None,
            started: 0,
        };
        let shared = Shared {
            state: Mutex::new(state),
            settled: Condvar::new(),
            supervisor: Parker::default(),
            host: OnceLock::new(),
            clock: Mutex::new(clock),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Says whose they are, which gives them timers, and processes that may wait.
    pub fn attach(&self, host: &'static Host) {
        self.shared.host.get_or_init(|| host);
    }

    /// Makes a queue.
    ///
    /// # Errors
    /// If the system has no thread left to look after it.
    pub fn queue(&self, spec: QueueSpec) -> Result<Queue, WorkError> {
        self.shared.ensure_supervisor().map_err(WorkError::NoThread)?;
        let mut state = self.shared.state.lock();
        if state.ended || state.ending {
            return Err(WorkError::Closed);
        }
        let key = state.core.add_queue(spec);
        Ok(Queue { shared: Arc::clone(&self.shared), key })
    }

    /// The host's own queue for what has no order.
    ///
    /// # Errors
    /// As of [`queue`](Self::queue).
    pub fn system(&self) -> Result<Queue, WorkError> {
        if let Some(key) = self.shared.state.lock().system {
            return Ok(Queue { shared: Arc::clone(&self.shared), key });
        }
        let queue = self.queue(QueueSpec::of_host("system", Kind::Unbound))?;
        self.shared.state.lock().system = Some(queue.key);
        Ok(queue)
    }

    /// A new queue of the host's own whose items run one at a time, in the order of queueing.
    ///
    /// # Errors
    /// As of [`queue`](Self::queue).
    pub fn ordered(&self, name: &str) -> Result<Queue, WorkError> {
        self.queue(QueueSpec::of_host(name, Kind::Ordered))
    }

    /// Cancels what is pending of an owner and waits for what runs, but no longer than
    /// `patience`; gives what runs still. Nothing of the owner's is queued any more.
    pub fn revoke(&self, owner: Owner, patience: Duration) -> Vec<String> {
        let shared = &self.shared;
        let mut state = shared.state.lock();
        let dropped = state.core.close_owner(owner);
        shared.tell_waiters(&mut state);
        drop(state);
        drop(dropped); // Calls the plugin, and may be what somebody waits for.
        shared.tell_waiters(&mut shared.state.lock());
        let is_over = |state: &mut State| state.core.running_of(owner).is_empty();
        let mut state = shared.state.lock();
        shared.block_until(&mut state, Some(patience), is_over);
        state.core.running_of(owner)
    }

    /// Names of the queues of an owner, and of its items that are pending or run.
    pub fn of(&self, owner: Owner) -> Vec<String> {
        let state = self.shared.state.lock();
        let mut names = Vec::new();
        for (key, queue) in state.core.queues.iter().filter(|(_, queue)| queue.owner == owner) {
            let under_way = queue.pending + queue.delayed + queue.running;
            let items = state.core.items.of(key).count();
            names.push(format!("{}: {items} items, {under_way} under way", queue.name));
        }
        names
    }

    /// What runs of an owner: its items and their queues.
    pub fn running_of(&self, owner: Owner) -> Vec<String> {
        self.shared.state.lock().core.running_of(owner)
    }

    /// A forwarding thread is gone: those of its pool go on, on any CPU that unbound ones may use.
    pub fn unpin(&self, thread: u32) {
        let mut state = self.shared.state.lock();
        let Some(pool) = state.core.pools.iter().position(|of| of.bound == Some(thread)) else {
            return;
        };
        state.core.pools[pool].cpu = None;
        let Some(cpus) = state.cpus else { return };
        let threads = state.core.threads.iter().filter(|(_, own)| own.pool == pool && own.tid != 0);
        for (_, own) in threads {
            let tid = i32::try_from(own.tid).ok().and_then(rustix::thread::Pid::from_raw);
            // It may end at this moment.
            let _ = tid.map(|tid| rustix::thread::sched_setaffinity(Some(tid), &cpus));
        }
    }

    /// Cancels all that is pending, but for what [lasts](QueueSpec::lasting); gives what runs still
    /// after `patience`. No queue is made any more.
    pub fn end(&self, patience: Duration) -> Vec<String> {
        let owners: std::collections::BTreeSet<_> = {
            let mut state = self.shared.state.lock();
            state.ended = true;
            state.core.queues.iter().map(|(_, queue)| queue.owner).collect()
        };
        owners.into_iter().flat_map(|owner| self.revoke(owner, patience)).collect()
    }

    /// Ends the threads as soon as they have nothing to run.
    pub fn quit(&self) {
        self.shared.quit();
    }
}

impl QueueSpec {
    /// A queue of the host's own.
    pub fn of_host(name: &str, kind: Kind) -> Self {
        let (name, plugin) = (name.to_owned(), "host".to_owned());
        let (owner, max_active) = (Owner::HOST, Self::MAX_ACTIVE);
        Self { name, owner, plugin, kind, max_active, lasting: false }
    }

    /// Items of a queue in execution at once, if nothing else is said.
    pub const MAX_ACTIVE: u32 = 16;
}

impl Shared {
    pub(super) fn host(&self) -> Option<&'static Host> {
        self.host.get().copied()
    }

    /// A clock for the calling thread.
    pub(super) fn thread_clock(&self) -> ThreadClock {
        self.clock.lock().another()
    }

    /// The time. Any thread.
    pub(super) fn now(&self) -> Nanos {
        self.clock.lock().read()
    }

    pub(super) fn warn(&self, text: &str) {
        if let Some(host) = self.host() {
            host.log.write(Level::Warn, "work", text);
        }
    }

    /// Says that an item panicked.
    pub(super) fn tell_panic(&self, item: Key) {
        let text = {
            let state = self.state.lock();
            let Some(own) = state.core.items.get(item) else { return };
            let plugin = state.core.queues.get(own.queue).map_or("", |queue| &queue.plugin);
            format!("work item {} of {plugin} panicked", own.name)
        };
        if let Some(host) = self.host() {
            host.log.error("work", text);
        }
    }

    /// Wakes somebody; nothing is locked.
    #[inline]
    pub(super) fn wake(&self, wake: Wake) {
        match wake {
            Wake::Nobody => {}
            Wake::Thread(parker) => parker.kick(),
            Wake::Supervisor => self.supervisor.kick(),
        }
    }

    fn quit(&self) {
        let mut state = self.state.lock();
        state.ending = true;
        let parkers: Vec<_> =
            state.core.threads.iter().map(|(_, own)| Arc::clone(&own.parker)).collect();
        drop(state);
        parkers.into_iter().for_each(|parker| parker.kick());
        self.supervisor.kick();
    }

    pub(super) fn place_supervisor(&self) {
        let cpus = self.state.lock().cpus;
        if let Some(cpus) = cpus {
            let _ = rustix::thread::sched_setaffinity(None, &cpus); // Then where it was started.
        }
    }
}

impl State {
    /// Where the threads of a pool run; `None` if anywhere.
    pub(super) fn place_of(&self, pool: usize) -> Option<CpuSet> {
        let Some(cpu) = self.core.pools[pool].cpu else { return self.cpus };
        let mut set = CpuSet::new();
        set.set(cpu as usize);
        Some(set)
    }

    /// What a pool is called.
    pub(super) fn name_of(&self, pool: usize) -> String {
        match self.core.pools[pool].bound {
            Some(thread) => format!("the pool of thread {thread}"),
            None => "the unbound pool".to_owned(),
        }
    }

    /// What a thread that is to be started gets: its pool, name and place to wait.
    pub(super) fn start_of(&mut self, thread: Key) -> (usize, String, Arc<Parker>) {
        let own = self.core.threads.at(thread);
        let (pool, parker) = (own.pool, Arc::clone(&own.parker));
        self.started += 1;
        let number = self.started;
        let name = match self.core.pools[pool].bound {
            Some(thread) => format!("gm-work/t{thread}-{number}"),
            None => format!("gm-work/{number}"),
        };
        (pool, name, parker)
    }
}

impl From<io::Error> for WorkError {
    fn from(error: io::Error) -> Self {
        Self::NoThread(error)
    }
}
