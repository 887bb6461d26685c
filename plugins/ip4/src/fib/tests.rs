use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::adjacency::Kind;

const ETH0: InterfaceIndex = InterfaceIndex(1);
const ETH1: InterfaceIndex = InterfaceIndex(2);
const MAC: MacAddress = MacAddress([2, 0, 0, 0, 0, 9]);

fn ip(text: &str) -> Ipv4Addr {
    text.parse().unwrap()
}

fn prefix(text: &str) -> Ip4Prefix {
    text.parse().unwrap()
}

fn neighbor(next_hop: &str, interface: InterfaceIndex) -> Path {
    Path::Neighbor { next_hop: ip(next_hop), interface }
}

fn recursive(next_hop: &str) -> Path {
    Path::Recursive { next_hop: ip(next_hop) }
}

fn fib_with_links() -> Fib {
    let mut fib = Fib::new().unwrap();
    for (interface, own) in [(ETH0, "10.0.0.1/24"), (ETH1, "10.0.1.1/24")] {
        let mac = MacAddress([2, 0, 0, 0, 1, u8::try_from(interface.0).unwrap()]);
        fib.set_link(interface, Link { mac, mtu: 1500, is_l3: false }).unwrap();
        let (address, prefix) = Ip4Prefix::parse_with_address(own).unwrap();
        fib.add_address(InterfaceAddress { interface, address, prefix }).unwrap();
    }
    fib
}

type Ways = BTreeSet<(u8, u32, Ipv4Addr)>;

/// All adjacencies that packets to `to` take, as kind, interface, next hop.
fn ways(fib: &Fib, to: &str) -> Ways {
    ways_to(&fib.forwarder(), ip(to))
}

fn ways_to(forwarder: &Forwarder, to: Ipv4Addr) -> Ways {
    let leaf = forwarder.lookup(to);
    let taken = (0..64).map(|hash| forwarder.adjacency(forwarder.pick(leaf, || hash)));
    taken.map(|way| (way.kind as u8, way.interface.0, way.next_hop)).collect()
}

fn way(kind: Kind, interface: InterfaceIndex, next_hop: &str) -> (u8, u32, Ipv4Addr) {
    (kind as u8, interface.0, ip(next_hop))
}

fn kinds(fib: &Fib, to: &str) -> Vec<u8> {
    ways(fib, to).into_iter().map(|way| way.0).collect()
}

/// The base may live behind a lock of any kind, a reader on any thread.
const _: () = {
    const fn is_send<T: Send>() {}
    const fn is_sync<T: Sync + Clone>() {}
    is_send::<Fib>();
    is_sync::<Forwarder>();
};

#[test]
fn an_interface_address_brings_the_routes_to_it_and_its_link() {
    let mut fib = fib_with_links();
    assert_eq!(kinds(&fib, "10.0.0.1"), [Kind::Local as u8]);
    assert_eq!(ways(&fib, "10.0.0.77"), [way(Kind::Glean, ETH0, "0.0.0.0")].into());
    assert_eq!(kinds(&fib, "10.0.0.0"), [Kind::Drop as u8], "the network's own address");
    assert_eq!(kinds(&fib, "10.0.0.255"), [Kind::Drop as u8], "the broadcast address");
    assert_eq!(kinds(&fib, "20.0.0.1"), [Kind::NoRoute as u8]);
    assert_eq!(kinds(&fib, "224.0.0.5"), [Kind::Drop as u8]);
    assert_eq!(fib.source_address(ETH1, ip("10.0.1.9")), Some(ip("10.0.1.1")));
    fib.remove_address(ETH0, ip("10.0.0.1")).unwrap();
    for gone in ["10.0.0.0", "10.0.0.1", "10.0.0.77", "10.0.0.255"] {
        assert_eq!(kinds(&fib, gone), [Kind::NoRoute as u8], "{gone}");
    }
    assert_eq!(
        fib.remove_address(ETH0, ip("10.0.0.1")),
        Err(AddressError::Unknown(ip("10.0.0.1")))
    );
}

#[test]
fn two_addresses_of_a_link_share_its_route_until_the_last_is_removed() {
    let mut fib = fib_with_links();
    let second = InterfaceAddress {
        interface: ETH0,
        address: ip("10.0.0.2"),
        prefix: prefix("10.0.0.0/24"),
    };
    fib.add_address(second).unwrap();
    fib.remove_address(ETH0, ip("10.0.0.1")).unwrap();
    assert_eq!(kinds(&fib, "10.0.0.2"), [Kind::Local as u8]);
    assert_eq!(kinds(&fib, "10.0.0.1"), [Kind::Glean as u8]);
    fib.remove_address(ETH0, ip("10.0.0.2")).unwrap();
    assert_eq!(kinds(&fib, "10.0.0.1"), [Kind::NoRoute as u8]);
}

#[test]
fn an_address_that_clashes_is_refused_and_nothing_changes() {
    let mut fib = fib_with_links();
    let before = fib.routes();
    let mut add = |interface, text: &str| {
        let (address, prefix) = Ip4Prefix::parse_with_address(text).unwrap();
        fib.add_address(InterfaceAddress { interface, address, prefix }).unwrap_err()
    };
    assert_eq!(add(ETH1, "10.0.0.1/24"), AddressError::Taken(ip("10.0.0.1"), ETH0));
    assert_eq!(add(ETH1, "10.0.0.9/25"), AddressError::Overlap(prefix("10.0.0.0/24"), ETH0));
    assert_eq!(add(ETH1, "10.9.0.9/8"), AddressError::Overlap(prefix("10.0.0.0/24"), ETH0));
    for group in ["224.0.0.1/24", "0.0.0.1/24", "127.0.0.1/8", "255.255.255.255/32"] {
        assert!(matches!(add(ETH1, group), AddressError::NotUnicast(_)), "{group}");
    }
    assert_eq!(fib.routes(), before);
}

#[test]
fn a_known_neighbour_has_a_route_of_its_own_and_completes_routes_by_it() {
    let mut fib = fib_with_links();
    fib.add_path(prefix("20.0.0.0/8"), recursive("10.0.0.2")).unwrap();
    fib.add_path(prefix("30.0.0.0/8"), neighbor("10.0.0.2", ETH0)).unwrap();
    for to in ["20.1.1.1", "30.1.1.1"] {
        assert_eq!(ways(&fib, to), [way(Kind::Incomplete, ETH0, "10.0.0.2")].into(), "{to}");
    }
    fib.neighbor_resolved(ETH0, ip("10.0.0.2"), MAC).unwrap();
    for to in ["10.0.0.2", "20.1.1.1", "30.1.1.1"] {
        assert_eq!(ways(&fib, to), [way(Kind::Complete, ETH0, "10.0.0.2")].into(), "{to}");
    }
    fib.neighbor_lost(ETH0, ip("10.0.0.2")).unwrap();
    assert_eq!(kinds(&fib, "10.0.0.2"), [Kind::Glean as u8]);
    assert_eq!(ways(&fib, "20.1.1.1"), [way(Kind::Incomplete, ETH0, "10.0.0.2")].into());
}

#[test]
fn a_route_with_several_paths_spreads_flows_and_narrows_as_they_go() {
    let mut fib = fib_with_links();
    let to = prefix("20.0.0.0/8");
    let paths =
        [neighbor("10.0.0.2", ETH0), neighbor("10.0.0.3", ETH0), neighbor("10.0.1.2", ETH1)];
    for path in paths {
        fib.add_path(to, path).unwrap();
    }
    fib.add_path(to, paths[0]).unwrap();
    assert_eq!(ways(&fib, "20.0.0.1").len(), 3);
    fib.remove_path(to, paths[1]).unwrap();
    assert_eq!(ways(&fib, "20.0.0.1").len(), 2);
    assert_eq!(fib.remove_path(to, paths[1]), Err(RouteError::NoPath(to)));
    fib.remove_path(to, paths[0]).unwrap();
    fib.remove_path(to, paths[2]).unwrap();
    assert_eq!(kinds(&fib, "20.0.0.1"), [Kind::NoRoute as u8]);
    assert_eq!(fib.remove_route(to), Err(RouteError::NoRoute(to)));
}

#[test]
fn a_route_has_at_most_64_paths() {
    let mut fib = fib_with_links();
    let to = prefix("20.0.0.0/8");
    let path = |host: u32| Path::Neighbor {
        next_hop: Ipv4Addr::from_bits(0x0a00_0000 + host),
        interface: ETH0,
    };
    for host in 2..66 {
        fib.add_path(to, path(host)).unwrap();
    }
    assert_eq!(ways(&fib, "20.0.0.1").len(), 64);
    assert_eq!(fib.add_path(to, path(66)), Err(RouteError::TooManyPaths));
    assert_eq!(fib.route_to(ip("20.0.0.1")).unwrap().paths.len(), 64);
}

#[test]
fn a_recursive_route_follows_the_route_of_its_next_hop() {
    let mut fib = fib_with_links();
    fib.add_path(prefix("20.0.0.0/8"), recursive("30.0.0.1")).unwrap();
    fib.add_path(prefix("21.0.0.0/8"), recursive("20.0.0.1")).unwrap();
    let both = |fib: &Fib| (kinds(fib, "20.0.0.9"), kinds(fib, "21.0.0.9"));
    let unresolved = vec![Kind::Unresolved as u8];
    assert_eq!(both(&fib), (unresolved.clone(), unresolved.clone()));
    fib.add_path(prefix("30.0.0.0/8"), neighbor("10.0.0.2", ETH0)).unwrap();
    assert_eq!(ways(&fib, "21.0.0.9"), [way(Kind::Incomplete, ETH0, "10.0.0.2")].into());
    fib.add_path(prefix("30.0.0.0/16"), neighbor("10.0.1.2", ETH1)).unwrap();
    assert_eq!(ways(&fib, "21.0.0.9"), [way(Kind::Incomplete, ETH1, "10.0.1.2")].into());
    fib.remove_route(prefix("30.0.0.0/16")).unwrap();
    assert_eq!(ways(&fib, "21.0.0.9"), [way(Kind::Incomplete, ETH0, "10.0.0.2")].into());
    fib.remove_route(prefix("30.0.0.0/8")).unwrap();
    assert_eq!(both(&fib), (unresolved.clone(), unresolved));
}

#[test]
fn routes_that_lead_through_each_other_drop_until_one_leads_out() {
    let mut fib = fib_with_links();
    fib.add_path(prefix("20.0.0.0/8"), recursive("30.0.0.1")).unwrap();
    fib.add_path(prefix("30.0.0.0/8"), recursive("40.0.0.1")).unwrap();
    fib.add_path(prefix("40.0.0.0/8"), recursive("20.0.0.1")).unwrap();
    fib.add_path(prefix("50.0.0.0/8"), recursive("50.0.0.1")).unwrap();
    for to in ["20.0.0.9", "30.0.0.9", "40.0.0.9", "50.0.0.9"] {
        assert_eq!(kinds(&fib, to), [Kind::Unresolved as u8], "{to}");
    }
    fib.set_paths(prefix("40.0.0.0/8"), &[neighbor("10.0.0.2", ETH0)]).unwrap();
    for to in ["20.0.0.9", "30.0.0.9", "40.0.0.9"] {
        assert_eq!(ways(&fib, to), [way(Kind::Incomplete, ETH0, "10.0.0.2")].into(), "{to}");
    }
    fib.set_paths(prefix("40.0.0.0/8"), &[recursive("20.0.0.1")]).unwrap();
    for to in ["20.0.0.9", "30.0.0.9", "40.0.0.9"] {
        assert_eq!(kinds(&fib, to), [Kind::Unresolved as u8], "{to}");
    }
}

#[test]
fn an_interface_outranks_a_static_route_which_comes_back_when_it_goes() {
    let mut fib = fib_with_links();
    let own = prefix("10.0.0.1/32");
    fib.add_path(own, neighbor("10.0.1.2", ETH1)).unwrap();
    assert_eq!(kinds(&fib, "10.0.0.1"), [Kind::Local as u8]);
    fib.remove_address(ETH0, ip("10.0.0.1")).unwrap();
    assert_eq!(ways(&fib, "10.0.0.1"), [way(Kind::Incomplete, ETH1, "10.0.1.2")].into());
    fib.remove_route(own).unwrap();
    assert_eq!(kinds(&fib, "10.0.0.1"), [Kind::NoRoute as u8]);
}

#[test]
fn a_removed_interface_takes_its_paths_along_and_leaves_the_others() {
    let mut fib = fib_with_links();
    let to = prefix("20.0.0.0/8");
    fib.add_path(to, neighbor("10.0.0.2", ETH0)).unwrap();
    fib.add_path(to, neighbor("10.0.1.2", ETH1)).unwrap();
    fib.add_path(prefix("21.0.0.0/8"), neighbor("10.0.0.2", ETH0)).unwrap();
    fib.add_path(prefix("22.0.0.0/8"), recursive("10.0.0.2")).unwrap();
    fib.neighbor_resolved(ETH0, ip("10.0.0.2"), MAC).unwrap();
    fib.remove_interface(ETH0).unwrap();
    assert_eq!(ways(&fib, "20.0.0.1"), [way(Kind::Incomplete, ETH1, "10.0.1.2")].into());
    assert_eq!(kinds(&fib, "21.0.0.1"), [Kind::NoRoute as u8]);
    assert_eq!(kinds(&fib, "22.0.0.1"), [Kind::Unresolved as u8]);
    assert_eq!(kinds(&fib, "10.0.0.2"), [Kind::NoRoute as u8]);
    let left = fib.adjacencies().iter().filter(|&(_, interface, ..)| interface == ETH0).count();
    assert_eq!(left, 0);
}

#[test]
fn routes_with_the_same_paths_share_a_leaf_and_nothing_is_left_when_they_go() {
    let mut fib = fib_with_links();
    let (routes, held) = (fib.len(), fib.adjacencies().iter().count());
    let path = neighbor("10.0.0.2", ETH0);
    let target = |low: u32| Ip4Prefix::host(Ipv4Addr::from_bits(0x1400_0000 | low << 4));
    for low in 0..1000 {
        fib.add_path(target(low), path).unwrap();
    }
    let forwarder = fib.forwarder();
    let leaf = forwarder.lookup(target(0).first());
    assert!((0..1000).all(|low| forwarder.lookup(target(low).first()) == leaf));
    for low in 0..1000 {
        fib.remove_path(target(low), path).unwrap();
    }
    assert_eq!((fib.len(), fib.adjacencies().iter().count()), (routes, held));
    assert!(fib.begin_grace());
    assert!(!fib.begin_grace(), "one at a time");
    fib.end_grace();
    assert_eq!(fib.waiting(), 0);
}

/// What all routes say, without any memory of how they came about.
#[derive(Default)]
struct Model(BTreeMap<Ip4Prefix, BTreeSet<Path>>);

impl Model {
    fn ways(&self, to: Ipv4Addr) -> Ways {
        let paths = self.paths_to(to);
        if paths.is_empty() {
            return [(Kind::NoRoute as u8, u32::MAX, Ipv4Addr::UNSPECIFIED)].into();
        }
        self.follow(&paths)
    }

    fn follow(&self, paths: &BTreeSet<Path>) -> Ways {
        let unresolved = (Kind::Unresolved as u8, u32::MAX, Ipv4Addr::UNSPECIFIED);
        let mut ways = Ways::new();
        for path in paths {
            match *path {
                Path::Neighbor { next_hop, interface } => {
                    ways.insert((Kind::Incomplete as u8, interface.0, next_hop));
                }
                Path::Recursive { next_hop } => {
                    let through = self.paths_to(next_hop);
                    let further = self.follow(&through).into_iter();
                    let usable = further.filter(|way| way.0 == Kind::Incomplete as u8);
                    let before = ways.len();
                    ways.extend(usable);
                    if ways.len() == before {
                        ways.insert(unresolved);
                    }
                }
                _ => {
                    ways.insert((Kind::Drop as u8, u32::MAX, Ipv4Addr::UNSPECIFIED));
                }
            }
        }
        if ways.len() > 1 {
            ways.remove(&unresolved);
        }
        ways
    }

    fn paths_to(&self, to: Ipv4Addr) -> BTreeSet<Path> {
        let found = self.0.iter().filter(|(prefix, _)| prefix.contains(to));
        found
            .max_by_key(|(prefix, _)| prefix.len())
            .map(|(_, paths)| paths.clone())
            .unwrap_or_default()
    }
}

/// Prefixes and paths in three tiers, so that no route leads to itself.
fn route() -> impl Strategy<Value = (Ip4Prefix, Path)> {
    let target = |tier: u8| {
        (0_u8..4, 0_u8..3, 8_u8..=32)
            .prop_map(move |(b, d, len)| Ip4Prefix::new(Ipv4Addr::new(tier, b, 0, d), len).unwrap())
    };
    let hop = |tier: u8| (0_u8..4, 0_u8..3).prop_map(move |(b, d)| Ipv4Addr::new(tier, b, 0, d));
    let neighbor = || {
        (hop(10), 1_u32..3).prop_map(|(next_hop, interface)| Path::Neighbor {
            next_hop,
            interface: InterfaceIndex(interface),
        })
    };
    let through = |tier| hop(tier).prop_map(|next_hop| Path::Recursive { next_hop });
    prop_oneof![
        (target(50), prop_oneof![through(40), through(30), neighbor(), Just(Path::Drop)]),
        (target(40), prop_oneof![through(30), neighbor()]),
        (target(30), prop_oneof![4 => neighbor(), 1 => Just(Path::Drop)]),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn every_packet_goes_where_the_routes_together_say(
        changes in proptest::collection::vec((route(), any::<bool>(), 0_u8..8), 1..80),
    ) {
        let mut fib = Fib::new().unwrap();
        for interface in [ETH0, ETH1] {
            fib.set_link(interface, Link { mac: MAC, mtu: 1500, is_l3: false }).unwrap();
        }
        let mut model = Model::default();
        let forwarder = fib.forwarder();
        for ((prefix, path), add, grace) in changes {
            if add {
                model.0.entry(prefix).or_default().insert(path);
                fib.add_path(prefix, path).unwrap();
            } else if model.0.remove(&prefix).is_some() {
                fib.remove_route(prefix).unwrap();
            }
            if grace == 0 {
                fib.begin_grace();
                fib.end_grace();
            }
            for tier in [30, 40, 50] {
                for (b, d) in (0..4).flat_map(|b| (0..3).map(move |d| (b, d))) {
                    let to = Ipv4Addr::new(tier, b, 0, d);
                    prop_assert_eq!(ways_to(&forwarder, to), model.ways(to), "{}", to);
                }
            }
        }
        for prefix in model.0.into_keys() {
            fib.remove_route(prefix).unwrap();
        }
        prop_assert_eq!(fib.adjacencies().iter().count(), 0);
    }
}
