//! What one thread shows of its flows: written by that thread, read by any, stopping nobody.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicU64, Ordering},
};

use crate::{
    config::TICK_NS,
    key::Key,
    versioned::{Versioned, WORDS},
};

/// Flows that take memory together, 64 KiB of it.
const CHUNK: usize = 1024;
/// Ended flows that are remembered.
pub const ENDED: usize = 1024;
/// Where the second word of a key has room for something else.
const BESIDE_KEY: u32 = Key::REST.trailing_ones();

/// The flows of one thread, the last that ended, and how many there were.
#[derive(Debug)]
pub struct Shown {
    /// By slot; a chunk is made when its first flow comes.
    flows: Box<[OnceLock<Box<[FlowRecord; CHUNK]>>]>,
    /// By number, the newest in the place of the oldest; made with the first.
    ended: OnceLock<Box<[Versioned; ENDED]>>,
    /// What was counted.
    pub totals: Totals,
}

/// Counts of one thread.
#[derive(Debug, Default)]
pub struct Totals {
    /// Flows there are.
    pub flows: Count,
    /// Flows that began.
    pub started: Count,
    /// Packets that belong to no flow: there was no room for it, or they have no header.
    pub not_tracked: Count,
    /// Flows reported because no packet came.
    pub idle: Count,
    /// Flows reported because they went on for long.
    pub active: Count,
}

/// A count that one thread keeps and any reads.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    /// Changes it. Context: the thread that owns it.
    #[inline]
    pub fn add(&self, amount: u64) {
        self.0.store(self.get().wrapping_add(amount), Ordering::Relaxed);
    }

    /// Takes one off. Context: the thread that owns it.
    #[inline]
    pub fn decrement(&self) {
        self.0.store(self.get().wrapping_sub(1), Ordering::Relaxed);
    }

    /// What it is. Any thread.
    #[inline]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Why a flow was reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// No packet came for so long that it is over.
    Idle,
    /// It went on for so long that it was reported meanwhile.
    Active,
}

/// A flow, or what was reported of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow {
    /// Which.
    pub key: Key,
    /// Packets since it began or was last reported.
    pub packets: u64,
    /// Bytes of these, with their IPv4 headers.
    pub bytes: u64,
    /// When the first of them came; nothing is known of it while there is none.
    pub first_ns: u64,
    /// When the flow's last packet came.
    pub last_ns: u64,
}

/// One flow as its thread has it.
///
/// ```text
/// addresses │ idle ticks 24, protocol and ports 40 │ packets │ bytes │ first ns │ last ns │ idle timer
/// ```
#[derive(Debug, Default)]
#[repr(transparent)]
pub(crate) struct FlowRecord(Versioned);

const KEY: usize = 0;
const REST: usize = 1;
const PACKETS: usize = 2;
const BYTES: usize = 3;
const FIRST: usize = 4;
const LAST: usize = 5;
const TIMER: usize = 6;

impl FlowRecord {
    /// Begins a flow without a packet. Context of this and all below: the thread that owns it.
    pub(crate) fn start(&self, key: Key, now_ns: u64, timer: u64) {
        let [addresses, rest] = key.bits();
        self.0.set([addresses, rest, 0, 0, 0, now_ns, timer]);
    }

    /// Counts a packet; its idle timer, which is to be restarted for `idle` ticks.
    #[inline(always)]
    pub(crate) fn count(&self, key: Key, bytes: u32, now_ns: u64, idle: u32) -> u64 {
        let packets = self.0.word(PACKETS);
        if packets == 0 {
            self.0.set_word(FIRST, now_ns);
        }
        self.0.set_word(PACKETS, packets + 1);
        self.0.set_word(BYTES, self.0.word(BYTES) + u64::from(bytes));
        self.0.set_word(LAST, now_ns);
        self.0.set_word(REST, key.bits()[1] | u64::from(idle) << BESIDE_KEY);
        self.0.word(TIMER)
    }

    /// Forgets what was counted, but not the flow.
    pub(crate) fn restart(&self) {
        let words = std::array::from_fn(|at| self.0.word(at));
        let [addresses, rest, _, _, _, last_ns, timer] = words;
        self.0.set([addresses, rest, 0, 0, 0, last_ns, timer]);
    }

    pub(crate) fn end(&self) {
        self.0.vacate();
    }

    #[inline]
    pub(crate) fn is_vacant(&self) -> bool {
        self.0.is_vacant()
    }

    /// Whether it is of this flow, if it is of any.
    #[inline(always)]
    pub(crate) fn is_of(&self, key: Key) -> bool {
        Key::from_bits([self.0.word(KEY), self.0.word(REST)]) == key
    }

    #[inline]
    pub(crate) fn timer(&self) -> u64 {
        self.0.word(TIMER)
    }

    pub(crate) fn flow(&self) -> Flow {
        flow(std::array::from_fn(|at| self.0.word(at)))
    }
}

fn flow([addresses, rest, packets, bytes, first_ns, last_ns, _]: [u64; WORDS]) -> Flow {
    Flow { key: Key::from_bits([addresses, rest]), packets, bytes, first_ns, last_ns }
}

impl Shown {
    /// Nothing yet, with room for so many flows. Memory is taken as flows come.
    pub(crate) fn new(flows_max: u32) -> Arc<Self> {
        let chunks = (flows_max as usize).div_ceil(CHUNK);
        Arc::new(Self {
            flows: (0..chunks).map(|_| OnceLock::new()).collect(),
            ended: OnceLock::new(),
            totals: Totals::default(),
        })
    }

    /// The record in a slot. Allocates with the first of each 1,024.
    ///
    /// # Panics
    /// If there is no such slot.
    #[inline(always)]
    pub(crate) fn record(&self, slot: u32) -> &FlowRecord {
        let chunk = &self.flows[slot as usize / CHUNK];
        let chunk = match chunk.get() {
            Some(chunk) => chunk,
            None => chunk.get_or_init(new_array),
        };
        &chunk[slot as usize % CHUNK]
    }

    /// Remembers a flow that is reported. Context: the thread that owns it.
    pub(crate) fn report(&self, flow: &Flow, reason: Reason, now_ns: u64) {
        let ring = self.ended.get_or_init(new_array);
        let [addresses, rest] = flow.key.bits();
        let rest = rest | (reason as u64) << BESIDE_KEY;
        let Flow { packets, bytes, first_ns, last_ns, .. } = *flow;
        let words = [addresses, rest, packets, bytes, first_ns, last_ns, now_ns];
        ring[self.next_ended()].set(words);
        match reason {
            Reason::Idle => self.totals.idle.add(1),
            Reason::Active => self.totals.active.add(1),
        }
    }

    #[expect(clippy::cast_possible_truncation, reason = "below ENDED")]
    fn next_ended(&self) -> usize {
        let reported = self.totals.idle.get() + self.totals.active.get();
        (reported % ENDED as u64) as usize
    }

    /// The flows there are, each with the time at which it ends if no packet comes. Any thread.
    ///
    /// A flow whose packets are being counted may be seen with some of them; one that begins, ends
    /// or is reported just now may be missing.
    pub fn flows(&self) -> impl Iterator<Item = (Flow, u64)> {
        let chunks = self.flows.iter().map_while(OnceLock::get);
        let words = chunks.flat_map(|chunk| chunk.iter()).filter_map(|record| record.0.read());
        words.map(|words| {
            let idle_ns = (words[REST] >> BESIDE_KEY) * TICK_NS;
            (flow(words), words[LAST] + idle_ns)
        })
    }

    /// What was reported last, the newest first, why and when. Any thread.
    pub fn ended(&self) -> impl Iterator<Item = (Flow, Reason, u64)> {
        let ring = self.ended.get().map_or(&[][..], |ring| &ring[..]);
        let (newer, older) = ring.split_at(self.next_ended().min(ring.len()));
        let newest_first = newer.iter().rev().chain(older.iter().rev());
        newest_first.filter_map(Versioned::read).map(|words| {
            let is_active = words[REST] >> BESIDE_KEY == Reason::Active as u64;
            let reason = if is_active { Reason::Active } else { Reason::Idle };
            (flow(words), reason, words[TIMER])
        })
    }
}

fn new_array<T: Default, const N: usize>() -> Box<[T; N]> {
    let all: Box<[T]> = (0..N).map(|_| T::default()).collect();
    let all: Result<Box<[T; N]>, _> = all.try_into();
    all.unwrap_or_else(|all| unreachable!("{} were made", all.len()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::testing::udp;

    #[test]
    fn the_newest_of_the_ended_come_first_and_take_the_place_of_the_oldest() {
        let shown = Shown::new(1);
        assert_eq!(shown.ended().count(), 0);
        let all = ENDED as u64 + 10;
        for at in 0..all {
            let flow = Flow { key: udp(1), packets: at, bytes: 1, first_ns: 2, last_ns: 3 };
            let reason = if at % 2 == 0 { Reason::Idle } else { Reason::Active };
            shown.report(&flow, reason, at);
        }
        let seen: Vec<_> =
            shown.ended().map(|(flow, reason, at)| (flow.packets, reason, at)).collect();
        assert_eq!(seen.len(), ENDED);
        assert_eq!(seen[0], (all - 1, Reason::Active, all - 1));
        assert_eq!(seen[1], (all - 2, Reason::Idle, all - 2));
        assert_eq!(seen[ENDED - 1].0, 10);
    }
}
