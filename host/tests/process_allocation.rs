//! Once a process has run for a while, events, times and turns allocate nothing.
#![expect(unsafe_code, reason = "counts what the allocator is asked for")]

mod counting;

use std::sync::atomic::Ordering;

use counting::COUNT;
use gristmill::{
    graph::Owner,
    process::{Body, Ending, Processes, Request, Restart, Spec},
    time::{Clock, Nanos, VirtualTime},
};

const MS: Nanos = Nanos(1_000_000);

struct Waits(&'static Processes);

impl Body for Waits {
    fn run(&mut self) -> Ending {
        while self.0.wait(Request { events: 1, timeout: Some(MS), end_of: None }).is_ok() {}
        Ending::Cancelled
    }
}

#[test]
fn nothing_is_allocated_for_an_event_after_the_first_ones() {
    let time = VirtualTime::default();
    let processes: &'static Processes =
        Box::leak(Box::new(Processes::new(Clock::virtual_at(&time).thread())));
    let spec = Spec {
        name: "waits".to_owned(),
        owner: Owner(1),
        plugin: "test".to_owned(),
        version: "1.0.0".to_owned(),
        stack_size: 64 << 10,
        restart: Restart::Never,
        watchdog: MS,
    };
    let process = processes.spawn(spec, Box::new(Waits(processes)));
    let pass = || processes.run(std::ptr::null_mut(), time.now(), |_| (), |_| ());
    let turn = || {
        assert!(processes.signal(&process, 1, || ()));
        assert_eq!(pass(), 1, "woken by the event");
        time.advance(Nanos(2 * MS.0));
        assert_eq!(pass(), 1, "woken by the clock");
    };
    pass();
    (0..4096).for_each(|_| turn());
    let before = COUNT.load(Ordering::Relaxed);
    (0..1000).for_each(|_| turn());
    assert_eq!(COUNT.load(Ordering::Relaxed) - before, 0);
}
