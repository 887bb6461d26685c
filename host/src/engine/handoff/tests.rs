#![expect(unsafe_code, reason = "nodes have the calling convention of plugins'")]

use std::{cell::RefCell, thread, time::Duration};

use gristmill_abi::frame::{Frame, NodeRuntime, PER_PACKET, TAKEN, ThreadCtx};

use super::*;
use crate::{
    buffer::Cache,
    deferred::work::WorkQueues,
    device::error_drop,
    engine::{
        Caller, Thread, dispatch::dispatch_pending, poller::Poller, worker_loop::worker_loop,
    },
    graph::{
        Owner, Plan, PlanNext, PlanNode, Severity,
        compile::{Instances, compile},
        node::Code,
        plan::ERROR_DROP,
    },
    host::Host,
    log::{Log, Settings},
    plugin::table::host_table,
    time::{Clock, Nanos},
};

/// The node that hands off, its nexts, and a thread with which each test begins.
const SENDER: &str = "sender";
const SINK: u16 = 0;
const DROP: u16 = 1;
const MAIN: u16 = 0;
const WORKER: u16 = 1;

thread_local! {
    /// What the node `sink` was given on this thread.
    static SUNK: RefCell<Vec<u32>> = const { RefCell::new(Vec::new()) };
    /// The last number that the node `check` saw of each sender.
    static SEEN: RefCell<[u64; 3]> = const { RefCell::new([0; 3]) };
}

/// Sends all to its first next; nobody calls it here.
unsafe extern "C" fn pass(_: *mut ThreadCtx, _: *mut NodeRuntime, _: *mut Frame) -> u32 {
    0
}

/// Keeps what it is given, and its buffers.
unsafe extern "C" fn sink(_: *mut ThreadCtx, _: *mut NodeRuntime, frame: *mut Frame) -> u32 {
    let (indices, nexts) = packets(frame);
    SUNK.with_borrow_mut(|sunk| sunk.extend_from_slice(indices));
    nexts.fill(TAKEN);
    PER_PACKET
}

/// Frees what it is given, of which each sender's must come in the order of their numbers.
unsafe extern "C" fn check(ctx: *mut ThreadCtx, _: *mut NodeRuntime, frame: *mut Frame) -> u32 {
    let (indices, nexts) = packets(frame);
    // SAFETY: the dispatcher holds no reference to the thread while a node runs.
    let cache = &mut unsafe { Thread::of(ctx) }.cache;
    for &index in indices {
        // SAFETY: the packet is in a frame of this thread.
        let [sender, number] = unsafe { (*cache.pool().header(index)).scratch };
        SEEN.with_borrow_mut(|seen| {
            let last = std::mem::replace(&mut seen[usize::try_from(sender).unwrap()], number);
            assert!(last < number, "{number} of sender {sender} after {last}");
        });
    }
    cache.free(indices);
    nexts.fill(TAKEN);
    PER_PACKET
}

fn packets<'a>(frame: *mut Frame) -> (&'a [u32], &'a mut [u16]) {
    // SAFETY: the dispatcher lends the frame for the call.
    let raw = unsafe { &mut *frame };
    // SAFETY: a frame has `n` indices.
    let indices = unsafe { std::slice::from_raw_parts(raw.indices, raw.n as usize) };
    // SAFETY: a frame has room for a next per packet.
    let nexts = unsafe { std::slice::from_raw_parts_mut(raw.nexts, raw.n as usize) };
    (indices, nexts)
}

fn node(name: &str, entry: gristmill_abi::frame::NodeFn, nexts: Vec<PlanNext>) -> PlanNode {
    PlanNode::new(name, Owner::HOST, Code::stateless(entry), nexts)
}

fn sender(first: &str) -> PlanNode {
    let reason = PlanNext::Drop { reason: "bad".into(), severity: Severity::Error };
    node(SENDER, pass, vec![PlanNext::Node(first.into()), reason])
}

/// Threads that have one graph, one pool and rings to each other.
struct World {
    handoff: Arc<Handoff>,
    pool: Arc<Pool>,
    plan: Plan,
    instances: Instances,
    clock: Clock,
}

impl World {
    fn new(ring_size: usize) -> Self {
        let handoff = Arc::new(Handoff::default());
        handoff.set_ring_size(ring_size);
        let mut plan = Plan::default();
        plan.add_node(node(ERROR_DROP, error_drop, Vec::new())).unwrap();
        plan.add_node(node("sink", sink, Vec::new())).unwrap();
        plan.add_node(node("check", check, Vec::new())).unwrap();
        plan.add_node(sender("sink")).unwrap();
        let instances = Instances::default().for_plan(&plan, &[0, 1, 2]).unwrap();
        let pool = Arc::new(Pool::new(8192).unwrap());
        Self { handoff, pool, plan, instances, clock: Clock::monotonic() }
    }

    /// Exchanges the node that hands off for one of the same index, another serial number, and
    /// another first next.
    fn exchange_sender(&mut self, first: &str) {
        let old = self.node();
        self.plan.remove_node(old);
        assert_eq!(self.plan.add_node(sender(first)).unwrap(), old);
        self.instances = self.instances.for_plan(&self.plan, &[0, 1, 2]).unwrap();
    }

    fn thread(&self, index: u32) -> Box<Thread> {
        let shared = Arc::new(ThreadShared::new(index).unwrap());
        let poller = Poller::new(Arc::clone(shared.doorbell())).unwrap();
        let cache = Cache::new(Arc::clone(&self.pool), index as usize);
        let clock = self.clock.thread();
        let mut thread = Box::new(Thread::new(shared, cache, clock, poller, std::ptr::null()));
        thread.join(&self.handoff);
        self.put_in_force(&mut thread);
        thread
    }

    fn put_in_force(&self, thread: &mut Thread) {
        *thread.runtime = compile(&self.plan, &self.instances, thread.shared.index, 0).unwrap();
    }

    fn node(&self) -> NodeIndex {
        self.plan.find(SENDER).unwrap()
    }

    fn counts(&self, thread: u32) -> &crate::graph::node::NodeCounts {
        &self.instances.on(self.node(), thread).unwrap().counts
    }

    /// Packets that `from` sent and that there was no room for, by destination.
    fn handed_off(&self, from: u32) -> Vec<(u32, u64, u64)> {
        self.counts(from).read_handed_off().map_or_else(Vec::new, |all| all.read().collect())
    }

    fn received(&self, thread: u32) -> (u64, u64, u64) {
        let report = self.handoff.report();
        let ring = report.iter().find(|ring| ring.thread == thread).unwrap();
        let Received { vectors, packets, node_gone, .. } = &*ring.received;
        (vectors.get(), packets.get(), node_gone.get())
    }
}

fn alloc(thread: &mut Thread, n: usize) -> Vec<u32> {
    let mut indices = vec![0; n];
    assert_eq!(thread.cache.alloc(&mut indices), n);
    indices
}

/// Hands so many fresh packets to another thread; how many went.
fn hand(world: &World, from: &mut Thread, n: usize, next: u16, to: u16) -> (Vec<u32>, usize) {
    let indices = alloc(from, n);
    let sent = from.hand_off(world.node(), &indices, &vec![next; n], &vec![to; n]);
    (indices, sent)
}

/// One turn of a thread.
fn turn(thread: &mut Thread) {
    thread.begin_turn();
    thread.receive_handoff();
    // SAFETY: the thread is this test's own.
    unsafe { dispatch_pending(thread) };
    assert!(thread.is_settled(), "frames are left over");
}

#[test]
fn packets_come_in_order_and_go_on_along_the_out_arcs_of_the_node_that_sent_them() {
    let world = World::new(RING_SIZE);
    let (mut main, mut worker) = (world.thread(0), world.thread(1));
    let (first, sent) = hand(&world, &mut main, 256, SINK, WORKER);
    assert_eq!(sent, 256);
    let (second, _) = hand(&world, &mut main, 5, SINK, WORKER);
    hand(&world, &mut main, 40, DROP, WORKER);
    SUNK.take();
    turn(&mut worker);
    assert_eq!(SUNK.take(), [first, second].concat());
    assert_eq!(world.counts(1).drop_counter(usize::from(DROP)).get(), 40);
    assert_eq!(world.counts(1).arc_counter(usize::from(SINK)).get(), 261);
    assert_eq!(world.handed_off(0), [(1, 301, 0)]);
    assert_eq!(world.received(1), (8 + 1 + 2, 301, 0));
    assert_eq!(world.pool.in_use(), 261, "what is in the sink; the others are free");
}

#[test]
fn each_packet_of_a_frame_goes_to_its_own_thread_in_the_order_of_the_frame() {
    let world = World::new(RING_SIZE);
    let mut threads = [world.thread(0), world.thread(1), world.thread(2)];
    let indices = alloc(&mut threads[0], 200);
    let to: Vec<u16> = (0..200).map(|at| at % 3).collect();
    let sent = threads[0].hand_off(world.node(), &indices, &[SINK; 200], &to);
    assert_eq!(sent, 200);
    for (thread, own) in (0..).zip(&mut threads) {
        SUNK.take();
        turn(own); // Its own packets need no ring.
        let wanted: Vec<u32> = indices.iter().copied().skip(thread).step_by(3).collect();
        assert_eq!(SUNK.take(), wanted, "thread {thread}");
    }
    assert_eq!(world.handed_off(0), [(1, 67, 0), (2, 66, 0)]);
}

#[test]
fn what_a_ring_has_no_room_for_is_freed_and_counted_and_room_is_used_at_once() {
    let world = World::new(2);
    let (mut main, mut worker) = (world.thread(0), world.thread(1));
    let (indices, sent) = hand(&world, &mut main, 256, SINK, WORKER);
    assert_eq!((sent, world.pool.in_use()), (2 * VECTOR, 2 * VECTOR));
    assert_eq!(hand(&world, &mut main, 1, SINK, WORKER).1, 0);
    assert_eq!(world.handed_off(0), [(1, 64, 192 + 1)]);
    SUNK.take();
    turn(&mut worker);
    assert_eq!(SUNK.take(), indices[..2 * VECTOR], "the oldest, not the newest");
    for round in 1..=5 {
        assert_eq!(hand(&world, &mut main, 64, SINK, WORKER).1, 64, "round {round}");
        turn(&mut worker);
    }
    assert_eq!(world.handed_off(0), [(1, 64 * 6, 193)], "nothing was dropped after");
}

#[test]
fn a_thread_takes_so_much_in_a_turn_and_the_rest_in_the_next() {
    let world = World::new(RING_SIZE);
    let (mut main, mut worker) = (world.thread(0), world.thread(1));
    for _ in 0..PER_TURN + 3 {
        hand(&world, &mut main, 1, DROP, WORKER);
    }
    turn(&mut worker);
    assert_eq!(world.received(1).0, PER_TURN as u64);
    assert!(!worker.is_inbox_empty(), "it does not sleep on them");
    turn(&mut worker);
    assert_eq!(world.received(1).0, PER_TURN as u64 + 3);
    assert!(worker.is_inbox_empty());
}

#[test]
fn packets_of_a_node_that_is_gone_are_dropped_though_another_has_its_index() {
    let mut world = World::new(RING_SIZE);
    let (mut main, mut worker) = (world.thread(0), world.thread(1));
    hand(&world, &mut main, 70, SINK, WORKER);
    world.exchange_sender("sink");
    world.put_in_force(&mut worker);
    SUNK.take();
    turn(&mut worker);
    assert_eq!((SUNK.take().len(), world.received(1)), (0, (3, 70, 70)));
    assert_eq!(world.handoff.node_gone(), 70);
    assert_eq!(world.pool.in_use(), 0);
    world.put_in_force(&mut main);
    hand(&world, &mut main, 1, SINK, WORKER);
    turn(&mut worker);
    assert_eq!(SUNK.take().len(), 1, "the new node's go on");
}

#[test]
fn packets_for_no_thread_or_no_next_are_dropped_and_counted() {
    let world = World::new(RING_SIZE);
    let mut main = world.thread(0);
    let indices = alloc(&mut main, 6);
    let (nexts, threads) = ([SINK, 2, TAKEN, SINK, SINK, DROP], [64, MAIN, WORKER, 2, MAIN, 65]);
    SUNK.take();
    assert_eq!(main.hand_off(world.node(), &indices, &nexts, &threads), 1);
    turn(&mut main);
    assert_eq!(SUNK.take(), [indices[4]]);
    assert_eq!(world.counts(0).stats.bad_next.get(), 4);
    assert_eq!(world.handed_off(0), [(2, 0, 1)], "thread 2 has no ring: it takes nothing");
    assert_eq!(world.pool.in_use(), 1);
}

#[test]
fn a_thread_that_goes_takes_nothing_more_and_what_it_had_is_freed() {
    let world = World::new(RING_SIZE);
    let (mut main, worker) = (world.thread(0), world.thread(1));
    assert_eq!(world.handoff.open_threads().load(Ordering::Relaxed), 0, "none runs yet");
    world.handoff.admit(0);
    world.handoff.admit(1);
    assert_eq!(world.handoff.open_threads().load(Ordering::Relaxed), 0b11);
    hand(&world, &mut main, 100, SINK, WORKER);
    world.handoff.close(1);
    assert_eq!(world.handoff.open_threads().load(Ordering::Relaxed), 0b01);
    assert_eq!(hand(&world, &mut main, 50, SINK, WORKER).1, 0);
    assert_eq!((world.handed_off(0), world.pool.in_use()), (vec![(1, 100, 50)], 100));
    drop(worker);
    assert_eq!(world.pool.in_use(), 0);
    // Another thread of that number: a ring of its own, and the sender finds it.
    let mut worker = world.thread(1);
    assert_eq!(hand(&world, &mut main, 50, DROP, WORKER).1, 50);
    turn(&mut worker);
    assert_eq!((world.received(1), world.pool.in_use()), ((2, 50, 0), 0));
}

#[test]
fn a_thread_that_sleeps_is_woken_for_what_is_handed_to_it() {
    let clock = Clock::monotonic();
    let work = WorkQueues::default();
    let log = Log::to_sink(&Settings::default(), &work, || Nanos(0), std::io::sink(), false);
    let host = Host::new(Pool::new(1024).unwrap(), clock, log.unwrap(), work);
    let host: &'static Host = Box::leak(Box::new(host));
    let threads = [0, 1].map(|index| {
        let shared = Arc::new(ThreadShared::new(index).unwrap());
        let poller = Poller::new(Arc::clone(shared.doorbell())).unwrap();
        let cache = Cache::new(Arc::clone(&host.pool), index as usize);
        let clock = host.clock().lock().thread();
        let thread = Thread::new(shared, cache, clock, poller, host_table(host));
        let thread = Box::into_raw(Box::new(thread));
        // SAFETY: it stays where it is, and main changes nothing once the other one runs.
        unsafe { host.add_thread(thread) }.unwrap();
        thread
    });
    host.change_graph(Caller::host("test"), |plan| plan.add_node(sender(ERROR_DROP))).unwrap();
    let node = host.plan().find(SENDER).unwrap();
    // SAFETY: made above, and this thread alone uses it.
    let main = unsafe { &mut *threads[0] };
    // SAFETY: made above, and nothing runs on it yet.
    let shared = Arc::clone(&unsafe { &*threads[1] }.shared);
    let worker = threads[1].addr();
    let runs = thread::spawn(move || {
        let worker = std::ptr::with_exposed_provenance_mut::<Thread>(worker);
        // SAFETY: it is this thread's from here on.
        unsafe { worker_loop(worker, host) };
        // SAFETY: its loop has ended.
        drop(unsafe { Box::from_raw(worker) });
    });
    let received = Arc::clone(&host.handoff.report()[1].received);
    for number in 1..=300 {
        let slept = shared.sleeps.load(Ordering::Relaxed);
        let index = alloc(main, 1);
        main.hand_off(node, &index, &[SINK], &[WORKER]);
        let asked = host.now();
        while received.packets.get() < number {
            assert!(host.now().since(asked) < Nanos(20_000_000_000), "packet {number} waits");
            thread::yield_now();
        }
        // It has nothing that would wake it but its doorbell. Every other time it has slept.
        while number % 2 == 0 && shared.sleeps.load(Ordering::Relaxed) == slept {
            thread::yield_now();
        }
    }
    shared.quit.store(true, Ordering::SeqCst);
    shared.ring_anyway();
    runs.join().unwrap();
    // SAFETY: made above; nobody uses it any more.
    drop(unsafe { Box::from_raw(threads[0]) });
    host.retire();
    assert_eq!(host.pool.in_use(), 0);
    assert!(host.log.flush(Duration::from_secs(1)));
}

/// A number that looks random.
fn next_number(state: &mut u64) -> usize {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    usize::try_from(*state >> 33).unwrap()
}

/// Turns of a thread that hands packets to itself and the others, as it comes.
fn run_wild(world: &World, index: u32, turns: u64, seed: u64) {
    let mut thread = world.thread(index);
    let mut state = seed;
    let mut number = 0;
    SEEN.set([0; 3]);
    for at in 0..turns {
        let mut indices = vec![0; next_number(&mut state) % 257];
        let n = thread.cache.alloc(&mut indices);
        indices.truncate(n);
        for &index in &indices {
            number += 1;
            // SAFETY: the buffer is this thread's own.
            unsafe { (*world.pool.header(index)).scratch = [thread.shared.index.into(), number] };
        }
        let to: Vec<u16> =
            (0..n).map(|_| u16::try_from(next_number(&mut state) % 3).unwrap()).collect();
        let nexts: Vec<u16> =
            (0..n).map(|_| u16::from(next_number(&mut state).is_multiple_of(8))).collect();
        thread.begin_turn();
        thread.receive_handoff();
        thread.hand_off(world.node(), &indices, &nexts, &to);
        // SAFETY: the thread is this test's own.
        unsafe { dispatch_pending(&raw mut *thread) };
        if at % 64 == 0 {
            thread::yield_now(); // There may be fewer CPUs than threads.
        }
    }
    // It goes with packets in its ring, and while others send to it.
}

#[test]
fn three_threads_that_send_as_they_like_keep_each_others_order_and_lose_no_buffer() {
    // Packets of each thread, of which 128 are sent in a turn; more in the long tests.
    let packets =
        std::env::var("GRISTMILL_EVENTS").map_or(400_000, |n| n.parse().expect("a number"));
    let turns: u64 = packets / 128;
    for seed in [0x5eed, 0xfeed, 0xbead] {
        let mut world = World::new(4);
        world.exchange_sender("check");
        thread::scope(|scope| {
            for index in 0..3 {
                let world = &world;
                scope.spawn(move || run_wild(world, index, turns, seed + u64::from(index)));
            }
        });
        assert_eq!(world.pool.in_use(), 0, "seed {seed:#x}");
        let report = world.handoff.report();
        assert!(report.iter().all(|ring| ring.len == 0), "seed {seed:#x}: {report:?}");
        for (ring, to) in report.iter().zip(0..) {
            let sent = (0..3).flat_map(|from| world.handed_off(from));
            let (sent, congested) = sent
                .filter(|counts| counts.0 == to)
                .fold((0, 0), |(all, full), (_, sent, congested)| (all + sent, full + congested));
            assert!(ring.received.packets.get() <= sent, "seed {seed:#x}, thread {to}");
            assert!(ring.received.packets.get() > 0 && congested > 0, "seed {seed:#x}: {to}");
        }
    }
}
