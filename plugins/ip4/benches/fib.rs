//! The forwarding table: time per lookup, memory, route changes per second.
//!
//! `cargo bench -p gristmill-ip4 --bench fib`. Lookups run over vectors of 256 addresses as a
//! node's frame has them, one by one and eight at a time; each figure is the fastest of nine
//! rounds over 2^18 addresses. TSC clocks are nanoseconds times the kernel's TSC frequency.
#![expect(clippy::print_stdout, reason = "the table is what it is for")]
#![expect(clippy::disallowed_methods, reason = "a bench reads the clock")]

use std::{collections::HashSet, hint::black_box, net::Ipv4Addr, time::Instant};

use gristmill_ip4::table::{Leaf, Lookup, Table};
use plugin_api::wire::Ip4Prefix;

const ADDRESSES: usize = 1 << 18;
const VECTOR: usize = 256;
const SLICE: usize = 1 << 14;
const ROUNDS: usize = 15;
const NEXT_HOPS: u32 = 64;
const UPDATES: usize = 1_000_000;

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
    let clocks_per_ns = clocks_per_ns();
    println!("TSC {clocks_per_ns:.3} clocks/ns; a step of calibration {:.2} ns", calibration());
    println!(
        "{:<30} {:>8} {:>8} TSC clocks per lookup, 1 8 32 64 256 at a time",
        "table", "routes", "MiB"
    );
    let report = |name: &str, table: &Table, addresses: &[Ipv4Addr]| {
        let reader = table.reader();
        let times = [
            one_by_one(&reader, addresses),
            together::<8>(&reader, addresses),
            together::<32>(&reader, addresses),
            together::<64>(&reader, addresses),
            together::<256>(&reader, addresses),
        ];
        let clocks = times.map(|ns| format!("{:7.1}", ns * clocks_per_ns)).concat();
        println!(
            "{name:<30} {:>8} {:>8.2} {clocks}   {:.2} ns",
            table.len(),
            mebibytes(table.lookup_bytes()),
            times[3]
        );
    };
    let mut random = Random(1);

    let mut table = Table::new();
    insert(&mut table, prefix(0x1400_0000, 8), 1);
    let addresses: Vec<_> =
        (0..ADDRESSES).map(|_| address(0x1400_0000 | random.below(1 << 24))).collect();
    report("1 route", &table, &addresses);

    for (name, count) in [("10k /32 in a row", 10_000), ("1M /32 in a row", 1_000_000)] {
        let mut table = Table::new();
        for low in 0..count {
            insert(&mut table, prefix(0x1400_0000 + low, 32), 1 + random.below(NEXT_HOPS));
        }
        let addresses: Vec<_> =
            (0..ADDRESSES).map(|_| address(0x1400_0000 + random.below(count))).collect();
        report(name, &table, &addresses);
    }

    for (name, count) in [("10k /32 scattered", 10_000), ("1M /32 scattered", 1_000_000)] {
        let mut table = Table::new();
        let mut targets = Vec::new();
        while table.len() < count {
            let target = random.unicast();
            targets.push(target);
            insert(&mut table, prefix(target, 32), 1 + random.below(NEXT_HOPS));
        }
        let addresses: Vec<_> = (0..ADDRESSES).map(|_| address(random.pick(&targets))).collect();
        report(name, &table, &addresses);
        if count == 1_000_000 {
            let routes = table.routes();
            updates(&mut table, &routes, &mut random);
        }
    }

    let routes = internet(&mut random);
    let mut table = Table::new();
    let start = Instant::now();
    for &(prefix, leaf) in &routes {
        insert(&mut table, prefix, leaf.index());
        grace(&mut table);
    }
    let load = start.elapsed();
    let addresses: Vec<_> = (0..ADDRESSES).map(|_| address(random.unicast())).collect();
    report("internet, random destinations", &table, &addresses);
    let inside = |random: &mut Random| {
        let (prefix, _) = routes[random.below(routes.len() as u32) as usize];
        let span = prefix.last().to_bits() - prefix.first().to_bits();
        address(prefix.first().to_bits() + random.below(span.saturating_add(1)))
    };
    let addresses: Vec<_> = (0..ADDRESSES).map(|_| inside(&mut random)).collect();
    report("internet, a random route each", &table, &addresses);
    println!("internet loaded in {load:.2?}: {:.2} M routes/s", rate(routes.len(), load));
    updates(&mut table, &routes, &mut random);
    short_route(&mut table);
}

/// Takes routes out and puts them back elsewhere.
fn updates(table: &mut Table, routes: &[(Ip4Prefix, Leaf)], random: &mut Random) {
    let start = Instant::now();
    for _ in 0..UPDATES / 2 {
        let (prefix, _) = routes[random.below(routes.len() as u32) as usize];
        black_box(table.remove(prefix).ok());
        insert(table, prefix, 1 + random.below(NEXT_HOPS));
        grace(table);
    }
    let taken = start.elapsed();
    println!(
        "  {UPDATES} changes in {taken:.2?}: {:.2} M/s, {:.2} MiB in use, {:.2} touched",
        rate(UPDATES, taken),
        mebibytes(table.lookup_bytes()),
        mebibytes(table.touched_bytes())
    );
}

/// The dearest change there is: every ply has something of it.
fn short_route(table: &mut Table) {
    let start = Instant::now();
    insert(table, Ip4Prefix::DEFAULT, 1);
    println!("  default route added in {:.2?}", start.elapsed());
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

/// Nanoseconds of a multiplication and an addition that wait for those before: four core clocks.
fn calibration() -> f64 {
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
        (u64::from(self.next()) * u64::from(limit) >> 32) as u32
    }

    /// An address of 1.0.0.0 to 223.255.255.255.
    fn unicast(&mut self) -> u32 {
        0x0100_0000 + self.below(0xdf00_0000)
    }

    fn pick(&mut self, list: &[u32]) -> u32 {
        list[self.below(list.len() as u32) as usize]
    }
}
