//! The slots of a cascade: which one a deadline belongs to, which are occupied, where the hand is.
//!
//! ```text
//! ring   slots   ticks a slot   examined when the hand comes to its first tick
//!   0     256         1         its timers expire
//!   1      64       2^8         its timers are dealt onto ring 0
//!   2      64       2^14        … onto rings 0 and 1
//!   3      64       2^20
//!   4      64       2^26
//! overflow  1      farther than 2^32 ticks; dealt when the first one's turn of the last ring begins
//! ```
//! A bit per slot says whether it may be occupied: it is set with each timer, and cleared when the
//! slot is examined. So the hand goes from one such slot to the next, however many ticks are between
//! them.

/// Rings behind the first one.
pub(super) const LATER_RINGS: u32 = 4;

/// No tick.
pub(super) const NEVER: u64 = u64::MAX;

/// The state of the slots; the lists of timers are elsewhere. A slot is a number: those of ring 0
/// come first.
#[derive(Debug)]
pub(super) struct Rings<const FIRST: usize, const LATER: usize> {
    /// All up to this tick is done, but for the rest of ring 0's slot for this very tick.
    pub(super) hand: u64,
    /// No slot with a timer is examined before this tick. While it is not after the hand, the hand
    /// stays.
    pub(super) due: u64,
    /// A bit per slot, but for the overflow slot.
    occupied: [u64; 8],
    /// The tick at which the overflow slot is examined.
    overflow_due: u64,
    pub(super) pending: usize,
    /// No deadline is before this.
    pub(super) earliest: u64,
    /// Whether there is a timer of that deadline.
    pub(super) earliest_known: bool,
}

/// A ring, as far as placing a timer is concerned.
#[derive(Clone, Copy)]
struct Ring {
    /// The bits of a tick that are less than a slot.
    bits: u16,
    /// Its first slot.
    first: u16,
    /// Its slots less one.
    mask: u16,
}

impl<const FIRST: usize, const LATER: usize> Rings<FIRST, LATER> {
    pub(super) const SLOTS: u32 = {
        assert!(FIRST.is_power_of_two() && FIRST >= 64 && FIRST <= 256, "64, 128 or 256 slots");
        assert!(LATER.is_power_of_two() && LATER >= 2 && LATER <= 64, "2 to 64 slots, 2^n");
        Self::OVERFLOW_SLOT + 1
    };
    #[expect(clippy::cast_possible_truncation, reason = "at most 256, and 64")]
    pub(super) const OVERFLOW_SLOT: u32 = FIRST as u32 + LATER_RINGS * LATER as u32;
    const FIRST_BITS: u32 = FIRST.ilog2();
    const LATER_BITS: u32 = LATER.ilog2();
    /// Ticks of one turn of the last ring.
    const REACH: u64 = 1 << (Self::FIRST_BITS + LATER_RINGS * Self::LATER_BITS);
    /// The ring for a timer that far ahead, by the number of the highest bit.
    const BY_DISTANCE: [Ring; 64] = {
        let mut rings = [Self::ring(0); 64];
        let mut bit = Self::FIRST_BITS;
        while bit < 64 {
            let ring = (bit - Self::FIRST_BITS) / Self::LATER_BITS + 1;
            // What is beyond the last ring does not get here.
            rings[bit as usize] = Self::ring(if ring < LATER_RINGS { ring } else { LATER_RINGS });
            bit += 1;
        }
        rings
    };

    pub(super) fn new() -> Self {
        Self {
            hand: 0,
            due: NEVER,
            occupied: [0; 8],
            overflow_due: NEVER,
            pending: 0,
            earliest: NEVER,
            earliest_known: false,
        }
    }

    #[expect(clippy::cast_possible_truncation, reason = "a slot's number is below 2^10")]
    const fn ring(ring: u32) -> Ring {
        if ring == 0 {
            return Ring { bits: 0, first: 0, mask: FIRST as u16 - 1 };
        }
        let later = ring as u16 - 1;
        Ring {
            bits: Self::FIRST_BITS as u16 + later * Self::LATER_BITS as u16,
            first: FIRST as u16 + later * LATER as u16,
            mask: LATER as u16 - 1,
        }
    }

    /// The slot for a timer, which is noted to be occupied, and the tick of its examination.
    #[inline]
    pub(super) fn occupy(&mut self, deadline: u64) -> (u32, u64) {
        let delta = deadline - self.hand;
        if delta >= Self::REACH {
            return self.overflow(deadline);
        }
        let ring = const { Self::BY_DISTANCE }[(delta | 1).ilog2() as usize];
        let slot = ring.slot(deadline);
        let examined = deadline >> ring.bits << ring.bits;
        self.due = self.due.min(examined);
        *self.word(slot) |= 1 << (slot % 64);
        (slot, examined)
    }

    #[cold]
    fn overflow(&mut self, deadline: u64) -> (u32, u64) {
        let examined = deadline & !(Self::REACH - 1);
        self.due = self.due.min(examined);
        self.overflow_due = self.overflow_due.min(examined);
        (Self::OVERFLOW_SLOT, examined)
    }

    /// Notes that a slot is empty.
    #[inline]
    pub(super) fn vacate(&mut self, slot: u32) {
        *self.word(slot) &= !(1 << (slot % 64));
    }

    /// Where a slot's bit is.
    #[inline]
    fn word(&mut self, slot: u32) -> &mut u64 {
        &mut self.occupied[slot as usize / 64 % 8]
    }

    /// The hand, and the slot under it, whose timers expire.
    #[inline]
    pub(super) fn slot_due(&self) -> (u64, u32) {
        (self.hand, const { Self::ring(0) }.slot(self.hand))
    }

    /// Goes on to the next occupied slot of ring 0, if that is near and no other ring's slot comes
    /// before it, or to `now` if that comes first; the slot under the hand is empty. `None` if it is
    /// not near; else tells whether there is something to be done at the hand.
    #[inline]
    pub(super) fn go_near(&mut self, now: u64) -> Option<bool> {
        let next = self.hand + 1;
        let slot = const { Self::ring(0) }.slot(next);
        let ahead = *self.word(slot) >> (slot % 64);
        if slot == 0 || ahead == 0 {
            return None;
        }
        Some(self.go_to(next + u64::from(ahead.trailing_zeros()), now))
    }

    /// As [`Self::go_near`], to the next occupied slot of all; those of the later rings that are
    /// examined then are [`Self::slots_to_deal`].
    pub(super) fn go_far(&mut self, now: u64) -> bool {
        let rings = (0..=LATER_RINGS).filter_map(|ring| self.next_in_ring(ring, self.hand));
        let due = rings.fold(self.overflow_due, u64::min);
        self.go_to(due, now)
    }

    #[inline]
    fn go_to(&mut self, due: u64, now: u64) -> bool {
        self.due = due;
        self.hand = due.min(now);
        due <= now
    }

    /// The slots that are dealt now, those of the farthest timers first.
    pub(super) fn slots_to_deal(&mut self) -> impl Iterator<Item = u32> + use<FIRST, LATER> {
        let (hand, occupied) = (self.hand, self.occupied);
        let overflow = (hand == self.overflow_due).then_some(Self::OVERFLOW_SLOT);
        if overflow.is_some() {
            self.overflow_due = NEVER;
        }
        let turned = hand.trailing_zeros().checked_sub(Self::FIRST_BITS);
        let rings = turned.map_or(0, |bits| LATER_RINGS.min(bits / Self::LATER_BITS + 1));
        let slots = (1..=rings).rev().map(move |ring| Self::ring(ring).slot(hand));
        let bit = move |slot: &u32| occupied[*slot as usize / 64] >> (slot % 64) & 1 == 1;
        overflow.into_iter().chain(slots.filter(bit))
    }

    /// The tick at which the overflow slot is examined; [`NEVER`] if it is empty.
    pub(super) fn overflow_due(&self) -> u64 {
        self.overflow_due
    }

    /// The occupied slots of a ring, from the hand on, each with the tick of its examination.
    pub(super) fn slots_ahead(&self, ring: u32) -> impl Iterator<Item = (u64, u32)> {
        let Ring { bits, mask, .. } = Self::ring(ring);
        let end = (self.hand >> bits) + u64::from(mask);
        let mut tick = self.hand;
        core::iter::from_fn(move || {
            // The hand's own slot, of a later ring, is a whole turn away, and comes last.
            tick = self.next_in_ring(ring, tick).filter(|next| next >> bits <= end + 1)?;
            Some((tick, Self::ring(ring).slot(tick)))
        })
    }

    /// The tick at which the first occupied slot of a ring is examined that comes after the one of
    /// `tick`; that one itself is a whole turn away.
    fn next_in_ring(&self, ring: u32, tick: u64) -> Option<u64> {
        let Ring { bits, first, mask } = Self::ring(ring);
        let turned = tick >> bits;
        let (first, from) = (u32::from(first), Self::ring(ring).slot((turned + 1) << bits));
        let end = first + u32::from(mask) + 1;
        let after = self.next_bit(from, end).map(|slot| slot - from);
        let ahead =
            after.or_else(|| self.next_bit(first, from).map(|slot| end - from + (slot - first)))?;
        Some((turned + 1 + u64::from(ahead)) << bits)
    }

    /// The first occupied slot of some that follow each other.
    #[inline]
    fn next_bit(&self, from: u32, end: u32) -> Option<u32> {
        let mut slot = from;
        while slot < end {
            let ahead = self.occupied[slot as usize / 64] >> (slot % 64);
            if ahead != 0 {
                return Some(slot + ahead.trailing_zeros()).filter(|&found| found < end);
            }
            slot = (slot | 63) + 1;
        }
        None
    }
}

impl Ring {
    /// The slot for a tick.
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "masked")]
    const fn slot(self, tick: u64) -> u32 {
        self.first as u32 + ((tick >> self.bits) as u32 & self.mask as u32)
    }
}
