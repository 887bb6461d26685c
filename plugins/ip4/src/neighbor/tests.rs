use std::{collections::BTreeMap, net::Ipv4Addr};

use proptest::prelude::*;

use super::*;

const ETH: InterfaceIndex = InterfaceIndex(1);
const KEY: Key = (ETH, Ipv4Addr::new(10, 0, 0, 2));
const OTHER: Key = (ETH, Ipv4Addr::new(10, 0, 0, 3));
const MAC: MacAddress = MacAddress([2, 0, 0, 0, 0, 1]);
const MOVED: MacAddress = MacAddress([2, 0, 0, 0, 0, 2]);

fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn small() -> Limits {
    Limits {
        neighbors_max: 3,
        resolving_max: 2,
        waiting_per_neighbor_max: 3,
        waiting_max: 4,
        ..Limits::default()
    }
}

/// The neighbours, and what they wanted done since the last look.
struct Bench {
    neighbors: Neighbors,
    actions: Vec<Action>,
}

impl Bench {
    fn new(limits: Limits) -> Self {
        Self { neighbors: Neighbors::new(limits), actions: Vec::new() }
    }

    fn packet(&mut self, seconds: u64, key: Key, buffer: u32) -> Vec<Action> {
        self.neighbors.packet(at(seconds), key, buffer, &mut self.actions);
        std::mem::take(&mut self.actions)
    }

    fn learn(&mut self, seconds: u64, key: Key, mac: MacAddress, create: bool) -> Vec<Action> {
        self.neighbors.learn(at(seconds), key, mac, create, &mut self.actions);
        std::mem::take(&mut self.actions)
    }

    fn tick(&mut self, seconds: u64) -> Vec<Action> {
        self.neighbors.tick(at(seconds), &mut self.actions);
        std::mem::take(&mut self.actions)
    }
}

fn broadcast(key: Key) -> Action {
    probe(key, MacAddress::BROADCAST)
}

fn resolved(mac: MacAddress, waiting: &[u32]) -> Action {
    Action::Resolved { key: KEY, mac, waiting: waiting.to_vec() }
}

#[test]
fn packets_wait_for_the_answer_and_leave_in_order() {
    let mut bench = Bench::new(Limits::default());
    assert_eq!(bench.packet(0, KEY, 7), [broadcast(KEY)]);
    assert_eq!(bench.packet(0, KEY, 8), [], "one question is enough");
    assert_eq!(bench.learn(0, KEY, MAC, false), [resolved(MAC, &[7, 8])]);
    assert_eq!(bench.packet(1, KEY, 9), [resolved(MAC, &[9])], "it came too late to wait");
    assert_eq!((bench.neighbors.waiting(), bench.neighbors.mac(KEY)), (0, Some(MAC)));
}

#[test]
fn a_neighbour_that_does_not_answer_is_asked_three_times_then_given_up() {
    let mut bench = Bench::new(Limits::default());
    bench.packet(0, KEY, 7);
    assert_eq!(bench.neighbors.next_due(), Some(at(1)));
    assert_eq!(bench.tick(1), [broadcast(KEY)]);
    assert_eq!(bench.packet(1, KEY, 8), []);
    assert_eq!(bench.tick(2), [broadcast(KEY)]);
    assert_eq!(bench.tick(3), [Action::Failed { key: KEY, waiting: vec![7, 8] }]);
    let refused = Action::Refused { buffer: 9, why: Refused::Unreachable };
    assert_eq!(bench.packet(3, KEY, 9), [refused], "no flood of questions");
    assert_eq!(bench.tick(4), []);
    assert!(bench.neighbors.is_empty());
    assert_eq!(bench.packet(4, KEY, 10), [broadcast(KEY)]);
}

#[test]
fn an_aged_neighbour_is_asked_in_person_and_lost_only_if_silent() {
    let mut bench = Bench::new(Limits::default());
    assert_eq!(bench.learn(0, KEY, MAC, true), [resolved(MAC, &[])]);
    assert_eq!(bench.tick(1199), []);
    assert_eq!(bench.tick(1200), [probe(KEY, MAC)]);
    assert_eq!(bench.packet(1200, KEY, 7), [resolved(MAC, &[7])], "it is in use meanwhile");
    assert_eq!(bench.learn(1200, KEY, MAC, false), [], "still the same");
    assert_eq!(bench.tick(2400), [probe(KEY, MAC)]);
    assert_eq!(bench.tick(2401), [probe(KEY, MAC)]);
    assert_eq!(bench.tick(2402), [probe(KEY, MAC)]);
    assert_eq!(bench.tick(2403), [Action::Lost { key: KEY }]);
}

#[test]
fn a_neighbour_that_moved_is_told_and_a_stranger_is_not_remembered() {
    let mut bench = Bench::new(Limits::default());
    assert_eq!(bench.learn(0, KEY, MAC, false), []);
    assert!(bench.neighbors.is_empty());
    bench.learn(0, KEY, MAC, true);
    assert_eq!(bench.learn(1, KEY, MOVED, false), [resolved(MOVED, &[])]);
    for nobody in [MacAddress::BROADCAST, MacAddress::ZERO, MacAddress([1, 0, 0x5e, 0, 0, 1])] {
        assert_eq!(bench.learn(2, KEY, nobody, true), [], "{nobody}");
    }
    assert_eq!(bench.neighbors.mac(KEY), Some(MOVED));
}

#[test]
fn what_the_operator_set_neither_ages_nor_moves() {
    let mut bench = Bench::new(Limits::default());
    bench.packet(0, KEY, 7);
    let mut actions = Vec::new();
    assert!(bench.neighbors.set_static(at(0), KEY, MAC, &mut actions));
    assert_eq!(actions, [resolved(MAC, &[7])]);
    assert_eq!(bench.learn(1, KEY, MOVED, true), []);
    assert_eq!(bench.tick(1_000_000), []);
    assert_eq!(bench.neighbors.list()[0].state, State::Static);
    let mut actions = Vec::new();
    assert!(bench.neighbors.remove(KEY, &mut actions));
    assert_eq!(actions, [Action::Lost { key: KEY }]);
    assert!(!bench.neighbors.remove(KEY, &mut actions));
}

#[test]
fn full_queues_and_tables_refuse_packets_one_by_one() {
    let mut bench = Bench::new(small());
    let refused = |buffer, why| Action::Refused { buffer, why };
    for buffer in 0..3 {
        bench.packet(0, KEY, buffer);
    }
    assert_eq!(bench.packet(0, KEY, 3), [refused(0, Refused::QueueFull)], "the oldest goes");
    assert_eq!(bench.packet(0, OTHER, 4), [broadcast(OTHER)]);
    assert_eq!(bench.packet(0, OTHER, 5), [refused(4, Refused::QueueFull)], "4 wait in all");
    let third = (ETH, Ipv4Addr::new(10, 0, 0, 4));
    assert_eq!(bench.packet(0, third, 6), [refused(6, Refused::TableFull)]);
    bench.learn(0, KEY, MAC, false);
    assert_eq!(bench.packet(0, third, 7), [broadcast(third)]);
    let fourth = (ETH, Ipv4Addr::new(10, 0, 0, 5));
    assert_eq!(bench.learn(0, fourth, MAC, true), [], "no room");
    assert!(!bench.neighbors.set_static(at(0), fourth, MAC, &mut Vec::new()));
}

#[test]
fn removing_a_prefix_gives_every_waiting_packet_back() {
    let mut bench = Bench::new(Limits::default());
    let elsewhere = (InterfaceIndex(2), KEY.1);
    bench.packet(0, KEY, 7);
    bench.learn(0, OTHER, MAC, true);
    bench.learn(0, elsewhere, MAC, true);
    let mut actions = Vec::new();
    bench.neighbors.remove_all(ETH, "10.0.0.0/24".parse().unwrap(), &mut actions);
    let failed = Action::Failed { key: KEY, waiting: vec![7] };
    assert_eq!(actions, [failed, Action::Lost { key: OTHER }]);
    assert_eq!(bench.neighbors.len(), 1);
}

#[derive(Clone, Debug)]
enum Event {
    Packet(u8),
    Learn(u8, u8, bool),
    SetStatic(u8),
    Remove(u8),
    RemoveAll,
    Wait(u16),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        6 => (0_u8..5).prop_map(Event::Packet),
        2 => (0_u8..5, 1_u8..3, any::<bool>()).prop_map(|(host, mac, create)| Event::Learn(host, mac, create)),
        1 => (0_u8..5).prop_map(Event::SetStatic),
        1 => (0_u8..5).prop_map(Event::Remove),
        1 => Just(Event::RemoveAll),
        3 => (1_u16..3000).prop_map(Event::Wait),
    ]
}

proptest! {
    /// Each packet comes back exactly once or still waits, and the caller's view of who is
    /// resolved, kept by following the actions, is the table's.
    #[test]
    fn no_packet_is_lost_or_given_back_twice(events in proptest::collection::vec(event(), 1..200)) {
        let mut neighbors = Neighbors::new(small());
        let (mut now, mut actions) = (Duration::ZERO, Vec::new());
        let (mut handed_in, mut back) = (0_u32, Vec::new());
        let mut known: BTreeMap<Key, MacAddress> = BTreeMap::new();
        let key = |host: u8| (ETH, Ipv4Addr::new(10, 0, 0, host));
        let mac = |last: u8| MacAddress([2, 0, 0, 0, 0, last]);
        for event in events {
            match event {
                Event::Packet(host) => {
                    neighbors.packet(now, key(host), handed_in, &mut actions);
                    handed_in += 1;
                }
                Event::Learn(host, last, create) => {
                    neighbors.learn(now, key(host), mac(last), create, &mut actions);
                }
                Event::SetStatic(host) => {
                    neighbors.set_static(now, key(host), mac(9), &mut actions);
                }
                Event::Remove(host) => {
                    neighbors.remove(key(host), &mut actions);
                }
                Event::RemoveAll => {
                    neighbors.remove_all(ETH, "10.0.0.0/30".parse().unwrap(), &mut actions);
                }
                Event::Wait(seconds) => {
                    now += at(seconds.into());
                    neighbors.tick(now, &mut actions);
                    prop_assert!(neighbors.next_due().is_none_or(|due| due > now));
                }
            }
            for action in actions.drain(..) {
                match action {
                    Action::Probe { .. } => {}
                    Action::Resolved { key, mac, waiting } => {
                        known.insert(key, mac);
                        back.extend(waiting);
                    }
                    Action::Lost { key } => prop_assert!(known.remove(&key).is_some()),
                    Action::Failed { waiting, .. } => back.extend(waiting),
                    Action::Refused { buffer, .. } => back.push(buffer),
                }
            }
            let mut all = back.clone();
            all.sort_unstable();
            all.dedup();
            prop_assert_eq!(all.len(), back.len(), "given back twice");
            prop_assert_eq!(back.len() + neighbors.waiting(), handed_in as usize);
            let listed = neighbors.list();
            let queued: usize = listed.iter().map(|neighbor| neighbor.waiting).sum();
            prop_assert_eq!(queued, neighbors.waiting());
            prop_assert!(neighbors.waiting() <= small().waiting_max);
            prop_assert!(neighbors.len() <= small().neighbors_max);
            let table: BTreeMap<_, _> =
                listed.iter().filter_map(|neighbor| Some((neighbor.key, neighbor.mac?))).collect();
            prop_assert_eq!(&table, &known);
        }
    }
}
