//! A process, as the scheduler keeps it: what it was made of, what it waits for, what it does.

use plugin_api::wheel::TimerHandle;

use crate::{
    graph::Owner,
    process::{
        Counts, ProcessShared,
        body::{Body, Fiber},
    },
    sync::Arc,
    time::Nanos,
};

/// What a process is made of.
pub struct Spec {
    /// What it is called.
    pub name: String,
    /// Whose it is.
    pub owner: Owner,
    /// What the owner is called.
    pub plugin: String,
    /// The owner's version; empty if it has none.
    pub version: String,
    /// Usable bytes of its stack.
    pub stack_size: usize,
    /// What happens after a failure.
    pub restart: Restart,
    /// How long it may hold main before that is reported.
    pub watchdog: Nanos,
}

impl Spec {
    /// `process "acme-poll" of plugin acme-dpi 1.2.0`.
    pub(super) fn label(&self) -> String {
        let Self { name, owner, plugin, version, .. } = self;
        if *owner == Owner::HOST {
            return format!("process {name:?} of the host");
        }
        format!("process {name:?} of plugin {plugin} {version}").trim_end().to_owned()
    }
}

/// What happens to a process that failed or panicked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restart {
    /// It stays ended.
    Never,
    /// It begins again after `first`, and twice as long each time, up to `longest`; anew from
    /// `first` once it has run for `longest`.
    OnFailure {
        /// The first back-off.
        first: Nanos,
        /// The longest.
        longest: Nanos,
    },
}

/// What a process waits for; with nothing set it lets the others run once.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// Events, a bit each.
    pub events: u64,
    /// A time from now.
    pub timeout: Option<Nanos>,
    /// The end of another process.
    pub end_of: Option<Arc<ProcessShared>>,
}

/// Why a process goes on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Woken {
    /// Those of the events it waited for that have happened; they are forgotten with this.
    pub events: u64,
    /// Its time has passed.
    pub clock: bool,
    /// The other process has ended.
    pub end: bool,
    /// It is to end; nothing else is set.
    pub cancelled: bool,
    /// What was left of its time.
    pub left: Nanos,
}

/// What it is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// In the queue.
    Ready,
    /// On main, now.
    Running,
    /// Waiting for what its request says.
    Waiting,
    /// It failed, and begins again later.
    BackingOff,
    /// Over.
    Ended,
    /// It will not run again, though it is not over: it ignored that it was to end.
    Parked,
}

/// A process, as the scheduler keeps it.
pub(in crate::process) struct Process {
    pub(in crate::process) shared: Arc<ProcessShared>,
    pub(in crate::process) spec: Spec,
    pub(in crate::process) state: State,
    pub(in crate::process) counts: Counts,
    /// Names of its events, by number.
    pub(in crate::process) event_names: Vec<String>,
    /// What it waits for.
    pub(in crate::process) request: Request,
    /// Tick at which the time it waits for has come; also the end of its back-off.
    pub(in crate::process) deadline: Option<(u64, TimerHandle)>,
    pub(in crate::process) fiber: Option<Fiber>,
    /// Until it begins, and from its end on.
    pub(in crate::process) body: Option<Box<dyn Body>>,
    /// Events that have happened and that it did not wait for yet.
    pub(in crate::process) pending: u64,
    pub(in crate::process) woken: Woken,
    pub(in crate::process) cancelled: bool,
    /// Waits that were refused since.
    pub(in crate::process) refused: u32,
    pub(in crate::process) joiners: Vec<u32>,
    pub(in crate::process) backoff: Nanos,
    pub(in crate::process) began: Nanos,
}

/// Waits that a cancelled process may try before it is parked: one to learn of it, one that unwinds
/// it, and some for what the unwinding calls.
pub(super) const REFUSALS: u32 = 16;

impl Process {
    /// As new, but for what was counted and the events that happened.
    pub(super) fn renew(&mut self) {
        self.cancelled = false;
        self.refused = 0;
        self.woken = Woken::default();
        self.request = Request::default();
    }

    /// How long it stays ended after a failure; `None` if it is not to begin again.
    pub(super) fn next_backoff(&mut self, now: Nanos) -> Option<Nanos> {
        let Restart::OnFailure { first, longest } = self.spec.restart else { return None };
        self.body.as_ref()?;
        if self.cancelled {
            return None;
        }
        let ran = now.0.saturating_sub(self.began.0);
        let again = self.backoff.0 == 0 || ran >= longest.0;
        let next = if again { first.0 } else { self.backoff.0.saturating_mul(2) };
        self.backoff = Nanos(next.min(longest.0).max(1));
        Some(self.backoff)
    }

    /// Whether it is to end.
    pub(in crate::process) fn is_cancelled(&self) -> bool {
        self.cancelled
    }
}
