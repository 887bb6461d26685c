//! From one thread to another.
#![expect(unsafe_code, reason = "what is put off has the calling convention of plugins'")]

use std::{
    ffi::c_void,
    hint::spin_loop,
    sync::{
        Arc,
        atomic::{
            AtomicBool, AtomicU32, AtomicU64,
            Ordering::{Acquire, Relaxed, Release},
        },
    },
    thread,
    time::Duration,
};

use gristmill::{boot::boot, config::Config, deferred::softirq::On, graph::Owner, host::Host};
use gristmill_abi::{Status, frame::ThreadCtx};

use crate::{nanoseconds, report};

/// Times that each is measured.
const TIMES: usize = 3_000;
const OWNER: Owner = Owner(1_000_001);

unsafe extern "C" fn answer(data: *mut c_void, _: *mut ThreadCtx) -> Status {
    // SAFETY: it was opened with a counter, which stays.
    unsafe { &*data.cast::<AtomicU64>() }.fetch_add(1, Release);
    Status::OK
}

/// Raises itself as long as it is asked to, so that its thread stays awake.
unsafe extern "C" fn stay(data: *mut c_void, _: *mut ThreadCtx) -> Status {
    // SAFETY: it was opened with this, which stays.
    let awake = unsafe { &*data.cast::<Awake>() };
    if awake.stays.load(Relaxed) {
        awake.host.raise(awake.number.load(Relaxed), On::Here);
    }
    Status::OK
}

struct Awake {
    host: &'static Host,
    stays: AtomicBool,
    number: AtomicU32,
}

/// Waits until a counter is beyond what it was; how long that took, in nanoseconds.
fn until(counter: &AtomicU64, ask: impl FnOnce()) -> f64 {
    let before = counter.load(Acquire);
    nanoseconds(|| {
        ask();
        while counter.load(Acquire) == before {
            spin_loop();
        }
    })
}

/// The median and the 99th percentile of many, in microseconds.
fn percentiles(pause: bool, mut once: impl FnMut() -> f64) -> [f64; 2] {
    let mut took: Vec<f64> = (0..TIMES)
        .map(|_| {
            if pause {
                #[expect(clippy::disallowed_methods, reason = "the bench's own thread waits")]
                thread::sleep(Duration::from_micros(300)); // Long enough to fall asleep again.
            }
            once() / 1e3
        })
        .collect();
    took.sort_by(f64::total_cmp);
    [took[TIMES / 2], took[TIMES * 99 / 100]]
}

/// A thread that counts what comes over a channel.
fn channel(spins: bool) -> (crossbeam_channel::Sender<()>, Arc<AtomicU64>) {
    let (sender, receiver) = crossbeam_channel::bounded::<()>(64);
    let counter = Arc::new(AtomicU64::new(0));
    let theirs = Arc::clone(&counter);
    thread::spawn(move || {
        loop {
            let came = match spins {
                true => match receiver.try_recv() {
                    Err(crossbeam_channel::TryRecvError::Empty) => {
                        spin_loop();
                        continue;
                    }
                    came => came.is_ok(),
                },
                false => receiver.recv().is_ok(),
            };
            if !came {
                return;
            }
            theirs.fetch_add(1, Release);
        }
    });
    (sender, counter)
}

pub(crate) fn run() {
    let mut running =
        boot(Config { workers: 1, buffers: 1024, ..Config::default() }).expect("a host");
    running.run(&mut |control, _| {
        measure(control.host);
        None
    });
    running.end();
}

fn measure(host: &'static Host) {
    let counter: &'static AtomicU64 = Box::leak(Box::default());
    let data = std::ptr::from_ref(counter).cast_mut().cast();
    let open = |name: &str, action| {
        host.softirqs.open((OWNER, "bench"), name, None, action).expect("there are free ones")
    };
    let number = open("bench-answer", (answer, data));
    let raise = || assert!(host.raise(number, On::Thread(1)));
    let asleep = percentiles(true, || until(counter, raise));
    let (sender, theirs) = channel(false);
    let put = || sender.send(()).expect("it listens");
    let channel_asleep = percentiles(true, || until(&theirs, put));
    drop(sender);

    let awake: &'static Awake = Box::leak(Box::new(Awake {
        host,
        stays: AtomicBool::new(true),
        number: AtomicU32::new(0),
    }));
    let data = std::ptr::from_ref(awake).cast_mut().cast();
    awake.number.store(open("bench-stay", (stay, data)), Relaxed);
    host.raise(awake.number.load(Relaxed), On::Thread(1));
    let busy = percentiles(false, || until(counter, raise));
    awake.stays.store(false, Relaxed);
    let (sender, theirs) = channel(true);
    let put = || sender.send(()).expect("it listens");
    let channel_busy = percentiles(false, || until(&theirs, put));
    drop(sender);

    for (at, percentile) in ["p50", "p99"].into_iter().enumerate() {
        let what = |how: &str| format!("softirq/cross-thread-{how}-us-{percentile}");
        report(&what("asleep"), "crossbeam-channel", asleep[at], channel_asleep[at]);
        report(&what("busy"), "crossbeam-channel", busy[at], channel_busy[at]);
    }
}
