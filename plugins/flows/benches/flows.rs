//! Clocks per packet of `flows-meter` at vectors of 256, the restart of the idle timer included,
//! and what the turns of the wheel cost that have the most to do.
#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

use std::{hint::black_box, net::Ipv4Addr, time::Duration};

use gristmill_flows::{
    Flows, FlowsMeter,
    config::{TICK_NS, Timeouts},
    key::{Key, Seed},
    table::{EXPIRIES, Seen, Table},
};
use plugin_api::{
    testing::{NodeBench, TestPacket, create},
    wire::{
        Protocol,
        ipv4::{HEADER, Header},
    },
};

const VECTOR: usize = 256;
const FRAMES: u32 = 4_000;
/// Time between frames: 10 Mpps.
const FRAME_NS: u64 = 25_600;
const MANY: u32 = 60_000;

fn main() {
    println!("{:<28} {:>9} {:>9}", "flows, in random order", "least", "median");
    for flows in [1, 1_000, MANY] {
        let [least, median] = meter(flows);
        println!("{flows:<28} {least:>9.1} {median:>9.1}   clocks/pkt");
    }
    turns();
}

/// Least and median clocks per packet of frames whose packets are of any of so many flows.
fn meter(flows: u32) -> [f64; 2] {
    let mut bench = NodeBench::<FlowsMeter>::new(create::<Flows>(&[]).expect("it needs no host"));
    let all: Vec<TestPacket> = (0..flows).map(packet).collect();
    let mut now_ns = 0;
    let mut frame = |packets: &[TestPacket]| {
        now_ns += FRAME_NS;
        bench.set_now_ns(now_ns);
        bench.clocks(packets, 1)
    };
    for packets in all.chunks(VECTOR) {
        frame(packets);
    }
    let mut random = Random(7);
    let mut clocks: Vec<f64> = (0..FRAMES)
        .map(|_| {
            let packets: Vec<_> =
                (0..VECTOR).map(|_| all[random.below(flows) as usize].clone()).collect();
            frame(&packets)
        })
        .collect();
    clocks.sort_by(f64::total_cmp);
    [clocks[0], clocks[clocks.len() / 2]]
}

/// The turns that look at all flows at once: those that were restarted, those that are over.
fn turns() {
    let timeouts = Timeouts::of_seconds(15, 1_800).expect("they are in range");
    let seed = Seed::random();
    let mut table = Table::new(65_536, seed);
    let seen: Vec<Seen> = (0..MANY)
        .map(|number| {
            let key = key(number);
            Seen { key, hash: seed.hash(key), bytes: 64 }
        })
        .collect();
    table.count(0, timeouts, &seen);
    table.count(100 * TICK_NS, timeouts, &seen); // Restarts all: the first entries stay.
    let restarted = (101..=200).map(|tick| time(|| table.turn(tick * TICK_NS, timeouts)).0);
    let restarted = restarted.max().unwrap_or_default();
    println!("longest turn, {MANY} flows restarted:  {restarted:?}");

    let mut longest = Duration::ZERO;
    let mut all = Duration::ZERO;
    let mut turns = 0;
    loop {
        let (took, behind) = time(|| table.turn(300 * TICK_NS, timeouts));
        (longest, all, turns) = (longest.max(took), all + took, turns + 1);
        if !behind {
            break;
        }
    }
    assert_eq!(table.shown().totals.idle.get(), u64::from(MANY));
    println!(
        "all {MANY} flows end, {EXPIRIES} a turn: {all:?} in {turns} turns, longest {longest:?}"
    );
}

#[expect(clippy::disallowed_methods, reason = "a benchmark measures real time")]
fn time<T>(work: impl FnOnce() -> T) -> (Duration, T) {
    let began = std::time::Instant::now();
    let done = black_box(work());
    (began.elapsed(), done)
}

fn key(number: u32) -> Key {
    let source = Ipv4Addr::from_bits(0x0a00_0000 + number);
    Key::new(Protocol::UDP, (source, 1_000), (Ipv4Addr::new(20, 0, 0, 1), 53))
}

fn packet(number: u32) -> TestPacket {
    let key = key(number);
    let mut bytes = vec![0; 64];
    let header = Header::new(key.protocol(), key.source(), key.destination(), 44);
    let room = bytes.first_chunk_mut::<HEADER>().expect("64 bytes");
    header.emit(room).expect("44 bytes");
    let [source, destination] = key.ports();
    bytes[HEADER..HEADER + 2].copy_from_slice(&source.to_be_bytes());
    bytes[HEADER + 2..HEADER + 4].copy_from_slice(&destination.to_be_bytes());
    TestPacket::new(bytes)
}

/// xorshift64.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u32) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        u32::try_from((self.0 >> 32) % u64::from(end)).expect("below a u32")
    }
}
