//! A forwarding thread's life: made by main, started, ended.
#![expect(unsafe_code, reason = "hands each thread its own part")]

use std::{fmt, io, sync::Arc, sync::atomic::Ordering, thread::JoinHandle};

use gristmill_abi::host::HostTable;
use plugin_api::ThreadIndex;
use rustix::thread::{CpuSet, gettid, sched_getaffinity, sched_setaffinity};

use super::{
    Scheduling, Thread, ThreadShared,
    poller::Poller,
    watchdog::{Ticker, Watchdog},
    worker_loop::worker_loop,
};
use crate::{
    buffer::Cache,
    deferred::Here,
    host::{GraphError, Host, set_current_thread},
    log::Level,
    process::AlternateStack,
};

/// Why there is no such thread.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ThreadError {
    /// The system has no descriptors or threads left.
    #[error("cannot {what}: {source}")]
    System {
        /// What was being done.
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// It does not get its nodes.
    #[error(transparent)]
    Graph(#[from] GraphError),
}

/// What every thread is made with.
#[derive(Clone, Debug)]
pub struct Setup {
    /// What all threads share.
    pub host: &'static Host,
    /// What plugins call.
    pub table: &'static HostTable,
    /// Who looks after it.
    pub watchdog: Option<Arc<Watchdog>>,
    /// The cores of the workers, by index from 1.
    pub cores: Vec<u32>,
    /// Where workers may run that have no core; `None` if nobody was pinned.
    pub allowed: Option<CpuSet>,
    /// How the kernel schedules the workers.
    pub scheduling: Scheduling,
}

/// Where workers may run that have no core of their own: wherever the process may, but for main's core,
/// if there is another. To be asked before main is pinned.
pub fn allowed_beside(main_core: Option<u32>) -> Option<CpuSet> {
    let mut allowed = sched_getaffinity(None).ok()?;
    let main_core = main_core? as usize;
    if allowed.count() > 1 {
        allowed.unset(main_core);
    }
    Some(allowed)
}

/// The address of a thread's own part.
#[derive(Clone, Copy, Debug)]
pub struct Own(*mut Thread);

// SAFETY: whoever sends it no longer uses it but by the rules of the barrier.
unsafe impl Send for Own {}

impl Own {
    /// The address.
    pub fn address(self) -> *mut Thread {
        self.0
    }

    /// Ends it; packets that it has under way are freed.
    ///
    /// # Safety
    /// Its loop has ended, and the host has forgotten it or will, without looking at it.
    pub unsafe fn end(self) {
        // SAFETY: `Setup::make` made it; by the caller's promise it is nobody's.
        let mut thread = unsafe { Box::from_raw(self.0) };
        thread.free_packets();
    }
}

impl Setup {
    /// Makes the own part of thread `index`, with the graph in force. It does not run yet.
    ///
    /// # Errors
    /// [`ThreadError`]; there is nothing of it then.
    pub fn make(&self, index: u32) -> Result<Own, ThreadError> {
        let system = |what: &'static str| {
            move |error: rustix::io::Errno| ThreadError::System { what, source: error.into() }
        };
        let shared = Arc::new(ThreadShared::new(index).map_err(system("make a doorbell"))?);
        let poller = Poller::new(Arc::clone(shared.doorbell())).map_err(system("make a poller"))?;
        let cache = Cache::new(Arc::clone(&self.host.pool), index as usize);
        let clock = self.host.clock().lock().thread();
        let thread = Thread::new(shared, cache, clock, poller, self.table);
        let own = Own(Box::into_raw(Box::new(thread)));
        // SAFETY: it stays where it is until `Own::end`, and its loop keeps to the pause points.
        let added = unsafe { self.host.add_thread(own.0) };
        added.inspect_err(|_| {
            // SAFETY: made just now, it never ran and was forgotten.
            unsafe { own.end() };
        })?;
        Ok(own)
    }

    /// Notes on which kernel thread and CPU the calling thread runs, and has it looked after.
    pub fn enter(&self, shared: &Arc<ThreadShared>, cpu: Option<u32>) -> LookedAfter {
        match self.place(shared.index, cpu) {
            Ok(()) => {
                let known = cpu.map_or(0, |cpu| cpu.saturating_add(1));
                shared.cpu.store(known, Ordering::Relaxed);
            }
            Err(error) => {
                let cpu = cpu.map_or_else(|| "any CPU".to_owned(), |cpu| format!("CPU {cpu}"));
                let text = format!("thread {} is not placed on {cpu}: {error}", shared.index);
                self.host.log.write(Level::Warn, "threads", &text);
            }
        }
        set_current_thread(shared.index);
        self.host.timers.join(ThreadIndex(shared.index));
        let looked_after = LookedAfter::new(self.host, shared, self.watchdog.as_deref());
        let tid = gettid().as_raw_nonzero().get().unsigned_abs();
        shared.tid.store(tid, Ordering::Relaxed);
        self.host.handoff.admit(shared.index);
        looked_after
    }

    /// Places the calling thread on a CPU; a worker without one wherever the process may run, but for
    /// main's own CPU, which main has pinned itself to before it starts workers.
    fn place(&self, index: u32, cpu: Option<u32>) -> rustix::io::Result<()> {
        let mut set = CpuSet::new();
        match (cpu, &self.allowed) {
            (Some(cpu), _) => set.set(cpu as usize),
            (None, Some(allowed)) if index != 0 => set = *allowed,
            (None, _) => return Ok(()),
        }
        sched_setaffinity(None, &set)
    }

    /// Makes worker `index` and starts it.
    ///
    /// # Errors
    /// [`ThreadError`]; there is nothing of it then.
    pub fn start(&self, index: u32) -> Result<Worker, ThreadError> {
        let own = self.make(index)?;
        // SAFETY: made just now, and nothing runs on it yet.
        let shared = Arc::clone(&unsafe { &*own.0 }.shared);
        let (setup, theirs) = (self.clone(), Arc::clone(&shared));
        let cpu = self.cores.get(index as usize - 1).copied();
        let work = move || {
            let own = own; // All of it, not the address alone.
            let _looked_after = setup.enter(&theirs, cpu);
            if let Err(error) = setup.scheduling.apply() {
                let text = format!("worker {index} is scheduled as before: {error}");
                setup.host.log.write(Level::Warn, "threads", &text);
            }
            // SAFETY: the thread's own; main keeps to the barrier.
            unsafe { worker_loop(own.0, setup.host) };
            theirs.ended.store(true, Ordering::Release);
            setup.host.tell_thread_news();
        };
        let name = format!("gm-worker-{index}");
        let spawned = std::thread::Builder::new().name(name).spawn(work);
        let handle = spawned.map_err(|source| {
            self.host.remove_thread(index);
            // SAFETY: it never ran, and was forgotten just now.
            unsafe { own.end() };
            ThreadError::System { what: "start a worker", source }
        })?;
        while shared.tid.load(Ordering::Relaxed) == 0 {
            rustix::thread::sched_yield(); // Only a worker that runs can come to the barrier.
        }
        Ok(Worker { shared, own, handle })
    }
}

/// A worker, as main holds it.
#[derive(Debug)]
pub struct Worker {
    /// What everyone may look at.
    pub shared: Arc<ThreadShared>,
    own: Own,
    handle: JoinHandle<()>,
}

impl Worker {
    /// Has its loop end, at the top of a turn.
    pub fn quit(&self) {
        self.shared.quit.store(true, Ordering::SeqCst);
        self.shared.ring();
    }

    /// Whether its loop has ended.
    pub fn has_ended(&self) -> bool {
        self.shared.ended.load(Ordering::Acquire)
    }

    /// Waits for the end of its thread; its own part is for the caller to end.
    pub fn join(self) -> Own {
        let joined = self.handle.join();
        debug_assert!(joined.is_ok(), "a worker panicked");
        self.own
    }
}

/// What a forwarding thread has for signals, until it ends: it is watched, and its handlers have a
/// stack of their own.
pub struct LookedAfter {
    _ticker: Option<Ticker>,
    _here: Here,
    /// What the ticker's handler and that of a fault run on.
    _stack: Option<AlternateStack>,
}

impl fmt::Debug for LookedAfter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LookedAfter")
    }
}

impl LookedAfter {
    /// Of the calling thread.
    fn new(host: &Host, shared: &Arc<ThreadShared>, watchdog: Option<&Watchdog>) -> Self {
        let tell = |what: &str, error: &dyn fmt::Display| {
            let text = format!("thread {} {what}: {error}", shared.index);
            host.log.write(Level::Warn, "watchdog", &text);
        };
        let stack = AlternateStack::new()
            .inspect_err(|error| tell("handles signals where they find it", error));
        let ticker = watchdog.map(|watchdog| Ticker::start(shared, watchdog));
        let ticker = ticker
            .and_then(|ticker| ticker.inspect_err(|error| tell("is not watched", error)).ok());
        Self { _ticker: ticker, _here: Here::is(shared), _stack: stack.ok() }
    }
}
