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

use std::collections::{HashSet, VecDeque};

use plugin_api::wheel::{Expiry, Wheel1t3w1024slOv};

mod ending;
mod later;
mod process;

pub use later::Later;
use later::LaterPlace;
pub(super) use process::Process;
use process::REFUSALS;
pub use process::{Request, Restart, Spec, State, Woken};

use super::{
    ProcessShared, StackPool,
    body::{Body, Ending, Fiber, fiber},
    report::Counts,
};
use crate::{graph::Owner, sync::Arc, time::Nanos};

/// A tick of the processes' wheel.
pub(super) const TICK: u64 = 10_000;
/// Stacks that are kept for the next process.
const STACKS_KEPT: usize = 1024;
/// Object numbers of the wheel from here on are events that happen later.
const LATER: u32 = 1 << 31;

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
    /// Owners of processes that were parked.
    pub(super) parked: Vec<Owner>,
    /// Owners that are gone, and make nothing any more.
    pub(super) closed: HashSet<Owner>,
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
            parked: Vec::new(),
            closed: HashSet::new(),
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
                process.began = now;
                let (name, plugin) = (process.spec.name.clone(), process.spec.plugin.clone());
                let process = Arc::clone(&process.shared);
                let refused = Refused { name, plugin, reason, process };
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
}

/// There was no stack for a process.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) name: String,
    pub(super) plugin: String,
    pub(super) reason: String,
    pub(super) process: Arc<ProcessShared>,
}

fn index(place: usize) -> u32 {
    u32::try_from(place).expect("fewer than 2^32")
}

#[cfg(test)]
mod tests;
