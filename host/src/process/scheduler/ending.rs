//! How a process comes to its end, and begins again.

use super::{Scheduler, State, TICK, Woken};
use crate::{
    process::{
        ProcessShared, Step,
        body::{Body, Ending, Fiber, Finished},
    },
    sync::Ordering,
    time::Nanos,
};

impl Scheduler {
    /// A process that ran has suspended itself or ended. Gives its ending, if it was a bad one.
    pub(in crate::process) fn returned(
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
                let owner = process.spec.owner;
                self.parked.push(owner);
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
    pub(in crate::process) fn cancel(&mut self, shared: &ProcessShared, now: Nanos) -> bool {
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
    pub(in crate::process) fn hurry(&mut self, shared: &ProcessShared) -> bool {
        if self.process(shared).is_none() {
            return false; // The place may be another one's.
        }
        let at = self.ready.iter().position(|&place| place == shared.place);
        if let Some(place) = at.and_then(|at| self.ready.remove(at)) {
            self.ready.push_front(place);
        }
        at.is_some()
    }

    /// Begins a process again that has ended; false if it has not, or its body was lost.
    pub(in crate::process) fn restart(&mut self, shared: &ProcessShared) -> bool {
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
    pub(in crate::process) fn forget(&mut self, shared: &ProcessShared) -> Option<Box<dyn Body>> {
        let process = self.process(shared)?;
        let over = matches!(process.state, State::Ended | State::Parked);
        if !over || process.shared.held.load(Ordering::Acquire) > 0 {
            return None;
        }
        self.free.push(shared.place);
        self.places[shared.place as usize].take()?.body
    }

    pub(in crate::process) fn end(&mut self, place: u32, now: Nanos, ending: &Ending) {
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
