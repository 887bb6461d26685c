//! The forwarding table: time per lookup, memory, route changes per second.
//!
//! `cargo bench -p gristmill-ip4 --bench fib`. Lookups run over vectors of 256 addresses as a
//! node's frame has them, so many at a time; each figure is the mean, over slices of 2^18
//! addresses, of the fastest of fifteen rounds. TSC clocks are nanoseconds times the kernel's TSC
//! frequency. A changed route counts once taken out and once put back.
#![expect(clippy::print_stdout, reason = "the table is what it is for")]
#![expect(clippy::disallowed_methods, reason = "a bench reads the clock")]
#![expect(clippy::cast_possible_truncation, reason = "addresses and counts are made to fit")]

use std::{collections::HashSet, hint::black_box, net::Ipv4Addr, time::Instant};

use gristmill_ip4::{
    adjacency::Link,
    fib::{Fib, Path},
    table::{Leaf, Lookup, Table},
};
use plugin_api::{
    InterfaceIndex,
    wire::{Ip4Prefix, MacAddress},
};

const ADDRESSES: usize = 1 << 18;
const VECTOR: usize = 256;
const SLICE: usize = 1 << 14;
const ROUNDS: usize = 15;
const NEXT_HOPS: u32 = 64;
const CHANGES: usize = 1_000_000;

/// Prefixes of each length from 8 to 24 in a table like the Internet's, rounded from the daily
/// reports at bgp.potaroo.net (AS 131072, 2024) and scaled to 900,000.
const INTERNET: [(u8, usize); 17] = [
    (8, 16),
    (9, 13),
    (10, 38),
    (11, 100),
    (12, 290),
    (13, 570),
    (14, 1_150),
    (15, 2_000),
    (16, 12_800),
    (17, 7_900),
    (18, 13_200),
    (19, 23_900),
    (20, 42_000),
    (21, 49_000),
    (22, 103_000),
    (23, 94_000),
    (24, 550_023),
];

fn main() {
    println!(
        "TSC {:.3} clocks/ns; calibration: {:.2} ns for 4 core clocks, {:.1} ns for a step in 8 MiB",
        clocks_per_ns(),
        four_core_clocks(),
        memory_step()
    );
    println!(
        "{:<30} {:>8} {:>8}  TSC clocks per lookup, 1 8 32 64 256 at a time",
        "table", "routes", "MiB"
    );
    let mut random = Random(1);
    let random = &mut random;
    one_route(random);
    for (name, count) in [("10k /32 in a row", 10_000), ("1M /32 in a row", 1_000_000)] {
        hosts_in_a_row(name, count, random);
    }
    for (name, count) in [("10k /32 scattered", 10_000), ("1M /32 scattered", 1_000_000)] {
        scattered_hosts(name, count, random);
    }
    internet_table(random);
}

fn one_route(random: &mut Random) {
    let mut table = Table::new();
    insert(&mut table, prefix(0x1400_0000, 8), 1);
    report("1 route", &table, || address(0x1400_0000 | random.below(1 << 24)));
}

fn hosts_in_a_row(name: &str, count: u32, random: &mut Random) {
    let mut table = Table::new();
    for low in 0..count {
        insert(&mut table, prefix(0x1400_0000 + low, 32), 1 + random.below(NEXT_HOPS));
    }
    report(name, &table, || address(0x1400_0000 + random.below(count)));
}

fn scattered_hosts(name: &str, count: usize, random: &mut Random) {
    let (mut table, mut targets) = (Table::new(), Vec::new());
    while table.len() < count {
        let target = random.unicast();
        targets.push(target);
        insert(&mut table, prefix(target, 32), 1 + random.below(NEXT_HOPS));
    }
    report(name, &table, || address(targets[random.below(targets.len() as u32) as usize]));
    let routes = table.routes();
    changes(&mut table, &routes, random);
}

fn internet_table(random: &mut Random) {
    let routes = internet(random);
    let mut table = Table::new();
    let start = Instant::now();
    for &(prefix, leaf) in &routes {
        insert(&mut table, prefix, leaf.index());
        grace(&mut table);
    }
    let load = start.elapsed();
    report("internet, random destinations", &table, || address(random.unicast()));
    report("internet, a random route each", &table, || {
        let (prefix, _) = routes[random.below(routes.len() as u32) as usize];
        let span = prefix.last().to_bits() - prefix.first().to_bits();
        address(prefix.first().to_bits() + random.below(span.saturating_add(1)))
    });
    println!("  loaded in {load:.2?}: {:.2} M routes/s", rate(routes.len(), load));
    changes(&mut table, &routes, random);
    let start = Instant::now();
    insert(&mut table, Ip4Prefix::DEFAULT, 1);
    println!("  a default route, which every ply has something of: {:.2?}", start.elapsed());
    drop(table);
    fib_changes(&routes, random);
}

fn report(name: &str, table: &Table, destination: impl FnMut() -> Ipv4Addr) {
    let addresses: Vec<_> = std::iter::repeat_with(destination).take(ADDRESSES).collect();
    let reader = table.reader();
    let times = [
        one_by_one(&reader, &addresses),
        together::<8>(&reader, &addresses),
        together::<32>(&reader, &addresses),
        together::<64>(&reader, &addresses),
        together::<256>(&reader, &addresses),
    ];
    let clocks = times.map(|ns| format!("{:7.1}", ns * clocks_per_ns())).concat();
    let (routes, memory) = (table.len(), mebibytes(table.lookup_bytes()));
    let best = times.into_iter().fold(f64::INFINITY, f64::min);
    println!("{name:<30} {routes:>8} {memory:>8.2} {clocks}   best {best:.2} ns");
}

/// Takes routes out and puts them back elsewhere.
fn changes(table: &mut Table, routes: &[(Ip4Prefix, Leaf)], random: &mut Random) {
    let start = Instant::now();
    for _ in 0..CHANGES / 2 {
        let (prefix, _) = routes[random.below(routes.len() as u32) as usize];
        black_box(table.remove(prefix).ok());
        insert(table, prefix, 1 + random.below(NEXT_HOPS));
        grace(table);
    }
    let taken = start.elapsed();
    println!(
        "  {CHANGES} changes in {taken:.2?}: {:.2} M/s, {:.2} MiB in use, {:.2} touched",
        rate(CHANGES, taken),
        mebibytes(table.lookup_bytes()),
        mebibytes(table.touched_bytes())
    );
}

/// The same through the whole forwarding base: sources, path lists, recursion.
fn fib_changes(routes: &[(Ip4Prefix, Leaf)], random: &mut Random) {
    let mut fib = Fib::new().expect("an empty base fits");
    let interface = InterfaceIndex(1);
    let mac = MacAddress([2, 0, 0, 0, 0, 1]);
    fib.set_link(interface, Link { mac, mtu: 1500, is_l3: false }).expect("it fits");
    let path = |hop: u32| Path::Neighbor { next_hop: address(0x0a00_0000 + hop), interface };
    let start = Instant::now();
    for &(prefix, leaf) in routes {
        fib.add_path(prefix, path(leaf.index())).expect("a million routes fit");
    }
    let load = start.elapsed();
    let start = Instant::now();
    for _ in 0..CHANGES / 2 {
        let (prefix, _) = routes[random.below(routes.len() as u32) as usize];
        black_box(fib.remove_route(prefix).ok());
        fib.add_path(prefix, path(1 + random.below(NEXT_HOPS))).expect("a million routes fit");
        if fib.waiting() >= 1024 && fib.begin_grace() {
            fib.end_grace();
        }
    }
    let taken = start.elapsed();
    println!(
        "  whole base: loaded at {:.2} M routes/s, {:.2} M changes/s",
        rate(routes.len(), load),
        rate(CHANGES, taken)
    );
}

/// As a host does now and then, when every worker has come round.
fn grace(table: &mut Table) {
    if table.waiting() >= 1024 && table.begin_grace() {
        table.end_grace();
    }
}

fn internet(random: &mut Random) -> Vec<(Ip4Prefix, Leaf)> {
    let mut seen = HashSet::new();
    let mut prefixes: Vec<Ip4Prefix> = Vec::new();
    for (len, count) in INTERNET {
        let goal = prefixes.len() + count;
        let shorter = prefixes.len();
        while prefixes.len() < goal {
            // Half of them lie in shorter ones, as in the real table.
            let nested = shorter > 1000 && random.below(2) == 0;
            let around = nested.then(|| prefixes[random.below(shorter as u32) as usize]);
            let bits = random.unicast();
            let bits = around.map_or(bits, |around| {
                let span = around.last().to_bits() - around.first().to_bits();
                around.first().to_bits() | bits & span
            });
            let candidate = prefix(bits, len);
            if seen.insert(candidate) {
                prefixes.push(candidate);
            }
        }
    }
    for index in (1..prefixes.len()).rev() {
        prefixes.swap(index, random.below(index as u32 + 1) as usize);
    }
    prefixes
        .into_iter()
        .filter_map(|prefix| Some((prefix, Leaf::new(1 + random.below(NEXT_HOPS))?)))
        .collect()
}

/// Nanoseconds per lookup.
fn one_by_one(reader: &Lookup, addresses: &[Ipv4Addr]) -> f64 {
    fastest(addresses, |slice| {
        let mut found = [Leaf::NO_ROUTE; VECTOR];
        for vector in slice.chunks_exact(VECTOR) {
            for (leaf, &address) in found.iter_mut().zip(vector) {
                *leaf = reader.lookup(address);
            }
            black_box(&found);
        }
    })
}

/// Nanoseconds per lookup.
fn together<const N: usize>(reader: &Lookup, addresses: &[Ipv4Addr]) -> f64 {
    fastest(addresses, |slice| {
        let mut found = [Leaf::NO_ROUTE; VECTOR];
        for vector in slice.chunks_exact(VECTOR) {
            for (leaves, addresses) in found.chunks_exact_mut(N).zip(vector.chunks_exact(N)) {
                let Some(addresses) = addresses.first_chunk::<N>() else { continue };
                leaves.copy_from_slice(&reader.lookup_each(*addresses));
            }
            black_box(&found);
        }
    })
}

/// The fastest round of each slice, added up: what else runs on the machine disturbs some rounds
/// of some slices.
fn fastest(addresses: &[Ipv4Addr], mut pass: impl FnMut(&[Ipv4Addr])) -> f64 {
    let slices = addresses.len() / SLICE;
    let mut best = vec![f64::INFINITY; slices];
    for _ in 0..ROUNDS {
        for (best, slice) in best.iter_mut().zip(addresses.chunks_exact(SLICE)) {
            let start = Instant::now();
            pass(slice);
            *best = best.min(start.elapsed().as_secs_f64() * 1e9 / SLICE as f64);
        }
    }
    best.iter().sum::<f64>() / slices as f64
}

fn insert(table: &mut Table, prefix: Ip4Prefix, leaf: u32) {
    let leaf = Leaf::new(leaf).expect("leaves are small here");
    table.insert(prefix, leaf).expect("the table holds a million routes");
}

fn prefix(bits: u32, len: u8) -> Ip4Prefix {
    Ip4Prefix::new(address(bits), len).expect("lengths are at most 32 here")
}

fn address(bits: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(bits)
}

fn mebibytes(bytes: usize) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

fn rate(count: usize, time: std::time::Duration) -> f64 {
    count as f64 / time.as_secs_f64() / 1e6
}

/// The kernel computes BogoMIPS from the TSC: two for each million clocks a second.
fn clocks_per_ns() -> f64 {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = info.lines().find(|line| line.starts_with("bogomips"));
    let value = line.and_then(|line| line.split(':').nth(1)?.trim().parse::<f64>().ok());
    value.map_or(1.0, |bogomips| bogomips / 2000.0)
}

/// Nanoseconds of a multiplication and an addition that wait for those before.
fn four_core_clocks() -> f64 {
    const STEPS: u32 = 1 << 20;
    let time = (0..ROUNDS).map(|_| {
        let (start, mut value) = (Instant::now(), black_box(3_u64));
        let factor = black_box(0x2545_f491_4f6c_dd1d_u64);
        for step in 0..STEPS {
            value = value.wrapping_mul(factor).wrapping_add(step.into());
        }
        black_box(value);
        start.elapsed()
    });
    time.min().unwrap_or_default().as_secs_f64() * 1e9 / f64::from(STEPS)
}

/// Nanoseconds to read a line that only the line before tells where to find, in 8 MiB.
fn memory_step() -> f64 {
    const LINES: usize = (8 << 20) / 64;
    let mut order: Vec<u32> = (0..LINES as u32).collect();
    let mut random = Random(3);
    for index in (1..LINES).rev() {
        order.swap(index, random.below(index as u32 + 1) as usize);
    }
    let mut next = vec![[0_u32; 16]; LINES];
    for (&here, &there) in order.iter().zip(order.iter().cycle().skip(1)) {
        next[here as usize][0] = there;
    }
    let time = (0..ROUNDS).map(|_| {
        let start = Instant::now();
        black_box((0..SLICE).fold(0, |line, _| next[line as usize][0]));
        start.elapsed()
    });
    time.min().unwrap_or_default().as_secs_f64() * 1e9 / SLICE as f64
}

/// xorshift64*: the same tables on every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u32 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32) as u32
    }

    fn below(&mut self, limit: u32) -> u32 {
        ((u64::from(self.next()) * u64::from(limit)) >> 32) as u32
    }

    /// An address of 1.0.0.0 to 223.255.255.255.
    fn unicast(&mut self) -> u32 {
        0x0100_0000 + self.below(0xdf00_0000)
    }
}
