//! Which process runs next, and what each waits for: bookkeeping alone, nothing runs in here.
//!
//! ```text
//!            spawn                 next                wait              signal, clock, end
//!  (nothing) ─────▶ ready to begin ────▶ running ──────────────▶ waiting ─────────────────▶ ready
//!                        ▲                │   ▲                     ▲                         │
//!                        │ back-off over, │   └─────────────────────┼──────── next ───────────┘
//!                        │ restart        ├─ returned ──▶ ended     │
//!                        └─ backing off ◀─┘ failed, and may begin again
//! ```
//! *Order.* What becomes ready goes to the end of one queue, whatever it was that woke it: processes
//! begin in the order in which they were made and are resumed in the order in which they were woken;
//! of those whose time came in the same turn, the earlier first. A pass resumes from the front until
//! the queue is empty or the pass has had its share; what is left runs in the next pass, and packets
//! are served in between.

use std::collections::VecDeque;

use plugin_api::wheel::{Expiry, TimerHandle, Wheel1t3w1024slOv};

use super::{
    ProcessShared, StackPool, Step,
    body::{Body, Deliver, Ending, Fiber, Finished, fiber},
    report::Counts,
};
use crate::{
    graph::Owner,
    sync::{Arc, Ordering},
    time::Nanos,
};

/// A tick of the processes' wheel.
pub(super) const TICK: u64 = 10_000;
/// Stacks that are kept for the next process.
const STACKS_KEPT: usize = 1024;
/// Object numbers of the wheel from here on are events that happen later.
const LATER: u32 = 1 << 31;

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
    fn label(&self) -> String {
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
pub(super) struct Process {
    pub(super) shared: Arc<ProcessShared>,
    pub(super) spec: Spec,
    pub(super) state: State,
    pub(super) counts: Counts,
    /// Names of its events, by number.
    pub(super) event_names: Vec<String>,
    /// What it waits for.
    pub(super) request: Request,
    /// Tick at which the time it waits for has come; also the end of its back-off.
    pub(super) deadline: Option<(u64, TimerHandle)>,
    pub(super) fiber: Option<Fiber>,
    /// Until it begins, and from its end on.
    body: Option<Box<dyn Body>>,
    /// Events that have happened and that it did not wait for yet.
    pending: u64,
    woken: Woken,
    cancelled: bool,
    /// Waits that were refused since.
    refused: u32,
    joiners: Vec<u32>,
    backoff: Nanos,
    began: Nanos,
}

/// Waits that a cancelled process may try before it is parked: one to learn of it, one that unwinds
/// it, and some for what the unwinding calls.
pub(super) const REFUSALS: u32 = 16;

/// An event that happens later.
#[derive(Debug)]
pub struct Later {
    /// To whom.
    pub process: Arc<ProcessShared>,
    /// Whose it is.
    pub owner: Owner,
    /// A bit per event.
    pub events: u64,
    /// Called before the process is woken.
    pub deliver: Deliver,
}

struct LaterPlace {
    later: Later,
    number: u32,
    timer: TimerHandle,
}

/// What a wait comes to.
pub(super) enum Begun {
    /// It returns at once.
    Done(Woken),
    /// The process is to suspend itself.
    Suspend,
}

/// All processes of a host. Context: main.
pub(super) struct Scheduler {
    places: Vec<Option<Box<Process>>>,
    free: Vec<u32>,
    ready: VecDeque<u32>,
    wheel: Wheel1t3w1024slOv,
    expired: Vec<Expiry<1>>,
    later: Vec<Option<LaterPlace>>,
    later_free: Vec<u32>,
    /// Counts the events that happen later, so that their numbers are not used again soon.
    later_number: u32,
    /// The time last told.
    now: Nanos,
    stacks: StackPool,
    number: u64,
    /// The processes that run: the last one, resumed by the one before it.
    pub(super) running: Vec<u32>,
    pub(super) parked: u64,
}

impl Scheduler {
    pub(super) fn new() -> Self {
        Self {
            places: Vec::new(),
            free: Vec::new(),
            ready: VecDeque::new(),
            wheel: Wheel1t3w1024slOv::new(0),
            expired: Vec::new(),
            later: Vec::new(),
            later_free: Vec::new(),
            later_number: 0,
            now: Nanos(0),
            stacks: StackPool::new(STACKS_KEPT),
            number: 0,
            running: Vec::new(),
            parked: 0,
        }
    }

    /// Adds a process at the end of the queue.
    pub(super) fn spawn(&mut self, spec: Spec, body: Box<dyn Body>) -> Arc<ProcessShared> {
        let place = self.free.pop().unwrap_or_else(|| {
            self.places.push(None);
            index(self.places.len() - 1)
        });
        self.number += 1;
        let shared = Arc::new(ProcessShared::new(place, self.number));
        self.places[place as usize] = Some(Box::new(Process {
            shared: Arc::clone(&shared),
            spec,
            state: State::Ready,
            counts: Counts::default(),
            event_names: Vec::new(),
            request: Request::default(),
            deadline: None,
            fiber: None,
            body: Some(body),
            pending: 0,
            woken: Woken::default(),
            cancelled: false,
            refused: 0,
            joiners: Vec::new(),
            backoff: Nanos(0),
            began: Nanos(0),
        }));
        self.ready.push_back(place);
        shared
    }

    /// The process behind a reference, if the scheduler still has it.
    pub(super) fn process(&mut self, shared: &ProcessShared) -> Option<&mut Process> {
        let process = self.places.get_mut(shared.place as usize)?.as_deref_mut()?;
        (process.shared.number == shared.number).then_some(process)
    }

    /// The process at a place that is taken.
    #[inline]
    pub(super) fn at(&mut self, place: u32) -> &mut Process {
        self.places[place as usize].as_deref_mut().expect("the place is taken")
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Process> {
        self.places.iter().filter_map(Option::as_deref)
    }

    /// Whether a process waits to be resumed.
    #[inline]
    pub(super) fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// When the next time comes that a process waits for.
    pub(super) fn next_expiry(&self) -> Option<Nanos> {
        self.wheel.next_expiry().map(|tick| Nanos(tick * TICK))
    }

    /// Events happen to a process; false if it has ended.
    #[inline]
    pub(super) fn signal(&mut self, shared: &ProcessShared, events: u64) -> bool {
        self.happen(shared, events, 1)
    }

    /// As [`signal`](Self::signal), for events that were counted where they came from.
    #[inline]
    pub(super) fn signal_from_afar(&mut self, shared: &ProcessShared, events: u64) -> bool {
        self.happen(shared, events, 0)
    }

    #[inline]
    fn happen(&mut self, shared: &ProcessShared, events: u64, counted: u64) -> bool {
        let Some(process) = self.process(shared) else { return false };
        process.counts.events += counted;
        if matches!(process.state, State::Ended | State::Parked) {
            return false;
        }
        process.pending |= events;
        let met = process.pending & process.request.events;
        if process.state == State::Waiting && met != 0 {
            process.pending &= !met;
            let woken = Woken { events: met, ..Woken::default() };
            self.wake(shared.place, woken);
        }
        true
    }

    /// The time is `now`: wakes whose time has come, and gives the events whose time has.
    #[inline]
    pub(super) fn expire(&mut self, now: Nanos, due: &mut VecDeque<Later>) {
        self.now = now;
        let tick = now.0 / TICK;
        if tick < self.wheel.quiet_until() {
            return;
        }
        let mut expired = std::mem::take(&mut self.expired);
        self.wheel.expire(tick, &mut expired);
        for expiry in expired.drain(..) {
            let object = expiry.object();
            if object & LATER != 0 {
                due.extend(self.take_later(object & !LATER));
                continue;
            }
            let Some(process) = &mut self.places[object as usize] else { continue };
            process.deadline = None;
            match process.state {
                State::Waiting => {
                    self.wake(object, Woken { clock: true, ..Woken::default() });
                }
                State::BackingOff => {
                    process.state = State::Ready;
                    self.ready.push_back(object);
                }
                _ => {}
            }
        }
        self.expired = expired;
    }

    /// Takes the first of the queue, to be resumed with what woke it.
    ///
    /// # Errors
    /// The process, if there is no stack for it; it has ended.
    #[inline]
    pub(super) fn next(&mut self, now: Nanos) -> Option<Result<(u32, Fiber, Woken), Refused>> {
        let place = self.ready.pop_front()?;
        if self.at(place).fiber.is_none()
            && let Err(refused) = self.begin(place, now)
        {
            return Some(Err(refused));
        }
        self.running.push(place);
        let process = self.at(place);
        process.state = State::Running;
        let fiber = process.fiber.take().expect("just made, or suspended");
        Some(Ok((place, fiber, std::mem::take(&mut process.woken))))
    }

    /// Makes the frames of a process that is to begin.
    #[cold]
    fn begin(&mut self, place: u32, now: Nanos) -> Result<(), Refused> {
        let process = self.places[place as usize].as_deref_mut().expect("a ready process is there");
        let body = process.body.take().expect("a process that does not run has its body");
        match self.stacks.take(process.spec.stack_size) {
            Ok(stack) => {
                process.fiber = Some(fiber(stack, body, &process.spec.label()));
                process.began = now;
                Ok(())
            }
            Err(error) => {
                process.body = Some(body);
                let reason = error.to_string();
                let (name, plugin) = (process.spec.name.clone(), process.spec.plugin.clone());
                let refused = Refused { name, plugin, reason };
                self.end(place, now, &Ending::Failed(String::new()));
                Err(refused)
            }
        }
    }

    /// The process that runs, if one does.
    #[inline]
    pub(super) fn current(&mut self) -> Option<&mut Process> {
        let place = *self.running.last()?;
        self.places[place as usize].as_deref_mut()
    }

    /// The process that runs wants to wait.
    ///
    /// # Panics
    /// If none runs.
    #[inline]
    pub(super) fn wait(&mut self, request: Request, now: impl FnOnce() -> Nanos) -> Begun {
        let place = *self.running.last().expect("a process that runs waits");
        let process = self.places[place as usize].as_deref_mut().expect("it runs");
        if process.cancelled {
            process.refused += 1;
            if process.refused > REFUSALS {
                process.state = State::Parked; // It does not come back from this wait.
                return Begun::Suspend;
            }
            return Begun::Done(Woken { cancelled: true, ..Woken::default() });
        }
        let met = process.pending & request.events;
        let ended = request.end_of.as_ref().is_some_and(|other| other.has_ended());
        if met != 0 || ended {
            process.pending &= !met;
            let left = request.timeout.unwrap_or_default();
            return Begun::Done(Woken { events: met, end: ended, left, ..Woken::default() });
        }
        process.counts.suspends += 1;
        let nothing = request.events == 0 && request.timeout.is_none() && request.end_of.is_none();
        if nothing {
            process.state = State::Ready;
            self.ready.push_back(place);
            return Begun::Suspend;
        }
        process.state = State::Waiting;
        let other = request.end_of.clone();
        if let Some(timeout) = request.timeout {
            // Rounded up: not a moment early.
            let tick = now().0.saturating_add(timeout.0).div_ceil(TICK);
            let interval = tick.saturating_sub(self.wheel.now());
            let started = self.wheel.start(place, 0, interval);
            process.deadline = started.ok().map(|handle| (tick, handle));
        }
        process.request = request;
        if let Some(other) = other
            && let Some(other) = self.process(&other)
        {
            other.joiners.push(place);
        }
        Begun::Suspend
    }

    /// A process that ran has suspended itself or ended. Gives its ending, if it was a bad one.
    pub(super) fn returned(
        &mut self,
        place: u32,
        fiber: Fiber,
        step: Step<(), Finished>,
        now: Nanos,
    ) -> Option<Ending> {
        let top = self.running.pop();
        debug_assert_eq!(top, Some(place), "the last one to be resumed is the first to return");
        let process = self.places[place as usize].as_deref_mut().expect("it ran");
        match step {
            Step::Suspended(()) if process.state == State::Parked => {
                drop(fiber); // Leaves its frames where they are.
                self.parked += 1;
                self.tell_joiners(place);
                Some(Ending::Parked)
            }
            Step::Suspended(()) => {
                process.fiber = Some(fiber);
                None
            }
            Step::Ended(ended) => {
                process.counts.stack_used =
                    process.counts.stack_used.max(fiber.stack().high_water());
                let stack = fiber.into_stack();
                let (body, ending) = match ended {
                    Ok(Finished { body, ending }) => (Some(body), ending),
                    Err(panic) => (None, Ending::Panicked(panic.0)),
                };
                process.body = body;
                self.stacks.give(stack.expect("a body that has ended is not suspended"));
                self.end(place, now, &ending);
                Some(ending)
            }
        }
    }

    /// Has a process end: what it waits for fails. False if it has ended.
    pub(super) fn cancel(&mut self, shared: &ProcessShared, now: Nanos) -> bool {
        let Some(process) = self.process(shared) else { return false };
        let place = shared.place;
        match process.state {
            State::Ended | State::Parked => return false,
            // It has not begun, so there is nothing to unwind.
            State::Ready if process.fiber.is_none() => {
                self.ready.retain(|&ready| ready != place);
                self.end(place, now, &Ending::Cancelled);
                return true;
            }
            State::BackingOff => {
                self.end(place, now, &Ending::Cancelled);
                return true;
            }
            State::Ready => process.woken = Woken { cancelled: true, ..Woken::default() },
            State::Waiting => self.wake(place, Woken { cancelled: true, ..Woken::default() }),
            State::Running => {}
        }
        if let Some(process) = self.process(shared) {
            process.cancelled = true;
        }
        true
    }

    /// Moves a process to the front of the queue; false if it is not in it.
    pub(super) fn hurry(&mut self, shared: &ProcessShared) -> bool {
        let at = self.ready.iter().position(|&place| place == shared.place);
        if let Some(place) = at.and_then(|at| self.ready.remove(at)) {
            self.ready.push_front(place);
        }
        at.is_some()
    }

    /// Begins a process again that has ended; false if it has not, or its body was lost.
    pub(super) fn restart(&mut self, shared: &ProcessShared) -> bool {
        let Some(process) = self.process(shared) else { return false };
        if process.state != State::Ended || process.body.is_none() {
            return false;
        }
        process.renew();
        process.state = State::Ready;
        process.shared.ended.store(false, Ordering::Release);
        self.ready.push_back(shared.place);
        true
    }

    /// Forgets a process if it has ended and its creator has let go of it; gives its body back, to
    /// be dropped where nothing is borrowed.
    pub(super) fn forget(&mut self, shared: &ProcessShared) -> Option<Box<dyn Body>> {
        let process = self.process(shared)?;
        let over = matches!(process.state, State::Ended | State::Parked);
        if !over || process.shared.held.load(Ordering::Acquire) > 0 {
            return None;
        }
        self.free.push(shared.place);
        self.places[shared.place as usize].take()?.body
    }

    /// Adds an event that happens later; gives it a number that is not 0.
    pub(super) fn later(&mut self, later: Later, delay: Nanos, now: Nanos) -> u64 {
        let at = self.later_free.pop().unwrap_or_else(|| {
            self.later.push(None);
            index(self.later.len() - 1)
        });
        self.later_number = self.later_number.wrapping_add(1).max(1);
        let tick = now.0.saturating_add(delay.0).div_ceil(TICK);
        let interval = tick.saturating_sub(self.wheel.now());
        let timer = self.wheel.start(at | LATER, 0, interval);
        let timer = timer.expect("with overflow every interval fits, and places are few");
        let number = self.later_number;
        self.later[at as usize] = Some(LaterPlace { later, number, timer });
        u64::from(number) << 32 | u64::from(at)
    }

    /// Takes an event back that was to happen later.
    pub(super) fn take_back(&mut self, id: u64) -> Option<Later> {
        let at = u32::try_from(id & 0xffff_ffff).expect("32 bits");
        let place = self.later.get(at as usize)?.as_ref()?;
        if u64::from(place.number) != id >> 32 {
            return None;
        }
        self.wheel.stop(place.timer);
        self.take_later(at)
    }

    /// Takes all events of `owner` back.
    pub(super) fn take_back_all(&mut self, owner: Owner) -> Vec<Later> {
        let own = |place: &Option<LaterPlace>| {
            place.as_ref().is_some_and(|place| place.later.owner == owner)
        };
        let places: Vec<_> = (0..self.later.len()).filter(|&at| own(&self.later[at])).collect();
        let taken = places.into_iter().filter_map(|at| {
            self.wheel.stop(self.later[at].as_ref()?.timer);
            self.take_later(index(at))
        });
        taken.collect()
    }

    /// Events that are to happen later.
    pub(super) fn later_of(&self, owner: Owner) -> usize {
        self.later.iter().flatten().filter(|place| place.later.owner == owner).count()
    }

    fn take_later(&mut self, at: u32) -> Option<Later> {
        let place = self.later[at as usize].take()?;
        self.later_free.push(at);
        Some(place.later)
    }

    /// Puts a waiting process at the end of the queue.
    fn wake(&mut self, place: u32, mut woken: Woken) {
        let process = self.places[place as usize].as_deref_mut().expect("it waits");
        if let Some((tick, handle)) = process.deadline.take() {
            self.wheel.stop(handle);
            woken.left = Nanos((tick * TICK).saturating_sub(self.now.0));
        }
        let other = process.request.end_of.take();
        process.request = Request::default();
        process.woken = woken;
        process.state = State::Ready;
        self.ready.push_back(place);
        if let Some(other) = other
            && let Some(other) = self.process(&other)
        {
            other.joiners.retain(|&joiner| joiner != place);
        }
    }

    fn end(&mut self, place: u32, now: Nanos, ending: &Ending) {
        let process = self.places[place as usize].as_deref_mut().expect("it ends once");
        process.deadline.take().map(|(_, handle)| self.wheel.stop(handle));
        let failed = matches!(ending, Ending::Failed(_) | Ending::Panicked(_));
        process.counts.failures += u64::from(failed);
        if failed && let Some(backoff) = process.next_backoff(now) {
            let tick = now.0.saturating_add(backoff.0).div_ceil(TICK);
            let interval = tick.saturating_sub(self.wheel.now());
            let started = self.wheel.start(place, 0, interval);
            process.deadline = started.ok().map(|handle| (tick, handle));
            process.renew();
            process.counts.restarts += 1;
            process.state = State::BackingOff;
            return;
        }
        process.state = State::Ended;
        process.shared.ended.store(true, Ordering::Release);
        self.tell_joiners(place);
    }

    fn tell_joiners(&mut self, place: u32) {
        let process = self.places[place as usize].as_deref_mut().expect("it has just ended");
        process.shared.ended.store(true, Ordering::Release);
        for joiner in std::mem::take(&mut process.joiners) {
            self.wake(joiner, Woken { end: true, ..Woken::default() });
        }
    }
}

impl Process {
    /// As new, but for what was counted and the events that happened.
    fn renew(&mut self) {
        self.cancelled = false;
        self.refused = 0;
        self.woken = Woken::default();
        self.request = Request::default();
    }

    /// How long it stays ended after a failure; `None` if it is not to begin again.
    fn next_backoff(&mut self, now: Nanos) -> Option<Nanos> {
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
    pub(super) fn is_cancelled(&self) -> bool {
        self.cancelled
    }
}

/// There was no stack for a process.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) name: String,
    pub(super) plugin: String,
    pub(super) reason: String,
}

fn index(place: usize) -> u32 {
    u32::try_from(place).expect("fewer than 2^32")
}

#[cfg(test)]
mod tests;
