//! Every state and what wakes it, on a clock that moves when it is told to.

use std::{
    cell::RefCell,
    rc::Rc,
    sync::{
        Arc as StdArc,
        atomic::{AtomicU64, Ordering},
    },
};

use super::*;
use crate::{
    graph::Owner,
    process::{Deliver, Notice, Processes, WaitError, What},
    time::{Clock, VirtualTime},
};

/// What a body is made of: it may wait, and notes what happened.
type Run = dyn FnMut(&'static Bench) -> Ending;

struct TestBody(&'static Bench, Box<Run>);

impl Body for TestBody {
    fn run(&mut self) -> Ending {
        (self.1)(self.0)
    }
}

struct Bench {
    processes: Processes,
    time: VirtualTime,
    notes: RefCell<Vec<String>>,
    told: RefCell<Vec<Notice>>,
}

const FIRST: Nanos = Nanos(1_000_000);
const LONGEST: Nanos = Nanos(3_000_000);

impl Bench {
    fn new() -> &'static Self {
        let time = VirtualTime::default();
        let processes = Processes::new(Clock::virtual_at(&time).thread());
        Box::leak(Box::new(Self {
            processes,
            time,
            notes: RefCell::default(),
            told: RefCell::default(),
        }))
    }

    fn spawn(
        &'static self,
        name: &str,
        run: impl FnMut(&'static Self) -> Ending + 'static,
    ) -> Arc<ProcessShared> {
        self.spawn_with(name, Restart::Never, run)
    }

    fn spawn_with(
        &'static self,
        name: &str,
        restart: Restart,
        run: impl FnMut(&'static Self) -> Ending + 'static,
    ) -> Arc<ProcessShared> {
        let spec = Spec {
            name: name.to_owned(),
            owner: Owner(7),
            plugin: "test".to_owned(),
            version: "1.0.0".to_owned(),
            stack_size: 64 << 10,
            restart,
            watchdog: Nanos(10_000_000),
        };
        self.processes.spawn(spec, Box::new(TestBody(self, Box::new(run))))
    }

    fn note(&self, note: impl Into<String>) {
        self.notes.borrow_mut().push(note.into());
    }

    /// A pass; what was noted since the last one.
    fn pass(&self) -> Vec<String> {
        let tell = |notice| self.told.borrow_mut().push(notice);
        self.processes.run(std::ptr::null_mut(), self.time.now(), |_| (), tell);
        self.notes.take()
    }

    fn after(&self, time: Nanos) -> Vec<String> {
        self.time.advance(time);
        self.pass()
    }

    fn wait(&self, request: Request) -> Result<Woken, WaitError> {
        self.processes.wait(request)
    }

    fn signal(&self, process: &Arc<ProcessShared>, events: u64) -> bool {
        self.processes.signal(process, events, || ())
    }

    fn state(&self, process: &ProcessShared) -> Option<State> {
        let all = self.processes.report();
        all.iter().find(|report| report.process.number == process.number).map(|report| report.state)
    }
}

fn events(events: u64) -> Request {
    Request { events, ..Request::default() }
}

fn clock(timeout: Nanos) -> Request {
    Request { timeout: Some(timeout), ..Request::default() }
}

const MS: Nanos = Nanos(1_000_000);
const TICK_NS: Nanos = Nanos(TICK);

/// A process that waits once and notes what came of it.
fn waits(bench: &'static Bench, name: &'static str, request: Request) -> Arc<ProcessShared> {
    bench.spawn(name, move |bench| {
        match bench.wait(request.clone()) {
            Ok(Woken { events, clock, end, left, .. }) => bench.note(format!(
                "{name}: events {events:#x}{}{} left {}",
                if clock { " clock" } else { "" },
                if end { " end" } else { "" },
                left.0
            )),
            Err(error) => bench.note(format!("{name}: {error}")),
        }
        Ending::Done
    })
}

#[test]
fn processes_begin_in_the_order_in_which_they_were_made() {
    let bench = Bench::new();
    for name in ["a", "b", "c"] {
        bench.spawn(name, move |bench| {
            bench.note(name);
            Ending::Done
        });
    }
    assert_eq!(bench.pass(), ["a", "b", "c"]);
    assert_eq!(bench.pass(), [""; 0]);
}

#[test]
fn of_those_that_are_woken_the_first_woken_runs_first() {
    let bench = Bench::new();
    let a = waits(bench, "a", events(1));
    let b = waits(bench, "b", events(1));
    waits(bench, "late", clock(Nanos(20 * TICK)));
    waits(bench, "early", clock(Nanos(10 * TICK)));
    bench.pass();
    bench.signal(&b, 1);
    bench.signal(&a, 1);
    bench.signal(&b, 1);
    let expected = [
        "b: events 0x1 left 0",
        "a: events 0x1 left 0",
        "early: events 0x0 clock left 0",
        "late: events 0x0 clock left 0",
    ];
    assert_eq!(bench.after(MS), expected);
}

#[test]
fn an_event_that_is_pending_ends_a_wait_at_once_and_others_stay_pending() {
    let bench = Bench::new();
    let process = bench.spawn("a", |bench| {
        assert_eq!(bench.wait(events(0b01)).unwrap().events, 0b01);
        bench.note("first");
        assert_eq!(bench.wait(events(0b11)).unwrap().events, 0b10);
        bench.note("second");
        bench.wait(events(0b11)).unwrap();
        bench.note("third");
        Ending::Done
    });
    bench.signal(&process, 0b10);
    bench.signal(&process, 0b01);
    bench.signal(&process, 0b01); // Before it is taken: the same event.
    assert_eq!(bench.pass(), ["first", "second"]);
    bench.signal(&process, 0b100);
    assert_eq!(bench.pass(), [""; 0], "it does not wait for that one");
    bench.signal(&process, 0b001);
    assert_eq!(bench.pass(), ["third"]);
    assert!(!bench.signal(&process, 1), "it has ended");
}

#[test]
fn a_time_is_never_short_and_at_most_a_tick_long() {
    let bench = Bench::new();
    bench.time.advance(Nanos(TICK / 2));
    waits(bench, "a", clock(TICK_NS)); // From the middle of a tick.
    bench.pass();
    assert_eq!(bench.after(Nanos(TICK - 1)), [""; 0]);
    assert_eq!(bench.after(Nanos(TICK / 2 + 1)), ["a: events 0x0 clock left 0"]);
}

#[test]
fn an_event_within_the_time_tells_what_is_left_and_the_time_is_forgotten() {
    let bench = Bench::new();
    let request = Request { events: 1, timeout: Some(MS), ..Request::default() };
    let process = waits(bench, "a", request);
    bench.pass();
    bench.after(Nanos(300_000));
    bench.signal(&process, 1);
    assert_eq!(bench.after(Nanos(0)), ["a: events 0x1 left 700000"]);
    assert_eq!(bench.after(MS), [""; 0]);
    assert_eq!(bench.processes.next_expiry(), None);
}

#[test]
fn a_turn_is_given_away_to_those_that_are_ready_and_no_more() {
    let bench = Bench::new();
    for name in ["a", "b"] {
        bench.spawn(name, move |bench| {
            for turn in 0..2 {
                bench.note(format!("{name}{turn}"));
                bench.wait(Request::default()).unwrap();
            }
            Ending::Done
        });
    }
    assert_eq!(bench.pass(), ["a0", "b0", "a1", "b1"]);
}

#[test]
fn the_end_of_another_is_waited_for_or_has_been() {
    let bench = Bench::new();
    let other = waits(bench, "other", events(1));
    let join = Request { end_of: Some(Arc::clone(&other)), ..Request::default() };
    waits(bench, "first", join.clone());
    waits(bench, "second", Request { timeout: Some(MS), ..join.clone() });
    let leaver = waits(bench, "leaver", Request { events: 1, ..join.clone() });
    bench.pass();
    bench.signal(&leaver, 1);
    assert_eq!(bench.after(MS), ["leaver: events 0x1 left 0", "second: events 0x0 clock left 0"]);
    bench.signal(&other, 1);
    assert_eq!(bench.pass(), ["other: events 0x1 left 0", "first: events 0x0 end left 0"]);
    waits(bench, "late", join);
    assert_eq!(bench.pass(), ["late: events 0x0 end left 0"]);
}

/// Puts a process into each state, and does each thing to it that could wake it.
#[test]
#[expect(clippy::too_many_lines, reason = "one table of all cases")]
fn every_state_meets_every_reason_to_wake() {
    #[derive(Clone, Copy, Debug, PartialEq)]
    enum In {
        ReadyToBegin,
        Ready,
        ForEvent,
        ForClock,
        ForEventOrClock,
        ForEnd,
        BackingOff,
        Ended,
    }
    #[derive(Clone, Copy, Debug, PartialEq)]
    enum By {
        Event,
        OtherEvent,
        Clock,
        End,
        Cancel,
    }
    let states = [
        In::ReadyToBegin,
        In::Ready,
        In::ForEvent,
        In::ForClock,
        In::ForEventOrClock,
        In::ForEnd,
        In::BackingOff,
        In::Ended,
    ];
    for state in states {
        for by in [By::Event, By::OtherEvent, By::Clock, By::End, By::Cancel] {
            let bench = Bench::new();
            let other = waits(bench, "other", events(1));
            bench.pass();
            let end_of = (state == In::ForEnd).then(|| Arc::clone(&other));
            let restart = Restart::OnFailure { first: FIRST, longest: LONGEST };
            let process = bench.spawn_with("a", restart, move |bench| {
                let request = match state {
                    In::ForEvent => events(1),
                    In::ForClock => clock(MS),
                    In::ForEventOrClock => Request { timeout: Some(MS), ..events(1) },
                    In::ForEnd => Request { end_of: end_of.clone(), ..Request::default() },
                    In::BackingOff if bench.notes.borrow().is_empty() => {
                        bench.note("failed");
                        return Ending::Failed("no luck".to_owned());
                    }
                    In::Ended => return Ending::Done,
                    In::ReadyToBegin | In::Ready | In::BackingOff => Request::default(),
                };
                bench.note(match bench.wait(request) {
                    Err(_) => "cancelled",
                    Ok(Woken { events: 1, .. }) => "event",
                    Ok(Woken { clock: true, .. }) => "clock",
                    Ok(Woken { end: true, .. }) => "end",
                    Ok(_) => "turn",
                });
                Ending::Done
            });
            match state {
                In::ReadyToBegin => {}
                // Resumed once, it is in the queue again when the pass is over before its time.
                In::Ready => {
                    bench.spawn("hog", |bench| {
                        bench.time.advance(Nanos(SLICE_AND_MORE));
                        Ending::Done
                    });
                    bench.pass();
                }
                _ => drop(bench.pass()),
            }
            match by {
                By::Event => drop(bench.signal(&process, 1)),
                By::OtherEvent => drop(bench.signal(&process, 2)),
                By::Clock => bench.time.advance(Nanos(2 * MS.0)),
                By::End => drop(bench.signal(&other, 1)),
                By::Cancel => drop(bench.processes.cancel(&process)),
            }
            if state == In::BackingOff && by == By::Clock {
                bench.note("again"); // So that it does not fail once more.
            }
            let notes = bench.pass();
            let notes: Vec<_> = notes
                .iter()
                .filter(|note| !note.starts_with("other") && *note != "again")
                .collect();
            let expected: &[&str] = match (state, by) {
                (In::ReadyToBegin, By::Cancel) | (In::Ended, _) => &[],
                (In::Ready, By::Cancel) => &["cancelled"],
                (In::ReadyToBegin | In::Ready, _) => &["turn"],
                (In::ForEvent | In::ForEventOrClock, By::Event) => &["event"],
                (In::ForClock | In::ForEventOrClock, By::Clock) => &["clock"],
                (In::ForEnd, By::End) => &["end"],
                (In::BackingOff, By::Clock) => &["turn"],
                (In::BackingOff, By::Cancel) => &[],
                (_, By::Cancel) => &["cancelled"],
                _ => &[],
            };
            assert_eq!(notes, expected, "{state:?} by {by:?}");
            let ended = bench.state(&process) == Some(State::Ended);
            let over = by == By::Cancel || state == In::Ended || !expected.is_empty();
            assert_eq!(ended, over, "{state:?} by {by:?}");
        }
    }
}

#[test]
fn a_process_that_cancels_itself_is_told_at_its_next_wait() {
    let bench = Bench::new();
    bench.spawn("a", |bench| {
        let own = bench.processes.current().unwrap();
        assert!(bench.processes.cancel(&own) && bench.processes.should_yield());
        assert_eq!(bench.wait(clock(MS)), Err(WaitError::Cancelled));
        Ending::Cancelled
    });
    bench.pass();
    assert!(bench.told.borrow().is_empty(), "it was asked to");
}

#[test]
fn a_process_that_waits_on_though_it_is_to_end_is_parked_and_counted() {
    let bench = Bench::new();
    let kept = Rc::new(());
    let own = Rc::clone(&kept);
    let process = bench.spawn("deaf", move |bench| {
        let _own = Rc::clone(&own);
        loop {
            if bench.wait(events(1)).is_ok() {
                bench.note("event");
            }
        }
    });
    let joined = Request { end_of: Some(Arc::clone(&process)), ..Request::default() };
    waits(bench, "joiner", joined);
    bench.pass();
    let parked = bench.processes.revoke(Owner(8), |_| ());
    assert!(parked.is_empty() && bench.state(&process) == Some(State::Waiting));
    let parked = bench.processes.revoke(Owner(7), |notice| bench.told.borrow_mut().push(notice));
    assert_eq!((parked, bench.processes.parked(Owner(7))), (vec!["deaf".to_owned()], 1));
    assert_eq!(bench.told.borrow()[0].what, What::Ended(Ending::Parked, None));
    assert!(bench.processes.report().is_empty(), "the joiner was told to end and did");
    assert_eq!(Rc::strong_count(&kept), 3, "its frames stay as they are");
    assert!(!bench.signal(&process, 1));
}

#[test]
fn a_failure_is_followed_by_longer_and_longer_pauses() {
    let bench = Bench::new();
    let runs = Rc::new(RefCell::new(0));
    let own = Rc::clone(&runs);
    let restart = Restart::OnFailure { first: FIRST, longest: LONGEST };
    bench.spawn_with("a", restart, move |bench| {
        *own.borrow_mut() += 1;
        bench.note("begins");
        if *own.borrow() == 5 {
            bench.wait(clock(LONGEST)).unwrap(); // Long enough to count as well.
        }
        Ending::Failed("no luck".to_owned())
    });
    assert_eq!(bench.pass(), ["begins"]);
    for pause in [1, 2, 3, 3] {
        assert_eq!(bench.after(Nanos(pause * MS.0 - 1)), [""; 0], "{pause}");
        assert_eq!(bench.after(Nanos(1)), ["begins"], "{pause}");
    }
    bench.after(LONGEST);
    assert_eq!(bench.after(Nanos(MS.0 - 1)), [""; 0]);
    assert_eq!(bench.after(Nanos(1)), ["begins"]);
    let report = &bench.processes.report()[0];
    assert_eq!((report.counts.failures, report.counts.restarts), (6, 6));
    let told = &bench.told.borrow()[0];
    assert_eq!(told.what, What::Ended(Ending::Failed("no luck".to_owned()), Some(FIRST)));
}

#[test]
fn a_panic_ends_its_process_and_no_other() {
    let bench = Bench::new();
    bench.spawn("bad", |_| panic!("on purpose"));
    waits(bench, "good", Request::default());
    assert_eq!(bench.pass(), ["good: events 0x0 left 0"]);
    let told = &bench.told.borrow()[0];
    assert_eq!(told.what, What::Ended(Ending::Panicked("on purpose".to_owned()), None));
}

#[test]
fn an_ended_process_is_begun_again_on_request_and_forgotten_once_let_go() {
    let bench = Bench::new();
    let process = bench.spawn("a", |bench| {
        bench.note("begins");
        Ending::Done
    });
    assert!(!bench.processes.restart(&process), "it has not begun");
    assert_eq!(bench.pass(), ["begins"]);
    assert!(process.has_ended() && bench.processes.restart(&process) && !process.has_ended());
    assert_eq!(bench.pass(), ["begins"]);
    bench.processes.release(&process, || ());
    assert!(bench.processes.report().is_empty() && !bench.processes.restart(&process));
    let other = bench.spawn("b", |_| Ending::Done);
    assert_eq!(other.place, process.place);
    assert!(!bench.processes.cancel(&process), "the place is another one's now");
    bench.processes.release(&other, || ());
    bench.pass();
    assert!(bench.processes.report().is_empty(), "let go of before it ended");
}

fn later(bench: &'static Bench, process: &Arc<ProcessShared>, delay: Nanos) -> u64 {
    let deliver = move |happened| bench.note(if happened { "delivered" } else { "dropped" });
    let later = Later {
        process: Arc::clone(process),
        owner: Owner(7),
        events: 1,
        deliver: Deliver::Own(Box::new(deliver)),
    };
    bench.processes.later(later, delay)
}

#[test]
fn an_event_that_happens_later_is_delivered_before_its_process_wakes() {
    let bench = Bench::new();
    let process = waits(bench, "a", events(1));
    bench.pass();
    later(bench, &process, MS);
    assert_eq!(bench.after(Nanos(MS.0 - 1)), [""; 0]);
    assert_eq!(bench.after(Nanos(1)), ["delivered", "a: events 0x1 left 0"]);
}

#[test]
fn an_event_that_was_to_happen_later_can_be_taken_back_once() {
    let bench = Bench::new();
    let process = waits(bench, "a", events(1));
    bench.pass();
    let [first, second] = [1, 2].map(|ms| later(bench, &process, Nanos(ms * MS.0)));
    assert!(bench.processes.take_back(first) && !bench.processes.take_back(first));
    assert_eq!(bench.after(MS), ["dropped"]);
    assert_eq!(bench.after(MS).len(), 2);
    assert!(!bench.processes.take_back(second));
    later(bench, &process, MS);
    assert_eq!(bench.processes.of(Owner(7)), ["a", "1 events to come"]);
    bench.processes.revoke(Owner(7), |_| ());
    assert_eq!(bench.notes.take(), ["dropped"]);
    assert!(bench.processes.of(Owner(7)).is_empty());
}

#[test]
fn signals_of_other_threads_come_in_order_and_none_is_lost() {
    const SENDERS: u64 = 4;
    const EACH: u64 = 50_000;
    let bench = Bench::new();
    let counts: StdArc<Vec<AtomicU64>> =
        StdArc::new((0..SENDERS).map(|_| AtomicU64::new(0)).collect());
    let own = StdArc::clone(&counts);
    let process = bench.spawn("a", move |bench| {
        let mut seen = vec![0; own.len()];
        while seen.iter().any(|&seen| seen < EACH) {
            let woken = bench.wait(events((1 << SENDERS) - 1)).unwrap();
            for (sender, seen) in seen.iter_mut().enumerate() {
                // What was counted before the signal is there after it.
                let count = own[sender].load(Ordering::Relaxed);
                assert!(count >= *seen, "time does not run backwards");
                if woken.events >> sender & 1 != 0 {
                    *seen = count;
                }
            }
        }
        bench.note("all");
        Ending::Done
    });
    let processes = &bench.processes;
    std::thread::scope(|scope| {
        for sender in 0..SENDERS {
            let (counts, process) = (StdArc::clone(&counts), &process);
            scope.spawn(move || {
                for _ in 0..EACH {
                    let count = &counts[usize::try_from(sender).unwrap()];
                    count.fetch_add(1, Ordering::Relaxed);
                    assert!(processes.signal(process, 1 << sender, || ()));
                }
            });
        }
        while !process.has_ended() {
            bench.pass();
            std::thread::yield_now();
        }
    });
    let report = &bench.processes.report()[0];
    assert_eq!(report.counts.events, SENDERS * EACH);
}

#[test]
fn two_that_wake_each_other_do_not_keep_a_pass_going_for_ever() {
    let bench = Bench::new();
    let ids: Rc<RefCell<Vec<Arc<ProcessShared>>>> = Rc::default();
    for own in 0..2 {
        let others = Rc::clone(&ids);
        let process = bench.spawn("ping", move |bench| {
            loop {
                bench.note(format!("{own}"));
                let other = Arc::clone(&others.borrow()[1 - own]);
                bench.signal(&other, 1);
                if bench.wait(events(1)).is_err() {
                    return Ending::Cancelled;
                }
            }
        });
        ids.borrow_mut().push(process);
    }
    let run = || bench.processes.run(std::ptr::null_mut(), bench.time.now(), |_| (), |_| ());
    assert_eq!(run(), 256);
    assert!(bench.processes.has_work(), "so main does not sleep");
    assert_eq!(run(), 256);
}

#[test]
fn waiting_is_for_processes_that_nothing_of_the_hosts_holds() {
    let bench = Bench::new();
    assert_eq!(bench.wait(Request::default()), Err(WaitError::NoProcess));
    assert!(!bench.processes.should_yield());
    bench.spawn("a", |bench| {
        let hold = crate::process::Hold::new();
        assert_eq!(bench.wait(Request::default()), Err(WaitError::NotHere));
        drop(hold);
        bench.time.advance(Nanos(SLICE_AND_MORE));
        assert!(bench.processes.should_yield());
        bench.wait(Request::default()).unwrap();
        assert!(!bench.processes.should_yield());
        Ending::Done
    });
    bench.pass();
    assert_eq!(bench.pass(), [""; 0]);
    assert!(bench.told.borrow().is_empty());
}

const SLICE_AND_MORE: u64 = crate::process::SLICE.0 + 1;

#[test]
fn what_holds_main_too_long_is_told_and_counted() {
    let bench = Bench::new();
    bench.spawn("slow", |bench| {
        bench.time.advance(Nanos(10 * MS.0));
        Ending::Done
    });
    bench.spawn("quick", |bench| {
        bench.time.advance(MS);
        Ending::Done
    });
    bench.pass();
    bench.pass(); // The first pass was over after the slow one.
    let told = bench.told.take();
    assert_eq!(told.len(), 1);
    assert_eq!((told[0].name.as_str(), &told[0].what), ("slow", &What::Held(Nanos(10 * MS.0))));
    let report = bench.processes.report();
    let rows: Vec<_> =
        report.iter().map(|row| (row.counts.overruns, row.counts.hold_max)).collect();
    assert_eq!(rows, [(1, Nanos(10 * MS.0)), (0, MS)]);
}
