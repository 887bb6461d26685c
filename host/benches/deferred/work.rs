//! Work items against other pools: queue, and wait until all have run.

use std::{
    hint::spin_loop,
    sync::{
        Arc,
        atomic::{
            AtomicU64,
            Ordering::{Acquire, Release},
        },
    },
    thread,
};

use gristmill::{
    boot::boot,
    config::Config,
    deferred::work::{Item, Kind, Queue, QueueSpec},
    host::Host,
};

use crate::{ROUNDS, nanoseconds, report};

/// Items that are queued before all are waited for.
const SIZES: [usize; 3] = [1, 16, 256];
/// Items in a round.
const TIMES: usize = 20_000;
/// Threads of the peers, and items of ours at once.
const THREADS: usize = 2;

/// Counts what has run; whoever waits spins.
type Done = Arc<AtomicU64>;

fn until(done: &Done, count: u64) {
    while done.load(Acquire) < count {
        spin_loop();
    }
}

/// The least microseconds for an item, of those that take turns.
struct Least([f64; 4]);

type Closure = Box<dyn FnOnce() + Send>;

/// What others queue to.
struct Peers {
    channel: crossbeam_channel::Sender<Closure>,
    rayon: rayon::ThreadPool,
}

impl Peers {
    fn new() -> Self {
        let (channel, receiver) = crossbeam_channel::unbounded::<Closure>();
        for _ in 0..THREADS {
            let receiver = receiver.clone();
            thread::spawn(move || receiver.iter().for_each(|call| call()));
        }
        let rayon = rayon::ThreadPoolBuilder::new().num_threads(THREADS).build();
        Self { channel, rayon: rayon.expect("threads") }
    }
}

/// Microseconds for an item, `size` at a time.
fn measure(size: usize, done: &Done, mut queue: impl FnMut(usize)) -> f64 {
    let rounds = TIMES / size;
    let before = done.load(Acquire);
    let took = nanoseconds(|| {
        for round in 1..=rounds {
            (0..size).for_each(&mut queue);
            until(done, before + (round * size) as u64);
        }
    });
    took / 1e3 / (rounds * size) as f64
}

pub(crate) fn run() {
    let mut running = boot(Config { buffers: 1024, ..Config::default() }).expect("a host");
    running.run(&mut |control, _| {
        compare(control.host);
        None
    });
    running.end();
}

fn compare(host: &'static Host) {
    let done = Done::default();
    let max_active = QueueSpec { max_active: 1024, ..QueueSpec::of_host("bench", Kind::Unbound) };
    let queue: Queue = host.work.queue(max_active).expect("a queue");
    let count = |done: &Done| {
        let done = Arc::clone(done);
        move || {
            done.fetch_add(1, Release);
        }
    };
    let items: Vec<Item> = (0..SIZES[SIZES.len() - 1])
        .map(|_| queue.item("bench", count(&done)).expect("an item"))
        .collect();
    let peers = Peers::new();
    for size in SIZES {
        let mut least = Least([f64::INFINITY; 4]);
        for _ in 0..ROUNDS {
            let ours = measure(size, &done, |at| {
                items[at].queue().expect("it is taken");
            });
            let once =
                measure(size, &done, |_| queue.run("once", count(&done)).expect("it is taken"));
            let channel = measure(size, &done, |_| {
                peers.channel.send(Box::new(count(&done))).expect("somebody listens");
            });
            let rayon = measure(size, &done, |_| peers.rayon.spawn(count(&done)));
            for (least, figure) in least.0.iter_mut().zip([ours, once, channel, rayon]) {
                *least = least.min(figure);
            }
        }
        let Least([ours, once, channel, rayon]) = least;
        for (what, figure) in [("item", ours), ("once", once)] {
            let what = format!("work/{what}-us-{size}");
            report(&what, "crossbeam-channel", figure, channel);
            report(&what, "rayon", figure, rayon);
        }
    }
}
