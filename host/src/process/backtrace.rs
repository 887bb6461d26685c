//! Where a thread is: its return addresses, found by a signal handler and named by another thread.
//!
//! ```text
//!  watchdog ── signal ──▶ handler on the stuck thread: Trace::capture, along the frame pointers
//!      ▲                                                     │
//!      └───── Trace::lines: names, files, lines ◀────────────┘
//! ```
//!
//! A frame begins with the frame pointer of its caller and the address to return to, on x86-64 and
//! on aarch64 alike; `.cargo/config.toml` keeps frame pointers in all our code. C compiled without
//! them (`-fomit-frame-pointer`) ends the walk or leaves frames out, and never makes it fault.
#![expect(unsafe_code, reason = "reads the registers and the stack that a signal interrupted")]

use std::{
    ffi::c_void,
    path::Path,
    sync::atomic::{AtomicUsize, Ordering},
};

use super::overflow::Bounds;

/// Addresses kept of one trace.
pub const ADDRESSES: usize = 64;

/// Registers of an interrupted thread.
#[derive(Clone, Copy, Debug)]
struct Registers {
    /// What it was about to do.
    instruction: usize,
    frame: usize,
    stack: usize,
}

/// Up to [`ADDRESSES`] addresses, innermost first; written by one thread and read by another.
#[derive(Debug)]
pub struct Trace {
    addresses: [AtomicUsize; ADDRESSES],
    length: AtomicUsize,
}

impl Default for Trace {
    fn default() -> Self {
        Self::new()
    }
}

impl Trace {
    /// One without addresses.
    pub const fn new() -> Self {
        Self { addresses: [const { AtomicUsize::new(0) }; ADDRESSES], length: AtomicUsize::new(0) }
    }

    /// Fills it with where this thread was when a signal interrupted it: on the stack of the
    /// coroutine that runs, else on the thread's own, whose bounds are `thread`
    /// ([`Bounds::of_thread`], asked for early).
    ///
    /// Cost: a load or two a frame; no allocation, no lock, no fault. Context: a signal handler.
    ///
    /// # Safety
    /// `context` is the third argument of the handler, and `thread` the bounds of this thread's stack.
    pub unsafe fn capture(&self, context: *const c_void, thread: Bounds) {
        // SAFETY: the caller's first promise.
        let registers = unsafe { registers(context) };
        let on = |bounds: &Bounds| bounds.contains(registers.stack);
        let bounds = Bounds::of_current().filter(on).or_else(|| Some(thread).filter(on));
        // SAFETY: between the stack pointer and the end of the stack it is on, all can be read.
        unsafe { self.walk(registers, bounds) };
    }

    /// # Safety
    /// From `registers.stack` to the high end of `bounds` memory can be read.
    unsafe fn walk(&self, registers: Registers, bounds: Option<Bounds>) {
        let mut length = 0;
        let mut push = |address| {
            let Some(slot) = self.addresses.get(length) else { return false };
            slot.store(address, Ordering::Relaxed);
            length += 1;
            true
        };
        push(registers.instruction);
        if let Some(bounds) = bounds {
            let mut lowest = registers.stack;
            let mut frame = registers.frame;
            // Frames are aligned, inside, and each is above the one before, so that this ends.
            while frame.is_multiple_of(align_of::<[usize; 2]>())
                && frame >= lowest
                && frame <= bounds.high - size_of::<[usize; 2]>()
            {
                let record = std::ptr::with_exposed_provenance::<[usize; 2]>(frame);
                // SAFETY: just checked to be where the caller says that it can be read.
                let [caller, address] = unsafe { record.read() };
                if address == 0 || !push(address) {
                    break;
                }
                lowest = frame + size_of::<[usize; 2]>();
                frame = caller;
            }
        }
        self.length.store(length, Ordering::Release);
    }

    /// The addresses, innermost first: where it was, then where each frame returns to.
    pub fn addresses(&self) -> Vec<usize> {
        let length = self.length.load(Ordering::Acquire).min(ADDRESSES);
        self.addresses[..length].iter().map(|address| address.load(Ordering::Relaxed)).collect()
    }

    /// The names of the addresses: `  0: name (file:line)`, and below it, without a number, the
    /// functions that it was inlined into.
    ///
    /// Cost: reads debug information from files, allocates. Context: any thread but the one that
    /// was interrupted, which may hold the allocator's lock.
    pub fn lines(&self) -> Vec<String> {
        self.lines_or(|_| None)
    }

    /// As [`lines`](Self::lines); an address without a name is what `place` says.
    pub fn lines_or(&self, place: impl Fn(usize) -> Option<String>) -> Vec<String> {
        let nameless = |address| place(address).unwrap_or_else(|| format!("{address:#x}"));
        // What was mapped since the last time is found, too.
        backtrace::clear_symbol_cache();
        let mut lines = Vec::new();
        for (number, address) in self.addresses().into_iter().enumerate() {
            let before = lines.len();
            // A frame returns behind its call, which may be another line, or another function.
            let inside = if number == 0 { address } else { address - 1 };
            let inside = std::ptr::without_provenance_mut(inside);
            backtrace::resolve(inside, |symbol| {
                let name = symbol.name().map_or_else(
                    || nameless(address),
                    |name| format!("{name:#}"), // Without the hash.
                );
                let place = match (symbol.filename(), symbol.lineno()) {
                    (Some(file), Some(line)) => format!(" ({}:{line})", tail(file)),
                    _ => String::new(),
                };
                lines.push(if lines.len() == before {
                    format!("{number:>3}: {name}{place}")
                } else {
                    format!("     {name}{place}")
                });
            });
            if lines.len() == before {
                lines.push(format!("{number:>3}: {}", nameless(address)));
            }
        }
        lines
    }
}

/// A file's path without what is the same for all of a build's files.
fn tail(file: &Path) -> std::path::Display<'_> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
    here.and_then(|here| file.strip_prefix(here).ok()).unwrap_or(file).display()
}

/// # Safety
/// `context` is what the kernel gave to a signal handler.
#[cfg(target_arch = "x86_64")]
unsafe fn registers(context: *const c_void) -> Registers {
    // SAFETY: the caller's promise.
    let machine = unsafe { &(*context.cast::<libc::ucontext_t>()).uc_mcontext };
    let register = |number: i32| {
        usize::try_from(number)
            .ok()
            .and_then(|at| machine.gregs.get(at))
            .map_or(0, |value| usize::from_ne_bytes(value.to_ne_bytes()))
    };
    Registers {
        instruction: register(libc::REG_RIP),
        frame: register(libc::REG_RBP),
        stack: register(libc::REG_RSP),
    }
}

/// As above.
///
/// # Safety
/// As above.
#[cfg(target_arch = "aarch64")]
unsafe fn registers(context: *const c_void) -> Registers {
    // SAFETY: the caller's promise.
    let machine = unsafe { &(*context.cast::<libc::ucontext_t>()).uc_mcontext };
    let register = |value: u64| usize::from_ne_bytes(value.to_ne_bytes());
    Registers {
        instruction: register(machine.pc),
        frame: register(machine.regs[29]),
        stack: register(machine.sp),
    }
}

#[cfg(test)]
mod tests;
