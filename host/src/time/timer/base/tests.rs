use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

#[test]
fn timers_expire_in_order_and_each_once() {
    let mut base = TimerBase::<u32>::new();
    for (value, deadline) in [(1, 70_000), (2, 3), (3, 300)] {
        base.insert(deadline, false, value);
    }
    assert_eq!(base.next_expiry(), Some(3));
    assert_eq!(base.pop(2), None);
    assert_eq!(base.pop(299), Some(2));
    assert_eq!(base.pop(299), None);
    let late: Vec<_> = core::iter::from_fn(|| base.pop(1 << 40)).collect();
    assert_eq!(late, [3, 1]);
    assert_eq!((base.all(), base.quiet_until()), (0, u64::MAX));
}

#[test]
fn a_deferrable_timer_does_not_bound_the_sleep_and_expires_all_the_same() {
    let mut base = SmallTimerBase::<&str>::new();
    base.insert(5, true, "lazy");
    assert_eq!((base.next_expiry(), base.active(), base.all()), (None, 0, 1));
    base.insert(50, false, "eager");
    assert_eq!(base.next_expiry(), Some(50));
    assert_eq!((base.pop(50), base.pop(50), base.pop(50)), (Some("eager"), Some("lazy"), None));
}

#[test]
fn a_key_is_stale_once_its_timer_expired_or_was_removed() {
    let mut base = TimerBase::<u32>::new();
    let key = base.insert(5, false, 1);
    assert!(base.modify(key, 9));
    assert_eq!(base.remove(key), Some(1));
    let next = base.insert(5, false, 2);
    assert_eq!(next.place, key.place);
    assert!(!base.modify(key, 1));
    assert_eq!(base.remove(key), None);
    assert_eq!(base.pop(5), Some(2));
    assert_eq!(base.remove(next), None);
}

#[test]
fn one_that_waits_to_be_popped_is_pending_and_can_be_removed_and_moved() {
    let mut base = TimerBase::<u32>::new();
    let keys: Vec<_> = (0..5).map(|value| base.insert(10, false, value)).collect();
    let first = base.pop(10).unwrap() as usize;
    assert_eq!((base.all(), base.active(), base.quiet_until()), (4, 4, 10));
    assert_eq!(base.next_expiry(), Some(10));
    let [removed, moved] = [(first + 1) % 5, (first + 2) % 5];
    assert_eq!(base.remove(keys[removed]), u32::try_from(removed).ok());
    assert!(base.modify(keys[moved], 50));
    let moved_value = u32::try_from(moved).unwrap();
    assert_eq!(base.remove(keys[first]), None);
    let rest: Vec<_> = core::iter::from_fn(|| base.pop(10)).collect();
    assert_eq!((rest.len(), rest.contains(&moved_value)), (2, false));
    assert_eq!((base.pop(49), base.pop(50)), (None, Some(moved_value)));
    assert_eq!((base.all(), base.next_expiry()), (0, None));
}

#[test]
fn what_is_extracted_keeps_its_deadline_and_the_rest_stays() {
    let mut base = TimerBase::<u32>::new();
    for value in 0..10 {
        base.insert(100 + u64::from(value), value % 3 == 0, value);
    }
    let odd = base.extract(|value| value % 2 == 1);
    let expected =
        [(1, 101, false), (3, 103, true), (5, 105, false), (7, 107, false), (9, 109, true)];
    assert_eq!(odd, expected);
    assert_eq!((base.all(), base.iter().count()), (5, 5));
}

#[test]
fn an_idle_hour_and_an_idle_century_are_gone_over_in_a_few_steps() {
    const CENTURY: u64 = 100 * 365 * 86_400_000;
    let mut base = TimerBase::<u32>::new();
    base.insert(3 * CENTURY, false, 1);
    base.insert(3 * CENTURY + 1, true, 2);
    assert_eq!(base.pop(3_600_000), None);
    assert_eq!(base.next_expiry(), Some(3 * CENTURY));
    assert_eq!(base.pop(3 * CENTURY - 1), None);
    assert_eq!(base.next_expiry(), Some(3 * CENTURY));
    assert_eq!((base.pop(3 * CENTURY), base.pop(3 * CENTURY)), (Some(1), None));
    assert_eq!(base.pop(u64::MAX), Some(2));
}

#[test]
fn the_last_ticks_there_are_neither_panic_nor_expire_early() {
    let mut base = SmallTimerBase::<u32>::new();
    let key = base.insert(u64::MAX, false, 1);
    assert_eq!(base.pop(1 << 62), None);
    assert!(base.modify(key, u64::MAX - 1));
    assert_eq!(base.pop(u64::MAX), None);
    assert_eq!(base.all(), 1);
    assert_eq!(base.remove(key), Some(1));
}

/// Sequences per geometry, and operations in each.
const SEQUENCES: u32 = 256;
const OPERATIONS: usize = 400;

#[derive(Clone, Copy, Debug)]
enum Operation {
    Insert {
        interval: u64,
        deferrable: bool,
    },
    /// Of the keys ever given, stale ones too.
    Remove(usize),
    Modify {
        which: usize,
        interval: u64,
    },
    /// Time goes on, and all that is due is popped; after each one, perhaps a timer is started.
    Pop {
        ticks: u64,
        again: Option<u64>,
    },
    /// Only one is popped.
    PopOne {
        ticks: u64,
    },
    NextExpiry,
    /// Those whose number is a multiple of this.
    Extract(u64),
}

/// Spans around all ticks at which a ring of one of the geometries wraps, and years.
fn span() -> impl Strategy<Value = u64> {
    let wraps = prop::sample::select(vec![64_u64, 1 << 10, 1 << 14, 1 << 18, 1 << 22, 1 << 26]);
    let large = prop::sample::select(vec![256_u64, 1 << 14, 1 << 20, 1 << 26, 1 << 32]);
    prop_oneof![
        6 => 0..20_u64,
        6 => 0..600_u64,
        4 => 0..40_000_u64,
        4 => (wraps, 1..4_u64, 0..4_u64).prop_map(|(wrap, turns, off)| wrap * turns + off - 2),
        4 => (large, 1..4_u64, 0..4_u64).prop_map(|(wrap, turns, off)| wrap * turns + off - 2),
        1 => 0..1_u64 << 42,
    ]
}

fn operation() -> impl Strategy<Value = Operation> {
    let again = || prop::option::weighted(0.3, span());
    prop_oneof![
        8 => (span(), prop::bool::weighted(0.2))
            .prop_map(|(interval, deferrable)| Operation::Insert { interval, deferrable }),
        4 => any::<usize>().prop_map(Operation::Remove),
        8 => (any::<usize>(), span())
            .prop_map(|(which, interval)| Operation::Modify { which, interval }),
        6 => (prop_oneof![4 => 0..3_u64, 2 => span()], again())
            .prop_map(|(ticks, again)| Operation::Pop { ticks, again }),
        2 => span().prop_map(|ticks| Operation::PopOne { ticks }),
        3 => Just(Operation::NextExpiry),
        1 => (2..5_u64).prop_map(Operation::Extract),
    ]
}

/// A base beside a sorted set.
struct Pair<const FIRST: usize, const LATER: usize> {
    base: TimerBase<u64, FIRST, LATER>,
    /// By number of the timer.
    keys: Vec<Key>,
    now: u64,
    /// Deferrable ones after the others, then by tick.
    pending: BTreeSet<(bool, u64, u64)>,
    deadlines: BTreeMap<u64, (bool, u64)>,
}

impl<const FIRST: usize, const LATER: usize> Pair<FIRST, LATER> {
    fn run(operations: &[Operation]) -> Result<(), TestCaseError> {
        let mut pair = Self {
            base: TimerBase::new(),
            keys: Vec::new(),
            now: 0,
            pending: BTreeSet::new(),
            deadlines: BTreeMap::new(),
        };
        for &operation in operations {
            pair.apply(operation)?;
            let active = pair.pending.iter().filter(|timer| !timer.0).count();
            prop_assert_eq!(pair.base.active(), active);
            prop_assert_eq!(pair.base.all(), pair.pending.len());
            let first = pair.pending.iter().map(|&(_, deadline, _)| deadline).min();
            prop_assert!(first.is_none_or(|first| pair.base.quiet_until() <= first));
        }
        pair.pop_all(1 << 50, None)?;
        prop_assert!(pair.pending.is_empty() && pair.base.iter().next().is_none());
        Ok(())
    }

    fn apply(&mut self, operation: Operation) -> Result<(), TestCaseError> {
        match operation {
            Operation::Insert { interval, deferrable } => self.insert(interval, deferrable),
            Operation::Remove(which) => {
                let Some(number) = self.pick(which) else { return Ok(()) };
                let was = self.forget(number).map(|_| number);
                prop_assert_eq!(self.base.remove(self.key(number)), was);
            }
            Operation::Modify { which, interval } => {
                let Some(number) = self.pick(which) else { return Ok(()) };
                let was = self.forget(number);
                let key = self.key(number);
                prop_assert_eq!(self.base.modify(key, self.now + interval), was.is_some());
                if let Some((deferrable, _)) = was {
                    self.note(number, deferrable, interval);
                }
            }
            Operation::Pop { ticks, again } => self.pop_all(ticks, again)?,
            Operation::PopOne { ticks } => {
                self.now += ticks;
                self.pop()?;
            }
            Operation::NextExpiry => {
                let next = self.pending.first().filter(|timer| !timer.0).map(|timer| timer.1);
                prop_assert_eq!(self.base.next_expiry(), next);
            }
            Operation::Extract(divisor) => {
                let numbers: Vec<u64> = self.deadlines.keys().copied().collect();
                let chosen = numbers.into_iter().filter(|number| number % divisor == 0);
                let expected: BTreeSet<_> = chosen
                    .filter_map(|number| self.forget(number).map(|(lazy, at)| (number, at, lazy)))
                    .collect();
                let extracted = self.base.extract(|number| number % divisor == 0);
                prop_assert_eq!(BTreeSet::from_iter(extracted), expected);
            }
        }
        Ok(())
    }

    fn insert(&mut self, interval: u64, deferrable: bool) {
        let number = self.keys.len() as u64;
        self.keys.push(self.base.insert(self.now + interval, deferrable, number));
        self.note(number, deferrable, interval);
    }

    fn pop_all(&mut self, ticks: u64, mut again: Option<u64>) -> Result<(), TestCaseError> {
        self.now += ticks;
        while self.pop()? {
            if let Some(interval) = again.take() {
                self.insert(interval, false);
            }
        }
        Ok(())
    }

    /// Pops one; of those that expire on the same tick it may be any.
    fn pop(&mut self) -> Result<bool, TestCaseError> {
        let due = |lazy| self.pending.range((lazy, 0, 0)..=(lazy, self.now, u64::MAX)).next();
        let due = due(false).or_else(|| due(true)).copied();
        let popped = self.base.pop(self.now);
        prop_assert_eq!(popped.is_some(), due.is_some());
        let (Some(popped), Some((lazy, deadline, _))) = (popped, due) else { return Ok(false) };
        prop_assert_eq!(self.forget(popped), Some((lazy, deadline)));
        Ok(true)
    }

    fn key(&self, number: u64) -> Key {
        self.keys[usize::try_from(number).unwrap()]
    }

    fn pick(&self, which: usize) -> Option<u64> {
        which.checked_rem(self.keys.len()).map(|which| which as u64)
    }

    fn note(&mut self, number: u64, deferrable: bool, interval: u64) {
        let deadline = self.now + interval.max(1);
        self.pending.insert((deferrable, deadline, number));
        self.deadlines.insert(number, (deferrable, deadline));
    }

    fn forget(&mut self, number: u64) -> Option<(bool, u64)> {
        let (deferrable, deadline) = self.deadlines.remove(&number)?;
        self.pending.remove(&(deferrable, deadline, number));
        Some((deferrable, deadline))
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: SEQUENCES, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_base_does_what_a_sorted_set_does(operations in prop::collection::vec(operation(), 0..OPERATIONS)) {
        Pair::<256, 64>::run(&operations)?;
    }

    #[test]
    fn a_small_base_does_what_a_sorted_set_does(operations in prop::collection::vec(operation(), 0..OPERATIONS)) {
        Pair::<64, 16>::run(&operations)?;
    }

    #[test]
    fn a_base_of_the_least_size_does_what_a_sorted_set_does(operations in prop::collection::vec(operation(), 0..OPERATIONS)) {
        Pair::<64, 2>::run(&operations)?;
    }
}
