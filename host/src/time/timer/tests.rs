use core::sync::atomic::AtomicBool;
use std::sync::mpsc;

use super::*;
use crate::time::units::Ticks;

const MAIN: ThreadIndex = ThreadIndex(0);
const WORKER: ThreadIndex = ThreadIndex(1);

/// A function that is only a name.
#[derive(Debug)]
struct Named(&'static str);

impl TimerFunction for Named {
    fn owner(&self) -> String {
        self.0.split('/').next().unwrap_or_default().to_owned()
    }

    fn name(&self) -> String {
        self.0.to_owned()
    }
}

fn timer(name: &'static str) -> Arc<Timer<Named>> {
    Arc::new(Timer::new(Named(name)))
}

fn timers(now: u64) -> Timers<Named> {
    let timers = Timers::new(3, Ticks(now));
    timers.join(WORKER);
    timers
}

fn expired(timers: &Timers<Named>, thread: ThreadIndex, now: u64) -> Vec<&'static str> {
    let mut names = Vec::new();
    timers.expire(thread, Ticks(now), |timer| names.push(timer.function().0));
    names
}

#[test]
fn a_timer_expires_once_at_its_tick() {
    let timers = timers(0);
    let one = timer("one");
    timers.add(MAIN, &one, Ticks(10)).unwrap();
    assert!(one.is_pending());
    assert_eq!(expired(&timers, MAIN, 9), [""; 0]);
    assert_eq!(expired(&timers, MAIN, 10), ["one"]);
    assert!(!one.is_pending());
    assert_eq!(expired(&timers, MAIN, 1_000_000), [""; 0]);
}

#[test]
fn an_expiry_in_the_past_comes_on_the_next_tick() {
    let timers = timers(100);
    assert_eq!(expired(&timers, MAIN, 150), [""; 0]);
    timers.add(MAIN, &timer("now"), Ticks(150)).unwrap();
    timers.add(MAIN, &timer("past"), Ticks(3)).unwrap();
    assert_eq!(expired(&timers, MAIN, 151).len(), 2);
}

#[test]
fn ticks_that_wrap_expire_in_order() {
    let start = u64::MAX - 5;
    let timers = timers(start);
    for (name, after) in [("third", 500), ("first", 3), ("second", 9)] {
        timers.add(MAIN, &timer(name), Ticks(start).after(after)).unwrap();
    }
    assert_eq!(timers.next_expiry(MAIN), Some(Ticks(u64::MAX - 2)));
    assert_eq!(expired(&timers, MAIN, u64::MAX), ["first"]);
    assert_eq!(timers.next_expiry(MAIN), Some(Ticks(3)));
    assert_eq!(expired(&timers, MAIN, 2), [""; 0]);
    assert_eq!(expired(&timers, MAIN, 1_000), ["second", "third"]);
    assert!(Ticks(3).is_after(Ticks(u64::MAX)) && Ticks(u64::MAX).is_before(Ticks(3)));
}

#[test]
fn a_pending_timer_is_not_added_again_but_modified() {
    let timers = timers(0);
    let one = timer("one");
    timers.add(MAIN, &one, Ticks(10)).unwrap();
    assert_eq!(timers.add(MAIN, &one, Ticks(20)), Err(AlreadyPending));
    assert!(timers.modify(MAIN, &one, Ticks(30)).was_pending);
    assert_eq!(expired(&timers, MAIN, 29), [""; 0]);
    assert_eq!(expired(&timers, MAIN, 30), ["one"]);
    assert!(!timers.modify(MAIN, &one, Ticks(40)).was_pending);
    assert_eq!(expired(&timers, MAIN, 40), ["one"]);
    assert_eq!(timers.modify_pending(MAIN, &one, Ticks(50)), None);
    assert!(!one.is_pending());
}

#[test]
fn deleting_tells_whether_the_timer_was_pending() {
    let timers = timers(0);
    let one = timer("one");
    assert!(!timers.delete(&one));
    timers.add(MAIN, &one, Ticks(10)).unwrap();
    assert!(timers.delete(&one));
    assert!(!timers.delete(&one));
    assert_eq!(timers.delete_and_wait(Some(MAIN), &one), Ok(false));
    assert_eq!(expired(&timers, MAIN, 10), [""; 0]);
}

#[test]
fn a_static_timer_needs_no_set_up() {
    static TICK: Timer<Named> = Timer::new(Named("static")).deferrable().pinned();
    let timers = timers(0);
    timers.modify(WORKER, &TICK, Ticks(5));
    assert_eq!(expired(&timers, WORKER, 5), ["static"]);
}

#[test]
fn a_function_may_start_and_delete_its_own_timer_and_others_of_the_tick() {
    let timers = timers(0);
    let (periodic, victim) = (timer("periodic"), timer("victim"));
    timers.add(MAIN, &periodic, Ticks(10)).unwrap();
    let mut ran = Vec::new();
    for now in 0..=50 {
        if now == 29 {
            timers.add(MAIN, &victim, Ticks(31)).unwrap();
        }
        timers.expire(MAIN, Ticks(now), |timer| {
            ran.push((timer.function().0, now));
            assert!(!timer.is_pending());
            timers.modify(MAIN, timer, Ticks(now + 10));
            timers.delete(&victim);
        });
    }
    assert_eq!(ran, [10, 20, 30, 40, 50].map(|tick| ("periodic", tick)));
    // Two of the same tick: the first deletes the other, which then does not run.
    timers.delete(&periodic);
    for one in [&periodic, &victim] {
        timers.add(MAIN, one, Ticks(60)).unwrap();
    }
    let mut count = 0;
    timers.expire(MAIN, Ticks(60), |timer| {
        count += 1;
        let other = if core::ptr::eq(&**timer, &*victim) { &periodic } else { &victim };
        assert!(timers.delete(other));
    });
    assert_eq!(count, 1);
}

#[test]
fn waiting_for_ones_own_function_is_refused() {
    let timers = timers(0);
    timers.add(MAIN, &timer("own"), Ticks(1)).unwrap();
    let mut result = Ok(true);
    timers.expire(MAIN, Ticks(1), |timer| result = timers.delete_and_wait(Some(MAIN), timer));
    assert_eq!(result, Err(DeadlockError::Own));
}

/// Runs a worker thread whose timer function waits for what `inside` waits for.
fn with_running<R>(
    timers: &Timers<Named>,
    one: &Arc<Timer<Named>>,
    inside: impl FnOnce() + Send,
    test: impl FnOnce() -> R,
) -> R {
    timers.add_on(WORKER, one, Ticks(1)).unwrap();
    let (started, starts) = mpsc::channel();
    let mut inside = Some(inside);
    std::thread::scope(|scope| {
        scope.spawn(move || {
            timers.expire(WORKER, Ticks(1), |_| {
                started.send(()).unwrap();
                inside.take().unwrap()();
            })
        });
        starts.recv().unwrap();
        test()
    })
}

#[test]
fn delete_and_wait_returns_when_the_function_has_ended_and_undoes_its_re_arming() {
    let timers = timers(0);
    let one = timer("one");
    let ended = AtomicBool::new(false);
    let (go, gone) = mpsc::channel::<()>();
    let inside = {
        let (timers, one, ended) = (&timers, &one, &ended);
        move || {
            timers.modify(WORKER, one, Ticks(500));
            gone.recv().unwrap();
            ended.store(true, Ordering::SeqCst);
        }
    };
    with_running(&timers, &one, inside, || {
        assert_eq!(timers.report()[1].running.as_deref(), Some("one"));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while timers.threads[1].state.lock().waiters == 0 {
                    std::thread::yield_now();
                }
                go.send(()).unwrap();
            });
            assert_eq!(timers.delete_and_wait(Some(MAIN), &one), Ok(true));
        });
        assert!(ended.load(Ordering::SeqCst));
    });
    assert!(!one.is_pending());
}

#[test]
fn a_running_timer_stays_with_the_thread_that_runs_it_when_another_moves_it() {
    let timers = timers(0);
    let one = timer("one");
    let (go, gone) = mpsc::channel::<()>();
    with_running(
        &timers,
        &one,
        move || gone.recv().unwrap(),
        || {
            assert_eq!(timers.modify(MAIN, &one, Ticks(9)).thread, WORKER);
            go.send(()).unwrap();
        },
    );
    assert_eq!(timers.modify(MAIN, &one, Ticks(9)).thread, MAIN);
}

#[test]
fn two_functions_that_wait_for_each_other_are_told() {
    let timers = timers(0);
    let (one, other) = (timer("one"), timer("other"));
    timers.add(MAIN, &other, Ticks(1)).unwrap();
    let (report, reports) = mpsc::channel();
    let first = report.clone();
    let (go, gone) = mpsc::channel::<()>();
    let inside = {
        let (timers, other) = (&timers, &other);
        move || {
            gone.recv().unwrap();
            first.send(timers.delete_and_wait(Some(WORKER), other)).unwrap();
        }
    };
    with_running(&timers, &one, inside, || {
        timers.expire(MAIN, Ticks(1), |_| {
            go.send(()).unwrap();
            report.send(timers.delete_and_wait(Some(MAIN), &one)).unwrap();
        });
    });
    let results = [reports.recv().unwrap(), reports.recv().unwrap()];
    assert!(results.contains(&Err(DeadlockError::Mutual)), "{results:?}");
}

#[test]
fn a_deferrable_timer_is_counted_apart_and_wakes_nobody() {
    let timers = timers(0);
    timers.add(MAIN, &Arc::new(Timer::new(Named("lazy")).deferrable()), Ticks(10)).unwrap();
    assert_eq!(timers.next_expiry(MAIN), None);
    timers.add(MAIN, &timer("eager"), Ticks(90)).unwrap();
    assert_eq!(timers.next_expiry(MAIN), Some(Ticks(90)));
    let row = &timers.report()[0];
    assert_eq!((row.active, row.all, row.idle), (1, 2, false));
    assert_eq!(expired(&timers, MAIN, 10), ["lazy"]);
}

#[test]
fn a_timer_started_on_an_idle_thread_goes_to_a_busy_one_unless_pinned() {
    let timers = timers(0);
    timers.set_idle(WORKER, true);
    let pinned = Arc::new(Timer::new(Named("pinned")).pinned());
    assert_eq!(timers.add(WORKER, &timer("free"), Ticks(5)).unwrap().thread, MAIN);
    assert_eq!(timers.add(WORKER, &pinned, Ticks(5)).unwrap().thread, WORKER);
    assert_eq!(timers.add_on(WORKER, &timer("on"), Ticks(5)).unwrap().thread, WORKER);
    timers.set_idle(MAIN, true);
    assert_eq!(timers.add(WORKER, &timer("all idle"), Ticks(5)).unwrap().thread, WORKER);
    timers.set_idle(MAIN, false);
    timers.set_migration(false);
    assert_eq!(timers.add(WORKER, &timer("off"), Ticks(5)).unwrap().thread, WORKER);
}

#[test]
fn an_idle_thread_is_to_be_woken_for_an_earlier_timer_only() {
    let timers = timers(0);
    timers.set_idle(WORKER, true);
    assert!(timers.add_on(WORKER, &timer("first"), Ticks(50)).is_ok_and(|it| !it.wake));
    let wakes = |name, tick| {
        let one = Arc::new(Timer::new(Named(name)).pinned());
        let started = timers.add(MAIN, &one, Ticks(1_000_000)).unwrap();
        assert!(!started.wake);
        timers.threads[0].idle.store(true, Ordering::Relaxed);
        let started = timers.modify(WORKER, &one, Ticks(tick));
        timers.threads[0].idle.store(false, Ordering::Relaxed);
        assert_eq!(started.thread, WORKER);
        timers.next_expiry(WORKER)
    };
    assert_eq!(wakes("later", 60), Some(Ticks(50)));
    assert_eq!(wakes("earlier", 40), Some(Ticks(40)));
    // Started from main for the idle worker.
    let (home, mut state) = timers.lock_home(&timer("x"));
    assert_eq!(home, 0);
    drop(state);
    state = timers.threads[1].state.lock();
    assert!(timers.place(1, &mut state, &TimerRef::from(&timer("earliest")), 30));
    assert!(!timers.place(1, &mut state, &TimerRef::from(&timer("not so early")), 35));
}

#[test]
fn a_leaving_thread_hands_all_its_timers_on_pinned_and_deferrable_too() {
    let timers = timers(0);
    let pinned = Arc::new(Timer::new(Named("pinned")).pinned());
    let lazy = Arc::new(Timer::new(Named("lazy")).deferrable());
    for one in [&pinned, &lazy, &timer("far")] {
        timers
            .add(WORKER, one, Ticks(if one.function().0 == "far" { 1 << 40 } else { 20 }))
            .unwrap();
    }
    assert_eq!(timers.leave(WORKER, WORKER), Err(LeaveError::NoHeir { heir: WORKER }));
    assert_eq!(
        timers.leave(WORKER, ThreadIndex(2)),
        Err(LeaveError::NoHeir { heir: ThreadIndex(2) })
    );
    assert_eq!(timers.leave(WORKER, MAIN), Ok(3));
    assert_eq!(timers.report().len(), 1);
    assert!(timers.delete(&lazy) && !lazy.is_pending());
    assert_eq!(expired(&timers, WORKER, 20), [""; 0]);
    assert_eq!(expired(&timers, MAIN, 20), ["pinned"]);
    assert_eq!(expired(&timers, MAIN, 1 << 40), ["far"]);
}

#[test]
fn a_thread_that_runs_a_function_does_not_leave() {
    let timers = timers(0);
    let (go, gone) = mpsc::channel::<()>();
    with_running(
        &timers,
        &timer("one"),
        move || gone.recv().unwrap(),
        || {
            assert_eq!(timers.leave(WORKER, MAIN), Err(LeaveError::Running { thread: WORKER }));
            go.send(()).unwrap();
        },
    );
    assert_eq!(timers.leave(WORKER, MAIN), Ok(0));
}

#[test]
fn a_plugin_that_goes_away_takes_its_timers_along_and_no_others() {
    let timers = timers(0);
    for (thread, name) in [(MAIN, "arp/age"), (WORKER, "arp/probe"), (MAIN, "flows/idle")] {
        timers.add(thread, &timer(name), Ticks(5)).unwrap();
    }
    assert_eq!(timers.delete_all(Some(MAIN), |function| function.0.starts_with("arp/")), Ok(2));
    assert_eq!(expired(&timers, MAIN, 5), ["flows/idle"]);
    assert_eq!(expired(&timers, WORKER, 5), [""; 0]);
}

#[test]
fn a_function_that_panics_is_not_taken_for_running_for_ever() {
    let timers = timers(0);
    let one = timer("one");
    timers.add(MAIN, &one, Ticks(1)).unwrap();
    let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        timers.expire(MAIN, Ticks(1), |_| panic!("a timer's function panics"))
    }));
    assert!(caught.is_err());
    assert_eq!(timers.delete_and_wait(None, &one), Ok(false));
}

#[test]
fn the_statistics_name_who_started_what_and_how_often_it_ran() {
    let timers = timers(0);
    let early = timer("arp/early");
    timers.add(MAIN, &early, Ticks(2)).unwrap();
    timers.start_statistics(Ticks(1), Some(100));
    let line = line!() + 2;
    for one in ["arp/age", "arp/age"] {
        timers.add(MAIN, &timer(one), Ticks(3)).unwrap();
    }
    timers.add_on(WORKER, &timer("flows/idle"), Ticks(500)).unwrap();
    expired(&timers, MAIN, 50);
    let report = timers.statistics(Ticks(51));
    assert!(report.active && report.period == 50);
    // What was started before the sample is not in it.
    assert_eq!(report.rows.len(), 2);
    let row = &report.rows[0];
    assert_eq!((row.expired, row.started, &*row.owner, &*row.function), (2, 2, "arp", "arp/age"));
    assert_eq!((row.site.clone(), row.thread), (format!("{}:{line}", file!()), MAIN));
    assert_eq!((report.rows[1].expired, report.rows[1].started), (0, 1));
    // The period ends the sample.
    expired(&timers, WORKER, 600);
    let report = timers.statistics(Ticks(700));
    assert_eq!((report.active, report.period, report.rows[1].expired), (false, 100, 0));
    timers.start_statistics(Ticks(700), None);
    timers.stop_statistics(Ticks(720));
    assert_eq!(timers.statistics(Ticks(800)).period, 20);
    assert!(timers.statistics(Ticks(800)).rows.is_empty());
}

#[test]
fn threads_that_start_and_delete_the_same_timers_at_once_lose_none() {
    let timers = timers(0);
    let shared: Vec<_> = (0..16).map(|_| timer("shared")).collect();
    let deleted = AtomicU64::new(0);
    let (started, ran) = (AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for thread in [MAIN, WORKER] {
            let (timers, shared) = (&timers, &shared);
            let (deleted, started, ran) = (&deleted, &started, &ran);
            scope.spawn(move || {
                for now in 0..20_000_u64 {
                    let number = usize::try_from((now * 7 + u64::from(thread.0)) % 16).unwrap();
                    let one = &shared[number];
                    if now % 3 == 0 {
                        let pending = timers.delete_and_wait(Some(thread), one).unwrap();
                        deleted.fetch_add(u64::from(pending), Ordering::Relaxed);
                    } else {
                        let was = timers.modify(thread, one, Ticks(now + now % 5)).was_pending;
                        started.fetch_add(u64::from(!was), Ordering::Relaxed);
                    }
                    let count = timers.expire(thread, Ticks(now), |_| {});
                    ran.fetch_add(count as u64, Ordering::Relaxed);
                }
            });
        }
    });
    for thread in [MAIN, WORKER] {
        ran.fetch_add(timers.expire(thread, Ticks(1 << 30), |_| {}) as u64, Ordering::Relaxed);
    }
    assert_eq!(started.into_inner(), deleted.into_inner() + ran.into_inner());
    assert!(shared.iter().all(|one| !one.is_pending()));
}
