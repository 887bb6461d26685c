//! A warm wheel does not allocate, whatever is done with it.
#![expect(unsafe_code, reason = "a counting allocator is an unsafe trait")]
#![expect(clippy::cast_possible_truncation, reason = "small numbers, 64-bit machines")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use plugin_api::wheel::{Wheel1t3w1024slOv, Wheel16t2w512sl};

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

/// The system's allocator, counting per thread.
struct Counting;

// SAFETY: everything is passed on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller keeps `alloc`'s contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps `dealloc`'s contract.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

fn random(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

macro_rules! churn {
    ($wheel:expr, $timers:expr, $intervals:expr) => {{
        let mut wheel = $wheel;
        let mut state = 1;
        let mut expired = Vec::with_capacity($timers);
        let mut handles: Vec<_> = (0..$timers as u32)
            .map(|object| wheel.start(object, 0, random(&mut state) % $intervals).unwrap())
            .collect();
        let before = ALLOCATIONS.with(Cell::get);
        for now in 0..20_000 {
            for _ in 0..20 {
                let object = random(&mut state) as usize % $timers;
                let interval = random(&mut state) % $intervals;
                if random(&mut state) % 2 == 0 && wheel.stop(handles[object]) {
                    handles[object] = wheel.start(object as u32, 0, interval).unwrap();
                } else {
                    let _ = wheel.update(handles[object], interval);
                }
            }
            wheel.expire(now, &mut expired);
            for expiry in expired.drain(..) {
                let interval = random(&mut state) % $intervals;
                handles[expiry.object() as usize] =
                    wheel.start(expiry.object(), 0, interval).unwrap();
            }
        }
        assert_eq!(wheel.len(), $timers);
        ALLOCATIONS.with(Cell::get) - before
    }};
}

#[test]
fn a_warm_wheel_does_not_allocate() {
    assert_eq!(churn!(Wheel16t2w512sl::new(0), 5_000, 100_000), 0);
    assert_eq!(churn!(Wheel1t3w1024slOv::new(0), 5_000, 5_000), 0);
}

#[test]
fn a_wheel_made_with_a_capacity_does_not_allocate_up_to_it() {
    let mut wheel = Wheel1t3w1024slOv::with_capacity(0, 10_000);
    let before = ALLOCATIONS.with(Cell::get);
    for object in 0..10_000 {
        wheel.start(object, 0, u64::from(object) * 7_919).unwrap();
    }
    assert_eq!(ALLOCATIONS.with(Cell::get), before);
}
