//! What a transmit queue has counted of each flow.

use std::{
    ops::{Add, AddAssign},
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

use crate::flow::CAPACITY;

/// Counts of one flow, or of several.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counts {
    /// Packets that arrived, each counted once.
    pub received: u64,
    /// Arrivals of packets that had arrived before.
    pub duplicated: u64,
    /// Of those received, how many arrived after one with a higher number.
    pub reordered: u64,
    /// Of those received, how many came so late that they may be duplicates.
    pub late: u64,
    /// Bytes of all arrivals.
    pub bytes: u64,
    /// Sum of the ages of all arrivals.
    pub latency_ns_sum: u64,
    /// The smallest age; `u64::MAX` before the first arrival.
    pub latency_ns_min: u64,
    /// The greatest age.
    pub latency_ns_max: u64,
    /// When the first arrived; `u64::MAX` before it.
    pub first_ns: u64,
    /// When the last arrived.
    pub last_ns: u64,
}

impl Counts {
    /// Before the first arrival.
    pub const NONE: Self = Self {
        received: 0,
        duplicated: 0,
        reordered: 0,
        late: 0,
        bytes: 0,
        latency_ns_sum: 0,
        latency_ns_min: u64::MAX,
        latency_ns_max: 0,
        first_ns: u64::MAX,
        last_ns: 0,
    };

    /// Packets that arrived, duplicates included.
    pub fn arrivals(&self) -> u64 {
        self.received + self.duplicated
    }

    /// The mean age of an arrival.
    pub fn latency_ns_mean(&self) -> Option<u64> {
        self.latency_ns_sum.checked_div(self.arrivals())
    }

    /// Millions of arrivals a second, between the first and the last.
    #[expect(clippy::cast_precision_loss, reason = "for people")]
    pub fn mpps(&self) -> Option<f64> {
        let ns = self.last_ns.checked_sub(self.first_ns).filter(|&ns| ns > 0)?;
        Some(self.arrivals() as f64 * 1e3 / ns as f64)
    }
}

impl Default for Counts {
    fn default() -> Self {
        Self::NONE
    }
}

impl Add for Counts {
    type Output = Self;

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        Self {
            received: self.received + other.received,
            duplicated: self.duplicated + other.duplicated,
            reordered: self.reordered + other.reordered,
            late: self.late + other.late,
            bytes: self.bytes + other.bytes,
            latency_ns_sum: self.latency_ns_sum + other.latency_ns_sum,
            latency_ns_min: self.latency_ns_min.min(other.latency_ns_min),
            latency_ns_max: self.latency_ns_max.max(other.latency_ns_max),
            first_ns: self.first_ns.min(other.first_ns),
            last_ns: self.last_ns.max(other.last_ns),
        }
    }
}

impl AddAssign for Counts {
    #[inline(always)]
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

/// [`Counts`] that one thread at a time writes and any other reads.
#[derive(Debug)]
#[repr(align(128))]
pub struct Tally([AtomicU64; 10]);

impl Tally {
    fn new() -> Self {
        let tally = Self(Default::default());
        tally.store(Counts::NONE);
        tally
    }

    /// The counts. Any thread; those of a frame that is being counted may be in part.
    pub fn load(&self) -> Counts {
        let [
            received,
            duplicated,
            reordered,
            late,
            bytes,
            latency_ns_sum,
            latency_ns_min,
            latency_ns_max,
            first_ns,
            last_ns,
        ] = self.0.each_ref().map(|count| count.load(Relaxed));
        Counts {
            received,
            duplicated,
            reordered,
            late,
            bytes,
            latency_ns_sum,
            latency_ns_min,
            latency_ns_max,
            first_ns,
            last_ns,
        }
    }

    fn store(&self, counts: Counts) {
        let values = [
            counts.received,
            counts.duplicated,
            counts.reordered,
            counts.late,
            counts.bytes,
            counts.latency_ns_sum,
            counts.latency_ns_min,
            counts.latency_ns_max,
            counts.first_ns,
            counts.last_ns,
        ];
        for (count, value) in self.0.iter().zip(values) {
            count.store(value, Relaxed);
        }
    }

    /// Adds what the queue counted. Only the thread that has the queue.
    pub fn add(&self, counts: Counts) {
        self.store(self.load() + counts);
    }
}

/// What one transmit queue has counted.
#[derive(Debug)]
pub struct Tallies {
    /// One for each flow there can be.
    flows: Box<[Tally]>,
    /// Packets that are of no flow of this generator.
    others: AtomicU64,
}

impl Default for Tallies {
    fn default() -> Self {
        let flows = (0..CAPACITY).map(|_| Tally::new()).collect();
        Self { flows, others: AtomicU64::new(0) }
    }
}

impl Tallies {
    /// The tally of a flow.
    pub fn flow(&self, id: u16) -> Option<&Tally> {
        self.flows.get(usize::from(id))
    }

    /// Packets that are of no flow of this generator.
    pub fn others(&self) -> u64 {
        self.others.load(Relaxed)
    }

    /// Adds to them. Only the thread that has the queue.
    pub fn add_others(&self, packets: u64) {
        self.others.store(self.others() + packets, Relaxed);
    }

    /// All arrivals, whatever their flow.
    pub fn arrivals(&self) -> u64 {
        self.flows.iter().map(|tally| tally.load().arrivals()).sum()
    }
}
