//! All that a forwarding thread owns. Nothing here is shared, so nothing here is locked.
#![expect(unsafe_code, reason = "a thread's context is handed to plugins by address")]

use std::{
    os::fd::OwnedFd,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
};

use gristmill_abi::{
    Head,
    frame::{FRAME_SIZE, PANICKED, ThreadCtx},
    host::HostTable,
};
use plugin_api::ThreadIndex;
use rustix::event::{EventfdFlags, eventfd};

use super::{
    fence::Fence,
    files::Files,
    handoff::{Handoff, InboxPlace, Outbound},
    interrupts::Interrupts,
    mark::{Mark, Reason},
    poller::Poller,
    sched::Sched,
    sleep::SleepState,
    watchdog::Watch,
};
use crate::{
    buffer::Cache,
    deferred::ThreadDeferred,
    graph::{
        NodeIndex,
        frame::{FrameId, Frames},
        node::Attention,
        runtime::Runtime,
    },
    sync::Padded,
    time::{Cycles, Nanos, ThreadClock},
};

/// "No node" in [`ThreadShared::node`].
const NO_NODE: u32 = u32::MAX;

/// The part of a thread that others may look at and ring.
#[derive(Debug)]
pub struct ThreadShared {
    /// 0 is main.
    pub index: u32,
    /// The CPU it is pinned to, plus 1; 0 if it is not.
    pub cpu: AtomicU32,
    /// Kernel's thread id; 0 before it runs.
    pub tid: AtomicU32,
    /// Turns of its loop.
    pub turns: AtomicU64,
    /// Turns in which it moved no packet.
    pub idle_turns: AtomicU64,
    /// Times it slept.
    pub sleeps: AtomicU64,
    /// Nanoseconds from its own park to its own release, at the last barrier.
    pub stall_ns: AtomicU64,
    /// It is at the barrier.
    pub parked: AtomicBool,
    /// Its loop is to end, at the top of the next turn.
    pub quit: AtomicBool,
    /// And has ended.
    pub ended: AtomicBool,
    node: AtomicU32,
    /// Whether it has been given up.
    pub fence: Fence,
    /// What its watchdog sees.
    pub watch: Watch,
    /// What others marked. On lines of its own, as the next: others look at them, while the thread
    /// writes what is above for each dispatch.
    interrupts: Padded<Interrupts<Mark>>,
    /// What is put off on it: softirqs and tasklets.
    pub deferred: ThreadDeferred,
    /// Looked at for each frame that is handed to the thread.
    sleep: Padded<SleepState>,
    doorbell: Arc<OwnedFd>,
}

impl ThreadShared {
    /// The shared part of thread `index`.
    ///
    /// # Errors
    /// If the system has no descriptor left.
    pub fn new(index: u32) -> rustix::io::Result<Self> {
        let doorbell = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?;
        Ok(Self {
            index,
            cpu: AtomicU32::new(0),
            tid: AtomicU32::new(0),
            turns: AtomicU64::new(0),
            idle_turns: AtomicU64::new(0),
            sleeps: AtomicU64::new(0),
            stall_ns: AtomicU64::new(0),
            parked: AtomicBool::new(false),
            quit: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            node: AtomicU32::new(NO_NODE),
            fence: Fence::default(),
            watch: Watch::default(),
            interrupts: Padded(Interrupts::new()),
            deferred: ThreadDeferred::default(),
            sleep: Padded(SleepState::new()),
            doorbell: Arc::new(doorbell),
        })
    }

    /// Wakes the thread if it sleeps. Any thread, after it left there what it rings for.
    pub fn ring(&self) {
        if self.sleep.0.is_announced() {
            self.ring_anyway();
        }
    }

    /// Has the thread dispatch a node in its next turn. Any thread.
    pub fn mark(&self, mark: Mark) {
        self.interrupts.0.mark(mark);
        self.ring();
    }

    /// Raises softirqs on the thread. Any thread.
    pub fn raise(&self, bits: u64) {
        if self.deferred.pending().raise(bits) {
            self.ring();
        }
    }

    /// Makes the thread's next sleep end at once.
    pub fn ring_anyway(&self) {
        let rung = rustix::io::write(&self.doorbell, &1_u64.to_ne_bytes());
        debug_assert!(rung.is_ok() || rung == Err(rustix::io::Errno::AGAIN), "{rung:?}");
    }

    /// What rings it.
    pub fn doorbell(&self) -> &Arc<OwnedFd> {
        &self.doorbell
    }

    /// The thread is about to sleep; whatever would ring it must be looked at after this.
    pub fn announce_sleep(&self) {
        self.sleep.0.announce();
    }

    /// Whether its loop has begun and not ended.
    pub fn is_running(&self) -> bool {
        self.tid.load(Ordering::Relaxed) != 0 && !self.ended.load(Ordering::Acquire)
    }

    /// Whether it sleeps, or is about to, as far as another thread can tell.
    pub fn sleeps_now(&self) -> bool {
        self.sleep.0.is_announced()
    }

    /// The thread is awake.
    pub fn awake(&self) {
        self.sleep.0.awake();
    }

    /// The node it is in, as far as another thread can tell.
    pub fn node(&self) -> Option<NodeIndex> {
        Some(self.node.load(Ordering::Relaxed)).filter(|&node| node != NO_NODE).map(NodeIndex)
    }

    #[inline(always)]
    pub(super) fn enter(&self, node: NodeIndex, packets: u32) {
        self.node.store(node.0, Ordering::Relaxed);
        self.fence.enter(packets);
        self.watch.next();
    }

    /// The node has returned; whether there is something to look at.
    #[inline(always)]
    pub(super) fn leave_node(&self) -> bool {
        self.node.store(NO_NODE, Ordering::Relaxed);
        self.watch.leave_node()
    }
}

/// One forwarding thread.
///
/// A node's pointer to its context is a pointer to this: `ctx` comes first.
#[repr(C)]
#[derive(Debug)]
pub struct Thread {
    pub(super) ctx: ThreadCtx,
    /// The graph it runs; exchanged at the barrier.
    pub runtime: Box<Runtime>,
    pub(super) frames: Frames,
    pub(super) pending: Vec<(NodeIndex, FrameId)>,
    pub(super) nexts: Box<[u16; FRAME_SIZE]>,
    /// Its free buffers.
    pub cache: Cache,
    /// Its clock.
    pub clock: ThreadClock,
    /// When the last dispatch ended: the next one's clocks count from here.
    pub(super) last: Cycles,
    /// Packets it moved in this turn of the loop.
    pub(super) moved: usize,
    /// Turns since it moved a packet.
    pub(super) quiet: u32,
    /// Processes ran in its last turn.
    pub(super) hurried: bool,
    /// It polled an input in its last turn that nothing wakes it for.
    pub(super) polls: bool,
    /// It had a queue that it waits for in its last turn.
    pub(super) waits: bool,
    /// When it last looked at its descriptors.
    pub(super) looked: Nanos,
    /// Why it dispatches the input that runs.
    pub(super) reason: Reason,
    /// What it is to dispatch in its next turn, marked by itself.
    pub(super) marks: Vec<Mark>,
    /// What it takes others' marks into.
    taken: Vec<Mark>,
    /// Its *sched* nodes.
    pub(super) sched: Sched,
    /// Those to be called.
    pub(super) due: Vec<NodeIndex>,
    /// Packets that others have handed to it.
    pub(super) inbox: Arc<InboxPlace>,
    /// Whom it can hand packets to.
    pub(super) outbound: Outbound,
    /// What it sleeps on.
    pub poller: Poller,
    /// Descriptors with functions that it serves.
    pub files: Arc<Files>,
    /// What others see of it.
    pub shared: Arc<ThreadShared>,
    /// What it ran when it was given up: to be ended by main, as all instances are.
    pub(super) exiled: Option<Box<Runtime>>,
}

// SAFETY: the pointers in `ctx` are to the pool and to the host's table, which any thread may use.
unsafe impl Send for Thread {}

impl Thread {
    /// A thread with an empty graph.
    pub fn new(
        shared: Arc<ThreadShared>,
        cache: Cache,
        clock: ThreadClock,
        poller: Poller,
        host: *const HostTable,
    ) -> Self {
        let ctx = ThreadCtx {
            head: Head::of::<ThreadCtx>(),
            thread_index: shared.index,
            flags: 0,
            now_ns: 0,
            buffer_base: cache.pool().base(),
            host,
            reserved: [0; 2],
        };
        let files = Arc::new(Files::new(ThreadIndex(shared.index), poller.watch()));
        Self {
            ctx,
            runtime: Box::new(Runtime::empty()),
            frames: Frames::default(),
            pending: Vec::with_capacity(256),
            nexts: Box::new([PANICKED; FRAME_SIZE]),
            cache,
            last: clock.cycles(),
            clock,
            moved: 0,
            quiet: 0,
            hurried: false,
            polls: false,
            waits: false,
            looked: Nanos(0),
            reason: Reason::Turn,
            marks: Vec::new(),
            taken: Vec::new(),
            sched: Sched::new(),
            due: Vec::new(),
            inbox: Arc::default(),
            outbound: Outbound::default(),
            poller,
            files,
            shared,
            exiled: None,
        }
    }

    /// Opens the thread's ring, and lets it hand packets to others.
    pub fn join(&mut self, handoff: &Arc<Handoff>) {
        self.inbox = InboxPlace::new(handoff.open(&self.shared, self.cache.pool()));
        self.outbound = Outbound::new(handoff);
    }

    /// Where what others hand to the thread comes in.
    pub fn inbox(&self) -> &Arc<InboxPlace> {
        &self.inbox
    }

    /// Whether it was given up, and came back.
    #[inline(always)]
    pub(super) fn is_exiled(&self) -> bool {
        self.exiled.is_some()
    }

    /// Why the input that runs was dispatched.
    #[inline(always)]
    pub fn reason(&self) -> Reason {
        self.reason
    }

    /// Has this thread dispatch a node in its next turn, or in this one if it comes to it.
    pub fn mark(&mut self, mark: Mark) {
        self.marks.push(mark);
    }

    /// When an input is dispatched on this thread from now on.
    pub fn attend(&mut self, index: NodeIndex, attention: Attention) {
        if let Some(slot) = self.runtime.slot(index) {
            slot.instance.attend(attention);
        }
    }

    /// How long its turn has lasted. Reads the clock.
    pub(crate) fn turn_lasts(&mut self) -> Nanos {
        self.clock.read().since(Nanos(self.ctx.now_ns))
    }

    /// Whether something waits to be dispatched. Also looks at what others marked.
    pub(super) fn is_marked(&self) -> bool {
        !self.marks.is_empty() || self.shared.interrupts.0.any() || self.runtime.is_new
    }

    /// Puts what others marked to what is marked here, each but once; how much it is.
    #[inline]
    pub(super) fn take_marks(&mut self) -> usize {
        if self.shared.interrupts.0.any() {
            self.shared.interrupts.0.take(&mut self.taken);
            self.marks.append(&mut self.taken);
        }
        if self.marks.len() > 1 {
            self.marks.sort_unstable();
            self.marks.dedup();
        }
        self.marks.len()
    }

    /// The *sched* nodes that are to be called now.
    #[inline]
    pub(super) fn take_due(&mut self) -> Vec<NodeIndex> {
        let mut due = std::mem::take(&mut self.due);
        if self.runtime.is_new {
            self.runtime.is_new = false;
            self.sched.follow(&self.runtime.scheds, &mut due);
        }
        self.sched.expire(Nanos(self.ctx.now_ns), &mut due);
        due
    }

    /// Whether main has given up the thread of this context. Cost: a lock.
    ///
    /// # Safety
    /// `ctx` is what the host handed to a node on this thread.
    pub unsafe fn is_given_up(ctx: *const ThreadCtx) -> bool {
        // SAFETY: `ctx` is the first field of a `Thread`; no reference to all of it is made.
        let shared = unsafe { &(*ctx.cast::<Self>()).shared };
        shared.fence.is_closed()
    }

    /// The thread whose context a node was given.
    ///
    /// # Safety
    /// `ctx` is what the host handed to a node on this thread, and no other reference to the
    /// thread is in use while the result is.
    pub unsafe fn of<'a>(ctx: *mut ThreadCtx) -> &'a mut Self {
        // SAFETY: `ctx` is the first field of a `Thread`; exclusive by the caller's promise.
        unsafe { &mut *ctx.cast::<Self>() }
    }
}
