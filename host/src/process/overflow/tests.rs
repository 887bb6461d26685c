use std::{
    env,
    hint::black_box,
    os::unix::process::ExitStatusExt,
    process::{Command, Output},
};

use super::*;
use crate::process::{Coroutine, Suspend};

/// Set where a test runs as the child of itself.
const CHILD: &str = "GRISTMILL_TEST_CHILD";

/// Runs `deadly` in a process of its own, which runs only the test of this name; `None` in the child,
/// if it lives on.
fn in_child(test: &str, deadly: impl FnOnce()) -> Option<Output> {
    if env::var_os(CHILD).is_some() {
        deadly();
        return None;
    }
    let name = format!("process::overflow::tests::{test}");
    let child = Command::new(env::current_exe().unwrap())
        .args(["--exact", &name, "--nocapture", "--test-threads=1"])
        .env(CHILD, "1")
        .output()
        .unwrap();
    Some(child)
}

/// Runs a body on a stack of 32 KiB, with everything in force that a host has.
fn run(body: impl FnOnce() + 'static) {
    install().unwrap();
    install().unwrap();
    let _alternate = AlternateStack::new().unwrap();
    let body = move |_: &Suspend<(), ()>, ()| body();
    let label = "process \"acme-poll\" of plugin acme-dpi 1.2.0";
    Coroutine::new(Stack::new(Stack::DEFAULT).unwrap(), body).labelled(label).resume(());
}

#[expect(unconditional_recursion, reason = "that is what is told")]
fn recurse(depth: u64) -> u64 {
    black_box(recurse(black_box(depth + 1))) + 1
}

#[inline(never)]
fn huge_frame() -> u8 {
    let frame = black_box([1_u8; 4 << 20]);
    frame[black_box(77)]
}

fn check_report(child: &Output) {
    let text = String::from_utf8_lossy(&child.stderr);
    let told = "process \"acme-poll\" of plugin acme-dpi 1.2.0 overflowed its stack of 32 KiB \
                (fault at 0x";
    assert_eq!(text.matches(told).count(), 1, "{text}");
    assert_eq!(child.status.signal(), Some(libc::SIGSEGV), "{text}");
}

#[test]
fn a_body_that_recurses_too_deep_is_named_and_ends_the_process_by_the_signal() {
    let test = "a_body_that_recurses_too_deep_is_named_and_ends_the_process_by_the_signal";
    let child = in_child(test, || {
        run(|| {
            black_box(recurse(0));
        });
    });
    check_report(&child.unwrap());
}

#[test]
fn a_body_with_one_frame_of_4_mib_is_named_too() {
    let child = in_child("a_body_with_one_frame_of_4_mib_is_named_too", || {
        run(|| {
            black_box(huge_frame());
        });
    });
    check_report(&child.unwrap());
}

#[test]
fn the_one_that_runs_is_named_not_the_one_that_resumed_it() {
    let test = "the_one_that_runs_is_named_not_the_one_that_resumed_it";
    let child = in_child(test, || {
        install().unwrap();
        let body = |_: &Suspend<(), ()>, ()| {
            run(|| {
                black_box(recurse(0));
            });
        };
        let outer = Coroutine::new(Stack::new(256 << 10).unwrap(), body);
        outer.labelled("process \"outer\"").resume(());
    });
    check_report(&child.unwrap());
}

#[test]
fn a_fault_that_is_no_overflow_goes_to_who_handled_it_before() {
    let test = "a_fault_that_is_no_overflow_goes_to_who_handled_it_before";
    let child = in_child(test, || {
        run(|| {
            let nowhere = black_box(ptr::without_provenance::<u8>(64));
            // SAFETY: not at all: the fault is what is tested, in a process of its own.
            black_box(unsafe { nowhere.read_volatile() });
        });
    });

    let child = child.unwrap();
    let text = String::from_utf8_lossy(&child.stderr);
    assert!(!text.contains("overflowed"), "{text}");
    assert_eq!(child.status.signal(), Some(libc::SIGSEGV), "{text}");
}

#[test]
fn an_overflow_of_a_thread_is_still_reported_by_the_standard_library() {
    let test = "an_overflow_of_a_thread_is_still_reported_by_the_standard_library";
    let child = in_child(test, || {
        run(|| ());
        black_box(recurse(0));
    });

    let child = child.unwrap();
    let text = String::from_utf8_lossy(&child.stderr);
    assert!(text.contains("has overflowed its stack"), "{text}");
    assert_eq!(child.status.signal(), Some(libc::SIGABRT), "{text}");
}

#[test]
fn a_signal_that_somebody_sent_ends_the_process_as_without_us() {
    let test = "a_signal_that_somebody_sent_ends_the_process_as_without_us";
    let child = in_child(test, || {
        run(|| {
            // SAFETY: without conditions. The second one, for the standard library takes the first
            // for a fault that will come again.
            unsafe { libc::raise(libc::SIGSEGV) };
            // SAFETY: as above.
            unsafe { libc::raise(libc::SIGSEGV) };
        });
    });

    let child = child.unwrap();
    assert_eq!(child.status.signal(), Some(libc::SIGSEGV), "{child:?}");
}

/// The alternate stack of this thread.
fn in_force() -> libc::stack_t {
    let mut now = mem::MaybeUninit::<libc::stack_t>::uninit();
    // SAFETY: only asks, and initialises the answer.
    assert_eq!(unsafe { libc::sigaltstack(ptr::null(), now.as_mut_ptr()) }, 0);
    // SAFETY: just initialised.
    unsafe { now.assume_init() }
}

#[test]
fn an_alternate_stack_is_in_force_until_it_is_dropped() {
    let before = in_force();
    let alternate = AlternateStack::new().unwrap();

    assert_eq!(in_force().ss_sp, alternate.stack.limit().cast());
    assert!(in_force().ss_size >= ALTERNATE + libc::MINSIGSTKSZ);

    drop(alternate);
    assert_eq!((in_force().ss_sp, in_force().ss_flags), (before.ss_sp, before.ss_flags));
}

#[test]
fn a_report_that_is_too_long_is_cut_and_still_a_line() {
    let mut line = Line { bytes: [0; 512], length: 0 };
    assert!(writeln!(line, "{}", "long ".repeat(200)).is_err());
    assert_eq!((line.length, line.bytes[511]), (512, b'\n'));
}

#[test]
fn the_bounds_of_a_thread_have_its_locals_inside() {
    let local = black_box(1_u8);
    let bounds = Bounds::of_thread().unwrap();
    assert!(bounds.contains((&raw const local).addr()));
    assert!(!bounds.contains(bounds.high) && bounds.contains(bounds.low));
}
