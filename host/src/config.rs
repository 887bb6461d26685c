//! What the configuration file says, as checked types.
//!
//! [`Config::DEFAULT_TEXT`] documents every setting. The file is read once, at start.

mod read;

use std::{
    ffi::OsStr,
    fs, io,
    path::{Path, PathBuf},
};

use crate::{
    deferred::work,
    device::Thresholds,
    engine::{BarrierGate, Scheduling, handoff},
    log::Level,
    time::Nanos,
};

/// Workers at most: main and they have one buffer cache each, of which there are 64.
pub const MAX_WORKERS: u32 = 63;

/// Settings of the host and, unread, those of its plugins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Threads that forward besides main; at most [`MAX_WORKERS`].
    pub workers: u32,
    /// The core main is pinned to.
    pub main_core: Option<u32>,
    /// A core for each worker, no two the same; empty, or as long as there are workers.
    pub corelist_workers: Vec<u32>,
    /// How the kernel schedules the workers.
    pub scheduling: Scheduling,
    /// How long main waits for a worker at the barrier.
    pub barrier_deadline: Nanos,
    /// Packet buffers of all threads.
    pub buffers: u32,
    /// Plugins to load at start, in this order, none twice.
    pub plugins: Vec<PluginChoice>,
    /// Where to look for plugins first.
    pub plugin_dirs: Vec<PathBuf>,
    /// Whether a plugin may abort the process when it panics.
    pub allow_abort_plugins: bool,
    /// Whether a plugin's file may be writable by others.
    pub trust_writable_plugins: bool,
    /// What to run once the host is up, in this order.
    pub exec: Vec<Exec>,
    /// The control socket.
    pub cli: Cli,
    /// The log.
    pub log: Logging,
    /// Handing packets from thread to thread.
    pub handoff: Handoff,
    /// How long nodes, commands and the like may hold their thread before that is reported; 0 if
    /// nothing is.
    pub watchdog: Nanos,
    /// How long a node may hold a worker before the host goes on without that worker; 0 if for ever.
    pub hang: Nanos,
    /// By what load adaptive receive queues change between polling and interrupts.
    pub rx: Thresholds,
    /// Threads of a pool of work threads at most; at least 1.
    pub work_threads: usize,
    /// The plugins' own sections, in the order of the file.
    pub sections: Vec<PluginSection>,
}

/// Settings of the control socket.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cli {
    /// Where it is; none means the host chooses.
    pub socket: Option<PathBuf>,
    /// The group that may talk, besides root and the host's own user.
    pub group: Option<String>,
}

/// Settings of the rings between threads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Handoff {
    /// Vectors that each thread's ring has room for; a power of two of at least 2.
    pub ring_size: usize,
}

/// Settings of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logging {
    /// The least important level that is logged.
    pub level: Level,
    /// Lines kept for `show logging`; at least 1.
    pub lines: usize,
    /// The file that lines go to as well as to standard error.
    pub file: Option<PathBuf>,
}

/// A plugin to load: by name, or exactly this file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PluginChoice {
    /// To be looked for; lower-case letters, digits, `-` and `_`, a letter first.
    Name(String),
    /// This file; its path has a `/`.
    Path(PathBuf),
}

/// Something to run once the host is up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Exec {
    /// One command.
    Command {
        /// Its text; one line, not empty.
        text: String,
        /// Where the configuration has it, from 1.
        line: usize,
    },
    /// A file of commands.
    Script(PathBuf),
}

/// What the configuration says to one plugin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PluginSection {
    /// The plugin's name.
    pub plugin: String,
    /// Where it begins, from 1.
    pub line: usize,
    /// Its settings in the order of the file.
    pub entries: Vec<PluginEntry>,
}

/// One setting of a plugin, as text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PluginEntry {
    /// The key: parts of nested keys joined by dots, a list's elements numbered from 0, parts
    /// that are not plain words in quotes.
    pub key: String,
    /// The value: strings without quotes, whole numbers in decimal, the rest as TOML writes it.
    pub value: String,
    /// Where it stands, from 1.
    pub line: usize,
}

/// Why a configuration is not followed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read configuration {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Something in the file is wrong.
    #[error("{}:{line}:{column}: {what}", file.display())]
    Content {
        /// The file.
        file: PathBuf,
        /// Where, from 1.
        line: usize,
        /// Where in the line, in characters from 1.
        column: usize,
        /// What, and what would be right.
        what: String,
    },
}

/// Why a text names no plugin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PluginChoiceError {
    /// Neither a name nor a path.
    #[error("a plugin's name is lower-case letters, digits, '-' and '_', a letter first")]
    Name,
    /// A file's name without a place.
    #[error("a plugin's file needs a '/': write ./ before it")]
    BareFile,
}

impl Config {
    /// The documented configuration that means the same as none.
    pub const DEFAULT_TEXT: &'static str = include_str!("config/default.toml");

    /// Reads a file.
    ///
    /// # Errors
    /// [`ConfigError`] if it cannot be read or for the first thing in it that is wrong.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let read = |source| ConfigError::Read { path: path.to_path_buf(), source };
        let bytes = fs::read(path).map_err(read)?;
        match str::from_utf8(&bytes) {
            Ok(text) => Self::parse(text, path),
            Err(error) => {
                let valid =
                    String::from_utf8_lossy(bytes.get(..error.valid_up_to()).unwrap_or(&[]));
                Err(read::error_at(path, &valid, valid.len(), String::from("this is not UTF-8")))
            }
        }
    }

    /// Reads the text of a file; `file` is named in errors, and relative paths start at its folder.
    ///
    /// # Errors
    /// [`ConfigError::Content`] for the first thing that is wrong.
    pub fn parse(text: &str, file: &Path) -> Result<Self, ConfigError> {
        read::config(text, file)
    }

    /// What the configuration says to `plugin`, if anything.
    pub fn section(&self, plugin: &str) -> Option<&PluginSection> {
        self.sections.iter().find(|section| section.plugin == plugin)
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            workers: 1,
            main_core: None,
            corelist_workers: Vec::new(),
            scheduling: Scheduling::default(),
            barrier_deadline: BarrierGate::DEADLINE,
            buffers: 32_768,
            plugins: Vec::new(),
            plugin_dirs: Vec::new(),
            allow_abort_plugins: false,
            trust_writable_plugins: false,
            exec: Vec::new(),
            cli: Cli::default(),
            log: Logging::default(),
            handoff: Handoff::default(),
            watchdog: Nanos::from_millis(10),
            hang: Nanos::from_secs(1),
            rx: Thresholds::default(),
            work_threads: work::MAX_THREADS,
            sections: Vec::new(),
        }
    }
}

impl Default for Handoff {
    fn default() -> Self {
        Self { ring_size: handoff::RING_SIZE }
    }
}

impl Default for Logging {
    fn default() -> Self {
        Self { level: Level::Notice, lines: 512, file: None }
    }
}

impl PluginChoice {
    /// Tells a name from a path, by the `/`.
    ///
    /// # Errors
    /// [`PluginChoiceError`] if `text` is neither.
    pub fn parse(text: impl AsRef<OsStr>) -> Result<Self, PluginChoiceError> {
        let text = text.as_ref();
        if text.as_encoded_bytes().contains(&b'/') {
            return Ok(Self::Path(PathBuf::from(text)));
        }
        match text.to_str() {
            Some(name) if is_plugin_name(name) => Ok(Self::Name(name.to_owned())),
            Some(name) if name.contains(".so") => Err(PluginChoiceError::BareFile),
            _ => Err(PluginChoiceError::Name),
        }
    }
}

fn is_plugin_name(name: &str) -> bool {
    let plain = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-' || c == b'_';
    name.len() <= 64
        && name.bytes().next().is_some_and(|first| first.is_ascii_lowercase())
        && name.bytes().all(plain)
}

#[cfg(test)]
mod tests;
