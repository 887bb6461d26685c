use std::{collections::HashSet, sync::Barrier, thread};

use proptest::prelude::*;

use super::*;
use crate::window::REACH;

/// Sequence numbers of the small window.
const SMALL: u64 = 128;

fn flow(sent: u64, reach: u64) -> Flow {
    let flow = Flow::new(0, reach);
    flow.sender.sent.store(sent, Relaxed);
    flow
}

fn tag(sequence: u64) -> Tag {
    Tag { flow: 0, sequence, sent_at: 0 }
}

/// Lets each row arrive on its queue, one row after the other.
fn deliver(flow: &Flow, rows: &[(usize, Vec<u64>)], queues: usize) -> Counts {
    let tallies: Vec<Tallies> = (0..queues).map(|_| Tallies::default()).collect();
    for (queue, row) in rows {
        let mut visit = Visit::begin(flow);
        for &sequence in row {
            assert!(visit.arrive(tag(sequence), 64, 0));
        }
        visit.end(&tallies[*queue]);
    }
    tallies.iter().fold(Counts::NONE, |sum, tallies| sum + tallies.flow(0).unwrap().load())
}

/// What happened to each arrival, told by a set without limits.
fn model(rows: &[(usize, Vec<u64>)]) -> (u64, u64, u64) {
    let (mut seen, mut expected) = (HashSet::new(), 0);
    let (mut received, mut duplicated, mut reordered) = (0, 0, 0);
    for &sequence in rows.iter().flat_map(|(_, row)| row) {
        if seen.insert(sequence) {
            received += 1;
            reordered += u64::from(sequence < expected);
        } else {
            duplicated += 1;
        }
        expected = expected.max(sequence + 1);
    }
    (received, duplicated, reordered)
}

/// Cuts arrivals into rows of random length for random queues.
fn rows(
    arrivals: impl Strategy<Value = Vec<u64>>,
    queues: usize,
) -> impl Strategy<Value = Vec<(usize, Vec<u64>)>> {
    (arrivals, prop::collection::vec((0..queues, 1..40_usize), 1..200)).prop_map(
        |(arrivals, cuts)| {
            let mut rest = &arrivals[..];
            let mut rows = Vec::new();
            for &(queue, len) in cuts.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (row, left) = rest.split_at(len.min(rest.len()));
                rows.push((queue, row.to_vec()));
                rest = left;
            }
            rows
        },
    )
}

/// Numbers in order, each lost, doubled or displaced at random, but never by a window's length.
fn disturbed(sent: usize) -> impl Strategy<Value = Vec<u64>> {
    let fates = prop::collection::vec((0..4_usize, 0..SMALL / 2), sent);
    fates.prop_map(|fates| {
        let mut arrivals: Vec<(u64, u64)> = Vec::new();
        for (sequence, (copies, delay)) in (0_u64..).zip(fates) {
            for copy in 0..copies as u64 {
                arrivals.push((sequence + (delay * (copy + 1)) % (SMALL / 2), sequence));
            }
        }
        arrivals.sort_by_key(|&(when, _)| when);
        arrivals.into_iter().map(|(_, sequence)| sequence).collect()
    })
}

proptest! {
    #[test]
    fn within_the_window_all_is_counted_exactly_on_any_queues(rows in rows(disturbed(700), 4)) {
        let counts = deliver(&flow(700, SMALL), &rows, 4);

        let told = (counts.received, counts.duplicated, counts.reordered);
        prop_assert_eq!(told, model(&rows));
        prop_assert_eq!(counts.late, 0);
    }

    #[test]
    fn beyond_the_window_every_arrival_is_counted_once_and_doubt_is_admitted(
        rows in rows(prop::collection::vec(0..1000_u64, 0..600), 3),
    ) {
        let counts = deliver(&flow(1000, SMALL), &rows, 3);

        let (received, duplicated, _) = model(&rows);
        prop_assert_eq!(counts.received + counts.duplicated, received + duplicated);
        prop_assert!(counts.duplicated <= duplicated);
        prop_assert!(counts.received - received <= counts.late);
    }
}

#[test]
fn copies_that_race_on_several_threads_are_counted_exactly() {
    const SENT: u64 = 400_000;
    const THREADS: usize = 3;
    let flow = flow(SENT, REACH);
    let tallies: Vec<Tallies> = (0..THREADS).map(|_| Tallies::default()).collect();
    let pass = Barrier::new(THREADS);

    // All threads get all numbers, a few at a time, and meet again and again.
    thread::scope(|scope| {
        for tallies in &tallies {
            scope.spawn(|| {
                for row in 0..SENT / 4 {
                    if row % 1024 == 0 {
                        pass.wait();
                    }
                    let mut visit = Visit::begin(&flow);
                    for sequence in row * 4..row * 4 + 4 {
                        assert!(visit.arrive(tag(sequence), 64, 0));
                    }
                    visit.end(tallies);
                }
            });
        }
    });

    let counts =
        tallies.iter().fold(Counts::NONE, |sum, tallies| sum + tallies.flow(0).unwrap().load());
    let copies = SENT * (THREADS as u64 - 1);
    assert_eq!((counts.received, counts.duplicated, counts.late), (SENT, copies, 0));
    assert_eq!(counts.bytes, (SENT + copies) * 64);
}

#[test]
fn a_number_that_was_never_sent_is_not_accounted_for() {
    let flow = flow(10, REACH);
    let mut visit = Visit::begin(&flow);
    assert!(visit.arrive(tag(9), 64, 0));
    assert!(!visit.arrive(tag(10), 64, 0));
    assert!(!visit.arrive(tag(u64::MAX), 64, 0));
    flow.sender.sent.store(11, Relaxed);
    assert!(visit.arrive(tag(10), 64, 0), "sent since the row began");
    let tallies = Tallies::default();
    visit.end(&tallies);
    assert_eq!(tallies.flow(0).unwrap().load().received, 2);
    assert_eq!(flow.receivers.expected.load(Relaxed), 11);
}

#[test]
fn ages_and_times_are_kept_over_rows_and_queues() {
    let flow = flow(3, REACH);
    let tallies = [Tallies::default(), Tallies::default()];
    for (queue, sequence, sent_at, now_ns) in [(0, 0, 100, 150), (1, 1, 100, 400), (0, 2, 300, 300)]
    {
        let mut visit = Visit::begin(&flow);
        visit.arrive(Tag { flow: 0, sequence, sent_at }, 100, now_ns);
        visit.end(&tallies[queue]);
    }
    let counts = tallies[0].flow(0).unwrap().load() + tallies[1].flow(0).unwrap().load();
    assert_eq!((counts.latency_ns_min, counts.latency_ns_max), (0, 300));
    assert_eq!(counts.latency_ns_mean(), Some((50 + 300) / 3));
    assert_eq!((counts.first_ns, counts.last_ns), (150, 400));
    assert_eq!(counts.mpps(), Some(12.0));
}
