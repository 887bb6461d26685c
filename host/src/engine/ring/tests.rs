use std::{collections::VecDeque, thread};

use proptest::prelude::*;

use super::*;

/// Values that all threads push together; `GRISTMILL_EVENTS` says how many in the long tests.
fn events() -> u64 {
    std::env::var("GRISTMILL_EVENTS").map_or(400_000, |events| events.parse().expect("a number"))
}

proptest! {
    #[test]
    fn one_thread_sees_a_bounded_queue(
        log in 1_u32..5,
        steps in proptest::collection::vec(proptest::option::of(any::<u16>()), 0..200),
    ) {
        let capacity = 1_usize << log;
        let (producer, mut consumer) = ring(capacity);
        let mut model = VecDeque::new();
        for step in steps {
            match step {
                Some(value) if model.len() < capacity => {
                    prop_assert_eq!(producer.push(Box::new(value)), Ok(()));
                    model.push_back(value);
                }
                Some(value) => prop_assert_eq!(producer.push(Box::new(value)), Err(Box::new(value))),
                None => prop_assert_eq!(consumer.pop().map(|value| *value), model.pop_front()),
            }
            prop_assert_eq!(producer.len(), model.len());
            prop_assert_eq!(consumer.len(), model.len());
        }
    }
}

#[test]
fn what_is_left_in_a_ring_is_dropped_with_it() {
    let counted = Arc::new(());
    let (producer, mut consumer) = ring(4);
    for _ in 0..4 {
        producer.push(Arc::clone(&counted)).unwrap();
    }
    drop(consumer.pop());
    producer.push(Arc::clone(&counted)).unwrap();
    assert_eq!(Arc::strong_count(&counted), 5);
    drop((producer, consumer));
    assert_eq!(Arc::strong_count(&counted), 1);
}

#[test]
#[should_panic(expected = "a ring of 3 slots")]
fn a_ring_has_a_power_of_two_of_slots() {
    let _ = ring::<u8>(3);
}

#[test]
fn eight_threads_lose_nothing_double_nothing_and_each_keeps_its_order() {
    const SENDERS: u64 = 8;
    let each = events() / SENDERS;
    let (producer, mut consumer) = ring(64);
    thread::scope(|scope| {
        for sender in 0..SENDERS {
            let producer = producer.clone();
            scope.spawn(move || {
                for number in 0..each {
                    let mut value = (sender, number);
                    while let Err(back) = producer.push(value) {
                        value = back;
                        yield_now();
                    }
                }
            });
        }
        let mut next = [0; 8];
        while next.iter().sum::<u64>() < each * SENDERS {
            let Some((sender, number)) = consumer.pop() else {
                yield_now();
                continue;
            };
            let wanted = &mut next[usize::try_from(sender).unwrap()];
            assert_eq!(number, *wanted, "of sender {sender}");
            *wanted += 1;
        }
        assert!(consumer.pop().is_none() && producer.is_empty());
    });
}
