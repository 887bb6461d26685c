//! Stack overflows: who overflowed is told before the host ends by it.
//!
//! ```text
//!  resume ──▶ CURRENT (thread-local) ──▶ Running { guard, bounds, label }   at the stack's base
//!                                          ▲
//!  fault ──▶ handler, on the alternate stack: is the address in the guard of the current one?
//!              ├─ yes: one line to stderr, default action: the host ends by the signal, with a core
//!              └─ no: whoever handled the signal before us
//! ```
//!
//! The handler reads two thread-local words and what they lead to, allocates nothing, locks nothing and
//! searches nothing: however many coroutines there are, only the one that runs can overflow.
#![expect(unsafe_code, reason = "handles signals, and reads what they interrupted")]

use core::{
    ffi::{c_int, c_void},
    fmt::{self, Write},
    mem, ptr,
};
use std::{
    cell::Cell,
    io,
    marker::PhantomData,
    sync::{
        OnceLock,
        atomic::{Ordering, compiler_fence},
    },
};

use super::stack::{Stack, StackError};

/// What Rust's own handler and ours need at most, beyond the registers that the kernel saves.
const ALTERNATE: usize = 64 << 10;

/// The signals of a fault, and what handled them before us.
const SIGNALS: [c_int; 2] = [libc::SIGSEGV, libc::SIGBUS];
static PREVIOUS: [OnceLock<libc::sigaction>; 2] = [const { OnceLock::new() }; 2];

thread_local! {
    /// What runs on this thread; null if no coroutine does.
    static CURRENT: Cell<*const Running> = const { Cell::new(ptr::null()) };
}

/// Addresses of a stack: from `low` to below `high`, all of which can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// The lowest address.
    pub low: usize,
    /// The address behind the highest.
    pub high: usize,
}

impl Bounds {
    /// Of the coroutine that runs on this thread. May be called by a signal handler.
    pub fn of_current() -> Option<Self> {
        let current = CURRENT.get();
        // SAFETY: what is current stays where it is until it is left, which waits for this thread.
        let running = unsafe { current.as_ref() }?;
        Some(Self { low: running.limit, high: running.base })
    }

    /// Of the calling thread's own stack. Not for a signal handler: ask early and keep it.
    ///
    /// # Errors
    /// What the system says.
    pub fn of_thread() -> io::Result<Self> {
        let mut attributes = mem::MaybeUninit::<libc::pthread_attr_t>::uninit();
        // SAFETY: without conditions; it always succeeds.
        let thread = unsafe { libc::pthread_self() };
        // SAFETY: the thread is this one, and the call initialises the attributes.
        let code = unsafe { libc::pthread_getattr_np(thread, attributes.as_mut_ptr()) };
        if code != 0 {
            return Err(io::Error::from_raw_os_error(code));
        }
        let (mut low, mut size) = (ptr::null_mut::<c_void>(), 0);
        // SAFETY: the attributes were initialised above.
        let code = unsafe {
            libc::pthread_attr_getstack(attributes.as_ptr(), &raw mut low, &raw mut size)
        };
        // SAFETY: as above, and they are not used afterwards.
        unsafe { libc::pthread_attr_destroy(attributes.as_mut_ptr()) };
        if code != 0 {
            return Err(io::Error::from_raw_os_error(code));
        }
        Ok(Self { low: low.addr(), high: low.addr() + size })
    }

    /// Whether an address is inside.
    pub fn contains(&self, address: usize) -> bool {
        (self.low..self.high).contains(&address)
    }
}

/// What is told of a coroutine that runs. At the base of its stack, so it stays while it runs.
#[repr(C)]
pub(super) struct Running {
    /// The guard is from here to below `limit`.
    low: usize,
    limit: usize,
    base: usize,
    /// Owned by the coroutine, which lives while it runs.
    label: Cell<*const str>,
}

impl Running {
    pub(super) fn new(stack: &Stack, label: &str) -> Self {
        Self {
            low: stack.low().addr(),
            limit: stack.limit().addr(),
            base: stack.base().addr(),
            label: Cell::new(label),
        }
    }

    /// The label must stay as long as this can be current.
    pub(super) fn set_label(&self, label: &str) {
        self.label.set(label);
    }
}

/// Says that a coroutine runs from now on; returns who ran before.
#[inline]
pub(super) fn enter(running: &Running) -> *const Running {
    let previous = CURRENT.replace(running);
    compiler_fence(Ordering::SeqCst); // A handler on this thread sees it before the first frame.
    previous
}

/// Says that what ran before runs again.
#[inline]
pub(super) fn leave(previous: *const Running) {
    compiler_fence(Ordering::SeqCst);
    CURRENT.set(previous);
}

/// Calls `look` with the label of the coroutine that runs on this thread. May be called by a signal
/// handler.
pub(crate) fn with_label<R>(look: impl FnOnce(Option<&str>) -> R) -> R {
    // SAFETY: as in `Bounds::of_current`.
    let running = unsafe { CURRENT.get().as_ref() };
    // SAFETY: the coroutine, which owns the label, is borrowed by the resume that runs it.
    look(running.map(|running| unsafe { &*running.label.get() }))
}

/// Whether a coroutine is the one that runs on this thread.
#[inline]
pub(super) fn is_current(running: &Running) -> bool {
    ptr::eq(CURRENT.get(), running)
}

/// Reports overflows of coroutines from now on; a second call does nothing.
///
/// Each thread that runs coroutines wants an [`AlternateStack`]. What handled the signals of a fault
/// until now gets those that are not an overflow of a coroutine. Context: main, early.
///
/// # Errors
/// What the system says.
pub fn install() -> io::Result<()> {
    for (signal, previous) in SIGNALS.into_iter().zip(&PREVIOUS) {
        if previous.get().is_some() {
            continue;
        }
        let mut old = mem::MaybeUninit::<libc::sigaction>::uninit();
        // SAFETY: only asks, and the call initialises the answer.
        if unsafe { libc::sigaction(signal, ptr::null(), old.as_mut_ptr()) } != 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: initialised by the call, which succeeded.
        let old = unsafe { old.assume_init() };
        // Known before the handler can be called; if two threads install, the first one does.
        if previous.set(old).is_err() {
            continue;
        }
        let handler: extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void) = on_fault;
        // SAFETY: all zeros is a valid value of this structure of integers.
        let mut action: libc::sigaction = unsafe { mem::zeroed() };
        action.sa_sigaction = handler as usize;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
        // SAFETY: the handler does only what is allowed in one, and has the signature of its flags.
        if unsafe { libc::sigaction(signal, &raw const action, ptr::null_mut()) } != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

extern "C" fn on_fault(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    // SAFETY: the kernel calls this with what its flags promise.
    let told = unsafe { &*info };
    let is_fault = told.si_code > 0; // Else somebody sent the signal.
    if is_fault {
        // SAFETY: a fault has an address.
        let address = unsafe { told.si_addr() }.addr();
        let current = CURRENT.get();
        // SAFETY: as in `Bounds::of_current`.
        if let Some(running) = unsafe { current.as_ref() }
            && (running.low..running.limit).contains(&address)
        {
            report(running, address);
            // The instruction faults again when this returns, and that is the end.
            return set_default(signal);
        }
    }
    pass_on(signal, info, context, is_fault);
}

fn report(running: &Running, address: usize) {
    // SAFETY: the coroutine, which owns the label, is borrowed by the resume that runs it.
    let label = unsafe { &*running.label.get() };
    let size = (running.base - running.limit) >> 10;
    let mut line = Line { bytes: [0; 512], length: 0 };
    // A line that is full is cut.
    let _ = writeln!(line, "{label} overflowed its stack of {size} KiB (fault at {address:#x})");
    let mut rest = &line.bytes[..line.length];
    while !rest.is_empty() {
        // SAFETY: the bytes are on our stack.
        let written = unsafe { libc::write(2, rest.as_ptr().cast(), rest.len()) };
        match usize::try_from(written) {
            Ok(written) if written > 0 => rest = &rest[written..],
            _ => return,
        }
    }
}

/// Text in a fixed place.
struct Line {
    bytes: [u8; 512],
    length: usize,
}

impl Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = &mut self.bytes[self.length..];
        let fits = text.len().min(room.len());
        room[..fits].copy_from_slice(&text.as_bytes()[..fits]);
        self.length += fits;
        if fits < text.len() {
            self.bytes[self.bytes.len() - 1] = b'\n';
            return Err(fmt::Error);
        }
        Ok(())
    }
}

fn set_default(signal: c_int) {
    // SAFETY: all zeros is the default action, without flags.
    let action: libc::sigaction = unsafe { mem::zeroed() };
    // SAFETY: the default action of a signal is always valid.
    unsafe { libc::sigaction(signal, &raw const action, ptr::null_mut()) };
}

/// Does what would have happened without us.
fn pass_on(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void, is_fault: bool) {
    let at = usize::from(signal == SIGNALS[1]);
    let Some(previous) = PREVIOUS[at].get() else { return set_default(signal) };
    match previous.sa_sigaction {
        // Nobody can ignore a fault.
        libc::SIG_IGN if !is_fault => {}
        libc::SIG_DFL | libc::SIG_IGN => {
            set_default(signal);
            if !is_fault {
                // Somebody sent it; it arrives when this handler returns.
                // SAFETY: without conditions.
                unsafe { libc::raise(signal) };
            }
        }
        handler if previous.sa_flags & libc::SA_SIGINFO != 0 => {
            type Handler = extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void);
            // SAFETY: a handler with this flag has this signature.
            let handler = unsafe { mem::transmute::<usize, Handler>(handler) };
            handler(signal, info, context);
        }
        handler => {
            // SAFETY: a handler without that flag has this signature.
            let handler = unsafe { mem::transmute::<usize, extern "C" fn(c_int)>(handler) };
            handler(signal);
        }
    }
}

/// The stack on which this thread handles signals, with a guard below; the thread has its former one
/// again when this is dropped.
///
/// Context: the thread that made it.
#[derive(Debug)]
pub struct AlternateStack {
    stack: Stack,
    previous: libc::stack_t,
    here: PhantomData<*mut ()>,
}

impl AlternateStack {
    /// Makes one and puts it in force on this thread.
    ///
    /// # Errors
    /// [`StackError`] if there is no memory for it.
    pub fn new() -> Result<Self, StackError> {
        // What the kernel saves depends on the processor: with AVX-512 or AMX it is kilobytes.
        // SAFETY: without conditions; 0 if the kernel does not tell.
        let frame = unsafe { libc::getauxval(libc::AT_MINSIGSTKSZ) };
        let frame = usize::try_from(frame).unwrap_or(0).max(libc::MINSIGSTKSZ);
        let stack = Stack::new(ALTERNATE + frame)?;
        let new = libc::stack_t { ss_sp: stack.limit().cast(), ss_flags: 0, ss_size: stack.size() };
        let previous = exchange(&new).map_err(|source| StackError::Map {
            size: stack.size(),
            source: rustix::io::Errno::from_io_error(&source).unwrap_or(rustix::io::Errno::INVAL),
        })?;
        Ok(Self { stack, previous, here: PhantomData })
    }
}

impl Drop for AlternateStack {
    fn drop(&mut self) {
        let in_force = exchange(&self.previous);
        if let Ok(other) = in_force
            && other.ss_sp != self.stack.limit().cast()
        {
            // Somebody has put another one in force since: that is whose turn it is.
            let _ = exchange(&other);
        }
    }
}

/// Puts another alternate stack in force; returns the one before.
fn exchange(new: &libc::stack_t) -> io::Result<libc::stack_t> {
    let mut old = mem::MaybeUninit::<libc::stack_t>::uninit();
    // SAFETY: the new one is memory that lives until another one is in force; the old one is
    // initialised by the call.
    if unsafe { libc::sigaltstack(new, old.as_mut_ptr()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call succeeded.
    Ok(unsafe { old.assume_init() })
}

#[cfg(test)]
mod tests;
