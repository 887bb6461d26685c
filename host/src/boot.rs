//! Builds everything in dependency order, and takes it down in reverse.
#![expect(unsafe_code, reason = "hands each thread its own part")]

use std::{
    io,
    os::fd::AsFd,
    os::unix::net::UnixStream,
    path::PathBuf,
    sync::{Arc, atomic::Ordering},
    thread::JoinHandle,
};

use parking_lot::Mutex;
use plugin_api::{Interest, ThreadIndex};
use rustix::{
    io::Errno,
    thread::{CpuSet, gettid, sched_setaffinity},
};

use crate::{
    buffer::{Cache, Pool, PoolError},
    cli::{self, Access, BindError, Caller, CommandError},
    config::Config,
    control::Control,
    device::netlink::LinkWatcher,
    engine::{
        Thread, ThreadShared,
        main_loop::{CLI, LINKS, MainLoop, SIGNAL, Tick, main_loop},
        poller::Poller,
        watchdog::{Ticker, Watchdog},
        worker_loop::worker_loop,
    },
    graph::Owner,
    host::{GraphError, Host, set_current_thread},
    log::{self, Level, Log},
    plugin::{Images, LoadError, image_directories, table::host_table},
    process::{AlternateStack, overflow},
    time::{Clock, Nanos, ThreadClock},
};

/// Why the host did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BootError {
    /// No buffers.
    #[error(transparent)]
    Pool(#[from] PoolError),
    /// The system has no descriptors or threads left.
    #[error("cannot {what}: {source}")]
    System {
        /// What was being done.
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// A node cannot be made for a thread.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// A plugin that is asked for does not load.
    #[error(transparent)]
    Plugin(#[from] LoadError),
    /// No control socket.
    #[error("{}", report(.0))]
    Socket(#[from] BindError),
    /// A command of the start-up script failed.
    #[error("{}", .0.report())]
    Command(CommandError),
    /// The start-up script cannot be read.
    #[error("{}: {source}", path.display())]
    Script {
        /// The script.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

fn report(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {}", report(source)),
        None => error.to_string(),
    }
}

fn system(what: &'static str) -> impl Fn(Errno) -> BootError {
    move |error| BootError::System { what, source: error.into() }
}

/// A host that runs.
#[derive(Debug)]
pub struct Running {
    /// What the main loop serves.
    pub main: MainLoop,
    main_thread: *mut Thread,
    workers: Vec<(*mut Thread, JoinHandle<()>)>,
    /// Where a signal ends up; kept open.
    signals: Option<UnixStream>,
    /// What looks after main.
    looked_after: LookedAfter,
    watchdog: Option<Arc<Watchdog>>,
}

/// Builds a host: clock, buffers, threads, control. Plugins and the control socket come after.
///
/// # Errors
/// [`BootError`].
pub fn boot(config: Config) -> Result<Running, BootError> {
    let clock = Clock::calibrate();
    let pool = Pool::new(config.buffers as usize)?;
    let log_clock = Mutex::new(clock.thread());
    let settings =
        log::Settings { level: config.log.level, lines: config.log.lines, ..Default::default() };
    let log = Log::to_stderr(&settings, move || log_clock.lock().read())
        .map_err(|source| BootError::System { what: "start the log", source })?;
    let host: &'static Host = Box::leak(Box::new(Host::new(pool, clock, log)));
    if let Err(error) = overflow::install() {
        let text = format!("overflows of processes' stacks are not told: {error}");
        host.log.write(Level::Warn, "process", &text);
    }
    let watchdog = start_watchdog(host, config.watchdog); // Before anything is pinned.
    host.handoff.set_ring_size(config.handoff.ring_size);
    let table = host_table(host);
    let spawn = |index: u32| -> Result<*mut Thread, BootError> {
        let shared = Arc::new(ThreadShared::new(index).map_err(system("make a doorbell"))?);
        let poller = Poller::new(Arc::clone(shared.doorbell())).map_err(system("make a poller"))?;
        let cache = Cache::new(Arc::clone(&host.pool), index as usize);
        let clock: ThreadClock = host.clock().lock().thread();
        let thread = Thread::new(shared, cache, clock, poller, table);
        let thread = Box::into_raw(Box::new(thread));
        // SAFETY: it stays where it is until `end`, and its loop keeps to the pause points.
        unsafe { host.add_thread(thread) }?;
        Ok(thread)
    };
    let main_thread = spawn(0)?;
    // SAFETY: made just now, and nothing runs on it yet.
    let shared = Arc::clone(&unsafe { &*main_thread }.shared);
    enter_thread(host, &shared, config.main_core);
    let looked_after = LookedAfter::new(host, &shared, watchdog.as_deref());
    let mut workers = Vec::new();
    for index in 1..=config.workers {
        let thread = spawn(index)?;
        let cpu = config.corelist_workers.get(index as usize - 1).copied();
        workers.push((thread, start_worker(host, thread, index, cpu, &watchdog)?));
    }
    let images = Images::new(&image_directories());
    for passed in images.passed_over() {
        host.log.write(Level::Debug, "plugin", passed);
    }
    let files = host.files(0).expect("main was just added");
    let control = Control::new(host, table, images, config, files);
    let mut main = MainLoop { control, server: None };
    main.open_links();
    Ok(Running { main, main_thread, workers, signals: None, looked_after, watchdog })
}

/// Notes on which kernel thread and CPU this runs.
fn enter_thread(host: &Host, shared: &ThreadShared, cpu: Option<u32>) {
    let tid = gettid().as_raw_nonzero().get().unsigned_abs();
    if let Some(cpu) = cpu {
        let mut set = CpuSet::new();
        set.set(cpu as usize);
        match sched_setaffinity(None, &set) {
            Ok(()) => {
                shared.cpu.store(cpu.saturating_add(1), Ordering::Relaxed);
            }
            Err(error) => {
                let text = format!("thread {} is not pinned to CPU {cpu}: {error}", shared.index);
                host.log.write(Level::Warn, "threads", &text);
            }
        }
    }
    set_current_thread(shared.index);
    host.timers.join(ThreadIndex(shared.index));
    shared.tid.store(tid, Ordering::Relaxed);
}

fn start_watchdog(host: &'static Host, threshold: Nanos) -> Option<Arc<Watchdog>> {
    if threshold == Nanos(0) {
        return None;
    }
    let started = Watchdog::start(host, threshold).inspect_err(|error| {
        let text = format!("nobody is watched: {error}");
        host.log.write(Level::Warn, "watchdog", &text);
    });
    started.ok().map(Arc::new)
}

/// What a forwarding thread has for signals, until it ends: it is watched, and its handlers have a
/// stack of their own.
#[derive(Debug)]
struct LookedAfter {
    _ticker: Option<Ticker>,
    /// What the ticker's handler and that of a fault run on.
    _stack: Option<AlternateStack>,
}

impl LookedAfter {
    /// Of the calling thread.
    fn new(host: &Host, shared: &Arc<ThreadShared>, watchdog: Option<&Watchdog>) -> Self {
        let tell = |what: &str, error: &dyn std::fmt::Display| {
            let text = format!("thread {} {what}: {error}", shared.index);
            host.log.write(Level::Warn, "watchdog", &text);
        };
        let stack = AlternateStack::new()
            .inspect_err(|error| tell("handles signals where they find it", error));
        let ticker = watchdog.map(|watchdog| Ticker::start(shared, watchdog));
        let ticker = ticker
            .and_then(|ticker| ticker.inspect_err(|error| tell("is not watched", error)).ok());
        Self { _ticker: ticker, _stack: stack.ok() }
    }
}

/// The address of a thread's own part, on its way to that thread.
struct Own(*mut Thread);

// SAFETY: whoever sends it no longer uses it but by the rules of the barrier.
unsafe impl Send for Own {}

fn start_worker(
    host: &'static Host,
    thread: *mut Thread,
    index: u32,
    cpu: Option<u32>,
    watchdog: &Option<Arc<Watchdog>>,
) -> Result<JoinHandle<()>, BootError> {
    // SAFETY: made just now, and nothing runs on it yet.
    let shared = Arc::clone(&unsafe { &*thread }.shared);
    let ready = Arc::clone(&shared);
    let own = Own(thread);
    let watchdog = watchdog.clone();
    let work = move || {
        let own = own;
        let Own(thread) = own;
        enter_thread(host, &shared, cpu);
        let _looked_after = LookedAfter::new(host, &shared, watchdog.as_deref());
        // SAFETY: the thread's own; main keeps to the barrier.
        unsafe { worker_loop(thread, host) };
    };
    let handle = std::thread::Builder::new()
        .name(format!("gm-worker-{index}"))
        .spawn(work)
        .map_err(|source| BootError::System { what: "start a worker", source })?;
    while ready.tid.load(Ordering::Relaxed) == 0 {
        rustix::thread::sched_yield(); // Only a worker that runs can come to the barrier.
    }
    Ok(handle)
}

impl MainLoop {
    fn open_links(&mut self) {
        let opened = LinkWatcher::open().and_then(|links| {
            let files = self.control.host.files(0).expect("main is there");
            files.watch().add(links.as_fd(), LINKS, Interest::READ)?;
            Ok(links)
        });
        match opened {
            Ok(links) => {
                *self.control.host.links.lock() = Some(links);
                self.follow_links(); // Nothing is readable before the first change.
            }
            Err(error) => {
                let text = format!("links are not followed: {error}");
                self.control.host.log.write(Level::Warn, "netlink", &text);
            }
        }
    }
}

impl Running {
    /// Lets SIGINT and SIGTERM end the host.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn catch_signals(&mut self) -> Result<(), BootError> {
        let failed = |source| BootError::System { what: "catch signals", source };
        let (ours, theirs) = UnixStream::pair().map_err(failed)?;
        for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
            let end = theirs.try_clone().map_err(failed)?;
            signal_hook::low_level::pipe::register(signal, end).map_err(failed)?;
        }
        let files = self.main.control.host.files(0).expect("main is there");
        let watch = files.watch();
        watch.add(ours.as_fd(), SIGNAL, Interest::READ).map_err(system("watch signals"))?;
        self.signals = Some(ours);
        Ok(())
    }

    /// Opens the control socket.
    ///
    /// # Errors
    /// If it cannot be opened; the text says where and why.
    pub fn listen(&mut self) -> Result<(), BootError> {
        let config = &self.main.control.config;
        let group = match &config.cli.group {
            Some(name) => Some(cli::peer::group_id(name).map_err(|source| BootError::System {
                what: "find the control socket's group",
                source,
            })?),
            None => None,
        };
        let options = cli::Options {
            path: config.cli.socket.clone(),
            access: Access { group },
            token: CLI,
            ..cli::Options::default()
        };
        let server = cli::Server::open(&options, &mut self.main.control)?;
        let text = format!("commands at {}", server.path().display());
        self.main.control.host.log.write(Level::Notice, "cli", &text);
        self.main.server = Some(server);
        Ok(())
    }

    /// Runs one command of the configuration; what it answers goes to the log.
    ///
    /// # Errors
    /// Why it failed, with the line of the configuration.
    pub fn command(&mut self, text: &str, line: usize) -> Result<(), BootError> {
        let name = format!("configuration, exec at line {line}");
        self.run_script(&name, text)
    }

    /// Runs a script of commands; what they answer goes to the log.
    ///
    /// # Errors
    /// The first command that fails, by file and line.
    pub fn execute(&mut self, path: &std::path::Path) -> Result<(), BootError> {
        let script = std::fs::read_to_string(path)
            .map_err(|source| BootError::Script { path: path.to_path_buf(), source })?;
        self.run_script(&path.display().to_string(), &script)
    }

    fn run_script(&mut self, name: &str, script: &str) -> Result<(), BootError> {
        let mut answer = cli::Answer::default();
        let caller = Caller::default();
        let ran = cli::run_script(&mut self.main.control, name, script, &caller, &mut answer);
        for line in answer.render().lines() {
            self.main.control.host.log.write(Level::Notice, "exec", line);
        }
        ran.map(|_| ()).map_err(BootError::Command)
    }

    /// Runs the main loop until a signal, a command or `tick` ends it.
    pub fn run(&mut self, tick: &mut Tick<'_>) {
        // SAFETY: this is the main thread, and no reference to its part is in use.
        unsafe { main_loop(self.main_thread, &mut self.main, tick) };
    }

    /// Takes everything down; gives the buffers that did not come back, which is a bug.
    pub fn end(mut self) -> usize {
        let host = self.main.control.host;
        // Sessions first: a command that waits is a plugin's, and ends while that is there.
        if let Some(server) = self.main.server.take() {
            server.close(&mut self.main.control);
        }
        host.processes.revoke(Owner::HOST, |notice| host.tell_of_process(notice));
        self.main.control.shut_down();
        host.stop.store(true, Ordering::Relaxed);
        for (thread, handle) in self.workers.drain(..) {
            for shared in host.threads() {
                shared.ring_anyway();
            }
            let joined = handle.join();
            debug_assert!(joined.is_ok(), "a worker panicked");
            // SAFETY: its loop has ended; `retire` below forgets the address.
            drop(unsafe { Box::from_raw(thread) });
        }
        drop(self.looked_after);
        drop(self.watchdog); // The workers, which knew it too, have ended.
        // SAFETY: main's loop has ended.
        drop(unsafe { Box::from_raw(self.main_thread) });
        host.retire();
        let left = host.pool.in_use();
        if left > 0 {
            let text = format!("{left} buffers did not come back");
            host.log.write(Level::Error, "buffers", &text);
        }
        left
    }
}
