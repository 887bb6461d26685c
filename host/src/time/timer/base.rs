//! A thread's timers, as a pure structure: rings of lists, and what their timers stand for.
//!
//! The classic cascade, 256 slots and four rings of 64, with two additions:
//!
//! * A timer that is moved to later, or deleted, stays on its list until that is examined, and is
//!   put right then. So what happens most, a time-out that starts again before it is over, is one
//!   load and one store, where the classic one takes the timer off one list and puts it onto
//!   another, through four strangers' cache lines. A timer that moves to before its list's
//!   examination does take that way.
//! * A bit per slot. So the hand goes over empty ticks without turning through them, and the next
//!   expiry is known exactly.
//!
//! Deferrable timers have rings of their own, so that the others alone bound an idle sleep.
//!
//! Beside the classic cascade, which has no handles to check, times of 32 bits, and no bitmap
//! (`cargo bench --bench time -- timer`, on two busy cores of an AMD EPYC virtual machine; 10^3 to
//! 10^6 timers): an idle hour takes 0.03 to 0.15 us, not 2.3 ms. Time-outs that are started again
//! and again take 1.1 times as long up to 10^4 timers, 2.4 times at 10^5, and 0.6 times at 10^6;
//! timers that are moved anywhere 1.7 to 1.8 times up to 10^5, and 0.8 times at 10^6. Of single
//! operations, adding takes 1.3 to 1.8 times as long (7 to 9 ns), moving to later 0.6 to 2.0 times,
//! and expiry, which pays for what the moves left behind, 1.2 to 3.4 times (30 to 450 ns).

use super::links::{Link, Links};
use super::rings::{LATER_RINGS, NEVER, Rings};

/// Slots of a small build, for many threads with few timers each.
pub type SmallTimerBase<T> = TimerBase<T, 64, 16>;

/// Timers that stand for a `T`, and expire one at a time: `FIRST` slots of a tick each, and four
/// rings of `LATER` slots.
///
/// Unit: one tick, counted from the base's start, so that it never wraps.
/// Cost: all O(1), but for the next expiry, which see; a timer is moved down at most four times in
/// 2^32 ticks. Memory grows with the most timers ever pending.
#[derive(Debug)]
pub struct TimerBase<T, const FIRST: usize = 256, const LATER: usize = 64> {
    /// The tick last told.
    now: u64,
    /// By class.
    rings: [Rings<FIRST, LATER>; 2],
    links: Links<T>,
    /// By class, places without a timer. Some are on a list still.
    free: [Vec<u32>; 2],
}

/// The last tick there is.
const LAST: u64 = u64::MAX / 2;
const STANDARD: u32 = 0;
const DEFERRABLE: u32 = 1;

/// Names a timer of one base while it is pending. A stale one is harmless: 2^32 timers have to
/// follow each other in one place for it to name another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    place: u32,
    generation: u32,
}

impl Key {
    /// The key as a number, never 0.
    #[inline]
    pub(super) const fn to_bits(self) -> u64 {
        (self.generation as u64) << 32 | self.place as u64
    }

    /// The key of [`Self::to_bits`].
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "the lower half is meant")]
    pub(super) const fn from_bits(bits: u64) -> Self {
        Self { place: bits as u32, generation: (bits >> 32) as u32 }
    }
}

impl<T, const FIRST: usize, const LATER: usize> TimerBase<T, FIRST, LATER> {
    /// Heads of both classes.
    const HEADS: u32 = 2 * Rings::<FIRST, LATER>::SLOTS;

    /// A base with no timers, at tick 0.
    pub fn new() -> Self {
        Self {
            now: 0,
            rings: [Rings::new(), Rings::new()],
            links: Links::new(Self::HEADS),
            free: [Vec::new(), Vec::new()],
        }
    }

    /// Adds a timer that expires at `deadline`, on the next tick if that is not in the future.
    #[inline]
    pub fn insert(&mut self, deadline: u64, deferrable: bool, value: T) -> Key {
        if deferrable {
            self.insert_in::<DEFERRABLE>(deadline, value)
        } else {
            self.insert_in::<STANDARD>(deadline, value)
        }
    }

    /// Takes a timer out; `None` if it is not pending.
    #[inline]
    pub fn remove(&mut self, key: Key) -> Option<T> {
        let class = self.link(key)?.class;
        self.take(class, key.place)
    }

    /// Moves a pending timer to another tick; false if it is not pending.
    #[inline]
    pub fn modify(&mut self, key: Key, deadline: u64) -> bool {
        let deadline = self.valid(deadline);
        let Some(link) = self.link(key) else { return false };
        let (class, examined) = (link.class, link.examined);
        let before = core::mem::replace(&mut link.deadline, deadline);
        // Each class on a path of its own: rings chosen by what a timer's link says would have all
        // that follows wait until that link comes out of the memory.
        if class == STANDARD {
            self.moved::<STANDARD>(key.place, before, deadline, examined);
        } else {
            self.moved::<DEFERRABLE>(key.place, before, deadline, examined);
        }
        true
    }

    /// Takes the next timer that has expired by tick `now`, in the order of the ticks; deferrable
    /// ones after the others.
    #[inline]
    pub fn pop(&mut self, now: u64) -> Option<T> {
        self.now = self.now.max(now.min(LAST));
        if let Some(place) = self.due::<STANDARD>() {
            return self.take(STANDARD, place);
        }
        let place = self.due::<DEFERRABLE>()?;
        self.take(DEFERRABLE, place)
    }

    /// The tick at which the next timer expires that is not deferrable; that of a tick gone by if
    /// one waits to be popped.
    ///
    /// Cost: O(1) while that timer stays; else all timers are looked at whose lists are examined
    /// before it expires.
    pub fn next_expiry(&mut self) -> Option<u64> {
        if self.active() == 0 {
            return None;
        }
        if !self.rings[STANDARD as usize].earliest_known {
            self.find_earliest();
        }
        Some(self.rings[STANDARD as usize].earliest)
    }

    /// No timer of any kind expires before this tick. Cost: two loads.
    #[inline]
    pub fn quiet_until(&self) -> u64 {
        self.rings[0].due.min(self.rings[1].due)
    }

    /// Pending timers that keep an idle thread from sleeping on: all but the deferrable ones.
    pub fn active(&self) -> usize {
        self.rings[STANDARD as usize].pending
    }

    /// Pending timers.
    pub fn all(&self) -> usize {
        self.rings[0].pending + self.rings[1].pending
    }

    /// What is pending, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.links.values()
    }

    /// Takes out what is pending and chosen: the value, its deadline, whether it is deferrable.
    pub fn extract(&mut self, chosen: impl Fn(&T) -> bool) -> Vec<(T, u64, bool)> {
        let mut extracted = Vec::new();
        let end = u32::try_from(self.links.end()).expect("places are numbers of 32 bits");
        for place in Self::HEADS..end {
            let link = self.links.at(place);
            if link.value.as_ref().is_some_and(&chosen) {
                let (class, deadline) = (link.class, link.deadline);
                let value = self.take(class, place);
                extracted.extend(value.map(|value| (value, deadline, class == DEFERRABLE)));
            }
        }
        extracted
    }

    #[inline]
    fn insert_in<const CLASS: u32>(&mut self, deadline: u64, value: T) -> Key {
        let deadline = self.valid(deadline);
        let place = match self.free[CLASS as usize].pop() {
            Some(place) => place,
            None => self.links.grow(CLASS),
        };
        let rings = &mut self.rings[CLASS as usize];
        rings.pending += 1;
        rings.earliest = rings.earliest.min(deadline);
        let link = self.links.at(place);
        link.deadline = deadline;
        link.value = Some(value);
        let (generation, examined) = (link.generation, link.examined);
        if deadline < examined {
            self.advance::<CLASS>(place, deadline, examined);
        }
        Key { place, generation }
    }

    /// Does what remains to be done for a timer that has a new deadline.
    #[inline]
    fn moved<const CLASS: u32>(&mut self, place: u32, before: u64, deadline: u64, examined: u64) {
        let rings = &mut self.rings[CLASS as usize];
        if before == rings.earliest {
            rings.earliest_known = false;
        }
        rings.earliest = rings.earliest.min(deadline);
        if deadline < examined {
            self.advance::<CLASS>(place, deadline, examined);
        }
    }

    /// Puts a timer where it is examined in time.
    #[inline]
    fn advance<const CLASS: u32>(&mut self, place: u32, deadline: u64, examined: u64) {
        if examined != NEVER {
            self.links.unhang(place);
        }
        self.hang(CLASS, place, deadline);
    }

    #[inline]
    fn hang(&mut self, class: u32, place: u32, deadline: u64) {
        let (slot, examined) = self.rings[class as usize].occupy(deadline);
        self.links.at(place).examined = examined;
        self.links.hang(Self::head(class, slot), place);
    }

    /// Takes the next timer of a class off its list that has expired by the tick told.
    #[inline]
    fn due<const CLASS: u32>(&mut self) -> Option<u32> {
        let rings = &mut self.rings[CLASS as usize];
        if rings.due > self.now {
            rings.hand = self.now;
            return None;
        }
        self.next_due::<CLASS>()
    }

    #[inline]
    fn next_due<const CLASS: u32>(&mut self) -> Option<u32> {
        loop {
            let (hand, slot) = self.rings[CLASS as usize].slot_due();
            // Nothing is put onto this list before it is empty, as all goes to after the hand; and
            // nothing is taken off it otherwise, as all new deadlines are after its examination.
            while let Some(place) = self.links.shift(Self::head(CLASS, slot)) {
                let link = self.links.at(place);
                if link.deadline <= hand {
                    link.examined = NEVER;
                    return Some(place);
                }
                self.settle(CLASS, place);
            }
            let rings = &mut self.rings[CLASS as usize];
            rings.vacate(slot);
            if !rings.go_near(self.now).unwrap_or_else(|| self.go_far(CLASS)) {
                return None;
            }
        }
    }

    /// Goes on to where there is something to be done, and deals the later rings' slots that are
    /// examined there.
    #[inline(never)]
    fn go_far(&mut self, class: u32) -> bool {
        let rings = &mut self.rings[class as usize];
        let due = rings.go_far(self.now);
        if due {
            for slot in rings.slots_to_deal() {
                self.deal(class, slot);
            }
        }
        due
    }

    /// Places all timers of a slot anew.
    fn deal(&mut self, class: u32, slot: u32) {
        if slot != Rings::<FIRST, LATER>::OVERFLOW_SLOT {
            self.rings[class as usize].vacate(slot);
        }
        let head = Self::head(class, slot);
        let mut place = self.links.detach(head);
        while place != head {
            let next = self.links.next(place);
            self.settle(class, place);
            place = next;
        }
    }

    /// Places anew what came off a list.
    #[inline]
    fn settle(&mut self, class: u32, place: u32) {
        match self.links.at(place).deadline {
            NEVER => self.links.at(place).examined = NEVER,
            deadline => self.hang(class, place, deadline),
        }
    }

    /// Takes a pending timer out.
    #[inline]
    fn take(&mut self, class: u32, place: u32) -> Option<T> {
        let link = self.links.at(place);
        link.generation = link.generation.wrapping_add(1);
        let (value, deadline) = (link.value.take(), core::mem::replace(&mut link.deadline, NEVER));
        if class == STANDARD {
            self.taken::<STANDARD>(place, deadline);
        } else {
            self.taken::<DEFERRABLE>(place, deadline);
        }
        value
    }

    #[inline]
    fn taken<const CLASS: u32>(&mut self, place: u32, deadline: u64) {
        self.free[CLASS as usize].push(place);
        let rings = &mut self.rings[CLASS as usize];
        rings.pending -= 1;
        if deadline == rings.earliest {
            rings.earliest_known = false;
        }
    }

    /// What a key names; `None` if it is not pending.
    #[inline]
    fn link(&mut self, key: Key) -> Option<&mut Link<T>> {
        self.links.get(key.place).filter(|link| link.generation == key.generation)
    }

    /// A deadline that is in the future.
    #[inline]
    fn valid(&self, deadline: u64) -> u64 {
        deadline.clamp(self.now + 1, LAST + 1)
    }

    #[inline]
    const fn head(class: u32, slot: u32) -> u32 {
        class * Rings::<FIRST, LATER>::SLOTS + slot
    }

    /// Finds the earliest deadline of the timers that are not deferrable.
    fn find_earliest(&mut self) {
        let rings = &self.rings[STANDARD as usize];
        let least = |slot| self.links.deadlines(Self::head(STANDARD, slot)).fold(NEVER, u64::min);
        let mut earliest = least(rings.slot_due().1);
        for ring in 0..=LATER_RINGS {
            for (examined, slot) in rings.slots_ahead(ring) {
                if examined >= earliest {
                    break;
                }
                earliest = earliest.min(least(slot));
            }
        }
        if rings.overflow_due() < earliest {
            earliest = earliest.min(least(Rings::<FIRST, LATER>::OVERFLOW_SLOT));
        }
        let rings = &mut self.rings[STANDARD as usize];
        (rings.earliest, rings.earliest_known) = (earliest, true);
    }
}

impl<T, const FIRST: usize, const LATER: usize> Default for TimerBase<T, FIRST, LATER> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests;
