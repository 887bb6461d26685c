//! The ring of calls and of packets on their way to another thread.

use loom::{
    model::{Builder, model},
    thread,
};

use crate::{
    engine::ring::{Consumer, ring},
    sync::Arc,
};

#[test]
fn two_producers_lose_nothing_and_keep_their_order_while_the_ring_wraps() {
    let mut bounded = Builder::new();
    bounded.preemption_bound = Some(3); // With three threads; loom's authors advise 2 or 3.
    bounded.check(|| {
        let (producer, mut consumer) = ring(2); // Half of what they push.
        let pushing = [10, 20].map(|first| {
            let producer = producer.clone();
            thread::spawn(move || {
                let pushed =
                    [first, first + 1].into_iter().filter(|&value| producer.push(value).is_ok());
                pushed.collect::<Vec<_>>()
            })
        });
        let mut popped: Vec<u32> = [(); 3].into_iter().filter_map(|()| consumer.pop()).collect();
        let pushed = pushing.map(|thread| thread.join().unwrap());
        popped.extend([(); 3].into_iter().filter_map(|()| consumer.pop()));
        assert!(popped.len() >= 2, "no value is refused while there is room: {popped:?}");
        for (sender, pushed) in [1, 2].into_iter().zip(pushed) {
            let of = popped.iter().copied().filter(|value| value / 10 == sender);
            assert_eq!(of.collect::<Vec<_>>(), pushed, "of {popped:?}");
        }
    });
}

#[test]
fn a_full_ring_gives_the_value_back_and_takes_one_for_each_that_left() {
    model(|| {
        let (producer, mut consumer) = ring(2);
        producer.push(1).unwrap();
        producer.push(2).unwrap();
        let pushing = thread::spawn(move || producer.push(3));
        let first = consumer.pop();
        let pushed = pushing.join().unwrap();
        assert_eq!((first, consumer.pop()), (Some(1), Some(2)));
        let third = consumer.pop();
        match pushed {
            Ok(()) => assert_eq!(third, Some(3)),
            Err(back) => assert_eq!((back, third), (3, None)),
        }
    });
}

#[test]
fn two_producers_share_the_last_slot_between_them_once() {
    model(|| {
        let (producer, mut consumer) = ring(2);
        producer.push(0).unwrap();
        let pushing = [1, 2].map(|value| {
            let producer = producer.clone();
            thread::spawn(move || producer.push(value).is_ok())
        });
        let pushed = pushing.map(|thread| thread.join().unwrap());
        assert_eq!(pushed.into_iter().filter(|&ok| ok).count(), 1);
        assert_eq!(consumer.pop(), Some(0));
        assert_eq!(consumer.pop(), Some(if pushed[0] { 1 } else { 2 }));
        assert_eq!(consumer.pop(), None);
    });
}

#[test]
fn what_is_left_is_dropped_by_whichever_end_goes_last() {
    model(|| {
        let counted = Arc::new(());
        let (producer, mut consumer) = ring(2);
        let pushing = thread::spawn({
            let counted = [Arc::clone(&counted), Arc::clone(&counted)];
            move || counted.map(|value| producer.push(value).is_ok())
        });
        drop(consumer.pop());
        drop(consumer);
        assert_eq!(pushing.join().unwrap(), [true; 2]);
        assert_eq!(Arc::strong_count(&counted), 1);
    });
}

#[test]
fn what_is_pushed_while_the_ring_is_closed_comes_out_or_goes_back() {
    let mut bounded = Builder::new();
    bounded.preemption_bound = Some(3);
    bounded.check(|| {
        let (producer, mut consumer) = ring(2);
        let pushing = [10, 20].map(|first| {
            let producer = producer.clone();
            thread::spawn(move || {
                let pushed =
                    [first, first + 1].into_iter().filter(|&value| producer.push(value).is_ok());
                pushed.collect::<Vec<_>>()
            })
        });
        let mut drained = Vec::new();
        consumer.close_and_drain(|value| drained.push(value));
        let pushed: Vec<u32> = pushing.into_iter().flat_map(|t| t.join().unwrap()).collect();
        assert_eq!((consumer.pop(), producer.push(30)), (None, Err(30)), "it stays closed");
        drained.sort_unstable();
        assert_eq!(drained, pushed, "the owner has what the producers were rid of");
    });
}

#[test]
fn a_value_is_whole_for_the_owner_who_looks_at_it_where_it_is() {
    model(|| {
        let (producer, mut consumer) = ring(2);
        let pushing = thread::spawn(move || {
            [1_u64, 2, 3].map(|value| producer.push([value; 4]).is_ok().then_some(value))
        });
        let mut seen = Vec::new();
        let mut look = |consumer: &mut Consumer<[u64; 4]>| {
            consumer.pop_with(|value| seen.push(*value));
        };
        look(&mut consumer);
        let pushed = pushing.join().unwrap();
        (0..3).for_each(|_| look(&mut consumer));
        let whole: Vec<_> = pushed.into_iter().flatten().map(|value| [value; 4]).collect();
        assert_eq!(seen, whole);
    });
}
