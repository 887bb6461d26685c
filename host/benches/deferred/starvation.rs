//! What packets lose to a softirq that raises itself without end.
#![expect(unsafe_code, reason = "what is put off has the calling convention of plugins'")]

use std::{
    ffi::c_void,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

use gristmill::{deferred::softirq::On, graph::Owner, host::Host, time::Nanos};
use gristmill_abi::{Status, frame::ThreadCtx};

use crate::{
    ROUNDS, report,
    traffic::{Traffic, Work, sunk},
};

/// How long is measured.
const WINDOW: Nanos = Nanos(100_000_000);
const OWNER: Owner = Owner(1_000_003);

/// A softirq that raises itself while it is to.
struct Greedy {
    host: &'static Host,
    /// Its number, plus 1; 0 to stop.
    number: AtomicU64,
    runs: AtomicU64,
}

unsafe extern "C" fn greedy(data: *mut c_void, _: *mut ThreadCtx) -> Status {
    // SAFETY: it was opened with this, which stays.
    let own = unsafe { &*data.cast::<Greedy>() };
    own.runs.store(own.runs.load(Relaxed) + 1, Relaxed);
    if let Some(number) = own.number.load(Relaxed).checked_sub(1) {
        own.host.raise(u32::try_from(number).unwrap_or(0), On::Here);
    }
    Status::OK
}

pub(crate) fn run() {
    let mut traffic = Traffic::boot(1, Work::Forwarding);
    let host = traffic.host;
    let (number, runs) = (AtomicU64::new(0), AtomicU64::new(0));
    let own: &'static Greedy = Box::leak(Box::new(Greedy { host, number, runs }));
    let data = std::ptr::from_ref(own).cast_mut().cast();
    let opened = host.softirqs.open((OWNER, "bench"), "bench-greedy", None, (greedy, data));
    let number = opened.expect("there are free ones");
    // Nanoseconds of a packet, with the greedy one and without.
    let (mut least, mut window, mut began) = ([f64::INFINITY; 2], 0, None);
    traffic.running.run(&mut |control, now| {
        if let Some((packets, at)) = began.take() {
            let packet = now.since(at).0 as f64 / (sunk() - packets) as f64;
            let least: &mut f64 = &mut least[window % 2];
            *least = least.min(packet);
            window += 1;
        }
        if window == 2 * ROUNDS {
            own.number.store(0, Relaxed);
            return None;
        }
        let greedy = window % 2 == 0;
        own.number.store(if greedy { u64::from(number) + 1 } else { 0 }, Relaxed);
        if greedy {
            control.host.raise(number, On::Thread(1));
        }
        began = Some((sunk(), now));
        Some(Nanos(now.0 + WINDOW.0))
    });
    traffic.end();
    report("starvation/packet-ns", "without", least[0], least[1]);
    println!("# starvation: it ran {} times", own.runs.load(Relaxed));
}
