use std::collections::{BTreeMap, HashMap};

use proptest::prelude::*;

use super::*;
use crate::{key::testing::udp, shown::Flow};

const SEED_PACKETS: u32 = 64;

fn timeouts(idle: u32, active: u32) -> Timeouts {
    Timeouts::of_seconds(idle, active).unwrap()
}

fn seen(seed: Seed, number: u32) -> Seen {
    let key = udp(number);
    Seen { key, hash: seed.hash(key), bytes: SEED_PACKETS + number }
}

/// What is shown of the flows there are, by key: packets and bytes.
fn active(table: &Table) -> BTreeMap<Key, (u64, u64)> {
    table.shown().flows().map(|(flow, _)| (flow.key, (flow.packets, flow.bytes))).collect()
}

/// The newest report.
fn newest(table: &Table) -> (Flow, Reason, u64) {
    table.shown().ended().next().unwrap()
}

const SECOND: u64 = 1_000_000_000;

#[test]
fn a_flow_ends_when_its_idle_time_out_has_passed_and_at_most_a_tick_later() {
    for offset in [0, 1, TICK_NS / 2, TICK_NS - 1] {
        let (seed, timeouts) = (Seed::random(), timeouts(2, 60));
        let mut table = Table::new(10, seed);
        table.count(offset, timeouts, &[seen(seed, 1); 3]);
        table.count(SECOND + offset, timeouts, &[seen(seed, 1)]); // Time begins again.
        let over = 3 * SECOND + offset;
        table.turn(over - 1, timeouts);
        assert_eq!(active(&table), [(udp(1), (4, 4 * 65))].into(), "too soon, at {offset}");
        table.turn(over + TICK_NS, timeouts);
        assert!(active(&table).is_empty(), "too late, at {offset}");
        let flow = Flow {
            key: udp(1),
            packets: 4,
            bytes: 4 * 65,
            first_ns: offset,
            last_ns: SECOND + offset,
        };
        assert_eq!(newest(&table), (flow, Reason::Idle, over + TICK_NS));
        assert_eq!(table.next_expiry(), None);
    }
}

#[test]
fn a_flow_that_goes_on_is_reported_and_counted_from_zero() {
    let (seed, timeouts) = (Seed::random(), timeouts(2, 5));
    let mut table = Table::new(10, seed);
    for second in 0..=12 {
        table.count(second * SECOND, timeouts, &[seen(seed, 0)]);
    }
    // Reported in the first turns after 5.1 s and, of those after that, 5.1 s: at 6 s and 12 s.
    let reports: Vec<_> =
        table.shown().ended().map(|(flow, reason, _)| (flow.packets, reason)).collect();
    assert_eq!(reports, [(6, Reason::Active), (6, Reason::Active)]);
    assert_eq!(active(&table), [(udp(0), (1, 64))].into());
    let (flow, _) = table.shown().flows().next().unwrap();
    assert_eq!(flow.first_ns, 12 * SECOND);
}

#[test]
fn a_flow_without_packets_since_its_report_is_not_reported_again() {
    let (seed, timeouts) = (Seed::random(), timeouts(20, 5));
    let mut table = Table::new(10, seed);
    table.count(0, timeouts, &[seen(seed, 0)]);
    for second in 0..=20 {
        table.turn(second * SECOND, timeouts);
        assert_eq!(table.shown().totals.flows.get(), 1);
    }
    table.turn(20 * SECOND + TICK_NS, timeouts);
    assert_eq!(table.shown().totals.flows.get(), 0);
    assert_eq!(table.shown().ended().count(), 1);
    assert_eq!(newest(&table).1, Reason::Active);
}

#[test]
fn a_flow_whose_timers_expire_at_once_ends_and_is_reported_once() {
    for late in [0, 100] {
        let (seed, timeouts) = (Seed::random(), timeouts(3, 3));
        let mut table = Table::new(10, seed);
        table.count(0, timeouts, &[seen(seed, 0)]);
        table.turn(3 * SECOND + TICK_NS + late * SECOND, timeouts);
        assert_eq!(table.shown().ended().count(), 1);
        assert_eq!(newest(&table).1, Reason::Idle);
        assert_eq!((table.wheel.len(), table.free.len()), (0, 1));
    }
}

#[test]
fn flows_beyond_the_bound_are_not_tracked_until_one_ends() {
    let (seed, timeouts) = (Seed::random(), timeouts(1, 60));
    let mut table = Table::new(2, seed);
    let three = [0, 1, 2].map(|number| seen(seed, number));
    table.count(0, timeouts, &three);
    table.count(0, timeouts, &three);
    let totals = &table.shown().totals;
    assert_eq!((totals.flows.get(), totals.started.get(), totals.not_tracked.get()), (2, 2, 2));
    assert_eq!(active(&table).into_keys().collect::<Vec<_>>(), [udp(0), udp(1)]);

    table.count(2 * SECOND, timeouts, &three[2..]);
    assert_eq!(active(&table), [(udp(2), (1, 66))].into());
}

#[test]
fn a_turn_ends_no_more_flows_than_the_bound_and_the_next_goes_on() {
    let (seed, timeouts) = (Seed::random(), timeouts(1, 60));
    let flows = 600;
    let mut table = Table::new(1_000, seed);
    let all: Vec<_> = (0..flows).map(|number| seen(seed, number)).collect();
    table.count(0, timeouts, &all);
    let mut left = Vec::new();
    while table.turn(2 * SECOND, timeouts) {
        left.push(table.shown().totals.flows.get());
    }
    assert_eq!(left.len(), 2, "{left:?}");
    assert!(left[0] >= 600 - EXPIRIES as u64 && left[1] >= 600 - 2 * EXPIRIES as u64, "{left:?}");
    assert_eq!(table.shown().totals.flows.get(), 0);
}

#[test]
fn other_time_outs_hold_from_the_next_packet_on() {
    let seed = Seed::random();
    let mut table = Table::new(10, seed);
    let (long, short) = (timeouts(100, 1_000), timeouts(1, 1_000));
    table.count(0, long, &[seen(seed, 0), seen(seed, 1)]);
    table.count(0, short, &[seen(seed, 1)]);
    let ends: BTreeMap<_, _> = table.shown().flows().map(|(flow, ends)| (flow.key, ends)).collect();
    assert_eq!(ends, [(udp(0), 100 * SECOND), (udp(1), SECOND)].into());
    table.turn(2 * SECOND, short);
    assert_eq!(active(&table).into_keys().collect::<Vec<_>>(), [udp(0)]);
}

/// A flow of the model; ticks at which its timers expire.
#[derive(Clone, Debug)]
struct Modelled {
    packets: u64,
    bytes: u64,
    first_ns: u64,
    last_ns: u64,
    idle_at: u64,
    active_at: u64,
}

/// The tick, the flow, its packets and bytes, and why.
type Report = (u64, Key, u64, u64, Reason);

/// Flows in a map, looked through at every tick.
#[derive(Default)]
struct Model {
    tick: u64,
    flows: HashMap<u32, Modelled>,
    reports: Vec<Report>,
    not_tracked: u64,
}

impl Model {
    fn count(&mut self, number: u32, now_ns: u64, [idle, active]: [u64; 2], room: usize) {
        let tick = now_ns / TICK_NS;
        if !self.flows.contains_key(&number) && self.flows.len() == room {
            self.not_tracked += 1;
            return;
        }
        let active_at = tick + active + 1;
        let flow = self.flows.entry(number).or_insert_with(|| Modelled {
            packets: 0,
            bytes: 0,
            first_ns: 0,
            last_ns: 0,
            idle_at: 0,
            active_at,
        });
        if flow.packets == 0 {
            flow.first_ns = now_ns;
        }
        flow.packets += 1;
        flow.bytes += u64::from(SEED_PACKETS + number);
        flow.last_ns = now_ns;
        flow.idle_at = tick + idle + 1;
    }

    fn step(&mut self, active: u64) {
        self.tick += 1;
        let tick = self.tick;
        let mut due: Vec<u32> = self.flows.keys().copied().collect();
        due.sort_unstable();
        for number in due {
            let flow = self.flows.get_mut(&number).unwrap();
            let ends = flow.idle_at <= tick;
            if !ends && flow.active_at > tick {
                continue;
            }
            let reason = if ends { Reason::Idle } else { Reason::Active };
            if flow.packets > 0 {
                self.reports.push((tick, udp(number), flow.packets, flow.bytes, reason));
            }
            (flow.packets, flow.bytes, flow.active_at) = (0, 0, tick + active + 1);
            if ends {
                self.flows.remove(&number);
            }
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Packets(Vec<u32>),
    Time(u64),
    Timeouts(u32, u32),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => prop::collection::vec(0..24_u32, 1..40).prop_map(Step::Packets),
        5 => (1..3 * SECOND).prop_map(Step::Time),
        1 => (SECOND..90 * SECOND).prop_map(Step::Time),
        1 => (1..8_u32, 1..70_u32).prop_map(|(idle, active)| Step::Timeouts(idle, active)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Tick by tick: the same flows, with the same counts, end at the same ticks.
    #[test]
    fn it_does_what_a_map_does_that_is_looked_through_at_each_tick(
        room in 1..24_usize,
        steps in prop::collection::vec(step(), 1..80),
    ) {
        let seed = Seed::random();
        let mut table = Table::new(u32::try_from(room).unwrap(), seed);
        let mut model = Model::default();
        let (mut now_ns, mut limits) = (0, timeouts(2, 7));
        for step in steps {
            let ticks = [limits.idle_interval() - 1, limits.active_interval() - 1];
            match step {
                Step::Timeouts(idle, active) => limits = timeouts(idle, active),
                Step::Packets(numbers) => {
                    let all: Vec<_> = numbers.iter().map(|&number| seen(seed, number)).collect();
                    table.count(now_ns, limits, &all);
                    numbers.iter().for_each(|&number| model.count(number, now_ns, ticks, room));
                }
                Step::Time(span) => {
                    let until = now_ns + span;
                    while now_ns < until {
                        now_ns = until.min((now_ns / TICK_NS + 1) * TICK_NS);
                        prop_assert!(!table.turn(now_ns, limits));
                        if now_ns / TICK_NS > model.tick {
                            model.step(ticks[1]);
                        }
                        let next = table.next_expiry();
                        let due = model.flows.values().map(|flow| flow.idle_at.min(flow.active_at));
                        prop_assert_eq!(next, due.min(), "at tick {}", model.tick);
                    }
                }
            }
            let known: HashMap<Key, &Modelled> =
                model.flows.iter().map(|(&number, flow)| (udp(number), flow)).collect();
            let mut found = 0;
            for (flow, _) in table.shown().flows() {
                found += 1;
                let Some(own) = known.get(&flow.key) else { panic!("{flow:?} is over") };
                let counts = (flow.packets, flow.bytes, flow.last_ns);
                prop_assert_eq!(counts, (own.packets, own.bytes, own.last_ns));
                prop_assert!(flow.packets == 0 || flow.first_ns == own.first_ns);
            }
            prop_assert_eq!(found, known.len());
            let totals = &table.shown().totals;
            prop_assert_eq!(totals.flows.get(), known.len() as u64);
            prop_assert_eq!(totals.not_tracked.get(), model.not_tracked);
            prop_assert_eq!(table.wheel.len(), 2 * known.len());
        }
        let told = table.shown().ended().map(|(flow, reason, at_ns)| {
            (at_ns / TICK_NS, flow.key, flow.packets, flow.bytes, reason)
        });
        let mut told: Vec<Report> = told.collect();
        let totals = &table.shown().totals;
        prop_assert_eq!(totals.idle.get() + totals.active.get(), model.reports.len() as u64);
        if model.reports.len() <= crate::shown::ENDED {
            told.sort_unstable(); // Of one tick the order is nobody's business.
            model.reports.sort_unstable();
            prop_assert_eq!(told, model.reports);
        }
    }
}
