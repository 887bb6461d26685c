//! Builds everything in dependency order, and takes it down in reverse.
#![expect(unsafe_code, reason = "hands each thread its own part")]

use std::{io, os::fd::AsFd, os::unix::net::UnixStream, path::PathBuf, sync::Arc};

use parking_lot::Mutex;
use plugin_api::Interest;
use rustix::io::Errno;

use crate::{
    buffer::{Pool, PoolError},
    cli::{self, Access, BindError, Caller, CommandError},
    config::Config,
    control::Control,
    deferred::work::{self, Settings, WorkQueues},
    device::netlink::LinkWatcher,
    engine::{
        main_loop::{CLI, LINKS, MainLoop, SIGNAL, Tick, main_loop},
        watchdog::Watchdog,
        worker::{LookedAfter, Own, Setup, ThreadError, allowed_beside},
        workers::{Workers, WorkersError},
    },
    graph::Owner,
    host::Host,
    log::{self, Level, Log, LogFileError},
    plugin::{Images, LoadError, image_directories, table::host_table},
    process::overflow,
    time::{Clock, Nanos},
};

/// Why the host did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BootError {
    /// No buffers.
    #[error(transparent)]
    Pool(#[from] PoolError),
    /// Main's own part cannot be made.
    #[error(transparent)]
    Thread(#[from] ThreadError),
    /// A worker cannot be started.
    #[error(transparent)]
    Workers(#[from] WorkersError),
    /// The system has no descriptors left.
    #[error("cannot {what}: {source}")]
    System {
        /// What was being done.
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// The log file cannot be written.
    #[error("{}", report(.0))]
    Log(#[from] LogFileError),
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
    main_thread: Own,
    /// Where a signal ends up; kept open.
    signals: Option<UnixStream>,
    /// What looks after main.
    looked_after: LookedAfter,
}

/// Builds a host: clock, buffers, threads, control. Plugins and the control socket come after.
///
/// # Errors
/// [`BootError`].
pub fn boot(config: Config) -> Result<Running, BootError> {
    let host = make_host(&config)?;
    build(host, config).inspect_err(|_| {
        host.log.flush(log::PATIENCE); // It is never dropped.
    })
}

/// What all threads share, with its log and what writes that.
fn make_host(config: &Config) -> Result<&'static Host, BootError> {
    let clock = Clock::calibrate();
    let pool = Pool::new(config.buffers as usize)?;
    let pinned = config.main_core.into_iter().chain(config.corelist_workers.iter().copied());
    // Before anything is pinned.
    let work = WorkQueues::new(&Settings::beside(pinned, config.work_threads), clock.thread());
    let log_clock = Mutex::new(clock.thread());
    let settings =
        log::Settings { level: config.log.level, lines: config.log.lines, ..Default::default() };
    let log = Log::to_stderr(&settings, &work, move || log_clock.lock().read())
        .map_err(|source| BootError::System { what: "start the log", source })?;
    if let Some(path) = &config.log.file {
        log.write_to(&work, path)?;
    }
    let host: &'static Host = Box::leak(Box::new(Host::new(pool, clock, log, work)));
    host.work.attach(host);
    Ok(host)
}

fn build(host: &'static Host, config: Config) -> Result<Running, BootError> {
    *host.rx_thresholds.lock() = config.rx;
    if let Err(error) = overflow::install() {
        let text = format!("overflows of processes' stacks are not told: {error}");
        host.log.write(Level::Warn, "process", &text);
    }
    let watchdog = start_watchdog(host, &config); // Before anything is pinned.
    host.handoff.set_ring_size(config.handoff.ring_size);
    let table = host_table(host);
    host.gate.set_deadline(config.barrier_deadline);
    let cores = config.corelist_workers.clone();
    let allowed = allowed_beside(config.main_core);
    let scheduling = config.scheduling;
    let setup = Setup { host, table, watchdog, cores, allowed, scheduling };
    let main_thread = setup.make(0)?;
    // SAFETY: made just now, and nothing runs on it yet.
    let shared = Arc::clone(&unsafe { &*main_thread.address() }.shared);
    let looked_after = setup.enter(&shared, config.main_core);
    host.gate.begin_start(); // Until `Running::run`.
    let mut workers = Workers::new(setup);
    for index in 1..=config.workers {
        workers.start()?;
        host.gate.await_start(index);
    }
    let images = Images::new(&image_directories());
    for passed in images.passed_over() {
        host.log.write(Level::Debug, "plugin", passed);
    }
    let files = host.files(0).expect("main was just added");
    let control = Control::new(host, table, images, config, files, workers);
    let mut main = MainLoop { control, server: None };
    main.open_links();
    Ok(Running { main, main_thread, signals: None, looked_after })
}

fn start_watchdog(host: &'static Host, config: &Config) -> Option<Arc<Watchdog>> {
    let threshold = config.watchdog;
    if threshold == Nanos(0) {
        return None;
    }
    let started = Watchdog::start(host, threshold, config.hang).inspect_err(|error| {
        let text = format!("nobody is watched: {error}");
        host.log.write(Level::Warn, "watchdog", &text);
    });
    started.ok().map(Arc::new)
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
    ///
    /// The workers, which have waited for everything to be ready, begin.
    pub fn run(&mut self, tick: &mut Tick<'_>) {
        let host = self.main.control.host;
        host.gate.end_start(host.clock());
        // SAFETY: this is the main thread, and no reference to its part is in use.
        unsafe { main_loop(self.main_thread.address(), &mut self.main, tick) };
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
        for item in host.work.end(work::PATIENCE) {
            host.log.write(Level::Warn, "work", format!("{item} does not end"));
        }
        host.gate.end_start(host.clock()); // Workers that never began do so, to end.
        let stuck = self.main.control.workers.end();
        drop(self.looked_after);
        // SAFETY: main's loop has ended.
        unsafe { self.main_thread.end() };
        host.retire();
        let left = host.pool.in_use();
        if left > 0 {
            let text = match stuck {
                0 => format!("{left} buffers did not come back"),
                stuck => format!("{left} buffers are lost with workers that are stuck: {stuck}"),
            };
            host.log.write(Level::Error, "buffers", &text);
        }
        host.log.flush(log::PATIENCE);
        host.work.quit();
        left
    }
}
