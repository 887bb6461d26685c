//! What was: lines of the host and its plugins, to standard error, into a file, and into a ring for
//! `show logging`.
//!
//! ```text
//! any thread --throttle per class--> ring (the last lines) ----------> show logging
//!                                \-> queue (bounded) --> work item --> stderr
//!                                \-> queue (bounded) --> work item --> file
//! ```
//! A forwarding thread formats its line and appends it to ring and queues, under locks that nobody
//! holds while waiting for something; it never writes. If standard error does not take the lines (a
//! pipe nobody reads, a stopped terminal), the thread of its work item waits alone, the queue fills,
//! and further lines are counted, left out there, and said to be missing once it goes on. Making the
//! descriptor non-blocking instead would do so for every process that shares it.
//!
//! The work queues are there before the log and go after it.

mod classes;
mod file;
mod line;
mod output;
mod throttle;

use std::{
    collections::VecDeque,
    fmt::{self, Display},
    fs::File,
    io::{self, IsTerminal, Write},
    os::fd::AsFd,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use parking_lot::{Mutex, RwLock};

use self::{
    classes::Classes,
    file::LogFile,
    line::{escaped_class, escaped_text},
    output::Output,
    throttle::{Throttles, Verdict},
};
pub use self::{
    classes::{ClassSetting, TooManyClasses},
    file::LogFileError,
    line::{Level, LevelError, Line},
};
use crate::{deferred::work::WorkQueues, time::Nanos};

/// How long an output that goes away waits for its last lines to be written.
pub const PATIENCE: Duration = Duration::from_millis(250);

/// How a [`Log`] works.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The least important level that is logged.
    pub level: Level,
    /// Lines the ring keeps; at least 1.
    pub lines: usize,
    /// Lines a class may log in a second before it is throttled.
    pub rate: u32,
    /// How long a throttled class must be quiet before it is heard again.
    pub quiet: Nanos,
    /// Lines that wait for each output at most; at least 1.
    pub waiting: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            level: Level::Notice,
            lines: 512,
            rate: 50,
            quiet: Nanos::from_secs(3),
            waiting: 1_024,
        }
    }
}

/// What `show logging classes` tells of a class.
#[derive(Clone, Debug)]
pub struct ClassReport {
    /// Its name.
    pub class: Arc<str>,
    /// The least important level that is logged.
    pub level: Level,
    /// Lines in a second before it is throttled.
    pub rate: u32,
    /// What of it was set for this class itself.
    pub setting: ClassSetting,
    /// Lines that were logged.
    pub lines: u64,
    /// Lines that were not, because there were too many.
    pub suppressed: u64,
}

/// The log. Context: any thread.
pub struct Log {
    clock: Box<dyn Fn() -> Nanos + Send + Sync>,
    classes: Classes,
    throttles: Mutex<Throttles>,
    ring: Mutex<VecDeque<Line>>,
    /// Lines that the ring keeps.
    lines: usize,
    /// Lines that wait for an output.
    waiting: usize,
    stderr: Output,
    file: RwLock<Option<Arc<LogFile>>>,
}

impl Log {
    /// A log to standard error, with colours if that is a terminal and `NO_COLOR` is not set.
    ///
    /// `work` writes it, and outlives it; `clock` tells the time since the host's start.
    ///
    /// # Errors
    /// If there can be no thread or descriptor.
    pub fn to_stderr(
        settings: &Settings,
        work: &WorkQueues,
        clock: impl Fn() -> Nanos + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let colours = !no_color && io::stderr().is_terminal();
        // A descriptor of its own: while it is stuck, it holds no lock that a panic's message needs.
        let stderr = File::from(io::stderr().as_fd().try_clone_to_owned()?);
        Self::to_sink(settings, work, clock, stderr, colours)
    }

    /// A log to any sink, which may block.
    ///
    /// # Errors
    /// If there can be no thread.
    pub fn to_sink(
        settings: &Settings,
        work: &WorkQueues,
        clock: impl Fn() -> Nanos + Send + Sync + 'static,
        sink: impl Write + Send + 'static,
        colours: bool,
    ) -> io::Result<Self> {
        let (lines, waiting) = (settings.lines.max(1), settings.waiting.max(1));
        let stderr = Output::start(work, "log", waiting, Box::new(sink), colours);
        Ok(Self {
            clock: Box::new(clock),
            classes: Classes::new(settings.level),
            throttles: Mutex::new(Throttles::new(settings.rate, settings.quiet)),
            ring: Mutex::default(),
            lines,
            waiting,
            stderr: stderr.map_err(io::Error::other)?,
            file: RwLock::default(),
        })
    }

    /// Has lines go to the end of a file as well, from now on; not to the one before. The same path
    /// again opens it anew, after somebody has moved it.
    ///
    /// Context: what may block; what the file before still takes is waited for, for [`PATIENCE`].
    ///
    /// # Errors
    /// [`LogFileError`]; they go where they went.
    pub fn write_to(&self, work: &WorkQueues, path: &Path) -> Result<(), LogFileError> {
        let file = file::open(path)?;
        let path = path.to_path_buf();
        let output = match Output::start(work, "log-file", self.waiting, Box::new(file), false) {
            Ok(output) => output,
            Err(source) => return Err(LogFileError::Work { path, source }),
        };
        let before = self.file.write().replace(Arc::new(LogFile { path, output }));
        drop(before); // With no lock.
        Ok(())
    }

    /// Has lines go to no file any more; to which they went.
    ///
    /// Context: as of [`write_to`](Self::write_to).
    pub fn end_file(&self) -> Option<PathBuf> {
        let before = self.file.write().take()?;
        Some(before.path.clone())
    }

    /// The file that lines go to.
    pub fn file(&self) -> Option<PathBuf> {
        self.file.read().as_ref().map(|file| file.path.clone())
    }

    /// Whether lines of `level` are logged of any class. Cost: one load.
    pub fn enabled(&self, level: Level) -> bool {
        self.classes.any(level)
    }

    /// Whether lines of `level` are logged of a class. Cost: one load if they are of none.
    pub fn enabled_for(&self, class: &str, level: Level) -> bool {
        self.enabled(level) && level <= self.classes.of(class).0
    }

    /// Sets the least important level that is logged of classes that nothing was set for.
    pub fn set_level(&self, level: Level) {
        self.classes.set_default(level);
    }

    /// What was set for a class itself.
    pub fn class(&self, class: &str) -> ClassSetting {
        self.classes.own(class)
    }

    /// Sets level and rate of a class and of those below it, or forgets them: `acme` is above
    /// `acme/flows`.
    ///
    /// # Errors
    /// If there are too many.
    pub fn set_class(&self, class: &str, setting: ClassSetting) -> Result<(), TooManyClasses> {
        self.classes.set(class, setting)
    }

    /// The classes that have logged lately, and those that something was set for.
    pub fn class_reports(&self) -> Vec<ClassReport> {
        let throttles = self.throttles.lock();
        let mut counts = throttles.counts();
        for name in self.classes.names() {
            counts.entry(name.into()).or_default();
        }
        let report = |(class, [lines, suppressed]): (Arc<str>, [u64; 2])| {
            let (level, rate) = self.classes.of(&class);
            let setting = self.classes.own(&class);
            let rate = rate.unwrap_or_else(|| throttles.rate());
            ClassReport { class, level, rate, setting, lines, suppressed }
        };
        counts.into_iter().map(report).collect()
    }

    /// Logs that something of `class` (a plugin or a module) failed.
    pub fn error(&self, class: &str, text: impl Display) {
        self.write(Level::Error, class, text);
    }

    /// Logs that something is odd.
    pub fn warn(&self, class: &str, text: impl Display) {
        self.write(Level::Warn, class, text);
    }

    /// Logs something worth knowing.
    pub fn notice(&self, class: &str, text: impl Display) {
        self.write(Level::Notice, class, text);
    }

    /// Logs something for the curious.
    pub fn debug(&self, class: &str, text: impl Display) {
        self.write(Level::Debug, class, text);
    }

    /// Logs a line, at the clock's time.
    pub fn write(&self, level: Level, class: &str, text: impl Display) {
        if self.enabled_for(class, level) {
            self.write_at((self.clock)(), level, class, text);
        }
    }

    /// Logs a line, at time `now`.
    ///
    /// Control characters of `class` and `text` are escaped, and what is too long is cut: a line
    /// stays a line, whoever wrote it. Nothing of a class that is throttled is formatted.
    pub fn write_at(&self, now: Nanos, level: Level, class: &str, text: impl Display) {
        if !self.enabled(level) {
            return;
        }
        let class = escaped_class(class);
        let (least, rate) = self.classes.of(&class);
        if level > least {
            return;
        }
        let (class, verdict) = self.throttles.lock().admit(&class, now, rate);
        match verdict {
            Verdict::Pass => {}
            Verdict::Resume { suppressed } => {
                let text = format!("{suppressed} lines were suppressed");
                self.push(now, Level::Warn, &class, text.into());
            }
            Verdict::Throttle => {
                let text = self.throttles.lock().announcement(rate);
                return self.push(now, Level::Warn, &class, text.into());
            }
            Verdict::Silent => return,
        }
        self.push(now, level, &class, escaped_text(text).into());
    }

    /// The last lines, oldest first.
    pub fn lines(&self) -> Vec<Line> {
        self.ring.lock().iter().cloned().collect()
    }

    /// Forgets the lines kept so far.
    pub fn clear(&self) {
        self.ring.lock().clear();
    }

    /// Lines that standard error never got, because it did not take them in time or failed.
    pub fn unwritten(&self) -> u64 {
        self.stderr.unwritten()
    }

    /// Lines that the file never got; 0 if there is none.
    pub fn unwritten_to_file(&self) -> u64 {
        self.file.read().as_ref().map_or(0, |file| file.output.unwritten())
    }

    /// Waits until every line is written, but no longer than `patience` for each output; tells
    /// whether it was.
    pub fn flush(&self, patience: Duration) -> bool {
        let written = self.stderr.flush(patience);
        let file = self.file.read().clone(); // Not with the lock, for which lines would wait then.
        written && file.is_none_or(|file| file.output.flush(patience))
    }

    fn push(&self, at: Nanos, level: Level, class: &Arc<str>, text: Arc<str>) {
        let line = Line { at, level, class: Arc::clone(class), text };
        let file = self.file.read().clone();
        let mut ring = self.ring.lock(); // Everywhere in the same order.
        if ring.len() >= self.lines {
            ring.pop_front();
        }
        ring.push_back(line.clone());
        let file = file.filter(|file| file.output.push(line.clone()));
        let is_stderr = self.stderr.push(line);
        drop(ring);
        if let Some(file) = file {
            file.output.wake();
        }
        if is_stderr {
            self.stderr.wake();
        }
    }
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Log").field("unwritten", &self.unwritten()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
