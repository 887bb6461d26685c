//! Softirqs and tasklets: what is raised is run, what is scheduled runs once, alone, and not after it
//! was killed.
#![expect(unsafe_code, reason = "what only a tasklet protects is written as the host would")]

use loom::{
    cell::UnsafeCell,
    sync::{Condvar, Mutex},
    thread,
};

use crate::{
    deferred::{
        pending::Pending,
        tasklet::{
            list::{Linked, List},
            state::{Begun, Scheduled, State},
        },
    },
    engine::sleep::SleepState,
    sync::{Arc, AtomicPtr, AtomicU64, Ordering},
};

fn check(model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(model);
}

/// A thread as those see it who raise; the bell stands for the kernel's event counter.
struct Owner {
    pending: Pending,
    /// What there is to do for each softirq; written before it is raised, without more.
    work: [AtomicU64; 2],
    state: SleepState,
    rung: Mutex<bool>,
    bell: Condvar,
}

impl Owner {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            pending: Pending::new(),
            work: [AtomicU64::new(0), AtomicU64::new(0)],
            state: SleepState::new(),
            rung: Mutex::new(false),
            bell: Condvar::new(),
        })
    }

    /// As `ThreadShared::raise`.
    fn raise(&self, number: usize) {
        self.work[number].fetch_add(1, Ordering::Relaxed);
        if self.pending.raise(1 << number) && self.state.is_announced() {
            *self.rung.lock().unwrap() = true;
            self.bell.notify_one();
        }
    }

    /// Sleeps as the loops do, unless something is pending.
    fn sleep(&self) {
        self.state.announce();
        if !self.pending.any() {
            let mut rung = self.rung.lock().unwrap();
            while !*rung {
                rung = self.bell.wait(rung).unwrap(); // A lost wake-up is a deadlock here.
            }
            *rung = false;
        }
        self.state.awake();
    }
}

/// Others raise; the owner runs until it has done all the work.
fn all_is_done(raised: &'static [usize]) {
    check(move || {
        let owner = Owner::new();
        let raising: Vec<_> = raised
            .iter()
            .map(|&number| {
                let owner = Arc::clone(&owner);
                thread::spawn(move || owner.raise(number))
            })
            .collect();
        let mut done = [0, 0];
        while done.iter().sum::<u64>() < raised.len() as u64 {
            if !owner.pending.any() {
                owner.sleep();
                continue;
            }
            let mut taken = owner.pending.take();
            assert_ne!(taken, 0, "what is pending can be taken by the owner alone");
            while taken != 0 {
                let number = taken.trailing_zeros() as usize;
                taken &= taken - 1;
                let work = owner.work[number].load(Ordering::Relaxed);
                assert!(work > done[number], "what was left before the raise is seen by the run");
                done[number] = work;
            }
        }
        raising.into_iter().for_each(|raising| raising.join().unwrap());
    });
}

#[test]
fn a_softirq_that_is_raised_wakes_the_owner_or_is_seen_before_it_sleeps() {
    all_is_done(&[0]);
}

#[test]
fn one_softirq_raised_by_two_threads_runs_for_both() {
    all_is_done(&[0, 0]);
}

#[test]
fn two_softirqs_raised_by_two_threads_both_run() {
    all_is_done(&[0, 1]);
}

/// A tasklet whose function adds to a number that nothing protects but the tasklet itself.
struct Tasklet {
    state: State,
    link: AtomicPtr<Self>,
    runs: UnsafeCell<u64>,
}

// SAFETY: `runs` is for whoever began a run, which is what is modelled: loom sees two at once.
unsafe impl Send for Tasklet {}
// SAFETY: as above.
unsafe impl Sync for Tasklet {}

impl Linked for Tasklet {
    fn link(&self) -> &AtomicPtr<Self> {
        &self.link
    }
}

impl Tasklet {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            state: State::new(),
            link: AtomicPtr::new(std::ptr::null_mut()),
            runs: UnsafeCell::new(0),
        })
    }

    /// Schedules it into a list; whether it will run once more for that.
    fn schedule(tasklet: &Arc<Self>, list: &List<Self>) -> bool {
        match tasklet.state.schedule() {
            Scheduled::List => {
                list.push(Arc::clone(tasklet));
                true
            }
            Scheduled::Held => true,
            Scheduled::Already | Scheduled::Killed => false,
        }
    }

    /// Runs what is in a list; how many ran.
    fn run(list: &List<Self>) -> u64 {
        let mut ran = 0;
        for tasklet in list.take() {
            match tasklet.state.begin() {
                Begun::Run => {
                    // SAFETY: begun just now, so it is this thread's; loom checks that it is.
                    tasklet.runs.with_mut(|runs| unsafe { *runs += 1 });
                    tasklet.state.end();
                    ran += 1;
                }
                Begun::Busy => list.push(tasklet),
                Begun::Nothing => {}
            }
        }
        ran
    }

    /// How often it ran. Nobody runs it any more.
    fn runs(&self) -> u64 {
        assert!(!self.state.is_running());
        // SAFETY: it does not run; loom checks that what ran happened before.
        self.runs.with(|runs| unsafe { *runs })
    }
}

#[test]
fn a_tasklet_scheduled_on_two_threads_never_runs_on_both_at_once_and_once_for_each_scheduling() {
    check(|| {
        let tasklet = Tasklet::new();
        let work = |tasklet: &Arc<Tasklet>| {
            let list = List::new();
            let scheduled = u64::from(Tasklet::schedule(tasklet, &list));
            let ran = Tasklet::run(&list); // Where it is busy it stays in the list.
            (list, scheduled, ran)
        };
        let other = {
            let tasklet = Arc::clone(&tasklet);
            thread::spawn(move || work(&tasklet))
        };
        let (list, scheduled, mut ran) = work(&tasklet);
        let (other_list, other_scheduled, other_ran) = other.join().unwrap();
        ran += Tasklet::run(&list) + other_ran + Tasklet::run(&other_list);
        assert_eq!(ran, scheduled + other_scheduled);
        assert_eq!(tasklet.runs(), ran);
        assert!(!tasklet.state.is_scheduled());
    });
}

#[test]
fn two_threads_that_add_to_a_list_lose_nothing_and_the_owner_takes_in_order() {
    check(|| {
        let (list, first, second) = (Arc::new(List::new()), Tasklet::new(), Tasklet::new());
        let adding = {
            let (list, first, second) =
                (Arc::clone(&list), Arc::clone(&first), Arc::clone(&second));
            thread::spawn(move || {
                list.push(first);
                list.push(second);
            })
        };
        let third = Tasklet::new();
        list.push_own(Arc::clone(&third)); // This is the owner.
        let mut taken: Vec<_> = list.take().collect();
        adding.join().unwrap();
        taken.extend(list.take());
        assert_eq!(taken.len(), 3);
        let place = |of: &Arc<Tasklet>| taken.iter().position(|one| Arc::ptr_eq(one, of));
        assert!(place(&first) < place(&second) && place(&third).is_some());
    });
}

#[test]
fn a_tasklet_that_was_disabled_and_found_idle_does_not_run_until_it_is_enabled() {
    check(|| {
        let (tasklet, list) = (Tasklet::new(), Arc::new(List::new()));
        assert!(Tasklet::schedule(&tasklet, &list));
        let running = {
            let list = Arc::clone(&list);
            thread::spawn(move || Tasklet::run(&list))
        };
        tasklet.state.disable();
        if !tasklet.state.is_running() {
            // SAFETY: it is disabled and does not run: nobody else writes. Loom checks.
            tasklet.runs.with_mut(|runs| unsafe { *runs += 10 });
        }
        if tasklet.state.enable() == Some(true) {
            list.push(Arc::clone(&tasklet));
        }
        running.join().unwrap();
        Tasklet::run(&list);
        assert_eq!(tasklet.runs() % 10, 1, "once, before or after");
    });
}

#[test]
fn a_tasklet_that_was_killed_and_found_idle_never_runs_again() {
    check(|| {
        let (tasklet, list) = (Tasklet::new(), Arc::new(List::new()));
        assert!(Tasklet::schedule(&tasklet, &list));
        let running = {
            let list = Arc::clone(&list);
            thread::spawn(move || Tasklet::run(&list))
        };
        tasklet.state.kill();
        if !tasklet.state.is_running() {
            // SAFETY: it was killed and does not run: nobody else writes, ever. Loom checks.
            tasklet.runs.with_mut(|runs| unsafe { *runs += 10 });
        }
        assert_eq!(tasklet.state.schedule(), Scheduled::Killed);
        running.join().unwrap();
        Tasklet::run(&list);
        assert!(tasklet.runs() % 10 <= 1);
    });
}
