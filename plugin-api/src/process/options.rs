//! What a process is to be.

use core::time::Duration;

/// What a new process is to be.
#[derive(Clone, Debug)]
#[must_use = "it is for `Host::spawn`"]
pub struct ProcessOptions {
    pub(super) name: String,
    pub(super) stack_size: u64,
    pub(super) restart: Restart,
    pub(super) watchdog: Duration,
}

/// What happens to a process that failed or panicked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Restart {
    /// It stays ended.
    #[default]
    Never,
    /// It begins again after `first`, and twice as long each time, up to `longest`; anew from
    /// `first` once it has run for `longest`.
    OnFailure {
        /// The first back-off.
        first: Duration,
        /// The longest.
        longest: Duration,
    },
}

impl ProcessOptions {
    /// A process of that name, with the host's defaults: 128 KiB of stack, of which what is not
    /// touched costs nothing; no restart; a report when it holds main for 10 ms.
    pub fn new(name: impl Into<String>) -> Self {
        let (restart, watchdog) = (Restart::Never, Duration::ZERO);
        Self { name: name.into(), stack_size: 0, restart, watchdog }
    }

    /// Usable bytes of its stack. Panic machinery takes 24 KiB.
    pub fn stack_size(mut self, bytes: u64) -> Self {
        self.stack_size = bytes;
        self
    }

    /// What happens after a failure.
    pub fn restart(mut self, restart: Restart) -> Self {
        self.restart = restart;
        self
    }

    /// How long it may hold main without a wait before that is reported.
    pub fn watchdog(mut self, longest: Duration) -> Self {
        self.watchdog = longest;
        self
    }
}
