//! The flows of one thread and the wheel that ends them. Pure: time is an argument.

use std::{hint::black_box, sync::Arc};

use plugin_api::wheel::{DUPLICATE_STOP, Expiry, TimerHandle, TimingWheel};

use crate::{
    config::{TICK_NS, Timeouts},
    index::Index,
    key::{Key, Seed},
    shown::{FlowRecord, Reason, Shown},
};

/// Flows that end at most in one turn: what a turn may cost beside its packets.
pub const EXPIRIES: usize = 256;

/// [`Wheel16t2w512sl`](plugin_api::wheel::Wheel16t2w512sl), but with a bound on what expires at
/// once. Objects are slots.
pub type Wheel = TimingWheel<TIMERS, 2, 512, DUPLICATE_STOP, EXPIRIES>;

/// Timers of each flow that the wheel has room for; two are used.
const TIMERS: usize = 16;
/// No packet comes.
const IDLE: u32 = 0;
/// It goes on for long.
const ACTIVE: u32 = 1;
/// Packets whose flows are looked up before the first of them is counted: their look-ups wait for
/// memory together.
const TOGETHER: usize = 16;

/// What the table must know of a packet.
#[derive(Clone, Copy, Debug, Default)]
pub struct Seen {
    /// Its flow.
    pub key: Key,
    /// Hash of the key.
    pub hash: u32,
    /// Its length with the IPv4 header.
    pub bytes: u32,
}

/// The flows.
///
/// A flow is found by its hash and has a slot: its record, two timers. Slots never move.
#[derive(Debug)]
pub struct Table {
    flows_max: u32,
    seed: Seed,
    index: Index,
    wheel: Wheel,
    /// The flows' records, and what else readers see.
    shown: Arc<Shown>,
    /// The active timer of each slot ever used; the idle timer is in the record.
    active: Vec<TimerHandle>,
    /// Slots that were used and are no more.
    free: Vec<u32>,
    /// Reused from one turn to the next.
    expired: Vec<Expiry<TIMERS>>,
}

impl Table {
    /// A table for so many flows. Takes no memory worth mentioning before flows come.
    pub fn new(flows_max: u32, seed: Seed) -> Self {
        let flows = flows_max as usize;
        Self {
            flows_max,
            seed,
            index: Index::new(flows_max),
            wheel: Wheel::with_capacity(0, 2 * flows),
            shown: Shown::new(flows_max),
            active: Vec::with_capacity(flows),
            free: Vec::with_capacity(flows),
            expired: Vec::with_capacity(EXPIRIES + 64),
        }
    }

    /// What readers see of it.
    pub fn shown(&self) -> &Arc<Shown> {
        &self.shown
    }

    /// The tick before which nothing ends; `None` if there is no flow.
    pub fn next_expiry(&self) -> Option<u64> {
        self.wheel.next_expiry()
    }

    /// Turns the wheel: ends what is over, reports what goes on for long, at most [`EXPIRIES`] of
    /// them; whether more are due.
    ///
    /// A flow ends at least its idle time-out after its last packet, and at most a tick later.
    pub fn turn(&mut self, now_ns: u64, timeouts: Timeouts) -> bool {
        let mut expired = std::mem::take(&mut self.expired);
        self.wheel.expire(now_ns / TICK_NS, &mut expired);
        for expiry in expired.drain(..) {
            self.expire(expiry, now_ns, timeouts);
        }
        self.expired = expired;
        self.wheel.is_behind()
    }

    fn expire(&mut self, expiry: Expiry<TIMERS>, now_ns: u64, timeouts: Timeouts) {
        let slot = expiry.object();
        let record = self.shown.record(slot);
        if record.is_vacant() {
            return; // Both of its timers expired at once.
        }
        let idle = TimerHandle::from_bits(record.timer());
        let goes_on = self.wheel.deadline(idle).is_some_and(|end| end > self.wheel.now());
        let flow = record.flow();
        let reason =
            if expiry.timer() == ACTIVE && goes_on { Reason::Active } else { Reason::Idle };
        if flow.packets > 0 {
            self.shown.report(&flow, reason, now_ns);
        }
        match reason {
            Reason::Active => {
                record.restart();
                self.active[slot as usize] =
                    start(&mut self.wheel, slot, ACTIVE, timeouts.active_interval());
            }
            Reason::Idle => {
                record.end();
                self.shown.totals.flows.decrement();
                let found = self.index.remove(self.seed.hash(flow.key), slot);
                debug_assert!(found, "{flow:?} in slot {slot} was not in the index");
                self.wheel.stop(idle);
                self.wheel.stop(self.active[slot as usize]);
                self.free.push(slot);
            }
        }
    }

    /// Counts packets and restarts the idle timers of their flows.
    ///
    /// Cost: O(1) for each; does not allocate but for the first flows that come.
    #[inline]
    pub fn count(&mut self, now_ns: u64, timeouts: Timeouts, seen: &[Seen]) {
        if now_ns / TICK_NS > self.wheel.now() {
            self.turn(now_ns, timeouts); // Intervals count from the time last told.
        }
        for together in seen.chunks(TOGETHER) {
            let slots = self.find_together(together);
            for (slot, seen) in slots.into_iter().zip(together) {
                // A packet before this one may have begun its flow.
                let slot = slot.or_else(|| self.find(seen));
                match slot.or_else(|| self.begin(seen, now_ns, timeouts)) {
                    Some(slot) => self.count_one(slot, seen, now_ns, timeouts),
                    None => self.shown.totals.not_tracked.add(1),
                }
            }
        }
    }

    /// The slots of flows, and into the cache all that is needed of them: where it is not there,
    /// the packets wait for it together and not one after the other.
    #[inline(always)]
    fn find_together(&self, together: &[Seen]) -> [Option<u32>; TOGETHER] {
        for seen in together {
            black_box(self.index.home(seen.hash));
        }
        let mut slots = [None; TOGETHER];
        for (slot, seen) in slots.iter_mut().zip(together) {
            *slot = self.find(seen);
        }
        for slot in slots.iter().flatten() {
            let timer = TimerHandle::from_bits(self.shown.record(*slot).timer());
            black_box(self.wheel.deadline(timer));
        }
        slots
    }

    #[inline(always)]
    fn find(&self, seen: &Seen) -> Option<u32> {
        self.index.find(seen.hash, |slot| self.shown.record(slot).is_of(seen.key))
    }

    #[inline(always)]
    fn count_one(&mut self, slot: u32, seen: &Seen, now_ns: u64, timeouts: Timeouts) {
        let record: &FlowRecord = self.shown.record(slot);
        let timer = record.count(seen.key, seen.bytes, now_ns, timeouts.idle());
        let timer = TimerHandle::from_bits(timer);
        let updated = self.wheel.update(timer, timeouts.idle_interval());
        debug_assert!(updated.is_ok(), "{updated:?}: a flow's idle timer runs");
    }

    /// Begins a flow; `None` if there is no room.
    #[cold]
    fn begin(&mut self, seen: &Seen, now_ns: u64, timeouts: Timeouts) -> Option<u32> {
        let used = self.free.pop();
        let slot = match used {
            Some(slot) => slot,
            None => u32::try_from(self.active.len()).ok().filter(|&slot| slot < self.flows_max)?,
        };
        if !self.index.insert(seen.hash, slot) {
            self.free.extend(used);
            return None;
        }
        let idle = start(&mut self.wheel, slot, IDLE, timeouts.idle_interval());
        let active = start(&mut self.wheel, slot, ACTIVE, timeouts.active_interval());
        match self.active.get_mut(slot as usize) {
            Some(handle) => *handle = active,
            None => self.active.push(active),
        }
        self.shown.record(slot).start(seen.key, now_ns, idle.to_bits());
        self.shown.totals.flows.add(1);
        self.shown.totals.started.add(1);
        Some(slot)
    }
}

fn start(wheel: &mut Wheel, slot: u32, timer: u32, interval: u64) -> TimerHandle {
    let started = wheel.start(slot, timer, interval);
    started.expect("time-outs are within the wheel's reach, and slots are few")
}

#[cfg(test)]
mod tests;
