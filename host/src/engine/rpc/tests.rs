#![expect(unsafe_code, reason = "a host is told where its threads are")]

use std::{sync::mpsc, thread, time::Duration};

use super::{serve::PER_TURN, *};
use crate::{
    buffer::{Cache, Pool},
    deferred::work::WorkQueues,
    engine::{Thread, poller::Poller},
    host::Host,
    log::{Log, Settings},
    plugin::table::host_table,
    time::{Clock, Nanos},
};

/// Calls that all threads send together; `GRISTMILL_EVENTS` says how many in the long tests.
fn events() -> u64 {
    std::env::var("GRISTMILL_EVENTS").map_or(200_000, |events| events.parse().expect("a number"))
}

/// A host without threads whose queue has so much room; the calling thread is main.
fn host(room: usize) -> Host {
    let clock = Clock::monotonic();
    let work = WorkQueues::default();
    let log = Log::to_sink(&Settings::default(), &work, || Nanos(0), std::io::sink(), false);
    let mut host = Host::new(Pool::new(64).unwrap(), clock, log.unwrap(), work);
    host.rpc = Rpc::new(room);
    host
}

fn counted(host: &Host, name: &str) -> u64 {
    let counts = host.rpc.counters().read();
    counts.into_iter().find(|(known, _)| *known == name).expect("a counter").1
}

/// Calls of an owner that note their number, in the order in which they run.
struct Numbers {
    owner: Owner,
    sender: mpsc::Sender<u32>,
    ran: mpsc::Receiver<u32>,
}

impl Numbers {
    fn of(owner: Owner) -> Self {
        let (sender, ran) = mpsc::channel();
        Self { owner, sender, ran }
    }

    fn call(&self, number: u32) -> Call {
        let sender = self.sender.clone();
        Call::new(self.owner, move || sender.send(number).unwrap())
    }

    fn ran(&self) -> Vec<u32> {
        self.ran.try_iter().collect()
    }
}

/// Sends from another thread, as main's calls are not queued.
fn send(host: &Host, calls: Vec<Call>) {
    thread::scope(|scope| {
        scope.spawn(|| calls.into_iter().for_each(|call| host.call_main(call, false).unwrap()));
    });
}

#[test]
fn a_call_from_main_runs_at_once() {
    let (host, numbers) = (host(2), Numbers::of(Owner(1)));
    host.call_main(numbers.call(7), false).unwrap();
    let mut call = numbers.call(8);
    call.at_barrier = true;
    host.call_main(call, false).unwrap();
    assert_eq!(numbers.ran(), [7, 8]);
    assert_eq!((counted(&host, "direct"), counted(&host, "with barrier")), (2, 1));
    assert_eq!(counted(&host, "queued"), 0);
}

#[test]
fn a_call_from_another_thread_runs_when_main_serves_it_so_many_in_a_turn() {
    let (host, numbers) = (host(128), Numbers::of(Owner(1)));
    let calls: Vec<_> = (0..100).map(|number| numbers.call(number)).collect();
    send(&host, calls);
    assert_eq!((numbers.ran().len(), host.rpc.len()), (0, 100));
    assert_eq!(host.serve_calls(), PER_TURN);
    assert_eq!(numbers.ran(), (0..64).collect::<Vec<_>>());
    assert_eq!((host.serve_calls(), host.serve_calls()), (36, 0));
    assert_eq!(numbers.ran(), (64..100).collect::<Vec<_>>());
    assert_eq!((counted(&host, "queued"), host.rpc.longest()), (100, 100));
}

#[test]
fn a_full_queue_gives_the_call_back_and_counts_it() {
    let (host, numbers) = (host(2), Numbers::of(Owner(1)));
    send(&host, vec![numbers.call(0), numbers.call(1)]);
    thread::scope(|scope| {
        let call = numbers.call(2);
        scope.spawn(|| {
            let refused = host.call_main(call, false).unwrap_err();
            assert!(matches!(refused.reason, Reason::Full));
        });
    });
    assert_eq!(counted(&host, "full"), 1);
    host.serve_calls();
    assert_eq!(numbers.ran(), [0, 1]);
}

#[test]
fn a_node_of_main_leaves_its_call_in_the_queue_and_later_ones_keep_behind_it() {
    let (host, numbers) = (host(8), Numbers::of(Owner(1)));
    host.set_in_nodes(true);
    host.call_main(numbers.call(0), true).unwrap();
    host.set_in_nodes(false);
    host.call_main(numbers.call(1), true).unwrap();
    let mut awaited = numbers.call(2);
    awaited.awaited = true;
    host.call_main(awaited, true).unwrap();
    assert_eq!(numbers.ran(), [2], "what is waited for runs at once");
    host.serve_calls();
    assert_eq!(numbers.ran(), [0, 1]);
    host.call_main(numbers.call(3), true).unwrap();
    assert_eq!(numbers.ran(), [3]);
}

#[test]
fn a_panic_is_counted_and_the_next_call_runs() {
    let (host, numbers) = (host(8), Numbers::of(Owner(1)));
    send(&host, vec![Call::new(Owner(1), || panic!("on purpose")), numbers.call(1)]);
    host.serve_calls();
    assert_eq!(numbers.ran(), [1]);
    assert_eq!(counted(&host, "panicked"), 1);
}

#[test]
fn calls_of_a_plugin_that_is_unloaded_are_dropped_and_the_others_keep_their_order() {
    let (host, gone, other) = (host(8), Numbers::of(Owner(5)), Numbers::of(Owner(13)));
    let token = Arc::new(());
    let held = Arc::clone(&token);
    let holder = Call::new(Owner(5), move || drop(held));
    send(&host, vec![other.call(0), gone.call(1), other.call(2), holder, other.call(3)]);
    assert_eq!((host.rpc.pending(Owner(5)), host.rpc.pending(Owner(13))), (2, 3));
    host.close_calls(Owner(5));
    assert_eq!((host.rpc.pending(Owner(5)), Arc::strong_count(&token)), (0, 1));
    thread::scope(|scope| {
        let call = gone.call(4);
        scope.spawn(|| {
            let refused = host.call_main(call, true).unwrap_err();
            assert!(matches!(refused.reason, Reason::Closed));
        });
    });
    host.call_main(gone.call(5), true).unwrap();
    assert_eq!(gone.ran(), [5], "what it calls on main while it stops");
    host.forget_caller(Owner(5));
    send(&host, vec![gone.call(6), other.call(7)]); // A thread that it left behind.
    host.serve_calls();
    assert_eq!((gone.ran(), other.ran()), (vec![], vec![0, 2, 3, 7]));
    assert_eq!(counted(&host, "discarded"), 3);
}

#[test]
fn a_sender_that_waits_for_room_goes_on_when_its_plugin_is_unloaded_or_the_host_ends() {
    for end in [|host: &Host| host.close_calls(Owner(5)), |host: &Host| host.end_calls()] {
        let (host, numbers) = (host(2), Numbers::of(Owner(6)));
        send(&host, vec![numbers.call(0), numbers.call(1)]);
        let token = Arc::new(());
        let held = Arc::clone(&token);
        thread::scope(|scope| {
            let sender =
                scope.spawn(|| host.call_main(Call::new(Owner(5), move || drop(held)), true));
            while host.rpc.waiting.load(Ordering::Relaxed) == 0 {
                thread::yield_now();
            }
            end(&host);
            // It may have found room before the end came.
            if let Err(refused) = sender.join().unwrap() {
                assert!(matches!(refused.reason, Reason::Closed));
            }
        });
        end(&host);
        assert_eq!(Arc::strong_count(&token), 1);
    }
}

#[test]
fn eight_threads_with_back_pressure_lose_nothing_and_keep_their_order() {
    const SENDERS: usize = 8;
    let each = events() / SENDERS as u64;
    let host = host(16);
    let next = Arc::new([const { AtomicU64::new(0) }; SENDERS]);
    thread::scope(|scope| {
        for sender in 0..SENDERS {
            let (host, next) = (&host, &next);
            scope.spawn(move || {
                for number in 0..each {
                    let next = Arc::clone(next);
                    let mut call = Call::new(Owner(sender as u64), move || {
                        assert_eq!(next[sender].swap(number + 1, Ordering::Relaxed), number);
                    });
                    call.at_barrier = number % 64 == 0;
                    host.call_main(call, true).unwrap();
                }
            });
        }
        while next.iter().any(|next| next.load(Ordering::Relaxed) < each) {
            if host.serve_calls() == 0 {
                thread::yield_now();
            }
            assert_eq!(counted(&host, "panicked"), 0, "a call out of order");
        }
    });
    assert_eq!(host.serve_calls(), 0);
    assert_eq!(counted(&host, "queued"), each * SENDERS as u64);
    assert_eq!((counted(&host, "full"), counted(&host, "discarded")), (0, 0));
    assert!(counted(&host, "waits") > 0, "the queue was never full");
}

#[test]
fn a_call_with_the_barrier_is_dropped_where_a_worker_does_not_come() {
    let host: &'static Host = Box::leak(Box::new(host(8)));
    let shared = Arc::new(ThreadShared::new(1).unwrap());
    let poller = Poller::new(Arc::clone(shared.doorbell())).unwrap();
    let cache = Cache::new(Arc::clone(&host.pool), 1);
    let clock = host.clock().lock().thread();
    let thread = Thread::new(Arc::clone(&shared), cache, clock, poller, host_table(host));
    let thread = Box::into_raw(Box::new(thread));
    // SAFETY: it stays where it is, and no loop runs it.
    unsafe { host.add_thread(thread) }.unwrap();
    shared.tid.store(1, Ordering::Relaxed); // It says that it runs, and never parks.
    let numbers = Numbers::of(Owner(1));
    let mut late = numbers.call(0);
    late.at_barrier = true;
    send(host, vec![late, numbers.call(1)]);
    assert_eq!(host.serve_calls(), 1, "then packets go on first");
    assert_eq!(host.serve_calls(), 1);
    assert_eq!(numbers.ran(), [1]);
    assert_eq!(counted(host, "discarded"), 1);
    let mut direct = numbers.call(2);
    direct.at_barrier = true;
    let refused = host.call_main(direct, false).unwrap_err();
    assert!(matches!(refused.reason, Reason::Barrier(_)));
    let said = host.log.lines().iter().any(|line| line.text.contains("did not come"));
    assert!(said && host.log.flush(Duration::from_secs(1)));
}
