//! Processes of the host's own: what a plugin's can do, and they get at what main alone has.
#![expect(unsafe_code, reason = "main lends its own part for a pass")]

use std::os::fd::BorrowedFd;

use plugin_api::Interest;
use rustix::io::Errno;

use super::{
    Body, Ending, Hold, Notice, ProcessShared, Restart, Spec, WaitError, What,
    scheduler::{Request, Woken},
};
use crate::{
    cli::Lend,
    control::Control,
    engine::files::{Called, FileEvent, FileFunctions, FileId, FileSpec, Files},
    graph::Owner,
    host::Host,
    log::Level,
    sync::Arc,
    time::Nanos,
};

/// Usable bytes of such a process's stack: the machinery of a panic needs 24 KiB, and a command's
/// answer is built there.
const STACK: usize = 128 << 10;
/// How long it may hold main before that is reported.
pub const WATCHDOG: Nanos = Nanos(10_000_000);

/// What a process of the host's own has: waits, and main's part of the host between them.
///
/// Nothing that was borrowed from main's part outlives a wait:
///
/// ```compile_fail
/// use gristmill::process::{Context, Request};
///
/// use gristmill::cli::Lend as _;
///
/// fn list(cx: &mut Context) {
///     let plugins = cx.lend(|control| &control.plugins);
///     let _ = cx.wait(Request::default());
///     assert!(plugins.is_empty()); // They may have been loaded meanwhile.
/// }
/// ```
#[derive(Debug)]
pub struct Context(&'static Host);

impl Context {
    /// Waits.
    ///
    /// # Errors
    /// [`WaitError::Cancelled`] once the process is to end.
    pub fn wait(&mut self, request: Request) -> Result<Woken, WaitError> {
        self.0.processes.wait(request)
    }

    /// What all threads share.
    pub fn host(&self) -> &'static Host {
        self.0
    }

    /// What main alone has. Only `lend` asks, which holds the process meanwhile.
    ///
    /// # Panics
    /// Outside of the main loop, where it is not lent.
    fn control(&mut self) -> &mut Control {
        let control = self.0.processes.control();
        assert!(!control.is_null(), "main lends it for its passes");
        // SAFETY: main lent it for the pass in which this runs, and does not touch it meanwhile;
        // of the processes only this one runs, and it borrows it from its context, which a wait
        // needs too.
        unsafe { &mut *control }
    }
}

impl Lend for Context {
    type Context = Control;

    fn lend<R>(&mut self, borrow: impl FnOnce(&mut Control) -> R) -> R {
        let _hold = Hold::new(); // While it is lent, the process does not wait.
        borrow(self.control())
    }
}

/// A descriptor that signals events to the process that has it watched, at each change.
#[derive(Debug)]
pub struct WatchedFile {
    files: Arc<Files>,
    id: FileId,
}

impl Drop for WatchedFile {
    fn drop(&mut self) {
        self.files.remove(self.id);
    }
}

/// Signals a process.
struct Signals {
    host: &'static Host,
    process: Arc<ProcessShared>,
    events: u64,
}

impl FileFunctions for Signals {
    fn handle(&self, event: FileEvent) -> Called {
        if event != FileEvent::Closed {
            self.host.processes.signal(&self.process, self.events, || ());
        }
        Called::Done
    }
}

impl Context {
    /// Has each change of a descriptor, errors too, signal `events` to this process.
    ///
    /// # Errors
    /// What the system says.
    pub fn watch(
        &mut self,
        name: &str,
        fd: BorrowedFd<'_>,
        events: u64,
    ) -> Result<WatchedFile, Errno> {
        let host = self.0;
        let files = host.files(0).expect("main has a poller");
        let process = host.processes.current().expect("a process asks for this");
        let functions = Arc::new(Signals { host, process, events });
        let interest = Interest { read: true, write: true, edge: true };
        let spec = FileSpec { name: name.to_owned(), owner: Owner::HOST, interest, functions };
        let id = files.add(fd, spec)?;
        Ok(WatchedFile { files, id })
    }
}

struct HostBody<F> {
    host: &'static Host,
    run: F,
}

impl<F: FnMut(&mut Context) -> Result<(), WaitError>> Body for HostBody<F> {
    fn run(&mut self) -> Ending {
        match (self.run)(&mut Context(self.host)) {
            Ok(()) => Ending::Done,
            Err(WaitError::Cancelled) => Ending::Cancelled,
            Err(error) => Ending::Failed(error.to_string()),
        }
    }
}

impl Host {
    /// Writes to the log what the operator ought to know of a process.
    pub fn tell_of_process(&self, notice: Notice) {
        let Notice { name, plugin, what } = notice;
        let who = format!("process {name} of {plugin}");
        let ms = |time: Nanos| (time.0 + 500_000) / 1_000_000;
        let level = if matches!(what, What::Held(_)) { Level::Warn } else { Level::Error };
        let text = match what {
            What::Ended(ending, again) => {
                let how = match ending {
                    Ending::Panicked(text) if text.is_empty() => "panicked".to_owned(),
                    Ending::Panicked(text) => format!("panicked: {text}"),
                    Ending::Failed(text) => format!("failed: {text}"),
                    Ending::Parked => "waited on though it is to end, and is left there".to_owned(),
                    Ending::Done | Ending::Cancelled => "ended".to_owned(),
                };
                let again = again.map(|after| format!("; it begins again in {} ms", ms(after)));
                format!("{who} {how}{}", again.unwrap_or_default())
            }
            What::Held(time) => format!("{who} held main for {} ms without a wait", ms(time)),
            What::NoStack(reason) => format!("{who} does not begin: {reason}"),
        };
        self.log.write(level, "process", &text);
    }

    /// Makes a process of the host's own, which begins in main's next turn and may hold it for
    /// `longest` before that is reported. Main.
    pub fn spawn(
        &'static self,
        name: &str,
        longest: Nanos,
        run: impl FnMut(&mut Context) -> Result<(), WaitError> + 'static,
    ) -> Arc<ProcessShared> {
        let spec = Spec {
            name: name.to_owned(),
            owner: Owner::HOST,
            plugin: "host".to_owned(),
            version: String::new(),
            stack_size: STACK,
            restart: Restart::Never,
            watchdog: longest,
        };
        self.processes.spawn(spec, Box::new(HostBody { host: self, run }))
    }
}
