//! Marks of other threads against the owner's swap and its sleep: each is dispatched, none twice.

use loom::{
    sync::{Condvar, Mutex},
    thread,
};

use crate::{
    engine::{interrupts::Interrupts, sleep::SleepState},
    sync::{Arc, AtomicU64, Ordering},
};

/// A thread as those see it who mark; the bell stands for the kernel's event counter.
struct Owner {
    interrupts: Interrupts<usize>,
    /// How often each thing was asked for; written before it is marked, without more.
    asked: Vec<AtomicU64>,
    state: SleepState,
    rung: Mutex<bool>,
    bell: Condvar,
}

impl Owner {
    fn new(things: usize) -> Arc<Self> {
        Arc::new(Self {
            interrupts: Interrupts::new(),
            asked: (0..things).map(|_| AtomicU64::new(0)).collect(),
            state: SleepState::new(),
            rung: Mutex::new(false),
            bell: Condvar::new(),
        })
    }

    fn mark(&self, thing: usize) {
        self.asked[thing].fetch_add(1, Ordering::Relaxed);
        self.interrupts.mark(thing);
        if self.state.is_announced() {
            *self.rung.lock().unwrap() = true;
            self.bell.notify_one();
        }
    }

    /// Sleeps as the loops do, unless something is marked.
    fn sleep(&self) {
        self.state.announce();
        if !self.interrupts.any() {
            let mut rung = self.rung.lock().unwrap();
            while !*rung {
                rung = self.bell.wait(rung).unwrap(); // A lost wake-up is a deadlock here.
            }
            *rung = false;
        }
        self.state.awake();
    }
}

/// Each of the markers marks its thing; the owner dispatches until it saw all that was asked for.
fn all_are_dispatched(markers: &'static [usize]) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(move || {
        let things = markers.iter().max().map_or(0, |last| last + 1);
        let owner = Owner::new(things);
        let marking: Vec<_> = markers
            .iter()
            .map(|&thing| {
                let owner = Arc::clone(&owner);
                thread::spawn(move || owner.mark(thing))
            })
            .collect();
        let (mut seen, mut taken, mut dispatched) = (vec![0; things], Vec::new(), 0);
        while seen.iter().sum::<u64>() < markers.len() as u64 {
            if !owner.interrupts.any() {
                owner.sleep();
                continue;
            }
            owner.interrupts.take(&mut taken);
            for (at, thing) in taken.iter().enumerate() {
                assert!(!taken[..at].contains(thing), "once each time");
                dispatched += 1;
                // What was written before the mark is seen by its dispatch.
                let asked = owner.asked[*thing].load(Ordering::Relaxed);
                assert!(asked > 0);
                seen[*thing] = asked;
            }
            taken.clear();
        }
        assert!(dispatched <= markers.len(), "no oftener than it was marked");
        marking.into_iter().for_each(|marking| marking.join().unwrap());
    });
}

#[test]
fn a_mark_wakes_the_owner_or_is_seen_by_it_before_it_sleeps() {
    all_are_dispatched(&[0]);
}

#[test]
fn two_threads_that_mark_one_node_are_both_served() {
    all_are_dispatched(&[0, 0]);
}

#[test]
fn two_threads_that_mark_two_nodes_are_both_served() {
    all_are_dispatched(&[0, 1]);
}
