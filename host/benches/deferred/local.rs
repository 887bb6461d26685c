//! Softirqs and tasklets on the thread that puts them off.
#![expect(unsafe_code, reason = "calls what plugins call, on a thread of its own")]

use std::{
    collections::VecDeque,
    ffi::c_void,
    hint::black_box,
    panic::{AssertUnwindSafe, catch_unwind},
    ptr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use gristmill::{
    boot::{Running, boot},
    buffer::Cache,
    config::Config,
    deferred::{Here, run_pending},
    engine::{Thread, ThreadShared, poller::Poller},
    host::Host,
    plugin::table::host_table,
};
use gristmill_abi::{
    ErrorText, Head, Status,
    declaration::ServiceRef,
    deferred::{
        DeferredFn, SOFTIRQ_ANY, SoftirqService, SoftirqSpec, THIS_THREAD, TaskletHandle,
        TaskletService, TaskletSpec,
    },
    frame::ThreadCtx,
};

use crate::{least, nanoseconds, report};

/// Times that each is put off in a round.
const TIMES: usize = 200_000;
/// How many are put off before they run.
const SIZES: [usize; 2] = [1, 32];

/// What is put off counts, as the SDK's shim calls a plugin's function.
unsafe extern "C" fn count(data: *mut c_void, _: *mut ThreadCtx) -> Status {
    // SAFETY: it was put off with a counter, which stays.
    let counter = unsafe { &*data.cast::<AtomicU64>() };
    let call = || counter.store(counter.load(Relaxed) + 1, Relaxed);
    catch_unwind(AssertUnwindSafe(call)).map_or(Status::PANICKED, |()| Status::OK)
}

/// A host, a thread of it that runs nothing else, and what plugins call.
struct Bench {
    running: Running,
    thread: Box<Thread>,
    _here: Here,
    softirqs: &'static SoftirqService,
    tasklets: &'static TaskletService,
    context: *mut c_void,
    counter: &'static AtomicU64,
}

impl Bench {
    fn new() -> Self {
        let running = boot(Config { buffers: 1024, ..Config::default() }).expect("a host");
        let host: &'static Host = running.main.control.host;
        let shared = Arc::new(ThreadShared::new(1).expect("a descriptor"));
        let poller = Poller::new(Arc::clone(shared.doorbell())).expect("a descriptor");
        let cache = Cache::new(Arc::clone(&host.pool), 1);
        let clock = host.clock().lock().thread();
        let here = Here::is(&shared);
        let table = host_table(host);
        let thread = Box::new(Thread::new(shared, cache, clock, poller, table));
        let find = |name: &str| {
            let mut found = ServiceRef { table: ptr::null(), context: ptr::null_mut() };
            let mut error = ErrorText::new();
            // SAFETY: the host's own table; all pointers are good for the call.
            let status = unsafe {
                (table.service)(table, 0, name.into(), "^1".into(), &raw mut found, &raw mut error)
            };
            assert!(status.is_ok());
            found
        };
        let softirqs = find("softirq");
        let tasklets = find("tasklet").table;
        Self {
            running,
            thread,
            _here: here,
            // SAFETY: the host's service of that name.
            softirqs: unsafe { &*softirqs.table.cast() },
            // SAFETY: as above.
            tasklets: unsafe { &*tasklets.cast() },
            context: softirqs.context,
            counter: Box::leak(Box::default()),
        }
    }

    fn data(&self) -> *mut c_void {
        ptr::from_ref(self.counter).cast_mut().cast()
    }

    fn open(&self, name: &str, function: DeferredFn) -> u32 {
        let spec = SoftirqSpec {
            head: Head::of::<SoftirqSpec<'_>>(),
            name: name.into(),
            function,
            data: self.data(),
            number: SOFTIRQ_ANY,
            reserved: 0,
        };
        let (mut number, mut error) = (0, ErrorText::new());
        let (number_at, error_at) = (&raw mut number, &raw mut error);
        // SAFETY: this is main; all pointers are good for the call.
        let status =
            unsafe { (self.softirqs.open)(self.context, 0, &raw const spec, number_at, error_at) };
        assert!(status.is_ok());
        number
    }

    fn tasklet(&self, name: &str) -> TaskletHandle {
        let spec = TaskletSpec {
            head: Head::of::<TaskletSpec<'_>>(),
            name: name.into(),
            function: count,
            data: self.data(),
            flags: 0,
            reserved: 0,
        };
        let (mut handle, mut error) = (ptr::null(), ErrorText::new());
        let (handle_at, error_at) = (&raw mut handle, &raw mut error);
        // SAFETY: all pointers are good for the call.
        let status = unsafe {
            (self.tasklets.create)(self.context, 0, &raw const spec, handle_at, error_at)
        };
        assert!(status.is_ok());
        handle
    }

    /// The end of a turn.
    fn end_turn(&mut self) -> bool {
        let host = self.running.main.control.host;
        // SAFETY: the thread is this one's own, and no reference to it is in use.
        unsafe { run_pending(&raw mut *self.thread, host) }
    }

    /// Nanoseconds for each of the softirqs.
    fn softirqs(&mut self, numbers: &[u32]) -> f64 {
        let before = self.counter.load(Relaxed);
        let took = nanoseconds(|| {
            for _ in 0..TIMES / numbers.len() {
                for &number in numbers {
                    // SAFETY: any thread.
                    unsafe { (self.softirqs.raise)(self.context, number, THIS_THREAD) };
                }
                assert!(self.end_turn());
            }
        });
        let ran = self.counter.load(Relaxed) - before;
        assert_eq!(ran, (TIMES / numbers.len() * numbers.len()) as u64);
        took / ran as f64
    }

    /// Nanoseconds for each of the tasklets.
    fn tasklets(&mut self, handles: &[TaskletHandle]) -> f64 {
        let before = self.counter.load(Relaxed);
        let took = nanoseconds(|| {
            for _ in 0..TIMES / handles.len() {
                for &handle in handles {
                    // SAFETY: a tasklet that was made and not destroyed.
                    unsafe { (self.tasklets.schedule)(self.context, handle, THIS_THREAD) };
                }
                assert!(self.end_turn());
            }
        });
        let ran = self.counter.load(Relaxed) - before;
        assert_eq!(ran, (TIMES / handles.len() * handles.len()) as u64);
        took / ran as f64
    }

    fn nothing(&mut self) -> f64 {
        let took = nanoseconds(|| {
            for _ in 0..TIMES {
                assert!(!black_box(&mut *self).end_turn());
            }
        });
        took / TIMES as f64
    }
}

type Closure = Box<dyn FnOnce() + Send>;

/// A closure that counts, as who has no softirqs would put it off.
fn closure(counter: &'static AtomicU64) -> Closure {
    Box::new(move || counter.store(counter.load(Relaxed) + 1, Relaxed))
}

/// Nanoseconds for each closure that is put in a queue and run, `size` at a time.
fn peer(size: usize, mut put: impl FnMut(), mut run: impl FnMut() -> bool) -> f64 {
    let rounds = TIMES / size;
    let took = nanoseconds(|| {
        for _ in 0..rounds {
            (0..size).for_each(|_| put());
            while run() {}
        }
    });
    took / (rounds * size) as f64
}

fn channel_peer(size: usize, counter: &'static AtomicU64) -> f64 {
    let (sender, receiver) = crossbeam_channel::bounded::<Closure>(64);
    let put = || sender.send(closure(counter)).expect("there is room");
    peer(size, put, || receiver.try_recv().map(|call| call()).is_ok())
}

fn queue_peer(size: usize, counter: &'static AtomicU64) -> f64 {
    let queue = std::cell::RefCell::new(VecDeque::<Closure>::new());
    let put = || queue.borrow_mut().push_back(closure(counter));
    peer(size, put, || {
        let first = queue.borrow_mut().pop_front();
        first.map(|call| call()).is_some()
    })
}

pub(crate) fn run() {
    let mut bench = Bench::new();
    let counter: &'static AtomicU64 = Box::leak(Box::default());
    let numbers: Vec<u32> = (0..32).map(|at| bench.open(&format!("bench-{at}"), count)).collect();
    let handles: Vec<_> = (0..32).map(|at| bench.tasklet(&format!("bench-{at}"))).collect();
    for size in SIZES {
        let [softirq, tasklet, channel, queue] = least(|| {
            [
                bench.softirqs(&numbers[..size]),
                bench.tasklets(&handles[..size]),
                channel_peer(size, counter),
                queue_peer(size, counter),
            ]
        });
        report(&format!("softirq/raise-run-ns-{size}"), "goal", softirq, 20.0);
        report(&format!("softirq/raise-run-ns-{size}"), "crossbeam-channel", softirq, channel);
        report(&format!("softirq/raise-run-ns-{size}"), "vecdeque-of-closures", softirq, queue);
        report(&format!("tasklet/schedule-run-ns-{size}"), "crossbeam-channel", tasklet, channel);
        report(&format!("tasklet/schedule-run-ns-{size}"), "vecdeque-of-closures", tasklet, queue);
    }
    let [nothing] = least(|| [bench.nothing()]);
    println!("# softirq/nothing-pending-ns {nothing:.2}");
    bench.running.main.control.host.gate.end_start(bench.running.main.control.host.clock());
}
