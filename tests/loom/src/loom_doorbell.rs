//! A thread that sleeps and those that wake it: no wake-up is lost.

use loom::{
    sync::{Condvar, Mutex},
    thread,
};

use crate::{
    engine::{ring::ring, sleep::SleepState},
    sync::Arc,
};

/// A thread as others see it; the bell stands for the kernel's event counter.
struct Sleeper {
    state: SleepState,
    rung: Mutex<bool>,
    bell: Condvar,
}

impl Sleeper {
    fn new() -> Arc<Self> {
        let (state, rung, bell) = (SleepState::new(), Mutex::new(false), Condvar::new());
        Arc::new(Self { state, rung, bell })
    }

    fn ring(&self) {
        if self.state.is_announced() {
            *self.rung.lock().unwrap() = true;
            self.bell.notify_one();
        }
    }

    /// Sleeps as the loops do, unless there is something in the queue.
    fn sleep(&self, is_empty: impl Fn() -> bool) {
        self.state.announce();
        if is_empty() {
            let mut rung = self.rung.lock().unwrap();
            while !*rung {
                rung = self.bell.wait(rung).unwrap(); // A lost wake-up is a deadlock here.
            }
            *rung = false;
        }
        self.state.awake();
    }
}

/// Which end of the queue the sleeper looks at.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Looks {
    /// Main, for calls: at one that others see too.
    AtShared,
    /// A thread, for packets: at its own.
    AtOwn,
}

fn serve_all_of(producers: usize, looks: Looks, preemptions: Option<usize>) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = preemptions;
    builder.check(move || {
        let (producer, mut consumer) = ring(2);
        let sleeper = Sleeper::new();
        let pushing: Vec<_> = (0..producers)
            .map(|_| {
                let (producer, sleeper) = (producer.clone(), Arc::clone(&sleeper));
                thread::spawn(move || {
                    producer.push(7).expect("there is room for all");
                    sleeper.ring();
                })
            })
            .collect();
        let mut served = 0;
        while served < producers {
            match consumer.pop() {
                Some(_) => served += 1,
                None if looks == Looks::AtOwn && consumer.is_empty() => {
                    sleeper.sleep(|| consumer.is_empty());
                }
                None if looks == Looks::AtShared && producer.is_empty() => {
                    sleeper.sleep(|| producer.is_empty());
                }
                None => thread::yield_now(), // Its producer is about to say that it is there.
            }
        }
        for pushing in pushing {
            pushing.join().unwrap();
        }
    });
}

#[test]
fn a_call_wakes_main_or_is_seen_by_it_before_it_sleeps() {
    serve_all_of(1, Looks::AtShared, None);
}

#[test]
fn two_threads_that_call_at_once_are_both_served() {
    serve_all_of(2, Looks::AtShared, Some(3));
}

#[test]
fn packets_wake_the_thread_they_are_handed_to_or_are_seen_by_it_before_it_sleeps() {
    serve_all_of(1, Looks::AtOwn, None);
    serve_all_of(2, Looks::AtOwn, Some(3));
}
