use std::{cell::RefCell, ffi::c_void};

use gristmill_abi::{
    Status,
    device::DeviceClassDecl,
    frame::{FRAME_SIZE, TAKEN},
};

use super::*;
use crate::{
    buffer::{Cache, Pool},
    device::{DeviceOps, LinkNews, NewInterface, error_drop},
    engine::{ThreadShared, inputs, poller::Poller},
    graph::{
        NodeKind, Owner, Plan, PlanNode,
        compile::{Instances, compile},
        plan::ERROR_DROP,
    },
    time::{Clock, VirtualTime},
};

/// A poll of a queue, as the device saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Poll {
    queue: u32,
    last: bool,
}

thread_local! {
    /// What each queue has: the packets of its next polls, and then none.
    static WAITING: RefCell<Vec<Vec<u32>>> = const { RefCell::new(Vec::new()) };
    static POLLS: RefCell<Vec<Poll>> = const { RefCell::new(Vec::new()) };
}

unsafe extern "C" fn rx(_: *mut ThreadCtx, _: *mut c_void, queue: u32, frame: *mut Frame) -> u32 {
    // SAFETY: the host lends the frame for the call.
    let raw = unsafe { &mut *frame };
    POLLS.with_borrow_mut(|polls| polls.push(Poll { queue, last: raw.flags == RX_LAST_POLL }));
    let n = WAITING.with_borrow_mut(|waiting| {
        let polls = &mut waiting[queue as usize];
        if polls.is_empty() { 0 } else { polls.remove(0) }
    });
    // SAFETY: a frame has room for a next for each packet.
    let nexts = unsafe { std::slice::from_raw_parts_mut(raw.nexts, FRAME_SIZE) };
    nexts.fill(TAKEN); // Only the number of packets matters here.
    raw.n = n;
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

/// A thread with the input of one interface, whose queues have these modes.
struct Bench {
    thread: Box<Thread>,
    node: NodeIndex,
    interface: Arc<Interface>,
}

impl Bench {
    fn new(modes: &[RxMode]) -> Self {
        let class = DeviceClassDecl {
            head: gristmill_abi::Head::of::<DeviceClassDecl>(),
            nexts: gristmill_abi::List::new(&[]),
            rx,
            tx,
            set_admin,
            destroy,
        };
        let ops = DeviceOps { device: std::ptr::null_mut(), class, keep: Arc::new(()) };
        let new = NewInterface {
            name: "test0".into(),
            class: "test".into(),
            owner: Owner(1),
            mac: [0; 6],
            mtu: 1500,
            flags: 0,
            kernel_index: 0,
            rx_fds: modes.iter().map(|_| 0).collect(),
            tx_queues: 1,
        };
        let placement = vec![0; modes.len()];
        let interface = Interface::new(0, new, ops, placement, Arc::new(LinkNews::default()));
        for (queue, &mode) in interface.rx_queues.lock().iter_mut().zip(modes) {
            queue.mode = mode;
        }
        let interface = Arc::new(interface);
        let mut plan = Plan::default();
        let node = |name: &str, kind, code| PlanNode {
            kind,
            ..PlanNode::new(name, Owner(1), code, Vec::new())
        };
        let drop = Code::stateless(error_drop);
        plan.add_node(node(ERROR_DROP, NodeKind::Internal, drop)).unwrap();
        let code = input_node(&interface, Thresholds::default());
        let node = plan.add_node(node("test0-input", NodeKind::Input, code)).unwrap();
        let instances = Instances::default().for_plan(&plan, &[0]).unwrap();
        let shared = Arc::new(ThreadShared::new(0).unwrap());
        let poller = Poller::new(Arc::clone(shared.doorbell())).unwrap();
        let cache = Cache::new(Arc::new(Pool::new(1024).unwrap()), 0);
        let clock = Clock::virtual_at(&VirtualTime::default()).thread();
        let mut thread = Box::new(Thread::new(shared, cache, clock, poller, std::ptr::null()));
        *thread.runtime = compile(&plan, &instances, 0, 1).unwrap();
        WAITING.set(vec![Vec::new(); modes.len()]);
        POLLS.take();
        Self { thread, node, interface }
    }

    /// A turn's inputs; the polls that there were.
    fn turn(&mut self) -> Vec<Poll> {
        let thread = &raw mut *self.thread;
        // SAFETY: the thread is this test's own.
        unsafe { inputs::poll_inputs(thread) };
        // SAFETY: as above.
        unsafe { inputs::dispatch_marked(thread) };
        assert!(self.thread.is_settled());
        POLLS.take()
    }

    /// Turns, so many.
    fn turns(&mut self, count: usize) -> Vec<Poll> {
        (0..count).flat_map(|_| self.turn()).collect()
    }

    fn waiting(queue: usize, polls: &[u32]) {
        WAITING.with_borrow_mut(|waiting| waiting[queue] = polls.to_vec());
    }

    /// The descriptor of a queue is readable.
    fn interrupt(&mut self, queue: Option<u32>) {
        self.thread.shared.mark(Mark { node: self.node, queue });
    }

    /// Whether each queue is polled, and its thread awake for it.
    fn polled(&self) -> Vec<bool> {
        let polled: Vec<_> =
            self.interface.rx_status.iter().map(|status| status.is_polled()).collect();
        let attention = self.thread.runtime.attention(self.node);
        assert_eq!(attention.polled, polled.contains(&true));
        assert_eq!(attention.waits, polled.contains(&false));
        assert_eq!(self.thread.runtime.may_sleep(), !attention.polled);
        polled
    }
}

const LAST: Poll = Poll { queue: 0, last: true };
const POLLED: Poll = Poll { queue: 0, last: false };

#[test]
fn a_queue_that_is_waited_for_is_polled_once_and_then_when_it_is_marked() {
    for mode in [RxMode::Interrupt, RxMode::Adaptive] {
        let mut bench = Bench::new(&[mode]);
        assert_eq!(bench.polled(), [true]);
        assert_eq!(bench.turn(), [LAST], "its driver arms the descriptor");
        assert_eq!((bench.turns(1_000), bench.polled()), (vec![], vec![false]));
        bench.interrupt(Some(0));
        bench.interrupt(Some(0));
        assert_eq!(bench.turns(10), [LAST], "marked twice, it is polled once");
    }
}

#[test]
fn after_an_interrupt_it_is_polled_until_a_poll_finds_nothing() {
    let mut bench = Bench::new(&[RxMode::Interrupt]);
    bench.turn();
    Bench::waiting(0, &[3, 256, 1]);
    bench.interrupt(Some(0));
    assert_eq!(bench.turns(20), [LAST; 4]);
    assert_eq!(bench.interface.sum(|thread| &thread.rx_packets), 260);
}

#[test]
fn packets_of_the_last_poll_are_followed_up_like_an_interrupt() {
    let mut bench = Bench::new(&[RxMode::Interrupt]);
    Bench::waiting(0, &[7]);
    assert_eq!(bench.turns(20), [LAST; 2]);
}

#[test]
fn under_load_an_adaptive_queue_is_polled_and_when_that_ends_once_more() {
    let mut bench = Bench::new(&[RxMode::Adaptive]);
    bench.turn();
    Bench::waiting(0, &[256; 1_000]);
    bench.interrupt(Some(0));
    assert_eq!(bench.turns(5), [LAST; 5]);
    assert_eq!(bench.polled(), [true]);
    let polls = bench.turns(995 + 200);
    assert_eq!(polls.iter().filter(|&&poll| poll == LAST).count(), 1, "{}", polls.len());
    assert_eq!(polls.last(), Some(&LAST));
    assert_eq!(bench.polled(), [false]);
    assert_eq!(bench.interface.rx_status[0].switches.get(), 2);
    assert_eq!(bench.interface.sum(|thread| &thread.rx_packets), 256_000);
}

#[test]
fn a_queue_that_is_polled_is_polled_every_turn_and_its_thread_never_sleeps() {
    let mut bench = Bench::new(&[RxMode::Polling]);
    assert_eq!(bench.turns(1_000), [POLLED; 1_000]);
    assert_eq!(bench.polled(), [true]);
    assert_eq!(bench.interface.rx_status[0].switches.get(), 0);
}

#[test]
fn queues_of_one_thread_have_modes_of_their_own() {
    let mut bench = Bench::new(&[RxMode::Polling, RxMode::Interrupt]);
    bench.turns(2);
    assert_eq!(bench.polled(), [true, false]);
    assert_eq!(bench.turns(3), [POLLED; 3]);
    Bench::waiting(1, &[5]);
    bench.interrupt(Some(1));
    let second = Poll { queue: 1, last: true };
    assert_eq!(bench.turns(3), [POLLED, second, POLLED, second, POLLED]);
}

#[test]
fn a_mark_of_the_node_is_one_of_all_its_queues() {
    let mut bench = Bench::new(&[RxMode::Interrupt; 3]);
    bench.turns(3);
    for queue in 0..3 {
        Bench::waiting(queue, &[4]);
    }
    bench.interrupt(None);
    bench.turns(20);
    assert_eq!(bench.interface.sum(|thread| &thread.rx_packets), 12);
}

#[test]
fn a_mark_of_a_queue_that_is_placed_elsewhere_is_no_poll() {
    let mut bench = Bench::new(&[RxMode::Interrupt]);
    bench.turn();
    bench.interrupt(Some(7));
    let gone = Mark { node: NodeIndex(99), queue: None };
    bench.thread.shared.mark(gone);
    let internal = Mark { node: NodeIndex(0), queue: None };
    bench.thread.shared.mark(internal);
    assert_eq!(bench.turns(3), []);
}

#[test]
fn an_input_without_queues_lets_its_thread_sleep() {
    let mut bench = Bench::new(&[]);
    bench.turn();
    assert!(bench.thread.runtime.may_sleep());
}
