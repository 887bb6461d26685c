use std::{cell::Cell, hint::black_box, mem, ptr};

use super::*;
use crate::process::{Coroutine, Stack, Suspend};

static ON_THREAD: Trace = Trace::new();
static ON_COROUTINE: Trace = Trace::new();
static DEEP: Trace = Trace::new();

thread_local! {
    static INTO: Cell<(Option<&'static Trace>, Bounds)> =
        const { Cell::new((None, Bounds { low: 0, high: 0 })) };
}

extern "C" fn on_signal(_: i32, _: *mut libc::siginfo_t, context: *mut c_void) {
    if let (Some(trace), bounds) = INTO.get() {
        // SAFETY: the handler's own context, and the bounds that its thread asked for.
        unsafe { trace.capture(context, bounds) };
    }
}

/// Lets a signal interrupt this thread, to fill `trace`.
#[inline(never)]
fn interrupted_here(trace: &'static Trace) {
    let handler: extern "C" fn(i32, *mut libc::siginfo_t, *mut c_void) = on_signal;
    // SAFETY: all zeros is a valid value of this structure of integers.
    let mut action: libc::sigaction = unsafe { mem::zeroed() };
    action.sa_sigaction = handler as usize;
    action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
    // SAFETY: the handler stores numbers and nothing else.
    let set = unsafe { libc::sigaction(libc::SIGUSR2, &raw const action, ptr::null_mut()) };
    assert_eq!(set, 0);
    let thread = INTO.get().1;
    INTO.set((Some(trace), thread));
    // SAFETY: without conditions.
    unsafe { libc::raise(libc::SIGUSR2) };
}

#[inline(never)]
fn milling(trace: &'static Trace, depth: u32) -> u32 {
    if depth == 0 {
        interrupted_here(trace);
        return black_box(1);
    }
    black_box(milling(trace, black_box(depth - 1))) + 1
}

fn ask_bounds() {
    INTO.set((None, Bounds::of_thread().unwrap()));
}

/// Named on another thread, as a watchdog does.
fn lines(trace: &'static Trace) -> Vec<String> {
    std::thread::spawn(|| trace.lines()).join().unwrap()
}

#[test]
fn a_trace_of_a_thread_has_the_names_and_lines_of_its_functions() {
    ask_bounds();
    milling(&ON_THREAD, 3);

    let lines = lines(&ON_THREAD);

    // The innermost frames are the C library's, which may have no frame pointers of its own.
    let own: Vec<_> = lines.iter().filter(|line| line.contains("milling (")).collect();
    assert_eq!(own.len(), 4, "{lines:#?}");
    assert!(own[0].contains("process/backtrace/tests.rs:"), "{lines:#?}");
    assert!(lines[0].starts_with("  0: "), "{lines:#?}");
    let test = "a_trace_of_a_thread_has_the_names_and_lines_of_its_functions";
    assert!(lines.iter().any(|line| line.contains(test)), "{lines:#?}");
}

#[test]
fn a_trace_of_a_coroutine_ends_with_its_first_frame() {
    ask_bounds();
    let body = |_: &Suspend<(), ()>, ()| milling(&ON_COROUTINE, 2);
    Coroutine::new(Stack::new(Stack::DEFAULT).unwrap(), body).resume(());

    let lines = lines(&ON_COROUTINE);

    let at = |name: &str| lines.iter().rposition(|line| line.contains(name));
    let (body, first) = (at("milling ("), at("process/coroutine.rs:"));
    assert!(body.is_some() && body < first, "{lines:#?}");
    assert!(lines.last().unwrap().contains("switch::begin"), "{lines:#?}");
}

#[test]
fn a_trace_has_the_innermost_frames_of_many() {
    ask_bounds();
    milling(&DEEP, 500);

    let lines = lines(&DEEP);

    assert_eq!(DEEP.addresses().len(), ADDRESSES);
    assert!(lines.last().unwrap().contains("milling ("), "{lines:#?}");
}

#[test]
fn a_frame_pointer_that_is_none_ends_the_walk_and_nothing_is_read() {
    // Two frames, of which the second leads to `next`.
    let walk = |next: usize| {
        let mut words = [0_usize; 8];
        let low = (&raw const words).expose_provenance();
        words[..4].copy_from_slice(&[low + 16, 0x1111, next, 0x2222]);
        let bounds = Bounds { low, high: low + size_of_val(&words) };
        let registers = Registers { instruction: 0x3333, frame: low, stack: low };
        let trace = Trace::new();
        // SAFETY: the bounds are those of the words.
        unsafe { trace.walk(black_box(registers), Some(bounds)) };
        black_box(words);
        (trace.addresses(), low)
    };
    let low = walk(0).1;
    for next in [0, 1, 8, low, low + 16, low + 33, low + 56, low + 64, usize::MAX, usize::MAX - 7] {
        assert_eq!(walk(next).0, [0x3333, 0x1111, 0x2222], "{next:#x}");
    }
}

#[test]
fn a_stack_pointer_outside_every_stack_gives_the_instruction_alone() {
    let registers = Registers { instruction: 0x3333, frame: 16, stack: 8 };
    let trace = Trace::new();

    // SAFETY: without bounds nothing is read.
    unsafe { trace.walk(registers, None) };

    assert_eq!(trace.addresses(), [0x3333]);
    assert_eq!(trace.lines(), ["  0: 0x3333"]);
}
