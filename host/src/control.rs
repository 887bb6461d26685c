//! What the main thread alone has: the commands, the plugins, and the means to change things.

use std::{collections::BTreeMap, io, os::fd::BorrowedFd, sync::Arc};

use gristmill_abi::host::HostTable;
use plugin_api::Interest;

use crate::{
    cli::{self, Builtin, CommandError, Context, Names, Registry, WaitingBuiltin},
    config::Config,
    engine::{Caller, files::Files, poller::Token, workers::Workers},
    host::Host,
    plugin::{
        Images, Ownership, SearchPath, Trust,
        lifecycle::{Draining, Loaded},
    },
};

inventory::collect!(Builtin<Control>);
inventory::collect!(WaitingBuiltin<Control>);

/// The main thread's own part of the host: what commands work on.
pub struct Control {
    /// What all threads share.
    pub host: &'static Host,
    /// All commands.
    pub commands: Registry<Self>,
    /// All plugins, by name.
    pub plugins: BTreeMap<String, Loaded>,
    /// Generations that were unloaded and are kept, because processes of them are parked, or work
    /// items ran on.
    pub draining: Vec<Draining>,
    /// Where plugins are looked for.
    pub search: SearchPath,
    /// What a plugin's file must be.
    pub trust: Trust,
    /// The configuration.
    pub config: Config,
    /// When the counters that `clear` forgets were last cleared.
    pub baseline: crate::stats::Baseline,
    pub(crate) images: Images,
    pub(crate) table: &'static HostTable,
    /// The threads that forward besides main.
    pub workers: Workers,
    files: Arc<Files>,
}

impl std::fmt::Debug for Control {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Control").field("plugins", &self.plugins).finish_non_exhaustive()
    }
}

impl Control {
    /// The control of `host`, whose main thread watches `files`; with the host's commands.
    ///
    /// # Panics
    /// If the host's own commands do not fit each other.
    pub fn new(
        host: &'static Host,
        table: &'static HostTable,
        images: Images,
        config: Config,
        files: Arc<Files>,
        workers: Workers,
    ) -> Self {
        let mut commands = Registry::default();
        commands.add_builtins(&cli::basics()).expect("the basic commands fit each other");
        let own = inventory::iter::<Builtin<Self>>;
        commands.add_builtins(own).expect("the host's own commands fit each other");
        let waiting = inventory::iter::<WaitingBuiltin<Self>>;
        commands.add_waiting(waiting).expect("the host's own commands fit each other");
        Self {
            host,
            commands,
            plugins: BTreeMap::new(),
            draining: Vec::new(),
            search: SearchPath::of_host(&config.plugin_dirs),
            trust: trust(&config),
            config,
            baseline: crate::stats::Baseline::default(),
            images,
            table,
            workers,
            files,
        }
    }

    /// The settings of a plugin's own section; the host knows their lines until the next is asked for.
    pub(crate) fn plugin_config(&self, name: &str) -> Vec<(String, String)> {
        let entries = self.config.section(name).map_or(&[][..], |section| &section.entries);
        let lines = entries.iter().map(|entry| (entry.key.clone(), entry.line));
        *self.host.config_lines.lock() = lines.collect();
        entries.iter().map(|entry| (entry.key.clone(), entry.value.clone())).collect()
    }

    /// Takes everything down in order: plugins stop, their interfaces go, newest first.
    pub fn shut_down(&mut self) {
        let mut loaded: Vec<_> = self.plugins.values().map(|loaded| &loaded.generation).collect();
        loaded.sort_by_key(|generation| std::cmp::Reverse(generation.owner));
        let owners: Vec<_> = loaded
            .into_iter()
            .map(|generation| (generation.name.clone(), generation.owner))
            .collect();
        for (name, owner) in owners {
            self.host.close_calls(owner); // Or a thread of it might wait for main for ever.
            let loaded = self.plugins.remove(&name);
            if let Some(loaded) = &loaded {
                loaded.generation.stop();
            }
            self.revoke(owner);
            let runs_on = !self.host.work.running_of(owner).is_empty();
            if !self.host.grace.flush(self.host, owner) || self.host.grace.is_kept(owner) || runs_on
            {
                std::mem::forget(loaded); // What runs on may use it until the very end.
                continue;
            }
            drop(loaded); // Its state ends after all that uses it, and outside of any lock.
        }
        self.host.end_calls();
    }
}

fn trust(config: &Config) -> Trust {
    let ownership =
        if config.trust_writable_plugins { Ownership::Unchecked } else { Ownership::Checked };
    Trust { ownership, allow_panic_abort: config.allow_abort_plugins, ..Trust::default() }
}

impl Names for Control {
    fn interface_index(&self, name: &str) -> Option<u32> {
        self.host.interfaces.read().find(name).map(|interface| interface.index)
    }

    fn node_index(&self, name: &str) -> Option<u32> {
        self.host.plan().find(name).map(|index| index.0)
    }
}

impl Context for Control {
    fn commands(&self) -> &Registry<Self> {
        &self.commands
    }

    fn at_barrier(
        &mut self,
        run: &mut dyn FnMut(&mut Self) -> Result<(), CommandError>,
    ) -> Result<(), CommandError> {
        let host = self.host;
        let (ran, _) = host
            .stop_workers(Caller::host("command"), |_| run(self))
            .map_err(CommandError::failed)?;
        ran
    }
}

impl cli::Watch for Control {
    fn watch(&mut self, fd: BorrowedFd<'_>, interest: Interest, token: u64) -> io::Result<()> {
        Ok(self.files.watch().add(fd, Token(token), interest)?)
    }

    fn rewatch(&mut self, fd: BorrowedFd<'_>, interest: Interest, token: u64) -> io::Result<()> {
        Ok(self.files.watch().modify(fd, Token(token), interest)?)
    }

    fn unwatch(&mut self, fd: BorrowedFd<'_>) -> io::Result<()> {
        Ok(self.files.watch().remove(fd)?)
    }

    fn take_over(&mut self, session: cli::Session) -> Option<cli::Session> {
        session.spawn(self.host);
        None
    }
}
