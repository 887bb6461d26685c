//! What a round trip costs: a resume and a suspend.
#![expect(unsafe_code, reason = "bodies in a shared object have no types to check")]

use std::{ffi::c_void, hint::black_box, ptr};

use corosensei::Yielder;
use gristmill::process::{Coroutine, Stack, Step, Suspend};

use crate::{
    fixture::{Body, Fixture},
    least, nanoseconds, report,
};

const TRIPS: usize = 300_000;

type Ours = Coroutine<u64, u64>;
type Crate = corosensei::Coroutine<u64, u64, ()>;

pub(crate) fn run() {
    let mut ours = coroutine(|suspend, first| {
        let mut value = first;
        loop {
            value = suspend.suspend(value) + 1;
        }
    });
    let mut peer: Crate = Crate::new(|yielder: &Yielder<u64, u64>, first| {
        let mut value = first;
        loop {
            value = yielder.suspend(value) + 1;
        }
    });
    let [ours_least, peer_least] = least(|| {
        [
            trips(|_, value| resume(&mut ours, value)),
            trips(|_, value| resume_crate(&mut peer, value)),
        ]
    });
    report("switch", "corosensei", ours_least, peer_least);
    std::mem::forget(peer); // It would unwind its body.

    let fixture = Fixture::new();
    run_so_body("switch/so-body", &fixture, 1);
    run_so_body("switch/so-body-64", &fixture, 64);
}

/// Resumes `count` bodies of the shared object in turn.
fn run_so_body(what: &str, fixture: &Fixture, count: usize) {
    let body = fixture.body;
    let mut ours: Vec<Ours> = (0..count).map(|_| so_body(body)).collect();
    let mut crates: Vec<Crate> = (0..count).map(|_| so_body_of_crate(body)).collect();
    let peers: Vec<_> = (0..count).map(|_| fixture.peer(body)).collect();
    let inline: Vec<_> = (0..count).map(|_| fixture.peer(fixture.body_inline)).collect();

    let [ours_least, setjmp, setjmp_inline, corosensei] = least(|| {
        [
            trips(|trip, value| resume(&mut ours[trip % count], value)),
            trips(|trip, value| peers[trip % count].resume(value)),
            trips(|trip, value| inline[trip % count].resume(value)),
            trips(|trip, value| resume_crate(&mut crates[trip % count], value)),
        ]
    });

    report(what, "setjmp", ours_least, setjmp);
    report(what, "setjmp-inline", ours_least, setjmp_inline);
    report(what, "corosensei", ours_least, corosensei);
    std::mem::forget(crates);
}

fn coroutine(body: impl FnOnce(&Suspend<u64, u64>, u64) + 'static) -> Ours {
    Coroutine::new(Stack::new(Stack::DEFAULT).expect("there is memory"), body)
}

fn so_body(body: Body) -> Ours {
    coroutine(move |suspend, _| {
        // SAFETY: as declared in the source of the body.
        unsafe { body(suspend_ours, ptr::from_ref(suspend).cast()) };
    })
}

fn so_body_of_crate(body: Body) -> Crate {
    Crate::new(move |yielder: &Yielder<u64, u64>, _| {
        // SAFETY: as declared in the source of the body.
        unsafe { body(suspend_crate, ptr::from_ref(yielder).cast()) };
    })
}

unsafe extern "C" fn suspend_ours(context: *const c_void, value: u64) -> u64 {
    // SAFETY: the body hands on what it was given in `so_body`, which is below it.
    unsafe { &*context.cast::<Suspend<u64, u64>>() }.suspend(value)
}

unsafe extern "C" fn suspend_crate(context: *const c_void, value: u64) -> u64 {
    // SAFETY: the body hands on what it was given in `so_body_of_crate`, which is below it.
    unsafe { &*context.cast::<Yielder<u64, u64>>() }.suspend(value)
}

#[inline]
fn resume(coroutine: &mut Ours, value: u64) -> u64 {
    match coroutine.resume(value) {
        Step::Suspended(value) => value,
        Step::Ended(_) => unreachable!("the body is endless"),
    }
}

#[inline]
fn resume_crate(coroutine: &mut Crate, value: u64) -> u64 {
    coroutine.resume(value).as_yield().expect("the body is endless")
}

/// Nanoseconds of a round trip.
#[inline]
fn trips(mut trip: impl FnMut(usize, u64) -> u64) -> f64 {
    let all = nanoseconds(|| {
        for number in 0..TRIPS {
            black_box(trip(number, 1));
        }
    });
    all / TRIPS as f64
}
