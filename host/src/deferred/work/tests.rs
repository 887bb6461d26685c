//! Work queues with real threads, without a host.

mod on_host;
mod script;

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
        mpsc,
    },
    thread,
    time::Duration,
};

use parking_lot::Mutex;

use super::*;
use crate::{graph::Owner, time::Clock};

/// As long as anything takes on a machine with too much to do.
const PATIENCE: Duration = Duration::from_secs(20);

fn queues(limit: usize) -> WorkQueues {
    let settings = Settings { cpus: None, limit, max_threads: 16 };
    WorkQueues::new(&settings, Clock::monotonic().thread())
}

fn unbound(work: &WorkQueues, max_active: u32) -> Queue {
    let spec = QueueSpec { max_active, ..QueueSpec::of_host("test", Kind::Unbound) };
    work.queue(spec).unwrap()
}

fn pause(millis: u64) {
    let (_sender, receiver) = mpsc::channel::<()>();
    receiver.recv_timeout(Duration::from_millis(millis)).unwrap_err();
}

fn add(count: &AtomicUsize) {
    count.fetch_add(1, SeqCst);
}

#[test]
fn an_item_runs_each_time_that_it_is_queued_and_not_pending() {
    let work = queues(2);
    let queue = unbound(&work, 16);
    let (sender, receiver) = mpsc::channel();
    let item = queue.item("item", move || sender.send(thread::current().id()).unwrap()).unwrap();
    for _ in 0..100 {
        assert_eq!(item.queue().unwrap(), Queued::Now);
        assert_ne!(receiver.recv_timeout(PATIENCE).unwrap(), thread::current().id());
        item.flush().unwrap();
    }
    let report = &work.queues()[0];
    assert_eq!((report.done, report.pending, report.running), (100, 0, 0));
}

#[test]
fn items_that_block_make_room_for_others_though_only_one_may_run() {
    let work = queues(1);
    let queue = unbound(&work, 16);
    let (started, starts) = mpsc::channel();
    let gates: Vec<_> = (0..8)
        .map(|number| {
            let started = started.clone();
            let (gate, blocked) = mpsc::channel::<()>();
            let run = move || {
                started.send(number).unwrap();
                blocked.recv().unwrap();
            };
            queue.run("blocks", run).unwrap();
            gate
        })
        .collect();
    let mut begun: Vec<_> = (0..8).map(|_| starts.recv_timeout(PATIENCE).unwrap()).collect();
    begun.sort_unstable();
    assert_eq!(begun, [0, 1, 2, 3, 4, 5, 6, 7]);
    let pools = work.pools();
    assert_eq!((pools[0].running, pools[0].limit), (8, 1));
    gates.iter().for_each(|gate| gate.send(()).unwrap());
    queue.flush().unwrap();
    assert_eq!(work.queues()[0].done, 8);
}

#[test]
fn no_more_run_at_once_than_may_while_none_blocks() {
    let work = queues(1);
    let queue = unbound(&work, 16);
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    for _ in 0..200 {
        let (now, most) = (Arc::clone(&now), Arc::clone(&most));
        let run = move || {
            most.fetch_max(now.fetch_add(1, SeqCst) + 1, SeqCst);
            (0..10_000).for_each(|number| assert!(std::hint::black_box(number) < 10_000));
            now.fetch_sub(1, SeqCst);
        };
        queue.run("computes", run).unwrap();
    }
    queue.flush().unwrap();
    assert_eq!(most.load(SeqCst), 1);
}

#[test]
fn an_ordered_queue_runs_what_several_threads_queue_one_at_a_time_and_in_order() {
    let work = queues(4);
    let queue = work.ordered("ordered").unwrap();
    let ran = Arc::new(Mutex::new(Vec::new()));
    let queued = Arc::new(Mutex::new(0));
    let at_once = Arc::new(AtomicUsize::new(0));
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..250 {
                    let (ran, at_once) = (Arc::clone(&ran), Arc::clone(&at_once));
                    let mut queued = queued.lock(); // So that the order is known.
                    let number = *queued;
                    *queued += 1;
                    let run = move || {
                        assert_eq!(at_once.fetch_add(1, SeqCst), 0);
                        ran.lock().push(number);
                        at_once.fetch_sub(1, SeqCst);
                    };
                    queue.run("number", run).unwrap();
                }
            });
        }
    });
    queue.flush().unwrap();
    assert_eq!(*ran.lock(), (0..1000).collect::<Vec<_>>());
    assert_eq!(work.queues()[0].panicked, 0);
}

#[test]
fn an_item_that_is_queued_while_it_runs_runs_once_more_and_never_twice_at_once() {
    let work = queues(4);
    let queue = unbound(&work, 16);
    let (at_once, runs) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (theirs, count) = (Arc::clone(&at_once), Arc::clone(&runs));
    let run = move || {
        assert_eq!(theirs.fetch_add(1, SeqCst), 0, "twice at once");
        count.fetch_add(1, SeqCst);
        theirs.fetch_sub(1, SeqCst);
    };
    let item = queue.item("item", run).unwrap();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..5_000).for_each(|_| assert!(item.queue().is_ok())));
        }
    });
    item.flush().unwrap();
    let before = runs.load(SeqCst);
    assert_eq!(work.queues()[0].panicked, 0);
    item.queue().unwrap();
    item.flush().unwrap();
    assert_eq!(runs.load(SeqCst), before + 1);
}

#[test]
fn cancel_and_wait_waits_for_the_run_and_keeps_the_item_from_queueing_itself() {
    let work = queues(1);
    let queue = unbound(&work, 16);
    let (started, starts) = mpsc::channel();
    let ended = Arc::new(AtomicUsize::new(0));
    let own: Arc<Mutex<Option<Arc<Item>>>> = Arc::default();
    let (theirs, count) = (Arc::clone(&own), Arc::clone(&ended));
    let run = move || {
        started.send(()).unwrap();
        pause(50);
        let item = theirs.lock().clone().unwrap();
        count.fetch_add(1, SeqCst);
        drop(item.queue()); // Again and again.
    };
    let item = Arc::new(queue.item("again", run).unwrap());
    *own.lock() = Some(Arc::clone(&item));
    item.queue().unwrap();
    starts.recv_timeout(PATIENCE).unwrap();
    assert!(!item.cancel_and_wait().unwrap(), "it ran, and was not pending");
    let count = ended.load(SeqCst);
    assert!(count >= 1, "it had not ended");
    assert!(!item.is_pending());
    pause(20);
    assert_eq!(ended.load(SeqCst), count);
    own.lock().take();
}

#[test]
fn a_wait_that_would_not_end_is_refused() {
    let work = Arc::new(queues(2));
    let queue = work.ordered("ordered").unwrap();
    let (sender, outcomes) = mpsc::channel();
    let theirs = queue.clone();
    let run = move || sender.send((theirs.flush(), theirs.drain())).unwrap();
    queue.run("flushes", run).unwrap();
    let (flushed, drained) = outcomes.recv_timeout(PATIENCE).unwrap();
    assert!(matches!(flushed, Err(WorkError::Deadlock)), "{flushed:?}");
    assert!(matches!(drained, Err(WorkError::Deadlock)), "{drained:?}");

    // Two that wait for each other: the second is told.
    let queue = unbound(&work, 16);
    let items: Arc<Mutex<Vec<Arc<Item>>>> = Arc::default();
    let (sender, outcomes) = mpsc::channel();
    let both = Arc::new(std::sync::Barrier::new(2));
    for number in 0..2 {
        let (items, sender, both) = (Arc::clone(&items), sender.clone(), Arc::clone(&both));
        let own = Arc::clone(&items);
        let run = move || {
            both.wait();
            let other = Arc::clone(&items.lock()[1 - number]);
            sender.send(other.flush()).unwrap();
        };
        own.lock().push(Arc::new(queue.item("waits", run).unwrap()));
    }
    let all = items.lock().clone();
    all.iter().for_each(|item| assert_eq!(item.queue().unwrap(), Queued::Now));
    let mut outcomes: Vec<_> =
        (0..2).map(|_| outcomes.recv_timeout(PATIENCE).unwrap().is_ok()).collect();
    outcomes.sort_unstable();
    assert_eq!(outcomes, [false, true]);
    queue.flush().unwrap();
    items.lock().clear();
}

#[test]
fn a_drained_queue_takes_what_its_own_items_queue_and_nothing_else() {
    let work = queues(2);
    let queue = unbound(&work, 16);
    let (started, starts) = mpsc::channel();
    let (gate, blocked) = mpsc::channel::<()>();
    let ran = Arc::new(AtomicUsize::new(0));
    let (theirs, count) = (queue.clone(), Arc::clone(&ran));
    let first = move || {
        started.send(()).unwrap();
        blocked.recv().unwrap();
        let (chained, inner) = (theirs.clone(), Arc::clone(&count));
        theirs
            .run("second", move || {
                let last = Arc::clone(&inner);
                chained.run("third", move || add(&last)).unwrap();
                inner.fetch_add(1, SeqCst);
            })
            .unwrap();
    };
    queue.run("first", first).unwrap();
    starts.recv_timeout(PATIENCE).unwrap();
    thread::scope(|scope| {
        let drained = scope.spawn(|| queue.drain());
        while queue.run("outside", || ()).is_ok() {
            pause(1);
        }
        let refused = queue.run("outside", || ());
        assert!(matches!(refused, Err(WorkError::Draining)), "{refused:?}");
        gate.send(()).unwrap();
        drained.join().unwrap().unwrap();
    });
    assert_eq!(ran.load(SeqCst), 2);
    queue.run("outside", || ()).unwrap();
    queue.flush().unwrap();
}

#[test]
fn an_item_that_panics_is_counted_and_runs_again() {
    let work = queues(1);
    let queue = unbound(&work, 16);
    let mut run = 0;
    let item = queue.item("panics", move || {
        run += 1;
        assert!(run != 1, "the first time");
    });
    let item = item.unwrap();
    for _ in 0..2 {
        item.queue().unwrap();
        item.flush().unwrap();
    }
    let report = &work.items("test")[0];
    assert_eq!((report.runs, report.panicked), (2, 1));
}

#[test]
fn what_an_owner_has_pending_is_cancelled_and_what_runs_is_waited_for_until_it_is_late() {
    let work = queues(1);
    let owner = Owner(7);
    let spec = QueueSpec { owner, ..QueueSpec::of_host("theirs", Kind::Ordered) };
    let queue = work.queue(spec).unwrap();
    let (started, starts) = mpsc::channel();
    let (gate, blocked) = mpsc::channel::<()>();
    let run = move || {
        started.send(()).unwrap();
        blocked.recv().unwrap();
    };
    queue.run("stuck", run).unwrap();
    let ran = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&ran);
    let item = queue.item("pending", move || add(&count)).unwrap();
    item.queue().unwrap();
    starts.recv_timeout(PATIENCE).unwrap();
    assert_eq!(work.revoke(owner, Duration::from_millis(30)), ["stuck of queue theirs"]);
    assert!(matches!(item.queue(), Err(WorkError::Closed)));
    assert!(matches!(queue.run("late", || ()), Err(WorkError::Closed)));
    gate.send(()).unwrap();
    assert_eq!(work.revoke(owner, PATIENCE), [""; 0]);
    assert_eq!(ran.load(SeqCst), 0);
    drop(item);
    while !work.of(owner).is_empty() {
        pause(1); // It goes with its last item.
    }
}
