//! A pass: whom events, other threads and the clock have woken is resumed, one after the other.

use super::{Main, Notice, Processes, SLICE, What};
use crate::{
    control::Control,
    process::{
        Body, Ending, Step,
        body::{self, Fiber, Finished},
        scheduler::{Process, Scheduler, State, TICK},
    },
    sync::{Arc, Ordering},
    time::Nanos,
};

/// Resumes of one pass; what is left waits until packets were served.
const PASS: usize = 256;

impl Processes {
    /// Resumes whom events, other threads and the clock have woken; how many, and what the operator
    /// ought to know.
    ///
    /// Context: main, outside of nodes. `entered` is told how long whoever is resumed may hold
    /// main, and `None` at the end.
    pub fn run(
        &self,
        control: *mut Control,
        now: Nanos,
        entered: impl Fn(Option<Nanos>),
        mut tell: impl FnMut(Notice),
    ) -> usize {
        if !self.collect(now) {
            return 0;
        }
        let (began, outer) = self.main.with(|main| {
            let cycles = main.clock.cycles();
            main.last = (cycles, main.clock.at(cycles)); // What came before in this turn is not theirs.
            (main.last.1, main.control.replace(control))
        });
        let mut count = 0;
        while count < PASS {
            let Some(at) = self.resume_next(&entered, &mut tell) else { break };
            count += 1;
            if at.since(began) > SLICE {
                break;
            }
        }
        entered(None);
        self.main.with(|main| main.control.set(outer));
        count
    }

    /// Takes what other threads have signalled and what is due; whether anybody is to be resumed.
    #[inline]
    fn collect(&self, now: Nanos) -> bool {
        let (ready, some_due, ended) = self.main.with(|main| {
            let Main { scheduler, taken, due, .. } = main;
            let mut ended = Vec::new();
            self.signals.take(taken, |process, events| {
                if process.held.load(Ordering::Relaxed) == 0 && process.has_ended() {
                    ended.extend(scheduler.forget(process));
                } else if events != 0 {
                    scheduler.signal_from_afar(process, events);
                }
            });
            scheduler.expire(now, due);
            (scheduler.has_ready(), !due.is_empty(), ended)
        });
        drop(ended); // Calls the plugin.
        if some_due {
            self.deliver();
        }
        ready || some_due
    }

    /// Has the events happen whose time has come.
    #[cold]
    fn deliver(&self) {
        while let Some(later) = self.main.with(|main| main.due.pop_front()) {
            later.deliver.call(true); // Calls the plugin.
            self.main.with(|main| main.scheduler.signal(&later.process, later.events));
        }
    }

    /// Resumes the first in the queue; when it was done, `None` if there is none.
    #[inline]
    pub(super) fn resume_next(
        &self,
        entered: &impl Fn(Option<Nanos>),
        tell: &mut impl FnMut(Notice),
    ) -> Option<Nanos> {
        let (next, now) = self.main.with(|main| {
            let now = main.last.1;
            let next = main.scheduler.next(now);
            if let (Some(Ok(_)), Some(process)) = (&next, main.scheduler.current()) {
                entered(Some(process.spec.watchdog));
            }
            (next, now)
        });
        let (place, mut fiber, woken) = match next? {
            Ok(next) => next,
            Err(refused) => {
                let forgotten = self.main.with(|main| main.scheduler.forget(&refused.process));
                drop(forgotten); // Calls the plugin.
                let what = What::NoStack(refused.reason);
                tell(Notice { name: refused.name, plugin: refused.plugin, what });
                return Some(now);
            }
        };
        let step = body::resume(&mut fiber, woken);
        let (done, now) = self.main.with(|main| {
            let cycles = main.clock.cycles();
            let now = main.clock.at(cycles);
            let clocks = cycles.0.saturating_sub(main.last.0.0);
            let held = Nanos(now.0.saturating_sub(main.last.1.0));
            main.last = (cycles, now);
            (main.scheduler.done(place, fiber, step, clocks, held, now), now)
        });
        if let Some(done) = done {
            done.overrun.into_iter().chain(done.ended).for_each(tell);
            drop(done.body); // Calls the plugin.
        }
        Some(now)
    }
}

impl Scheduler {
    /// A process has run for `clocks` and `held`, and has suspended itself or ended. `None` if it
    /// waits and nobody is to be told of it.
    #[inline]
    fn done(
        &mut self,
        place: u32,
        fiber: Fiber,
        step: Step<(), Finished>,
        clocks: u64,
        held: Nanos,
        now: Nanos,
    ) -> Option<Done> {
        let process = self.current().expect("it ran");
        process.counts.clocks.0 += clocks;
        process.counts.hold_max = process.counts.hold_max.max(held);
        let overran = held >= process.spec.watchdog;
        let waits = matches!(step, Step::Suspended(())) && process.state != State::Parked;
        if waits && !overran {
            process.fiber = Some(fiber);
            self.running.pop();
            return None;
        }
        Some(self.told(place, fiber, step, overran.then_some(held), now))
    }

    /// As above, where it does not just wait.
    #[cold]
    fn told(
        &mut self,
        place: u32,
        fiber: Fiber,
        step: Step<(), Finished>,
        held: Option<Nanos>,
        now: Nanos,
    ) -> Done {
        let process = self.at(place);
        let overrun = held.map(|held| {
            process.counts.overruns += 1;
            process.notice(What::Held(held))
        });
        let mut done = Done { overrun, ended: None, body: None };
        let Some(ending) = self.returned(place, fiber, step, now) else { return done };
        let process = self.at(place);
        let again = process.deadline.filter(|_| process.state == State::BackingOff);
        let again = again.map(|(tick, _)| Nanos((tick * TICK).saturating_sub(now.0)));
        let shared = Arc::clone(&process.shared);
        if !matches!(ending, Ending::Done | Ending::Cancelled) {
            done.ended = Some(process.notice(What::Ended(ending, again)));
        }
        done.body = self.forget(&shared);
        done
    }
}

/// What came of a run.
struct Done {
    overrun: Option<Notice>,
    ended: Option<Notice>,
    /// Not needed any more; to be dropped where nothing is borrowed.
    body: Option<Box<dyn Body>>,
}

impl Process {
    fn notice(&self, what: What) -> Notice {
        Notice { name: self.spec.name.clone(), plugin: self.spec.plugin.clone(), what }
    }
}
