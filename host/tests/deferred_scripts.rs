//! Random scripts of raising, scheduling, disabling and killing, by threads that run against the workers:
//! what must hold of softirqs and tasklets whoever wins.
#![expect(unsafe_code, reason = "what is put off has the calling convention of plugins'")]
#![expect(clippy::unwrap_used, reason = "a test may panic where it cannot go on")]

use std::{
    ffi::c_void,
    hint::spin_loop,
    sync::{
        Arc,
        atomic::{
            AtomicBool, AtomicU64,
            Ordering::{Relaxed, SeqCst},
        },
    },
    thread,
};

use gristmill::{
    boot::boot,
    config::Config,
    deferred::{
        softirq::On,
        tasklet::{Tasklet, TaskletSpec, state::Scheduled},
    },
    graph::Owner,
    host::Host,
    time::Nanos,
};
use gristmill_abi::{Status, frame::ThreadCtx};
use proptest::{prelude::*, test_runner::TestRunner};

const WORKERS: u32 = 2;
const TASKLETS: usize = 3;
const SOFTIRQS: usize = 2;
const OWNER: Owner = Owner(77);

/// What one thread does.
#[derive(Clone, Debug)]
enum Step {
    Raise {
        softirq: usize,
        worker: u32,
    },
    Schedule {
        tasklet: usize,
        worker: u32,
    },
    /// Disables it, looks for a while whether it runs, and enables it.
    Pause {
        tasklet: usize,
        look: u16,
    },
    Kill {
        tasklet: usize,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let worker = || 1..=WORKERS;
    prop_oneof![
        6 => (0..SOFTIRQS, worker()).prop_map(|(softirq, worker)| Step::Raise { softirq, worker }),
        12 => (0..TASKLETS, worker()).prop_map(|(tasklet, worker)| Step::Schedule { tasklet, worker }),
        3 => (0..TASKLETS, 0..2000_u16).prop_map(|(tasklet, look)| Step::Pause { tasklet, look }),
        1 => (0..TASKLETS).prop_map(|tasklet| Step::Kill { tasklet }),
    ]
}

/// What a tasklet's function sees.
#[derive(Default)]
struct Seen {
    inside: AtomicBool,
    overlaps: AtomicU64,
    runs: AtomicU64,
    /// Schedulings that were to make it run.
    scheduled: AtomicU64,
}

/// What there is to do for a softirq on each worker, and what its runs have seen of it.
#[derive(Default)]
struct Work {
    left: [AtomicU64; WORKERS as usize + 1],
    seen: [AtomicU64; WORKERS as usize + 1],
}

unsafe extern "C" fn tasklet(data: *mut c_void, _: *mut ThreadCtx) -> Status {
    // SAFETY: the tasklet was made with it, and is killed before it ends.
    let seen = unsafe { &*data.cast::<Seen>() };
    seen.overlaps.fetch_add(seen.inside.swap(true, SeqCst).into(), Relaxed);
    seen.runs.fetch_add(1, Relaxed);
    (0..50).for_each(|_| spin_loop());
    seen.inside.store(false, SeqCst);
    Status::OK
}

unsafe extern "C" fn softirq(data: *mut c_void, ctx: *mut ThreadCtx) -> Status {
    // SAFETY: the softirq was opened with it, and is closed before it ends.
    let work = unsafe { &*data.cast::<Work>() };
    // SAFETY: the host passes the thread's context.
    let thread = unsafe { (*ctx).thread_index } as usize;
    work.seen[thread].store(work.left[thread].load(Relaxed), Relaxed);
    Status::OK
}

struct Bench {
    host: &'static Host,
    tasklets: Vec<(Arc<Tasklet>, Box<Seen>)>,
    softirqs: Vec<(u32, Box<Work>)>,
}

/// Waits for what must come.
fn until(what: &str, done: impl Fn() -> bool) {
    for _ in 0..100_000 {
        if done() {
            return;
        }
        #[expect(clippy::disallowed_methods, reason = "the test waits for the workers")]
        thread::sleep(std::time::Duration::from_micros(100));
    }
    panic!("{what}: that did not come");
}

impl Bench {
    fn new(host: &'static Host) -> Self {
        let make_tasklet = |at| {
            let seen = Box::<Seen>::default();
            let spec = TaskletSpec {
                name: format!("script-{at}"),
                owner: OWNER,
                plugin: "test".into(),
                high: at == 0,
                function: tasklet,
                data: std::ptr::from_ref(&*seen).cast_mut().cast(),
            };
            (host.tasklets.create(spec), seen)
        };
        let open_softirq = |at| {
            let work = Box::<Work>::default();
            let data = std::ptr::from_ref(&*work).cast_mut().cast();
            let name = format!("script-{at}");
            let number = host.softirqs.open((OWNER, "test"), &name, None, (softirq, data));
            (number.unwrap(), work)
        };
        Self {
            host,
            tasklets: (0..TASKLETS).map(make_tasklet).collect(),
            softirqs: (0..SOFTIRQS).map(open_softirq).collect(),
        }
    }

    fn play(&self, steps: &[Step]) {
        for step in steps {
            match *step {
                Step::Raise { softirq, worker } => {
                    let (number, work) = &self.softirqs[softirq];
                    work.left[worker as usize].fetch_add(1, Relaxed);
                    assert!(self.host.raise(*number, On::Thread(worker)));
                }
                Step::Schedule { tasklet, worker } => {
                    let (tasklet, seen) = &self.tasklets[tasklet];
                    match self.host.schedule(tasklet, On::Thread(worker)).unwrap() {
                        Scheduled::List | Scheduled::Held => {
                            seen.scheduled.fetch_add(1, Relaxed);
                        }
                        Scheduled::Already | Scheduled::Killed => {}
                    }
                }
                Step::Pause { tasklet, look } => {
                    let (tasklet, seen) = &self.tasklets[tasklet];
                    tasklet.disable();
                    self.host.await_end(tasklet).unwrap();
                    let runs = seen.runs.load(Relaxed);
                    (0..look).for_each(|_| spin_loop());
                    assert_eq!(seen.runs.load(Relaxed), runs, "it ran while it was disabled");
                    assert!(self.host.enable(tasklet));
                }
                Step::Kill { tasklet } => {
                    let (tasklet, seen) = &self.tasklets[tasklet];
                    self.host.kill(tasklet).unwrap();
                    let runs = seen.runs.load(Relaxed);
                    (0..500).for_each(|_| spin_loop());
                    assert_eq!(seen.runs.load(Relaxed), runs, "it ran after it was killed");
                    assert!(!seen.inside.load(SeqCst));
                }
            }
        }
    }

    /// What must hold once all have played.
    fn check(self, scripts: &[Vec<Step>]) {
        for (at, (tasklet, seen)) in self.tasklets.iter().enumerate() {
            let is_killed = |step: &Step| matches!(step, Step::Kill { tasklet } if *tasklet == at);
            let count = || (seen.runs.load(Relaxed), seen.scheduled.load(Relaxed));
            if scripts.iter().flatten().any(is_killed) {
                assert!(count().0 <= count().1);
            } else {
                until("a run for each scheduling", || {
                    !tasklet.is_scheduled() && count().0 == count().1
                });
            }
            assert_eq!(seen.overlaps.load(Relaxed), 0);
        }
        for (_, work) in &self.softirqs {
            for (left, seen) in work.left.iter().zip(&work.seen) {
                let [left, seen] = [left, seen].map(|count| || count.load(Relaxed));
                until("a run for the last raise", || left() == seen());
            }
        }
        self.host.revoke_tasklets(OWNER).unwrap();
        assert!(self.host.tasklets.of(OWNER).is_empty());
        for (number, _) in &self.softirqs {
            self.host.close_softirq(*number, OWNER).unwrap();
        }
    }
}

#[test]
fn whoever_wins_nothing_runs_twice_at_once_or_after_its_end_and_nothing_is_forgotten() {
    let config = Config { workers: WORKERS, buffers: 256, watchdog: Nanos(0), ..Config::default() };
    let mut running = boot(config).unwrap();
    let cases = AtomicU64::new(0);
    running.run(&mut |control, _| {
        let host = control.host;
        let scripts = prop::collection::vec(prop::collection::vec(step(), 0..60), 2..4);
        let mut runner = TestRunner::new(ProptestConfig { cases: 1000, ..Default::default() });
        let outcome = runner.run(&scripts, |scripts| {
            let bench = Bench::new(host);
            thread::scope(|scope| {
                for script in &scripts {
                    scope.spawn(|| bench.play(script));
                }
            });
            bench.check(&scripts);
            cases.fetch_add(1, Relaxed);
            Ok(())
        });
        outcome.unwrap();
        None
    });
    assert!(cases.load(Relaxed) >= 1000);
    assert_eq!(running.end(), 0);
}
