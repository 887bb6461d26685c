//! How the wheel turns: from one occupied slot to the next, dealing the slower rings on the way.

use super::slots::BLOCK_ENTRIES;
use super::{Expiry, NEVER, NO_SLOT, OVERFLOW, TimingWheel};

/// No timer has a deadline at or before this tick.
const NONE_DUE: u64 = 0;

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
        if self.now < self.due {
            self.hand = self.now;
            return 0;
        }
        self.turn(empty)
    }

    /// Moves the hand from one occupied slot to the next, and empties each.
    fn turn(&mut self, mut empty: impl FnMut(&mut Self, usize) -> usize) -> usize {
        let mut expired = 0;
        loop {
            self.due = self.next_examination();
            if self.due > self.now {
                self.hand = self.now;
                return expired;
            }
            if expired >= MAX_EXPIRIES {
                return expired;
            }
            if self.due > self.hand {
                self.hand = self.due;
                self.cascade();
            }
            expired += empty(self, MAX_EXPIRIES - expired);
        }
    }

    /// The tick at which the next entry is examined, running or not; [`NEVER`] if there is none.
    pub(super) fn next_examination(&self) -> u64 {
        if !self.slots.is_empty(self.fast_slot()) {
            return self.hand;
        }
        let in_rings = (0..RINGS).filter_map(|ring| {
            let turned = self.hand >> (Self::BITS * level(ring));
            let ahead = self.slots.next_occupied(ring, index::<SLOTS>(turned))?;
            Some((turned + ahead) << (Self::BITS * level(ring)))
        });
        in_rings.fold(self.overflow_due, u64::min)
    }

    /// The earliest deadline, or if that takes more entries than `budget`, a tick before it.
    pub(super) fn earliest_deadline(&self, mut budget: usize) -> u64 {
        let fast = self.fast_slot();
        let mut earliest = if self.slots.is_empty(fast) { NEVER } else { self.hand };
        let mut look = |slot: usize, examined: u64, earliest: u64| {
            let mut least = earliest;
            for block in self.slots.blocks(slot) {
                if budget < block.len() {
                    return least.min(examined);
                }
                budget -= block.len();
                let deadlines = block.iter().map(|&place| self.timers[place as usize].deadline);
                least = deadlines.fold(least, u64::min);
            }
            least
        };
        for ring in 0..RINGS {
            let bits = Self::BITS * level(ring);
            let first = self.hand >> bits;
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
        if self.overflow_due < earliest {
            earliest = look(Self::OVERFLOW_SLOT, self.overflow_due, earliest);
        }
        earliest
    }

    #[inline]
    fn fast_slot(&self) -> usize {
        index::<SLOTS>(self.hand)
    }

    /// Deals the slots of the slower rings that the hand has come to.
    fn cascade(&mut self) {
        if self.hand == self.overflow_due {
            self.overflow_due = NEVER;
            self.deal(Self::OVERFLOW_SLOT);
        }
        for ring in (1..RINGS).rev() {
            let bits = Self::BITS * level(ring);
            if self.hand.trailing_zeros() >= bits {
                self.deal(ring * SLOTS + index::<SLOTS>(self.hand >> bits));
            }
        }
    }

    /// Places all timers of a slot anew, and forgets those that do not run.
    fn deal(&mut self, slot: usize) {
        let mut list = self.slots.detach(slot);
        let mut places = [0; BLOCK_ENTRIES];
        loop {
            let count = self.slots.take(&mut list, BLOCK_ENTRIES, &mut places);
            if count == 0 {
                return;
            }
            self.settle(&places[..count], NONE_DUE, |_| {});
        }
    }

    /// Empties the slot under the hand into a vector; returns how many timers expired.
    pub(super) fn empty_into(&mut self, budget: usize, expired: &mut Vec<Expiry<TIMERS>>) -> usize {
        let before = expired.len();
        let slot = self.fast_slot();
        let mut list = self.slots.detach(slot);
        let mut places = [0; BLOCK_ENTRIES];
        loop {
            let left = budget - (expired.len() - before);
            let count = self.slots.take(&mut list, left.min(BLOCK_ENTRIES), &mut places);
            if count == 0 {
                self.slots.attach(slot, list);
                return expired.len() - before;
            }
            expired.reserve(count);
            self.settle(&places[..count], self.hand, |expiry| expired.push(expiry));
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
            let mut due = None;
            self.settle(&[place], self.hand, |expiry| due = Some(expiry));
            if let Some(expiry) = due {
                expired += 1;
                callback(self, expiry);
            }
        }
        expired
    }

    /// Expires those of the timers that are due at `due`, places the others anew, and forgets
    /// those that do not run. None of them has an entry any more.
    #[inline]
    fn settle(&mut self, places: &[u32], due: u64, mut on_expiry: impl FnMut(Expiry<TIMERS>)) {
        // First nothing but loads that do not wait for each other.
        let mut deadlines = [0; BLOCK_ENTRIES];
        for (deadline, &place) in deadlines.iter_mut().zip(places) {
            *deadline = self.timers[place as usize].deadline;
        }
        for (&place, &deadline) in places.iter().zip(&deadlines) {
            if deadline != NEVER && deadline > due {
                self.place(place, deadline);
                continue;
            }
            let timer = &mut self.timers[place as usize];
            timer.slot = NO_SLOT;
            if deadline != NEVER {
                timer.deadline = NEVER;
                timer.generation = timer.generation.wrapping_add(1);
                on_expiry(Expiry::unpack(self.rests[place as usize].expiry));
                self.running -= 1;
                self.free.push(place);
            }
        }
    }

    /// The tick at which a slot is examined next. For the overflow list, and for what is left in
    /// the slot under the hand, a tick too late: such a timer is moved rather than left.
    #[inline]
    pub(super) fn examined(&self, slot: u32) -> u64 {
        if slot as usize == Self::OVERFLOW_SLOT {
            return NEVER;
        }
        let bits = Self::BITS * (slot / slot_number(SLOTS));
        let turned = self.hand >> bits;
        let ahead = u64::from(slot).wrapping_sub(turned).wrapping_sub(1) % SLOTS as u64 + 1;
        (turned + ahead) << bits
    }

    /// Gives a timer an entry where it is examined at its deadline or as late before as possible.
    #[inline]
    pub(super) fn place(&mut self, place: u32, deadline: u64) {
        let delta = deadline - self.hand;
        let (slot, examined) = if delta < SLOTS as u64 {
            (index::<SLOTS>(deadline), deadline)
        } else {
            self.slower_slot(deadline, delta)
        };
        self.due = self.due.min(examined);
        let position = self.slots.push(slot, place);
        self.timers[place as usize].slot = slot_number(slot);
        self.rests[place as usize].position = position;
    }

    #[inline]
    fn slower_slot(&mut self, deadline: u64, delta: u64) -> (usize, u64) {
        let (deadline, delta) = if delta < Self::REACH {
            (deadline, delta)
        } else if FEATURES & OVERFLOW != 0 {
            let examined = deadline & !(Self::REACH - 1);
            self.overflow_due = self.overflow_due.min(examined);
            return (Self::OVERFLOW_SLOT, examined);
        } else {
            // The hand is behind, so that even a valid interval leads beyond the last ring.
            (self.hand + Self::REACH - 1, Self::REACH - 1)
        };
        let ring = delta.ilog2() / Self::BITS;
        let turned = deadline >> (Self::BITS * ring);
        (ring as usize * SLOTS + index::<SLOTS>(turned), turned << (Self::BITS * ring))
    }

    /// Moves a timer to where it is examined sooner.
    pub(super) fn replace(&mut self, place: u32, deadline: u64) {
        let slot = self.timers[place as usize].slot as usize;
        let position = self.rests[place as usize].position;
        if let Some(moved) = self.slots.remove(slot, position) {
            self.rests[moved as usize].position = position;
        }
        self.place(place, deadline);
    }
}

/// The slot that a number of turned slots ends on.
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "below SLOTS")]
fn index<const SLOTS: usize>(turned: u64) -> usize {
    (turned % SLOTS as u64) as usize
}

#[inline]
#[expect(clippy::cast_possible_truncation, reason = "a handful of rings")]
fn level(ring: usize) -> u32 {
    ring as u32
}

#[inline]
#[expect(clippy::cast_possible_truncation, reason = "below 2^19")]
fn slot_number(slot: usize) -> u32 {
    slot as u32
}
