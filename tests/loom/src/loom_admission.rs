//! The gate in front of the queue of calls.

use loom::thread;

use crate::{
    engine::{admission::Admission, ring::ring},
    sync::Arc,
};

#[test]
fn no_call_of_an_owner_comes_after_the_queue_was_cleared_of_them() {
    loom::model(|| {
        let (producer, mut consumer) = ring(2);
        let admission = Arc::new(Admission::new());
        let sending = thread::spawn({
            let admission = Arc::clone(&admission);
            move || {
                let entered = admission.enter(5);
                let sent = entered.is_some();
                if sent {
                    producer.push(5_u32).expect("there is room");
                }
                drop(entered);
                sent
            }
        });
        admission.close(5);
        let cleared = consumer.pop().is_some();
        let sent = sending.join().unwrap();
        assert_eq!(sent, cleared, "what was let in is there when the gate is closed");
        assert_eq!(consumer.pop(), None);
    });
}

#[test]
fn a_gate_closed_for_one_owner_is_open_for_another_and_open_again_later() {
    loom::model(|| {
        let admission = Admission::new();
        admission.close(5);
        assert!(admission.enter(5).is_none());
        assert!(admission.enter(13).is_some(), "though they share a counter");
        admission.open(5);
        assert!(admission.enter(5).is_some());
        admission.close_for_all();
        admission.open(5);
        assert!(admission.enter(5).is_none() && admission.enter(0).is_none());
    });
}
