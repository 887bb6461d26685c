//! Who holds a thread for too long: found by a timer's signal while it does, told by another thread.
//!
//! ```text
//!  loop      awake ─ arm the timer ─▶ pieces of work, counted … ─ disarm it ─▶ asleep
//!                                         │ every half threshold
//!  handler   the same piece as last time, for longer than it may? ── name, times and trace ──▶ slot
//!                                                                                           │ bell
//!  watchdog  asleep until then ─ names, files, lines ─▶ log;  slot: free ▶ captured ▶ free ◀┘
//!  loop      the piece ends: was it told? ── how long in all ──▶ slot, bell
//! ```
//! A *piece of work* is a dispatch, a resume of a process, a call of a timer's or a descriptor's
//! function, a command, or what the loop does between them. It costs the loop a count and a look at a
//! flag, both on a line that the thread writes anyway; an idle host is not woken, for a thread that
//! sleeps has its timer disarmed.
//!
//! *What is stuck.* Wall time decides; but a piece that has neither used processor time for half of
//! what it may nor waited for anything was merely not run, on a machine with more to run than
//! processors, and is looked at again with the next tick. What waits is told by the voluntary switches
//! that the kernel counts.
//!
//! A signal interrupts a plugin's system calls; those that can be restarted are, others (`poll`,
//! `nanosleep`) give `EINTR`, as with any signal, and only in a piece that ought not to wait.
#![expect(unsafe_code, reason = "what a signal handler reads is lent by address")]

mod reporter;
mod sight;
mod slot;
mod ticker;

use std::{
    cell::Cell,
    os::fd::OwnedFd,
    ptr,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering, compiler_fence},
    },
};

use rustix::time::{ClockId, clock_gettime};

pub use self::{reporter::Watchdog, ticker::Ticker};
use self::{slot::Slot, ticker::Timer};
use crate::{graph::Owner, process::Bounds, time::Nanos};

/// How long a plugin's load or unload may hold main: it says itself how long it took.
pub const LOAD: Nanos = Nanos::from_secs(1);
/// A flag: the piece was told of.
const TOLD: u32 = 1;
/// A flag: main fences the thread, or thinks of it.
const FENCED: u32 = 2;
/// No time is as long.
const NEVER: u64 = u64::MAX;

thread_local! {
    /// What watches this thread; null if nothing does.
    static CURRENT: Cell<*const Watch> = const { Cell::new(ptr::null()) };
}

/// A piece of work that is no node and no process.
#[derive(Clone, Copy, Debug)]
pub struct Job<'a> {
    /// What it is: `timer`, `command`.
    pub what: &'a str,
    /// What it is called.
    pub name: &'a str,
    /// Whose it is.
    pub owner: Owner,
    /// How long it may hold its thread; `None` if as long as a node.
    pub longest: Option<Nanos>,
}

/// What a thread tells its watchdog. The thread alone writes to it, and its signal handler.
#[derive(Debug)]
pub struct Watch {
    /// Counts pieces of work.
    pieces: AtomicU64,
    /// What the thread is to look at when the piece that runs has ended: [`TOLD`], [`FENCED`].
    flags: AtomicU32,
    /// The piece that hangs, plus 1; 0 if none does.
    hung: AtomicU64,
    /// How long a node may run before the thread is given up, in nanoseconds.
    hang: AtomicU64,
    /// How long a piece may take, in nanoseconds.
    common: AtomicU64,
    /// How long this piece may take, if not as long; else 0.
    own: AtomicU64,
    /// The job that runs, or null. Behind it: a [`Job`] that outlives its time here.
    job: AtomicPtr<()>,
    timer: OnceLock<Timer>,
    /// Wakes the watchdog's thread.
    bell: OnceLock<Arc<OwnedFd>>,
    slot: Box<Slot>,
}

impl Default for Watch {
    fn default() -> Self {
        Self {
            pieces: AtomicU64::new(0),
            flags: AtomicU32::new(0),
            hung: AtomicU64::new(0),
            hang: AtomicU64::new(NEVER),
            common: AtomicU64::new(NEVER),
            own: AtomicU64::new(0),
            job: AtomicPtr::new(ptr::null_mut()),
            timer: OnceLock::new(),
            bell: OnceLock::new(),
            slot: Box::default(),
        }
    }
}

impl Watch {
    /// Another piece of work begins.
    #[inline(always)]
    pub(super) fn next(&self) {
        let piece = self.pieces.load(Ordering::Relaxed).wrapping_add(1);
        self.pieces.store(piece, Ordering::Relaxed);
    }

    /// The number of the piece of work that the thread is at.
    #[inline(always)]
    pub(super) fn piece(&self) -> u64 {
        self.pieces.load(Ordering::Relaxed)
    }

    /// Whether the piece that ends was told of, or the thread is being fenced.
    #[inline(always)]
    pub(super) fn is_flagged(&self) -> bool {
        self.flags.load(Ordering::Relaxed) != 0
    }

    /// A node has returned: what follows is another piece. Whether there is something to look at; the
    /// order of the two is what `fence.rs` builds on.
    #[inline(always)]
    pub(super) fn leave_node(&self) -> bool {
        self.next();
        compiler_fence(Ordering::SeqCst);
        self.is_flagged()
    }

    /// Main wants to fence the thread.
    pub(super) fn raise_fence(&self) {
        self.flags.fetch_or(FENCED, Ordering::Relaxed);
    }

    /// Whether main fences the thread, or thinks of it.
    fn is_fenced(&self) -> bool {
        self.flags.load(Ordering::Relaxed) & FENCED != 0
    }

    /// And did not.
    pub(super) fn lower_fence(&self) {
        self.flags.fetch_and(!FENCED, Ordering::Relaxed);
    }

    /// The piece that hangs, if the thread is at it still.
    pub(super) fn hung(&self) -> Option<u64> {
        let hung = self.hung.load(Ordering::Acquire).checked_sub(1)?;
        (self.piece() == hung).then_some(hung)
    }

    /// A turn of the loop begins.
    #[inline(always)]
    pub(super) fn begin_turn(&self) {
        if self.is_flagged() {
            self.ended(None);
        }
        self.next();
    }

    /// A process is resumed, which may hold the thread for so long; or `None` is, any more.
    pub(super) fn process(&self, longest: Option<Nanos>) {
        self.own.store(longest.map_or(0, |longest| longest.0.max(1)), Ordering::Relaxed);
        self.next();
    }

    /// The thread waits for another one, as it should; or does so no more.
    pub(super) fn excuse(&self, waits: bool) {
        self.own.store(if waits { NEVER } else { 0 }, Ordering::Relaxed);
        self.next();
    }

    /// A piece that was told of has ended; how long it took, if that is known to the nanosecond.
    #[cold]
    pub(super) fn ended(&self, exactly: Option<Nanos>) {
        self.flags.fetch_and(!TOLD, Ordering::Relaxed);
        self.slot.ended(exactly.unwrap_or_else(|| monotonic().since(self.slot.first())));
        self.ring();
    }

    /// The thread is awake: looks after it from now on.
    pub(super) fn arm(&self) {
        if let Some(timer) = self.timer.get() {
            timer.set(true);
        }
    }

    /// The thread is about to sleep.
    pub(super) fn disarm(&self) {
        if let Some(timer) = self.timer.get() {
            timer.set(false);
        }
    }

    /// How long the piece that runs may take.
    fn longest(&self) -> Nanos {
        let own = self.own.load(Ordering::Relaxed);
        Nanos(if own == 0 { self.common.load(Ordering::Relaxed) } else { own })
    }

    fn ring(&self) {
        if let Some(bell) = self.bell.get() {
            // It cannot fail but by a counter that is full, and then the bell has rung.
            let _ = rustix::io::write(bell, &1_u64.to_ne_bytes());
        }
    }
}

/// Does a job, known to the watchdog by its name.
///
/// Inside a process it is the process that is watched: it may be suspended in the middle.
pub fn job<R>(job: &Job<'_>, work: impl FnOnce() -> R) -> R {
    let watch = CURRENT.get();
    if watch.is_null() || Bounds::of_current().is_some() {
        return work();
    }
    // SAFETY: what is current is this thread's own, and stays until it is current no more, which
    // only this thread's end does.
    let _inside = Inside::enter(unsafe { &*watch }, job);
    work()
}

/// A job is done, until this is dropped; by a panic too.
struct Inside<'a> {
    watch: &'a Watch,
    outer: (*mut (), u64),
}

impl<'a> Inside<'a> {
    fn enter(watch: &'a Watch, job: &Job<'_>) -> Self {
        let own = job.longest.map_or(0, |longest| longest.0.max(1));
        let outer_own = watch.own.swap(own, Ordering::Relaxed);
        let outer = watch.job.load(Ordering::Relaxed);
        watch.next();
        compiler_fence(Ordering::SeqCst);
        watch.job.store(ptr::from_ref(job).cast_mut().cast(), Ordering::Relaxed);
        compiler_fence(Ordering::SeqCst); // The handler sees it before the work begins.
        Self { watch, outer: (outer, outer_own) }
    }
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        let Self { watch, outer: (job, own) } = *self;
        compiler_fence(Ordering::SeqCst);
        if watch.is_flagged() {
            watch.ended(None);
        }
        watch.job.store(job, Ordering::Relaxed);
        compiler_fence(Ordering::SeqCst); // The handler does not see the job after its time.
        watch.own.store(own, Ordering::Relaxed);
        watch.next();
    }
}

/// The system's monotonic time: the loop's own clock is not for a handler that interrupts it.
fn monotonic() -> Nanos {
    nanos(ClockId::Monotonic)
}

fn nanos(clock: ClockId) -> Nanos {
    let time = clock_gettime(clock);
    let part = |part: i64| u64::try_from(part).unwrap_or(0);
    Nanos(part(time.tv_sec).saturating_mul(1_000_000_000).saturating_add(part(time.tv_nsec)))
}
