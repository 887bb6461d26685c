//! Every geometry against a sorted map, with random sequences of operations.
#![expect(clippy::cast_possible_truncation, reason = "timers per object are few")]
#![expect(clippy::unwrap_used, reason = "a test")]

use std::collections::{BTreeMap, BTreeSet};

use plugin_api::wheel::*;
use proptest::prelude::*;

/// Sequences per geometry, and operations in each: 9 geometries make 1.15 million.
const SEQUENCES: u32 = 256;
const OPERATIONS: usize = 500;

#[derive(Clone, Copy, Debug)]
enum Operation {
    Start {
        object: u32,
        timer: u32,
        interval: u64,
    },
    /// Of the handles ever given, stale ones too.
    Stop {
        which: usize,
    },
    Update {
        which: usize,
        interval: u64,
    },
    Advance {
        ticks: u64,
    },
    /// The callback starts a timer again, this long.
    AdvanceAndRestart {
        ticks: u64,
        interval: u64,
    },
    /// Tick by tick, as a loop that is never late.
    Step {
        ticks: u64,
    },
}

/// Spans around everything at which a ring wraps, and years.
fn span(slots: u64, reach: u64) -> impl Strategy<Value = u64> {
    prop_oneof![
        6 => 0..2 * slots,
        3 => (1..4_u64, 0..3_u64).prop_map(move |(turns, off)| turns * slots + off - 1),
        3 => 0..reach,
        2 => (0..4_u64).prop_map(move |off| reach + off - 2),
        1 => 0..4 * reach,
    ]
}

fn operation(slots: u64, reach: u64) -> impl Strategy<Value = Operation> {
    const YEARS: u64 = 100 * 365 * 86_400 * 1_000;
    let span = move || span(slots, reach);
    prop_oneof![
        8 => (0..1_000_u32, 0..16_u32, prop_oneof![20 => span(), 1 => 0..YEARS])
            .prop_map(|(object, timer, interval)| Operation::Start { object, timer, interval }),
        4 => any::<usize>().prop_map(|which| Operation::Stop { which }),
        8 => (any::<usize>(), span()).prop_map(|(which, interval)| Operation::Update { which, interval }),
        5 => prop_oneof![8 => 0..8_u64, 8 => 0..slots, 2 => span()]
            .prop_map(|ticks| Operation::Advance { ticks }),
        2 => (prop_oneof![8 => 0..slots, 1 => span()], span())
            .prop_map(|(ticks, interval)| Operation::AdvanceAndRestart { ticks, interval }),
        1 => (0..64_u64).prop_map(|ticks| Operation::Step { ticks }),
        1 => (0..YEARS).prop_map(|ticks| if ticks % 16 == 0 { Operation::Advance { ticks } } else { Operation::Step { ticks: 1 } }),
    ]
}

/// Timers in order of deadline; the index of a handle tells them apart.
#[derive(Default)]
struct Model {
    now: u64,
    by_deadline: BTreeSet<(u64, usize)>,
    /// Handle index to deadline.
    running: BTreeMap<usize, u64>,
    names: Vec<(u32, u32)>,
}

impl Model {
    fn start(&mut self, object: u32, timer: u32, interval: u64) {
        self.insert(self.names.len(), interval);
        self.names.push((object, timer));
    }

    fn insert(&mut self, index: usize, interval: u64) {
        let deadline = self.now + interval.max(1);
        self.running.insert(index, deadline);
        self.by_deadline.insert((deadline, index));
    }

    fn stop(&mut self, index: usize) -> bool {
        self.running
            .remove(&index)
            .is_some_and(|deadline| self.by_deadline.remove(&(deadline, index)))
    }

    fn update(&mut self, index: usize, interval: u64) -> bool {
        let was = self.stop(index);
        if was {
            self.insert(index, interval);
        }
        was
    }

    /// The timer of that name which has to expire next, gone from the model.
    fn expire(&mut self, until: u64, name: (u32, u32)) -> Result<u64, TestCaseError> {
        let first = self.by_deadline.first().map(|&(deadline, _)| deadline);
        let Some(first) = first.filter(|&first| first <= until) else {
            return Err(TestCaseError::fail(format!("{name:?} expired by {until}, due {first:?}")));
        };
        let of_tick = self.by_deadline.range((first, 0)..=(first, usize::MAX));
        let index = of_tick.map(|&(_, index)| index).find(|&index| self.names[index] == name);
        let Some(index) = index else {
            return Err(TestCaseError::fail(format!("{name:?} expired, but not at {first}")));
        };
        self.stop(index);
        Ok(first)
    }
}

struct Pair<const T: usize, const R: usize, const S: usize, const F: u32, const M: usize> {
    wheel: TimingWheel<T, R, S, F, M>,
    handles: Vec<TimerHandle>,
    model: Model,
}

impl<const T: usize, const R: usize, const S: usize, const F: u32, const M: usize>
    Pair<T, R, S, F, M>
{
    const LONGEST: u64 = TimingWheel::<T, R, S, F, M>::MAX_INTERVAL;

    fn run(start: u64, operations: &[Operation]) -> Result<(), TestCaseError> {
        let mut pair = Self {
            wheel: TimingWheel::new(start),
            handles: Vec::new(),
            model: Model { now: start, ..Model::default() },
        };
        for (count, &operation) in operations.iter().enumerate() {
            pair.apply(operation)?;
            prop_assert_eq!(pair.wheel.len(), pair.model.running.len());
            if count % 8 == 0 {
                pair.check_next()?;
            }
        }
        let last = pair.model.by_deadline.last().map_or(0, |&(deadline, _)| deadline);
        pair.advance(last)?;
        prop_assert!(pair.wheel.is_empty() && pair.model.running.is_empty());
        Ok(())
    }

    fn apply(&mut self, operation: Operation) -> Result<(), TestCaseError> {
        match operation {
            Operation::Start { object, timer, interval } => self.start(object, timer, interval),
            Operation::Stop { which } => self.stop(which),
            Operation::Update { which, interval } => self.update(which, interval),
            Operation::Advance { ticks } => self.advance(self.model.now + ticks),
            Operation::AdvanceAndRestart { ticks, interval } => {
                self.advance_and_restart(self.model.now + ticks, interval)
            }
            Operation::Step { ticks } => {
                (0..ticks).try_for_each(|_| self.advance(self.model.now + 1))
            }
        }
    }

    fn start(&mut self, object: u32, timer: u32, interval: u64) -> Result<(), TestCaseError> {
        let timer = timer % T as u32;
        match self.wheel.start(object, timer, interval) {
            Ok(handle) => {
                prop_assert!(interval <= Self::LONGEST);
                self.handles.push(handle);
                self.model.start(object, timer, interval);
            }
            Err(error) => {
                prop_assert!(interval > Self::LONGEST, "{}", error);
            }
        }
        Ok(())
    }

    fn stop(&mut self, which: usize) -> Result<(), TestCaseError> {
        let Some(index) = which.checked_rem(self.handles.len()) else { return Ok(()) };
        if F & DUPLICATE_STOP == 0 && !self.model.running.contains_key(&index) {
            return Ok(());
        }
        prop_assert_eq!(self.wheel.stop(self.handles[index]), self.model.stop(index));
        Ok(())
    }

    fn update(&mut self, which: usize, interval: u64) -> Result<(), TestCaseError> {
        let Some(index) = which.checked_rem(self.handles.len()) else { return Ok(()) };
        let updated = self.wheel.update(self.handles[index], interval).is_ok();
        if interval > Self::LONGEST {
            prop_assert!(!updated);
        } else {
            prop_assert_eq!(updated, self.model.update(index, interval));
        }
        let deadline = self.model.running.get(&index).copied();
        prop_assert_eq!(self.wheel.deadline(self.handles[index]), deadline);
        Ok(())
    }

    fn advance(&mut self, now: u64) -> Result<(), TestCaseError> {
        self.model.now = self.model.now.max(now);
        let mut expired = Vec::new();
        loop {
            let count = self.wheel.expire(now, &mut expired);
            prop_assert!(count == expired.len() && count <= M);
            for expiry in expired.drain(..) {
                self.model.expire(now, (expiry.object(), expiry.timer()))?;
            }
            if !self.wheel.is_behind() {
                break;
            }
        }
        let first = self.model.by_deadline.first();
        prop_assert!(first.is_none_or(|&(deadline, _)| deadline > now), "{:?} lost", first);
        Ok(())
    }

    fn advance_and_restart(&mut self, now: u64, interval: u64) -> Result<(), TestCaseError> {
        let interval = interval.min(Self::LONGEST);
        self.model.now = self.model.now.max(now);
        let (model, handles) = (&mut self.model, &mut self.handles);
        let mut result = Ok(());
        loop {
            let count = self.wheel.expire_with(now, |wheel, expiry| {
                let (object, timer) = (expiry.object(), expiry.timer());
                match model.expire(now, (object, timer)) {
                    Ok(deadline) if deadline == wheel.hand() => {
                        if object < 300 {
                            handles.push(wheel.start(object, timer, interval).unwrap());
                            model.start(object, timer, interval);
                        }
                    }
                    Ok(deadline) => {
                        result =
                            Err(TestCaseError::fail(format!("{deadline} != {}", wheel.hand())));
                    }
                    Err(error) => result = Err(error),
                }
            });
            prop_assert!(count <= M);
            if !self.wheel.is_behind() || result.is_err() {
                return result;
            }
        }
    }

    fn check_next(&self) -> Result<(), TestCaseError> {
        let first = self.model.by_deadline.first().map(|&(deadline, _)| deadline);
        match (self.wheel.next_expiry(), first) {
            (None, None) => Ok(()),
            (Some(next), Some(first)) if next > self.model.now && next <= first => Ok(()),
            (next, first) => Err(TestCaseError::fail(format!("next {next:?}, first {first:?}"))),
        }
    }
}

macro_rules! agrees_with_a_sorted_map {
    ($($name:ident: $timers:literal, $rings:literal, $slots:literal, $features:expr, $max:expr;)*) => {$(
        #[test]
        fn $name() {
            let slots: u64 = $slots;
            let reach = slots.pow($rings);
            let config = ProptestConfig { cases: SEQUENCES, ..ProptestConfig::default() };
            let sequence = (0..4 * reach, prop::collection::vec(operation(slots, reach), OPERATIONS));
            proptest!(config, |((start, operations) in sequence)| {
                Pair::<$timers, $rings, $slots, { $features }, { $max }>::run(start, &operations)?;
            });
        }
    )*};
}

agrees_with_a_sorted_map! {
    wheel_16t_2w_512sl: 16, 2, 512, DUPLICATE_STOP, UNBOUNDED;
    wheel_1t_3w_1024sl_ov: 1, 3, 1024, OVERFLOW | FAST_BITMAP | DUPLICATE_STOP, UNBOUNDED;
    wheel_2t_1w_2048sl: 2, 1, 2048, 0, UNBOUNDED;
    wheel_16t_1w_2048sl: 16, 1, 2048, 0, UNBOUNDED;
    wheel_4t_3w_256sl: 4, 3, 256, 0, UNBOUNDED;
    wheel_2t_2w_512sl: 2, 2, 512, 0, UNBOUNDED;
    wheel_2t_3w_64sl_ov: 2, 3, 64, OVERFLOW | FAST_BITMAP | DUPLICATE_STOP, UNBOUNDED;
    wheel_4t_3w_4sl_ov: 4, 3, 4, OVERFLOW, UNBOUNDED;
    wheel_1t_2w_16sl_with_a_bound_of_3: 1, 2, 16, FAST_BITMAP | DUPLICATE_STOP, 3;
}
