//! Work queues of a host: delays by its timers, waits of its processes, where its threads run.

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
        mpsc,
    },
    thread,
    time::Duration,
};

use plugin_api::ThreadIndex;

use super::{PATIENCE, pause};
use crate::{
    buffer::Pool,
    deferred::work::{Abandoned, Kind, QueueSpec, Queued, Settings, WorkError, WorkQueues},
    graph::Owner,
    host::{Host, set_current_thread},
    log::{Log, Settings as LogSettings},
    time::{Clock, Nanos, Ticks, VirtualTime, timer::Site},
};

/// A host without forwarding threads; the calling thread is main.
fn host(clock: Clock, settings: &Settings) -> &'static Host {
    let work = WorkQueues::new(settings, clock.thread());
    let others = WorkQueues::default(); // Of the log, whose queue is not looked at here.
    let log = Log::to_sink(&LogSettings::default(), &others, || Nanos(0), std::io::sink(), false);
    let host = Host::new(Pool::new(64).unwrap(), clock, log.unwrap(), work);
    let host: &'static Host = Box::leak(Box::new(host));
    host.work.attach(host);
    host
}

fn settings() -> Settings {
    Settings { cpus: None, limit: 2, max_threads: 16 }
}

/// Has the timers go off that are due.
fn expire(host: &Host) -> usize {
    let now = host.now();
    host.timers.expire(ThreadIndex(0), Ticks::at(now), |timer| {
        assert!(timer.function().run(now).is_ok());
    })
}

const MS: u64 = 1_000_000;

#[test]
fn what_is_put_off_is_pending_until_its_time_and_can_be_moved_and_cancelled() {
    let time = VirtualTime::default();
    let host = host(Clock::virtual_at(&time), &settings());
    let queue = host.work.system().unwrap();
    let runs = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&runs);
    let item = queue.item("later", move || {
        count.fetch_add(1, SeqCst);
    });
    let item = item.unwrap();
    let pass = |ms: u64| {
        time.advance(Nanos(ms * MS));
        let expired = expire(host);
        queue.flush().unwrap();
        (expired, runs.load(SeqCst))
    };
    assert_eq!(item.queue_after(Nanos(10 * MS)).unwrap(), Queued::Now);
    assert_eq!(item.queue_after(Nanos(MS)).unwrap(), Queued::Before);
    assert_eq!(item.queue().unwrap(), Queued::Before, "a delay is pending, too");
    assert_eq!(pass(9), (0, 0));
    assert_eq!(pass(2), (1, 1));
    assert!(!item.is_pending());

    // Moved, pending or not.
    assert!(!item.modify_delay(Nanos(10 * MS)).unwrap());
    assert!(item.modify_delay(Nanos(30 * MS)).unwrap());
    assert_eq!(pass(15), (0, 1));
    assert!(item.modify_delay(Nanos(5 * MS)).unwrap());
    assert_eq!(pass(6), (1, 2));

    // Cancelled, and started again before the first time has come.
    item.queue_after(Nanos(5 * MS)).unwrap();
    assert!(item.cancel());
    assert!(!item.cancel());
    item.queue_after(Nanos(20 * MS)).unwrap();
    assert_eq!(pass(10), (0, 2));
    assert_eq!(pass(11), (1, 3));

    // Cut short: by a flush, by a delay of nothing.
    item.queue_after(Nanos(1_000 * MS)).unwrap();
    item.flush().unwrap();
    assert_eq!(runs.load(SeqCst), 4);
    item.queue_after(Nanos(1_000 * MS)).unwrap();
    assert!(item.modify_delay(Nanos(0)).unwrap());
    assert_eq!(pass(0).1, 5);
    let late = host.work.queues()[0].clone();
    assert_eq!((late.delayed, late.pending, late.done), (0, 0, 5));
}

#[test]
fn a_timer_that_goes_off_late_does_not_queue_what_was_put_off_further() {
    let time = VirtualTime::default();
    let host = host(Clock::virtual_at(&time), &settings());
    let queue = host.work.system().unwrap();
    let item = queue.item("later", || ()).unwrap();
    item.queue_after(Nanos(5 * MS)).unwrap();
    time.advance(Nanos(6 * MS));
    let now = host.now();
    host.timers.expire(ThreadIndex(0), Ticks::at(now), |timer| {
        // Between its leaving the timers and its running, somebody moves it.
        item.modify_delay_from(Nanos(50 * MS), Site { file: "here", line: 1 }).unwrap();
        assert!(timer.function().run(now).is_ok());
    });
    assert_eq!((host.work.queues()[0].delayed, host.work.queues()[0].pending), (1, 0));
}

#[test]
fn a_process_that_blocks_lets_main_go_on() {
    let host = host(Clock::calibrate(), &settings());
    let main = thread::current().id();
    let (sender, results) = mpsc::channel();
    let run = move |_: &mut crate::process::Context| {
        let number = host.blocking("reads", move || {
            assert_ne!(thread::current().id(), main);
            pause(30);
            7
        });
        let queue = host.work.ordered("waited-for").unwrap();
        queue.run("sleeps", || pause(30)).unwrap();
        queue.flush().unwrap();
        sender.send((number, host.work.queues())).unwrap();
        Ok(())
    };
    host.spawn("blocks", Nanos::from_secs(1), run);
    let mut passes = 0;
    let (number, queues) = loop {
        host.processes.run(std::ptr::null_mut(), host.now(), |_| (), |_| ());
        if let Ok(result) = results.try_recv() {
            break result;
        }
        pause(1);
        passes += 1;
    };
    assert_eq!(number, 7);
    assert!(passes > 20, "main went on {passes} times only");
    assert!(queues.iter().all(|queue| queue.done == 1), "{queues:?}");
    // Where nobody can be suspended, it just runs.
    assert_eq!(host.blocking("here", move || thread::current().id()), main);
}

#[test]
fn a_process_that_is_to_end_leaves_what_it_waits_for_behind() {
    let host = host(Clock::calibrate(), &settings());
    let (gate, blocked) = mpsc::channel::<()>();
    let (sender, results) = mpsc::channel();
    let mut blocked = Some(blocked);
    let run = move |_: &mut crate::process::Context| {
        let blocked = blocked.take().unwrap();
        let waited = host.blocking_until_ended("blocks", move || blocked.recv().is_err());
        sender.send(waited).unwrap();
        Ok(())
    };
    host.spawn("blocks", Nanos::from_secs(1), run);
    host.processes.run(std::ptr::null_mut(), host.now(), |_| (), |_| ());
    assert!(results.try_recv().is_err());
    host.processes.revoke(Owner::HOST, |_| ());
    assert_eq!(results.try_recv(), Ok(Err(Abandoned)));
    drop(gate);
    host.work.system().unwrap().flush().unwrap();
    assert_eq!(host.work.queues()[0].done, 1);
    // Where nobody can be suspended, it just runs.
    assert_eq!(host.blocking_until_ended("here", || 7), Ok(7));
}

#[test]
fn a_thread_that_forwards_may_queue_but_not_wait() {
    let host = host(Clock::calibrate(), &settings());
    let queue = host.work.system().unwrap();
    let (gate, blocked) = mpsc::channel::<()>();
    queue.run("blocks", move || blocked.recv().unwrap()).unwrap();
    let forwarding = queue.clone();
    let waited = thread::spawn(move || {
        set_current_thread(1);
        forwarding.run("short", || ()).unwrap();
        (forwarding.flush(), forwarding.drain())
    });
    let (flushed, drained) = waited.join().unwrap();
    assert!(matches!(flushed, Err(WorkError::MustNotWait)), "{flushed:?}");
    assert!(matches!(drained, Err(WorkError::MustNotWait)), "{drained:?}");
    // Nor main in a node.
    host.set_in_nodes(true);
    assert!(matches!(queue.flush(), Err(WorkError::MustNotWait)));
    host.set_in_nodes(false);
    gate.send(()).unwrap();
    queue.flush().unwrap();
}

#[test]
fn work_threads_take_no_signals_and_keep_to_their_cpus() {
    let all = rustix::thread::sched_getaffinity(None).unwrap();
    let first = (0..u32::try_from(rustix::thread::CpuSet::MAX_CPU).unwrap())
        .find(|&cpu| all.is_set(cpu as usize));
    let settings = Settings::beside(first.into_iter(), 16);
    let beside = if all.count() > 1 { all.count() - 1 } else { 1 };
    assert_eq!(settings.limit, beside as usize);
    let host = host(Clock::calibrate(), &settings);
    let (sender, status) = mpsc::channel();
    let look = move || {
        let status = fs::read_to_string("/proc/thread-self/status").unwrap();
        sender.send((status, rustix::thread::sched_getaffinity(None).unwrap())).unwrap();
    };
    host.work.system().unwrap().run("looks", look).unwrap();
    let (status, cpus) = status.recv_timeout(PATIENCE).unwrap();
    let line = |name: &str| {
        status.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().to_owned()
    };
    assert_eq!(cpus, settings.cpus.unwrap());
    let blocked = u64::from_str_radix(&line("SigBlk:"), 16).unwrap();
    let [interrupt, terminate] = [2, 15].map(|signal| blocked >> (signal - 1) & 1);
    assert_eq!((interrupt, terminate), (1, 1));
    assert!(line("Name:").starts_with("gm-work/"));
}

#[test]
fn threads_that_have_nothing_to_do_sleep_and_then_end() {
    let host = host(Clock::calibrate(), &settings());
    host.work.system().unwrap().run("short", || ()).unwrap();
    host.work.system().unwrap().flush().unwrap();
    let switches = || {
        let tasks = fs::read_dir("/proc/self/task").unwrap().filter_map(Result::ok);
        let of = |task: fs::DirEntry| fs::read_to_string(task.path().join("status")).ok();
        let ours = tasks.filter_map(of).filter(|status| status.contains("gm-work/super"));
        ours.map(|status| {
            let line =
                status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
            line.unwrap().trim().parse::<u64>().unwrap()
        })
        .sum::<u64>()
    };
    let asleep = AtomicBool::new(false);
    for _ in 0..50 {
        let before = switches();
        pause(40);
        if switches() == before {
            asleep.store(true, SeqCst); // Other tests have such threads too.
            break;
        }
    }
    assert!(asleep.load(SeqCst), "the supervisor wakes up though nothing is queued");
    assert_eq!(host.work.pools()[0].idle, 1);
    for _ in 0..80 {
        if host.work.pools()[0].threads == 0 {
            break;
        }
        pause(100);
    }
    assert_eq!(host.work.pools()[0].threads, 0);
}

#[test]
fn items_of_a_bound_queue_name_their_thread_and_others_do_not() {
    let host = host(Clock::calibrate(), &settings());
    let bound = host.work.queue(QueueSpec::of_host("bound", Kind::Bound)).unwrap();
    assert!(matches!(bound.item("item", || ()), Err(WorkError::Binding)));
    assert!(matches!(bound.item_on(9, "item", || ()), Err(WorkError::UnknownThread(9))));
    let system = host.work.system().unwrap();
    assert!(matches!(
        system.item_on(0, "item", || ()),
        Err(WorkError::Binding | WorkError::UnknownThread(0))
    ));
    assert!(host.work.of(Owner(5)).is_empty());
    assert!(host.work.end(Duration::from_secs(1)).is_empty());
    assert!(matches!(host.work.ordered("late"), Err(WorkError::Closed)));
}
