//! The processes of a host: made, signalled, resumed in the main loop's turns, ended.

use std::{cell::Cell, collections::VecDeque};

use super::{
    ProcessShared,
    body::{self, Body, Ending},
    report::ProcessReport,
    scheduler::{Begun, Later, Process, Request, Scheduler, Spec, State, Woken},
    signals::Signals,
};
use crate::{
    control::Control,
    engine::main_cell::MainCell,
    graph::Owner,
    sync::{Arc, Ordering},
    time::{Cycles, Nanos, ThreadClock},
};

mod pass;

/// Time after which a pass resumes nobody more, and a long job ought to wait.
pub const SLICE: Nanos = Nanos(100_000);

/// Why a process is not suspended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WaitError {
    /// It is to end.
    #[error("the process is to end")]
    Cancelled,
    /// No process runs here.
    #[error("only a process can wait, and this is none")]
    NoProcess,
    /// A function of the host's is on the stack that cannot be suspended.
    #[error("the process cannot wait inside a call from the host")]
    NotHere,
}

/// Something about a process that the operator ought to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// What it is called.
    pub name: String,
    /// What its owner is called.
    pub plugin: String,
    /// What happened.
    pub what: What,
}

/// What happened to a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// It came to a bad end; when it begins again, if it does.
    Ended(Ending, Option<Nanos>),
    /// It held main for so long without a wait.
    Held(Nanos),
    /// There is no stack for it.
    NoStack(String),
}

/// All processes.
#[derive(Debug)]
pub struct Processes {
    main: MainCell<Main>,
    signals: Signals,
}

/// What only main looks at.
struct Main {
    scheduler: Scheduler,
    clock: ThreadClock,
    /// When the process that runs was resumed, or the last one was done.
    last: (Cycles, Nanos),
    due: VecDeque<Later>,
    taken: Vec<Arc<ProcessShared>>,
    /// What the host's own processes work on; null outside of a pass of the main loop.
    control: Cell<*mut Control>,
}

impl Processes {
    /// No processes. The calling thread is main, and `clock` its own.
    pub fn new(clock: ThreadClock) -> Self {
        let main = Main {
            scheduler: Scheduler::new(),
            clock,
            last: (Cycles(0), Nanos(0)),
            due: VecDeque::new(),
            taken: Vec::new(),
            control: Cell::new(std::ptr::null_mut()),
        };
        Self { main: MainCell::new(main), signals: Signals::new() }
    }

    /// Whether the caller is main.
    #[inline]
    pub fn is_here(&self) -> bool {
        self.main.is_here()
    }

    /// Makes a process that begins in the next pass. The caller holds it, until it
    /// [lets go](Self::release) of it. Main.
    pub fn spawn(&self, spec: Spec, body: Box<dyn Body>) -> Arc<ProcessShared> {
        self.main.with(|main| main.scheduler.spawn(spec, body))
    }

    /// Events, a bit each, happen to a process; false if it has ended. Any thread; on another one
    /// than main `ring` is called to wake main.
    #[inline]
    pub fn signal(&self, process: &Arc<ProcessShared>, events: u64, ring: impl FnOnce()) -> bool {
        if self.main.is_here() {
            return self.main.with(|main| main.scheduler.signal(process, events));
        }
        if process.has_ended() {
            return false;
        }
        self.signals.signal(process, events);
        ring();
        true
    }

    /// The creator lets go of a process: once it has ended it is forgotten. Any thread.
    pub fn release(&self, process: &Arc<ProcessShared>, ring: impl FnOnce()) {
        process.held.store(0, Ordering::Release);
        if self.main.is_here() {
            let body = self.main.with(|main| main.scheduler.forget(process));
            drop(body); // Calls the plugin.
        } else {
            self.signals.signal(process, 0); // Main looks at it.
            ring();
        }
    }

    /// Whether main has something to do for processes, so that it does not sleep.
    #[inline]
    pub fn has_work(&self) -> bool {
        !self.signals.is_empty() || self.main.with(|main| main.scheduler.has_ready())
    }

    /// When the next time comes that a process waits for. Main.
    pub fn next_expiry(&self) -> Option<Nanos> {
        self.main.with(|main| main.scheduler.next_expiry())
    }

    /// Suspends the process that runs.
    ///
    /// # Errors
    /// [`WaitError`]; then it was not suspended.
    #[inline]
    pub fn wait(&self, request: Request) -> Result<Woken, WaitError> {
        self.check()?;
        let begun = self.main.with(|main| {
            let clock = &mut main.clock;
            main.scheduler.wait(request, || clock.read())
        });
        let woken = match begun {
            Begun::Done(woken) => woken,
            Begun::Suspend => body::suspend(),
        };
        if woken.cancelled { Err(WaitError::Cancelled) } else { Ok(woken) }
    }

    /// Whether a process runs here that can be suspended.
    pub fn can_wait(&self) -> bool {
        self.check().is_ok()
    }

    fn check(&self) -> Result<(), WaitError> {
        if body::can_suspend() {
            return Ok(());
        }
        let runs = self.main.is_here() && self.main.with(|main| main.scheduler.current().is_some());
        Err(if runs { WaitError::NotHere } else { WaitError::NoProcess })
    }

    /// Whether the process that runs has had its slice; false where it cannot wait.
    #[inline]
    pub fn should_yield(&self) -> bool {
        body::can_suspend()
            && self.main.with(|main| {
                let Main { scheduler, clock, last, .. } = main;
                let cancelled = scheduler.current().is_some_and(|process| process.is_cancelled());
                cancelled || clock.read().0.saturating_sub(last.1.0) > SLICE.0
            })
    }

    /// The process that runs. Main.
    pub fn current(&self) -> Option<Arc<ProcessShared>> {
        let current = |main: &mut Main| Some(Arc::clone(&main.scheduler.current()?.shared));
        if self.main.is_here() { self.main.with(current) } else { None }
    }

    /// What the host's own processes work on; null outside of a pass. Main.
    pub(super) fn control(&self) -> *mut Control {
        self.main.with(|main| main.control.get())
    }

    /// Names an event of a process. Main.
    pub fn name_event(&self, process: &ProcessShared, event: u32, name: &str) -> bool {
        let event = event as usize;
        self.main.with(|main| {
            let Some(process) = main.scheduler.process(process) else { return false };
            if event >= 64 {
                return false;
            }
            if process.event_names.len() <= event {
                process.event_names.resize(event + 1, String::new());
            }
            name.clone_into(&mut process.event_names[event]);
            true
        })
    }

    /// Adds an event that happens later; its number, never 0. Main.
    pub(crate) fn later(&self, later: Later, delay: Nanos) -> u64 {
        self.main.with(|main| {
            let now = main.clock.read();
            main.scheduler.later(later, delay, now)
        })
    }

    /// Takes an event back that was to happen later; false if it has. Main.
    pub fn take_back(&self, id: u64) -> bool {
        let taken = self.main.with(|main| main.scheduler.take_back(id));
        taken.map(|later| later.deliver.call(false)).is_some()
    }

    /// Has a process end: its waits fail, the one that it is in too. False if it has. Main.
    pub fn cancel(&self, process: &ProcessShared) -> bool {
        self.main.with(|main| {
            let now = main.clock.read();
            main.scheduler.cancel(process, now)
        })
    }

    /// Begins a process again that has ended; false if it has not. Main.
    pub fn restart(&self, process: &ProcessShared) -> bool {
        self.main.with(|main| main.scheduler.restart(process))
    }

    /// Ends all processes of `owner` and forgets them, and what was to happen later; gives those
    /// that are parked because they waited on. Main, in none of these processes.
    pub fn revoke(&self, owner: Owner, mut tell: impl FnMut(Notice)) -> Vec<String> {
        self.main.with(|main| main.scheduler.closed.insert(owner));
        for later in self.main.with(|main| main.scheduler.take_back_all(owner)) {
            later.deliver.call(false);
        }
        let mut parked = Vec::new();
        let own: Vec<_> = self.main.with(|main| {
            let own = main.scheduler.all().filter(|process| process.spec.owner == owner);
            own.map(|process| (process.spec.name.clone(), Arc::clone(&process.shared))).collect()
        });
        for (name, process) in own {
            let before = self.parked(owner);
            process.held.store(0, Ordering::Release);
            self.cancel(&process);
            // It does not come to wait again: one resume is its last.
            if self.main.with(|main| main.scheduler.hurry(&process)) {
                let outer = self.main.with(|main| {
                    let cycles = main.clock.cycles();
                    std::mem::replace(&mut main.last, (cycles, main.clock.at(cycles)))
                });
                self.resume_next(&|_| (), &mut tell);
                self.main.with(|main| main.last = outer);
            }
            let runs = |main: &mut Main| {
                main.scheduler.process(&process).is_some_and(|own| own.state == State::Running)
            };
            if self.parked(owner) > before || self.main.with(runs) {
                parked.push(name);
            }
            drop(self.main.with(|main| main.scheduler.forget(&process))); // Calls the plugin.
        }
        parked
    }

    /// Names of the processes of `owner`, and of what is to happen later. Main.
    pub fn of(&self, owner: Owner) -> Vec<String> {
        self.main.with(|main| {
            let own = main.scheduler.all().filter(|process| process.spec.owner == owner);
            let mut names: Vec<_> = own.map(|process| process.spec.name.clone()).collect();
            let later = main.scheduler.later_of(owner);
            if later > 0 {
                names.push(format!("{later} events to come"));
            }
            names
        })
    }

    /// What `show process` shows. Main.
    pub fn report(&self) -> Vec<ProcessReport> {
        self.main.with(|main| main.scheduler.all().map(Process::report).collect())
    }

    /// Processes of `owner` that were parked. Main.
    pub fn parked(&self, owner: Owner) -> usize {
        self.main.with(|main| main.scheduler.parked.iter().filter(|&&of| of == owner).count())
    }

    /// Whether `owner` is gone, or going, and makes nothing any more. Main.
    pub fn is_closed(&self, owner: Owner) -> bool {
        self.main.with(|main| main.scheduler.closed.contains(&owner))
    }
}

impl std::fmt::Debug for Main {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Main").finish_non_exhaustive()
    }
}
