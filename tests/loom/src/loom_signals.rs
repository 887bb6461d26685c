//! Events from other threads: each is taken, whatever main is doing meanwhile.

use loom::thread;

use crate::{
    process::signals::{ProcessShared, Signals},
    sync::{Arc, AtomicU64, Ordering},
};

/// Threads signal an event each, to one process or to several; main takes until it has them all.
fn all_are_taken(senders: u64, processes: u64) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(move || {
        let signals = Arc::new(Signals::new());
        let all: Vec<_> =
            (0..processes).map(|number| Arc::new(ProcessShared::new(0, number))).collect();
        // What an event is about is written before it is signalled, without more.
        let payloads: Arc<Vec<_>> = Arc::new((0..senders).map(|_| AtomicU64::new(0)).collect());
        let sending: Vec<_> = (0..senders)
            .map(|sender| {
                let (signals, payloads) = (Arc::clone(&signals), Arc::clone(&payloads));
                let process = Arc::clone(&all[usize::try_from(sender % processes).unwrap()]);
                thread::spawn(move || {
                    payloads[usize::try_from(sender).unwrap()].store(7, Ordering::Relaxed);
                    signals.signal(&process, 1 << sender);
                })
            })
            .collect();
        let (mut taken, mut seen) = (Vec::new(), 0);
        while seen != (1 << senders) - 1 {
            signals.take(&mut taken, |process, events| {
                assert_eq!(seen & events, 0, "none comes twice");
                for sender in (0..senders).filter(|sender| events >> sender & 1 != 0) {
                    assert_eq!(sender % processes, process.number, "it comes to whom it was sent");
                    let payload = &payloads[usize::try_from(sender).unwrap()];
                    assert_eq!(payload.load(Ordering::Relaxed), 7);
                }
                seen |= events;
            });
            thread::yield_now();
        }
        sending.into_iter().for_each(|sending| sending.join().unwrap());
    });
}

#[test]
fn two_threads_signal_one_process_and_no_event_is_lost() {
    all_are_taken(2, 1);
}

#[test]
fn two_threads_signal_two_processes_and_no_event_is_lost() {
    all_are_taken(2, 2);
}

#[test]
fn what_nobody_takes_is_let_go() {
    loom::model(|| {
        let signals = Arc::new(Signals::new());
        let process = Arc::new(ProcessShared::new(0, 0));
        let sending = {
            let (signals, process) = (Arc::clone(&signals), Arc::clone(&process));
            thread::spawn(move || signals.signal(&process, 1))
        };
        sending.join().unwrap();
        drop(signals);
        assert_eq!(Arc::strong_count(&process), 1);
    });
}
