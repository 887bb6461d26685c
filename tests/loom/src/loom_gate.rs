//! The barrier and what is done at it: a splice never meets a worker that runs what is exchanged, every
//! worker sees what it was given, the old is reclaimed when nobody knows it, and no request is slept
//! through.

use loom::{
    sync::{Condvar, Mutex},
    thread,
};

use crate::{
    engine::{gate::Gate, sleep::SleepState},
    sync::{Arc, AtomicBool, Ordering, UnsafeCell},
};

/// What a worker runs; `alive` is taken from it when it is reclaimed.
struct Runtime {
    version: u32,
    alive: AtomicBool,
}

impl Runtime {
    fn new(version: u32) -> Arc<Self> {
        Arc::new(Self { version, alive: AtomicBool::new(true) })
    }
}

/// A worker's own part: it touches the pointer between pause points, main while it is parked. Loom
/// fails a model in which both might at once.
struct Worker(UnsafeCell<Arc<Runtime>>);

/// One turn: the pause point, then what the runtime says. The version that it ran.
fn turn(gate: &Gate, worker: &Worker) -> u32 {
    if gate.is_closed() {
        gate.park();
        gate.leave();
    }
    worker.0.with_mut(|runtime| {
        #[expect(unsafe_code, reason = "the rule that is modelled allows it")]
        // SAFETY: loom checks that nobody else is here.
        let runtime = unsafe { &*runtime };
        assert!(runtime.alive.load(Ordering::Relaxed), "what was reclaimed is run");
        runtime.version
    })
}

/// Stops the worker, gives it `version`, and reclaims what it had.
fn splice(gate: &Gate, worker: &Worker, version: u32) {
    gate.close();
    while gate.parked() != 1 {
        thread::yield_now();
    }
    let mut new = Runtime::new(version);
    worker.0.with_mut(|runtime| {
        #[expect(unsafe_code, reason = "the rule that is modelled allows it")]
        // SAFETY: loom checks that nobody else is here.
        let runtime = unsafe { &mut *runtime };
        std::mem::swap(runtime, &mut new);
    });
    gate.open();
    new.alive.store(false, Ordering::Relaxed); // Reclaimed: nobody may run it from here on.
}

/// One worker: of another they share the count alone, and three threads that wait for each other by
/// turning are more than loom comes to an end with.
fn splices(times: u32, preemptions: Option<usize>) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = preemptions;
    builder.max_branches = 10_000; // They wait by turning.
    builder.check(move || {
        let gate = Arc::new(Gate::default());
        let worker = Arc::new(Worker(UnsafeCell::new(Runtime::new(0))));
        let running = thread::spawn({
            let (gate, worker) = (Arc::clone(&gate), Arc::clone(&worker));
            move || {
                let mut last = 0;
                while last < times {
                    let version = turn(&gate, &worker);
                    assert!(version >= last, "an old runtime comes back");
                    if version == last {
                        thread::yield_now(); // Or main never comes to anything.
                    }
                    last = version;
                }
            }
        });
        for version in 1..=times {
            splice(&gate, &worker, version);
        }
        running.join().unwrap(); // One that missed a splice never ends.
    });
}

#[test]
fn a_worker_runs_what_it_was_given_and_never_while_it_is_exchanged() {
    splices(1, None);
}

#[test]
fn no_worker_mistakes_one_stop_for_the_next() {
    splices(2, Some(3));
}

/// A worker that would sleep for ever is rung, or sees the request before.
#[test]
fn no_request_is_slept_through() {
    loom::model(|| {
        let gate = Arc::new(Gate::default());
        let sleep = Arc::new(SleepState::new());
        let bell = Arc::new((Mutex::new(false), Condvar::new()));
        let worker = thread::spawn({
            let (gate, sleep, bell) = (Arc::clone(&gate), Arc::clone(&sleep), Arc::clone(&bell));
            move || {
                sleep.announce();
                if !gate.is_closed_before_sleep() {
                    let mut rung = bell.0.lock().unwrap();
                    while !*rung {
                        rung = bell.1.wait(rung).unwrap(); // Lost, this is a deadlock here.
                    }
                }
                sleep.awake();
                while !gate.is_closed() {
                    thread::yield_now();
                }
                gate.park();
                gate.leave();
            }
        });
        gate.close();
        if sleep.is_announced() {
            *bell.0.lock().unwrap() = true;
            bell.1.notify_one();
        }
        while gate.parked() != 1 {
            thread::yield_now();
        }
        gate.open();
        worker.join().unwrap();
    });
}
