//! The signal that looks at what a thread does: a timer of the kernel's, and its handler.
#![expect(unsafe_code, reason = "timers, signals, and what they interrupt")]

use std::{
    cell::Cell,
    ffi::{c_int, c_void},
    io, mem, ptr,
    rc::Rc,
    sync::{
        Arc,
        atomic::{Ordering, compiler_fence},
    },
};

use rustix::time::ClockId;

use super::{
    CURRENT, Job, NEVER, TOLD, Watch, Watchdog, monotonic, nanos,
    sight::{Reading, Sight},
    slot::Work,
};
use crate::{
    engine::ThreadShared,
    process::{Bounds, backtrace::Trace, overflow},
    time::Nanos,
};

thread_local! {
    static TICKER: Cell<*const Inner> = const { Cell::new(ptr::null()) };
}

/// A timer whose signal goes to the thread that made it.
#[derive(Debug)]
pub(super) struct Timer {
    id: libc::timer_t,
    period: Nanos,
}

// SAFETY: the id is a number that any thread may use.
unsafe impl Send for Timer {}
// SAFETY: as above.
unsafe impl Sync for Timer {}

impl Timer {
    fn new(signal: c_int, period: Nanos) -> io::Result<Self> {
        // SAFETY: all zeros is a valid value of this structure of integers.
        let mut event: libc::sigevent = unsafe { mem::zeroed() };
        event.sigev_notify = libc::SIGEV_THREAD_ID;
        event.sigev_signo = signal;
        event.sigev_notify_thread_id = rustix::thread::gettid().as_raw_nonzero().get();
        let mut id = ptr::null_mut();
        // SAFETY: both are valid for the call.
        let made =
            unsafe { libc::timer_create(libc::CLOCK_MONOTONIC, &raw mut event, &raw mut id) };
        if made == 0 { Ok(Self { id, period }) } else { Err(io::Error::last_os_error()) }
    }

    /// Arms or disarms it. Cost: a system call.
    pub(super) fn set(&self, armed: bool) {
        // At most a minute: a second's fraction and the seconds fit whatever their types are.
        let period = if armed { self.period.0 } else { 0 };
        let [seconds, rest] = [period / 1_000_000_000, period % 1_000_000_000];
        let every = libc::timespec {
            tv_sec: seconds.try_into().unwrap_or(libc::time_t::MAX),
            tv_nsec: rest.try_into().unwrap_or(libc::c_long::MAX),
        };
        let spec = libc::itimerspec { it_interval: every, it_value: every };
        // SAFETY: the timer is there, or its number is nobody's and the call fails.
        unsafe { libc::timer_settime(self.id, 0, &raw const spec, ptr::null_mut()) };
    }
}

/// What looks after the calling thread, until it is dropped.
#[derive(Debug)]
pub struct Ticker {
    /// Counted, for others look at what moves; and of this thread alone.
    inner: Rc<Inner>,
}

#[derive(Debug)]
struct Inner {
    shared: Arc<ThreadShared>,
    /// The thread's own stack.
    bounds: Bounds,
    sight: Cell<Sight>,
}

impl Ticker {
    /// Looks after the calling thread, whose shared part is `shared`, whenever its loop is awake. It
    /// wants an `AlternateStack`: a process's own may have no room for the handler.
    ///
    /// # Errors
    /// What the system says.
    pub fn start(shared: &Arc<ThreadShared>, watchdog: &Watchdog) -> io::Result<Self> {
        let bounds = Bounds::of_thread()?;
        let watch = &shared.watch;
        watch.common.store(watchdog.threshold().0, Ordering::Relaxed);
        let hang = if shared.index == 0 { NEVER } else { watchdog.hang().0 };
        watch.hang.store(hang, Ordering::Relaxed);
        let _ = watch.bell.set(watchdog.bell()); // Else it has the same one.
        let shared = Arc::clone(shared);
        let inner = Rc::new(Inner { shared, bounds, sight: Cell::default() });
        let watch: *const Watch = &raw const inner.shared.watch;
        TICKER.set(&raw const *inner);
        CURRENT.set(watch);
        compiler_fence(Ordering::SeqCst);
        let ticker = Self { inner }; // From here on a failure puts things back.
        let timer = Timer::new(watchdog.signal(), watchdog.period())?;
        let _ = ticker.inner.shared.watch.timer.set(timer);
        Ok(ticker)
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        CURRENT.set(ptr::null());
        TICKER.set(ptr::null());
        compiler_fence(Ordering::SeqCst); // A tick from here on finds nothing.
        if let Some(timer) = self.inner.shared.watch.timer.get() {
            // SAFETY: made by this thread, and deleted once.
            unsafe { libc::timer_delete(timer.id) };
        }
    }
}

/// Handles ticks with a signal that nobody else handles; which.
pub(super) fn install() -> io::Result<c_int> {
    let handler: extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void) = on_tick;
    for signal in (libc::SIGRTMIN()..=libc::SIGRTMAX()).rev() {
        let mut old = mem::MaybeUninit::<libc::sigaction>::uninit();
        // SAFETY: only asks, and the call initialises the answer.
        if unsafe { libc::sigaction(signal, ptr::null(), old.as_mut_ptr()) } != 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: initialised by the call, which succeeded.
        let old = unsafe { old.assume_init() };
        if ![libc::SIG_DFL, handler as usize].contains(&old.sa_sigaction) {
            continue;
        }
        // SAFETY: all zeros is a valid value of this structure of integers.
        let mut action: libc::sigaction = unsafe { mem::zeroed() };
        action.sa_sigaction = handler as usize;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_RESTART;
        // SAFETY: the handler does what is allowed in one, and has the signature of its flags.
        if unsafe { libc::sigaction(signal, &raw const action, ptr::null_mut()) } != 0 {
            return Err(io::Error::last_os_error());
        }
        return Ok(signal);
    }
    Err(io::Error::other("all real-time signals are in use"))
}

extern "C" fn on_tick(_: c_int, _: *mut libc::siginfo_t, context: *mut c_void) {
    // SAFETY: without conditions.
    let errno = unsafe { libc::__errno_location() };
    // SAFETY: the place is this thread's own.
    let before = unsafe { errno.read() };
    // SAFETY: set by this thread, which takes it back before what it refers to goes.
    if let Some(inner) = unsafe { TICKER.get().as_ref() } {
        // SAFETY: the kernel gave the context to this handler.
        unsafe { inner.tick(context) };
    }
    // SAFETY: as above.
    unsafe { errno.write(before) };
}

impl Inner {
    /// # Safety
    /// `context` is the third argument of the handler, on the thread whose this is.
    unsafe fn tick(&self, context: *const c_void) {
        let watch = &self.shared.watch;
        let piece = watch.pieces.load(Ordering::Relaxed);
        let mut sight = self.sight.get();
        let (longest, reading) = (watch.longest(), reading());
        let held = sight.look(piece, longest, reading);
        let in_node = self.shared.node().is_some() && !watch.is_fenced();
        let may_hang = longest.0 != NEVER && in_node;
        let hang = if may_hang { watch.hang.load(Ordering::Relaxed) } else { NEVER };
        let hangs = sight.hangs(Nanos(hang), reading);
        self.sight.set(sight);
        if hangs {
            watch.hung.store(piece + 1, Ordering::Release);
            watch.ring();
        }
        let Some(held) = held else { return };
        // SAFETY: by the caller's promise; the bounds are this thread's.
        let trace = |trace: &Trace| unsafe { trace.capture(context, self.bounds) };
        let job = watch.job.load(Ordering::Relaxed).cast_const().cast::<Job<'_>>();
        let captured = overflow::with_label(|label| match label {
            Some(label) => {
                watch.slot.capture(piece, Work::Process(label), held, trace);
                false // Whoever resumed it knows how long it ran.
            }
            None => {
                // SAFETY: the job is this thread's, and is taken back before its time is over.
                let work = match (unsafe { job.as_ref() }, self.shared.node()) {
                    (Some(job), _) => Work::Job(job.what, job.name, job.owner),
                    (None, Some(node)) => Work::Node(node),
                    (None, None) => Work::Loop,
                };
                watch.slot.capture(piece, work, held, trace)
            }
        });
        if captured {
            watch.flags.fetch_or(TOLD, Ordering::Relaxed);
        }
        watch.ring();
    }
}

/// Cost: three system calls, one of which the kernel serves without being entered.
fn reading() -> Reading {
    let mut usage = mem::MaybeUninit::<libc::rusage>::uninit();
    // SAFETY: the call initialises it.
    let answered = unsafe { libc::getrusage(libc::RUSAGE_THREAD, usage.as_mut_ptr()) } == 0;
    // SAFETY: initialised by a call that succeeded.
    let waits = if answered { unsafe { usage.assume_init() }.ru_nvcsw } else { 0 };
    let cpu = nanos(ClockId::ThreadCPUTime);
    Reading { now: monotonic(), cpu, waits: u64::try_from(waits).unwrap_or(0) }
}
