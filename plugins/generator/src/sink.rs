//! The transmit side: accounts for every sequence number.

use std::sync::{Arc, atomic::Ordering::Relaxed};

use plugin_api::TxFrame;

use crate::{
    flow::{Flow, Flows},
    tag::Tag,
    tally::{Counts, Tallies},
    window::BLOCK_SHIFT,
};

/// One transmit queue of an interface.
#[derive(Debug)]
pub struct SinkQueue {
    flows: Arc<Flows>,
    tallies: Arc<Tallies>,
}

impl SinkQueue {
    /// A queue that counts into `tallies`.
    pub fn new(flows: Arc<Flows>, tallies: Arc<Tallies>) -> Self {
        Self { flows, tallies }
    }

    /// Accounts for all packets of a frame.
    pub fn account(&mut self, frame: &mut TxFrame<'_>) {
        let now_ns = frame.now_ns();
        let mut visit: Option<Visit<'_>> = None;
        let mut others = 0;
        for at in 0..frame.len() {
            let packet = frame.packet(at);
            let Some(tag) = Tag::read(packet.data(), self.flows.magic) else {
                others += 1;
                continue;
            };
            if visit.as_ref().is_none_or(|visit| visit.flow.id != tag.flow) {
                let next = self.flows.get(tag.flow).map(Visit::begin);
                if let Some(done) = core::mem::replace(&mut visit, next) {
                    done.end(&self.tallies);
                }
            }
            let known = visit
                .as_mut()
                .is_some_and(|visit| visit.arrive(tag, packet.total_len() as u64, now_ns));
            others += u64::from(!known);
        }
        if let Some(done) = visit {
            done.end(&self.tallies);
        }
        if others > 0 {
            self.tallies.add_others(others);
        }
    }
}

/// Packets of one flow that arrive in a row: what is shared is touched when the row begins and
/// ends, and once for each block of sequence numbers in it.
#[derive(Debug)]
pub struct Visit<'a> {
    flow: &'a Flow,
    /// Packets that had been sent when last looked.
    sent: u64,
    /// One more than the highest number seen.
    expected: u64,
    /// The block that `arrived` and `behind` are about.
    block: u64,
    /// Packets of the block that have arrived in this row.
    arrived: u32,
    /// Those of them that came after one with a higher number.
    behind: u32,
    counts: Counts,
}

impl<'a> Visit<'a> {
    /// Begins a row of packets of `flow`.
    #[inline]
    pub fn begin(flow: &'a Flow) -> Self {
        Self {
            flow,
            sent: flow.sent(),
            expected: flow.receivers.expected.load(Relaxed),
            block: 0,
            arrived: 0,
            behind: 0,
            counts: Counts::NONE,
        }
    }

    /// Takes in one packet; `false` if its number was never sent.
    #[inline(always)]
    pub fn arrive(&mut self, tag: Tag, bytes: u64, now_ns: u64) -> bool {
        let sequence = tag.sequence;
        if sequence >= self.sent {
            self.sent = self.flow.sent();
            if sequence >= self.sent {
                return false;
            }
        }
        let block = sequence >> BLOCK_SHIFT;
        if block != self.block {
            self.mark();
            self.block = block;
        }
        let bit = 1_u32 << (sequence & ((1 << BLOCK_SHIFT) - 1));
        if self.arrived & bit == 0 {
            self.arrived |= bit;
            if sequence < self.expected {
                self.behind |= bit;
            }
        } else {
            self.counts.duplicated += 1;
        }
        self.expected = self.expected.max(sequence + 1);
        let age = tag.age_ns(now_ns);
        let counts = &mut self.counts;
        counts.bytes += bytes;
        counts.latency_ns_sum += age;
        counts.latency_ns_min = counts.latency_ns_min.min(age);
        counts.latency_ns_max = counts.latency_ns_max.max(age);
        counts.first_ns = now_ns.min(counts.first_ns);
        counts.last_ns = now_ns;
        true
    }

    /// Marks what has arrived of the block and counts what that tells.
    #[inline(always)]
    fn mark(&mut self) {
        if self.arrived == 0 {
            return;
        }
        let counts = &mut self.counts;
        let ones = |bits: u32| u64::from(bits.count_ones());
        match self.flow.receivers.window.mark(self.block, self.arrived) {
            Some(before) => {
                counts.duplicated += ones(before);
                counts.received += ones(self.arrived & !before);
                counts.reordered += ones(self.behind & !before);
            }
            None => {
                counts.received += ones(self.arrived);
                counts.reordered += ones(self.behind);
                counts.late += ones(self.arrived);
            }
        }
        (self.arrived, self.behind) = (0, 0);
    }

    /// Ends the row and tells what was counted.
    #[inline]
    pub fn end(mut self, tallies: &Tallies) {
        self.mark();
        let expected = &self.flow.receivers.expected;
        if self.expected > expected.load(Relaxed) {
            expected.fetch_max(self.expected, Relaxed);
        }
        if let Some(tally) = tallies.flow(self.flow.id) {
            tally.add(self.counts);
        }
    }
}

#[cfg(test)]
mod tests;
