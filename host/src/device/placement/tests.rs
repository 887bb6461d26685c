use std::{
    ffi::c_void,
    os::{
        fd::{AsFd, AsRawFd, OwnedFd},
        unix::net::UnixStream,
    },
    time::Duration,
};

use gristmill_abi::{
    Status,
    device::DeviceClassDecl,
    frame::{Frame, PER_PACKET, ThreadCtx},
};

use super::*;
use crate::{
    buffer::{Cache, Pool},
    deferred::work::WorkQueues,
    device::{DeviceOps, LinkNews, NewInterface},
    engine::{Thread, ThreadShared, poller::Poller},
    graph::Owner,
    log::{Log, Settings},
    time::{Clock, VirtualTime},
};

unsafe extern "C" fn rx(_: *mut ThreadCtx, _: *mut c_void, _: u32, _: *mut Frame) -> u32 {
    PER_PACKET
}

unsafe extern "C" fn tx(_: *mut ThreadCtx, _: *mut c_void, _: u32, _: *const u32, n: u32) -> u32 {
    n
}

unsafe extern "C" fn set_admin(_: *mut c_void, _: u32) -> Status {
    Status::OK
}

unsafe extern "C" fn destroy(_: *mut c_void) -> Status {
    Status::OK
}

/// A host with main and a worker, neither of which runs, and interfaces of two queues each, up and
/// on main. Of the last queue of the last interface there is no descriptor.
struct Bench {
    host: Host,
    threads: Vec<*mut Thread>,
    /// Both ends of each queue's.
    pipes: Vec<[OwnedFd; 2]>,
}

impl Bench {
    fn new(interfaces: u32) -> Self {
        let clock = Clock::virtual_at(&VirtualTime::default());
        let work = WorkQueues::default();
        let log = Log::to_stderr(&Settings::default(), &work, || crate::time::Nanos(0)).unwrap();
        let host = Host::new(Pool::new(64).unwrap(), clock, log, work);
        let mut threads = Vec::new();
        for index in 0..2 {
            let shared = Arc::new(ThreadShared::new(index).unwrap());
            let poller = Poller::new(Arc::clone(shared.doorbell())).unwrap();
            let cache = Cache::new(Arc::clone(&host.pool), index as usize);
            let clock = host.clock().lock().thread();
            let thread = Thread::new(shared, cache, clock, poller, std::ptr::null());
            let thread = Box::into_raw(Box::new(thread));
            // SAFETY: it stays there until the bench is dropped, and does not run.
            unsafe { host.add_thread(thread) }.unwrap();
            threads.push(thread);
        }
        let mut bench = Self { host, threads, pipes: Vec::new() };
        for index in 0..interfaces {
            bench.add(index, index + 1 == interfaces);
        }
        bench
    }

    fn add(&mut self, index: u32, is_last: bool) {
        let class = DeviceClassDecl {
            head: gristmill_abi::Head::of::<DeviceClassDecl>(),
            nexts: gristmill_abi::List::new(&[]),
            rx,
            tx,
            set_admin,
            destroy,
        };
        let ops = DeviceOps { device: std::ptr::null_mut(), class, keep: Arc::new(()) };
        let pair = || UnixStream::pair().map(|(out, into)| [out, into].map(OwnedFd::from)).unwrap();
        let pipes = [pair(), pair()];
        let fd = |at: usize| if is_last && at == 1 { -1 } else { pipes[at][0].as_raw_fd() };
        let new = NewInterface {
            name: format!("test{index}"),
            class: "test".into(),
            owner: Owner(1),
            mac: [0; 6],
            mtu: 1500,
            flags: 0,
            kernel_index: 0,
            rx_fds: vec![fd(0), fd(1)],
            tx_queues: 1,
        };
        self.pipes.extend(pipes);
        let interface = Interface::new(index, new, ops, vec![0, 0], Arc::new(LinkNews::default()));
        let interface = Arc::new(interface);
        self.host.add_interface_nodes(&interface).unwrap();
        self.host.interfaces.write().insert(interface);
        self.host.set_admin(index, true).unwrap();
    }

    /// The queues of all interfaces.
    fn queues(&self) -> Vec<RxQueue> {
        let interfaces = self.host.interfaces.read();
        interfaces.iter().flat_map(|interface| interface.rx_queues.lock().clone()).collect()
    }

    /// Who is told that packets wait: for each thread, interface and queue.
    fn told(&self) -> [Vec<(u32, u32)>; 2] {
        for [_, into] in &self.pipes {
            rustix::io::write(into, b"x").unwrap();
        }
        let plan = self.host.plan();
        let inputs: Vec<_> = (0..9).map(|index| plan.find(&format!("test{index}-input"))).collect();
        std::array::from_fn(|thread| {
            let thread = self.threads[thread];
            // SAFETY: the thread is this test's own, and does not run.
            let poller = unsafe { &mut (*thread).poller };
            poller.wait(Some(Duration::ZERO)).unwrap();
            let mut told: Vec<_> = poller
                .marks
                .drain(..)
                .map(|mark| {
                    let at = inputs.iter().position(|&input| input == Some(mark.node)).unwrap();
                    (u32::try_from(at).unwrap(), mark.queue.unwrap())
                })
                .collect();
            told.sort_unstable();
            told
        })
    }

    /// The threads that dispatch an interface's input.
    fn threads(&self, interface: u32) -> Vec<u32> {
        let plan = self.host.plan();
        let input = plan.find(&format!("test{interface}-input")).unwrap();
        plan.node(input).unwrap().threads.clone().unwrap()
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.host.retire();
        for &thread in &self.threads {
            // SAFETY: made by `Box::into_raw`; the host has forgotten it.
            drop(unsafe { Box::from_raw(thread) });
        }
    }
}

fn to(interface: u32, queue: u32, thread: u32) -> RxChange {
    RxChange { interface, queue, thread: Some(thread), by_hand: true, mode: None }
}

fn mode(interface: u32, queue: u32, mode: RxMode) -> RxChange {
    RxChange { interface, queue, thread: None, by_hand: true, mode: Some(mode) }
}

fn adaptive(thread: u32, by_hand: bool) -> RxQueue {
    RxQueue { thread, by_hand, mode: RxMode::Adaptive }
}

fn polling(thread: u32, by_hand: bool) -> RxQueue {
    RxQueue { thread, by_hand, mode: RxMode::Polling }
}

#[test]
fn queues_of_several_interfaces_are_placed_at_once_and_their_descriptors_go_with_them() {
    let bench = Bench::new(2);
    assert_eq!(bench.told(), [vec![(0, 0), (0, 1), (1, 0)], vec![]]);
    bench.host.set_rx_queues(&[to(0, 1, 1), to(1, 0, 1), to(1, 1, 1)]).unwrap();
    assert_eq!(
        bench.queues(),
        [adaptive(0, false), adaptive(1, true), adaptive(1, true), polling(1, true)]
    );
    assert_eq!((bench.threads(0), bench.threads(1)), (vec![0, 1], vec![1, 1]));
    assert_eq!(bench.told(), [vec![(0, 0)], vec![(0, 1), (1, 0)]]);
    bench.host.set_admin(0, false).unwrap();
    assert_eq!(bench.told(), [vec![], vec![(1, 0)]]);
    bench.host.set_rx_queues(&[to(0, 0, 1)]).unwrap();
    assert_eq!(bench.threads(0), [0; 0], "it is down");
    bench.host.set_admin(0, true).unwrap();
    assert_eq!((bench.threads(0), bench.told()[0].len()), (vec![1, 1], 0));
}

#[test]
fn a_queue_that_is_polled_tells_nobody() {
    let bench = Bench::new(1);
    bench.host.set_rx_queues(&[mode(0, 0, RxMode::Polling)]).unwrap();
    assert_eq!(bench.told(), [vec![], vec![]]);
    bench.host.set_rx_queues(&[mode(0, 0, RxMode::Interrupt), to(0, 0, 1)]).unwrap();
    assert_eq!(bench.told(), [vec![], vec![(0, 0)]]);
}

#[test]
fn what_cannot_be_done_changes_nothing() {
    let bench = Bench::new(2);
    let (queues, told) = (bench.queues(), bench.told());
    let good = to(0, 0, 1);
    for (bad, reason) in [
        (to(0, 1, 7), "rx queue 1 of \"test0\" cannot be placed: there is no thread 7"),
        (to(0, 2, 1), "there is no rx queue 2 of \"test0\": it has 2"),
        (to(9, 0, 1), "there is no interface 9"),
        (mode(1, 1, RxMode::Interrupt), "rx queue 1 of \"test1\" cannot be interrupt: it has no"),
        (mode(1, 1, RxMode::Adaptive), "rx queue 1 of \"test1\" cannot be adaptive: it has no"),
    ] {
        let error = bench.host.set_rx_queues(&[good, bad]).unwrap_err().to_string();
        assert!(error.starts_with(reason), "{error}");
        assert_eq!((bench.queues(), bench.told()), (queues.clone(), told.clone()), "{reason}");
    }
    // The new thread cannot watch: here because it watches already.
    let fd = &bench.pipes[1][0];
    let watch = bench.host.files(1).unwrap();
    watch.watch().add(fd.as_fd(), Mark::token(MARK), Interest::READ).unwrap();
    let error = bench.host.set_rx_queues(&[good, to(0, 1, 1)]).unwrap_err().to_string();
    assert!(error.starts_with("thread 1 cannot wait for rx queue 1: "), "{error}");
    watch.watch().remove(fd.as_fd()).unwrap();
    assert_eq!((bench.queues(), bench.told()), (queues, told));
}

const MARK: Mark = Mark { node: NodeIndex(0), queue: None };

#[test]
fn statistics_of_the_input_survive_that_it_is_made_anew() {
    let bench = Bench::new(1);
    let counts = |host: &Host| {
        let (plan, instances) = host.running_graph();
        let input = plan.find("test0-input").unwrap();
        let counts = instances.counts(input).map(|(_, counts)| counts.stats.calls.get());
        let on = instances.on(input, 0).map(Arc::as_ptr);
        (counts.sum::<u64>(), on)
    };
    let (plan, instances) = bench.host.running_graph();
    let input = plan.find("test0-input").unwrap();
    instances.on(input, 0).unwrap().counts.stats.calls.add(7);
    let before = counts(&bench.host);
    drop(instances);
    bench.host.set_rx_queues(&[mode(0, 0, RxMode::Polling)]).unwrap();
    let after = counts(&bench.host);
    assert_eq!((before.0, after.0), (7, 7));
    assert_ne!(before.1, after.1, "another instance");
}
