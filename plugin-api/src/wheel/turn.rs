//! How the wheel turns: from one occupied slot to the next, dealing the slower rings on the way.

use super::slots::{Taken, index, level};
use super::{Expiry, NEVER, NO_SLOT, TimingWheel};

/// No timer has a deadline at or before this tick.
const NONE_DUE: u64 = 0;

/// So many timers are expired sooner than the processor has found out that loops are at their ends.
const FEW: usize = 4;

impl<
    const TIMERS: usize,
    const RINGS: usize,
    const SLOTS: usize,
    const FEATURES: u32,
    const MAX_EXPIRIES: usize,
> TimingWheel<TIMERS, RINGS, SLOTS, FEATURES, MAX_EXPIRIES>
{
    #[inline]
    pub(super) fn advance(
        &mut self,
        now: u64,
        empty: impl FnMut(&mut Self, usize) -> usize,
    ) -> usize {
        self.now = self.now.max(now.min(NEVER - 1));
        if self.now < self.slots.due {
            self.slots.hand = self.now;
            return 0;
        }
        self.turn(empty)
    }

    /// Moves the hand from one occupied slot to the next, and empties each.
    fn turn(&mut self, mut empty: impl FnMut(&mut Self, usize) -> usize) -> usize {
        let mut expired = 0;
        loop {
            if self.slots.due > self.slots.hand {
                self.slots.hand = self.slots.due;
                self.cascade();
            }
            expired += empty(self, MAX_EXPIRIES - expired);
            self.slots.due = self.next_examination();
            if self.slots.due > self.now {
                self.slots.hand = self.now;
                return expired;
            }
            if expired >= MAX_EXPIRIES {
                return expired;
            }
        }
    }

    /// The tick at which the next entry is examined, running or not; [`NEVER`] if there is none.
    #[inline]
    fn next_examination(&self) -> u64 {
        let slot = self.fast_slot();
        if !self.slots.is_empty(slot) {
            return self.slots.hand;
        }
        // Whatever else there is comes when the fast ring has gone round, or later.
        match self.slots.next_before_turn(slot + 1) {
            Some(next) => self.slots.hand + (next - slot) as u64,
            None => self.next_examination_of_all(),
        }
    }

    #[cold]
    fn next_examination_of_all(&self) -> u64 {
        let in_rings = (0..RINGS).filter_map(|ring| {
            let turned = self.slots.hand >> (Self::BITS * level(ring));
            let ahead = self.slots.next_occupied(ring, index::<SLOTS>(turned))?;
            Some((turned + ahead) << (Self::BITS * level(ring)))
        });
        in_rings.fold(self.slots.overflow_due, u64::min)
    }

    /// The earliest deadline, or if that takes more entries than `budget`, a tick before it.
    pub(super) fn earliest_deadline(&self, mut budget: usize) -> u64 {
        let fast = self.fast_slot();
        let mut earliest = if self.slots.is_empty(fast) { NEVER } else { self.slots.hand };
        let mut look = |slot: usize, examined: u64, earliest: u64| {
            let mut least = earliest;
            for block in self.slots.blocks(slot) {
                if budget < block.len() {
                    return least.min(examined);
                }
                budget -= block.len();
                let timers = block.iter().map(|&place| &self.timers[place as usize]);
                let deadlines = timers.filter(|timer| timer.runs()).map(|timer| timer.deadline);
                least = deadlines.fold(least, u64::min);
            }
            least
        };
        for ring in 0..RINGS {
            let bits = Self::BITS * level(ring);
            let first = self.slots.hand >> bits;
            let mut turned = first;
            while let Some(ahead) = self.slots.next_occupied(ring, index::<SLOTS>(turned)) {
                turned += ahead;
                let examined = turned << bits;
                if examined >= earliest || turned - first > SLOTS as u64 {
                    break;
                }
                earliest = look(ring * SLOTS + index::<SLOTS>(turned), examined, earliest);
            }
        }
        if self.slots.overflow_due < earliest {
            earliest = look(Self::OVERFLOW_SLOT, self.slots.overflow_due, earliest);
        }
        earliest
    }

    #[inline]
    fn fast_slot(&self) -> usize {
        index::<SLOTS>(self.slots.hand)
    }

    /// Deals the slots of the slower rings that the hand has come to.
    #[inline]
    fn cascade(&mut self) {
        if index::<SLOTS>(self.slots.hand) == 0 {
            self.deal_slower();
        }
    }

    fn deal_slower(&mut self) {
        if self.slots.hand == self.slots.overflow_due {
            self.slots.overflow_due = NEVER;
            self.deal(Self::OVERFLOW_SLOT);
        }
        for ring in (1..RINGS).rev() {
            let bits = Self::BITS * level(ring);
            if self.slots.hand.trailing_zeros() >= bits {
                self.deal(ring * SLOTS + index::<SLOTS>(self.slots.hand >> bits));
            }
        }
    }

    /// Places all timers of a slot anew, and forgets those that do not run.
    fn deal(&mut self, slot: usize) {
        let mut top = self.slots.detach(slot);
        while let Some(taken) = self.slots.take(&mut top, usize::MAX) {
            if self.look_at(&taken) == NEVER {
                for word in 0..taken.len() {
                    let place = self.slots.taken(&taken)[word];
                    self.settle(place, NONE_DUE);
                }
            } else {
                for word in 0..taken.len() {
                    let place = self.slots.taken(&taken)[word];
                    let timer = &mut self.timers[place as usize];
                    (timer.slot, self.positions[place as usize]) =
                        self.slots.enter(place, timer.deadline);
                }
            }
            self.slots.release(&taken);
        }
    }

    /// Empties the slot under the hand into a vector; returns how many timers expired.
    #[inline]
    pub(super) fn empty_into(&mut self, budget: usize, expired: &mut Vec<Expiry<TIMERS>>) -> usize {
        let before = expired.len();
        let slot = self.fast_slot();
        let mut top = self.slots.detach(slot);
        while let Some(taken) = self.slots.take(&mut top, budget - (expired.len() - before)) {
            if taken.len() > FEW && self.look_at(&taken) <= self.slots.hand {
                self.expire_all(&taken, expired);
            } else {
                for word in 0..taken.len() {
                    let place = self.slots.taken(&taken)[word];
                    if let Some(expiry) = self.settle(place, self.slots.hand) {
                        expired.push(expiry);
                    }
                }
            }
            self.slots.release(&taken);
        }
        self.slots.attach(slot, top);
        expired.len() - before
    }

    /// The latest deadline of some timers, or [`NEVER`] if one of them does not run.
    ///
    /// Nothing but loads that do not wait for each other: what comes after finds the timers near.
    #[inline]
    fn look_at(&self, taken: &Taken) -> u64 {
        let timers = self.slots.taken(taken).iter().map(|&place| &self.timers[place as usize]);
        timers.fold(0, |latest, timer| {
            latest.max(timer.deadline | u64::from(timer.generation % 2).wrapping_sub(1))
        })
    }

    /// Expires timers that run and are all due.
    #[inline]
    fn expire_all(&mut self, taken: &Taken, expired: &mut Vec<Expiry<TIMERS>>) {
        let places = self.slots.taken(taken);
        expired.extend(places.iter().map(|&place| Expiry::unpack(self.expiries[place as usize])));
        for &place in places {
            let timer = &mut self.timers[place as usize];
            timer.generation = timer.generation.wrapping_add(1);
            timer.slot = NO_SLOT;
            self.free.push(place);
        }
    }

    /// Empties the slot under the hand one by one, so that the function sees a whole wheel.
    pub(super) fn empty_each(
        &mut self,
        budget: usize,
        callback: &mut impl FnMut(&mut Self, Expiry<TIMERS>),
    ) -> usize {
        let mut expired = 0;
        while expired < budget {
            let Some(place) = self.slots.pop(self.fast_slot()) else { break };
            if let Some(expiry) = self.settle(place, self.slots.hand) {
                expired += 1;
                callback(self, expiry);
            }
        }
        expired
    }

    /// Expires a timer if it is due at `due`, places it anew if not, and forgets it if it does not
    /// run. It has no entry any more.
    #[inline]
    fn settle(&mut self, place: u32, due: u64) -> Option<Expiry<TIMERS>> {
        let timer = &mut self.timers[place as usize];
        if !timer.runs() {
            timer.slot = NO_SLOT;
            return None;
        }
        if timer.deadline > due {
            (timer.slot, self.positions[place as usize]) = self.slots.enter(place, timer.deadline);
            return None;
        }
        timer.generation = timer.generation.wrapping_add(1);
        timer.slot = NO_SLOT;
        self.free.push(place);
        Some(Expiry::unpack(self.expiries[place as usize]))
    }
}
