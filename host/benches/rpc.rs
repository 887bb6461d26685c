//! Calls to main and the ring they go through, beside their peers, in one run.
//!
//! Prints a line `WHAT/SIZE/PEER ours=.. peer=.. ratio=..` for each comparison: nanoseconds per
//! operation, the least of seven rounds in which all take turns; lower is better. A round trip is a
//! call from another thread until that has the reply; `asleep` is to a thread that sleeps in its
//! poller as main does, `awake` to one that looks all the time. Both sides reply in the same way.
#![expect(clippy::print_stdout, reason = "a benchmark's results go to standard output")]
#![expect(clippy::cast_precision_loss, reason = "a figure has a few digits")]

use std::{
    hint::black_box,
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::sync_channel,
    },
    thread,
    time::{Duration, Instant},
};

use crossbeam_queue::ArrayQueue;
use gristmill::{
    buffer::Pool,
    deferred::work::WorkQueues,
    engine::{ThreadShared, poller::Poller, ring::ring, rpc::Call},
    graph::Owner,
    host::Host,
    log::{Log, Settings},
    time::{Clock, Nanos},
};

/// Rounds of which the least counts.
const ROUNDS: usize = 7;
/// Pushes and pops in a round.
const TURNS: usize = 1_000_000;
/// Round trips in a round.
const CALLS: usize = 5_000;
/// Room in every queue.
const CAPACITY: usize = 1024;

fn main() {
    let wanted: Vec<String> =
        std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let parts: [(&str, fn()); 2] = [("ring", rings), ("rpc", round_trips)];
    for (name, run) in parts {
        if wanted.is_empty() || wanted.iter().any(|part| part == name) {
            run();
        }
    }
}

/// Nanoseconds per operation of a piece of work.
fn measure(operations: usize, work: impl FnOnce()) -> f64 {
    #[expect(clippy::disallowed_methods, reason = "a benchmark measures time")]
    let start = Instant::now();
    work();
    start.elapsed().as_nanos() as f64 / operations as f64
}

/// The least of the rounds of each kind of work, which take turns.
fn least<const N: usize>(mut works: [&mut dyn FnMut() -> f64; N]) -> [f64; N] {
    let mut least = [f64::INFINITY; N];
    for _ in 0..ROUNDS {
        for (least, work) in least.iter_mut().zip(&mut works) {
            *least = least.min(work());
        }
    }
    least
}

fn line(what: &str, peer: &str, ours: f64, figure: f64) {
    println!("{what}/{peer} ours={ours:.2} peer={figure:.2} ratio={:.3}", ours / figure);
}

/// One thread pushes and pops: what the steps cost when no line moves between cores.
fn rings() {
    // One after the other, and so many at a time as a handoff of packets might be.
    for batch in [1, 32] {
        let (producer, mut consumer) = ring::<u64>(CAPACITY);
        let queue = ArrayQueue::<u64>::new(CAPACITY);
        let (mut rtrb_in, mut rtrb_out) = rtrb::RingBuffer::<u64>::new(CAPACITY);
        let turns = TURNS / batch;
        let [ours, array_queue, rtrb] = least([
            &mut || {
                measure(turns * batch, || {
                    for turn in 0..turns {
                        (0..batch).for_each(|_| producer.push(turn as u64).expect("room"));
                        (0..batch).for_each(|_| assert!(black_box(consumer.pop()).is_some()));
                    }
                })
            },
            &mut || {
                measure(turns * batch, || {
                    for turn in 0..turns {
                        (0..batch).for_each(|_| queue.push(turn as u64).expect("room"));
                        (0..batch).for_each(|_| assert!(black_box(queue.pop()).is_some()));
                    }
                })
            },
            &mut || {
                measure(turns * batch, || {
                    for turn in 0..turns {
                        (0..batch).for_each(|_| rtrb_in.push(turn as u64).expect("room"));
                        (0..batch).for_each(|_| assert!(black_box(rtrb_out.pop()).is_ok()));
                    }
                })
            },
        ]);
        line(&format!("ring-push-pop/{batch}"), "crossbeam-array-queue", ours, array_queue);
        line(&format!("ring-push-pop/{batch}"), "rtrb-single-producer", ours, rtrb);
    }
}

/// A thread's shared part and its poller.
fn sleeper() -> (Arc<ThreadShared>, Poller) {
    let shared = Arc::new(ThreadShared::new(0).expect("a descriptor"));
    let poller = Poller::new(Arc::clone(shared.doorbell())).expect("a descriptor");
    (shared, poller)
}

fn round_trips() {
    for asleep in [true, false] {
        let [ours, peer] = least([&mut || our_round_trips(asleep), &mut || channel_trips(asleep)]);
        let how = if asleep { "asleep" } else { "awake" };
        line(&format!("rpc-round-trip/{how}"), "crossbeam-channel-eventfd", ours, peer);
    }
}

fn our_round_trips(asleep: bool) -> f64 {
    let work = WorkQueues::default();
    let log = Log::to_sink(&Settings::default(), &work, || Nanos(0), io::sink(), false);
    let pool = Pool::new(64).expect("memory");
    let host = Host::new(pool, Clock::calibrate(), log.expect("a thread"), work);
    let (shared, mut poller) = sleeper();
    host.rpc.set_main(Arc::clone(&shared));
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let caller = scope.spawn(|| {
            let took = measure(CALLS, || {
                for number in 0..CALLS {
                    let (sender, reply) = sync_channel(1);
                    let call =
                        Call::new(Owner(1), move || sender.send(number).expect("it is waited for"));
                    host.call_main(call, true).expect("main serves");
                    assert_eq!(reply.recv(), Ok(number));
                }
            });
            done.store(true, Ordering::SeqCst);
            shared.ring();
            took
        });
        while !done.load(Ordering::SeqCst) {
            if host.serve_calls() == 0 && asleep {
                shared.announce_sleep();
                if host.rpc.is_empty() && !done.load(Ordering::SeqCst) {
                    poller.wait(None).expect("the poller waits");
                }
                shared.awake();
            }
            if !asleep {
                thread::yield_now(); // There may be one core.
            }
        }
        caller.join().expect("the caller ends")
    })
}

/// The same with a channel of boxed closures; the event counter is written for each call where the
/// other side may sleep.
fn channel_trips(asleep: bool) -> f64 {
    type Work = Box<dyn FnOnce() + Send>;
    let (shared, mut poller) = sleeper();
    let (calls, queue) = crossbeam_channel::bounded::<Work>(CAPACITY);
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let caller = scope.spawn(|| {
            let took = measure(CALLS, || {
                for number in 0..CALLS {
                    let (sender, reply) = sync_channel(1);
                    calls
                        .send(Box::new(move || sender.send(number).expect("it is waited for")))
                        .expect("it is served");
                    if asleep {
                        shared.ring_anyway();
                    }
                    assert_eq!(reply.recv(), Ok(number));
                }
            });
            done.store(true, Ordering::SeqCst);
            shared.ring_anyway();
            took
        });
        while !done.load(Ordering::SeqCst) {
            let mut served = 0;
            while let Ok(call) = queue.try_recv() {
                call();
                served += 1;
            }
            if served == 0 && asleep {
                poller.wait(Some(Duration::from_secs(1))).expect("the poller waits");
            }
            if !asleep {
                thread::yield_now(); // There may be one core.
            }
        }
        caller.join().expect("the caller ends")
    })
}
