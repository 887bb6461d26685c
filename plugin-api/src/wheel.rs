//! The timing wheel: start, stop and restart a timer in constant time, a million of them at once.
//!
//! Pure: it brings no clock and no thread. A tick is as long as the caller says, and the caller
//! brings the time with [`TimingWheel::expire`], usually from an input node, once per loop.
//!
//! ```
//! use plugin_api::wheel::Wheel16t2w512sl;
//!
//! const IDLE: u32 = 0;
//! const ACTIVE: u32 = 1;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut wheel = Wheel16t2w512sl::new(0);
//! let flow = 4711;
//! let idle = wheel.start(flow, IDLE, 150)?;
//! wheel.start(flow, ACTIVE, 600)?;
//! wheel.update(idle, 700)?; // A packet came: idle time starts again.
//!
//! let mut expired = Vec::new();
//! wheel.expire(600, &mut expired);
//! assert_eq!(expired.len(), 1);
//! assert_eq!((expired[0].object(), expired[0].timer()), (flow, ACTIVE));
//! # Ok(())
//! # }
//! ```
//!
//! # How it is laid out
//!
//! ```text
//! rings of slots        a slot is a stack of blocks of entries    timers, by place
//! fast  [ ][ ][*][ ]    top ─▶ [below, 7, 3, 9]                   7: deadline 612, slot 88
//! slow  [ ][*][ ][ ]             │
//! ...                            ▼ [below, 31 entries]
//! ```
//! A timer has at most one *entry*, in a slot that is examined at its deadline **or before**. So a
//! restart for later only writes the new deadline, and a stop only marks the timer: the entry stays
//! and is put right when its slot comes round, once per time-out and not once per packet. A timer
//! that is started again takes the entry its place still has. Only a timer that moves *before* its
//! examination is taken out of its slot, by the position it knows, in constant time.
//! Expiry reads entries one beside the other and their timers with loads that do not wait for each
//! other. What of a timer is written to at random, its entry's position, is kept apart from the rest
//! and densely, for the sake of the caches; and what a start or an update does is kept short in
//! stores, which wait for each other where they miss.
//!
//! Linked lists take half the instructions or less (a start 50 instead of 105, an expiry 65 instead
//! of 225): they check no handle, know no generations and write to one array. They start and update
//! in order faster at any number of timers, expire faster up to 10^5, and stop with start faster
//! from 10^5 on. This expires a million faster, and stops faster at any number
//! (`cargo bench --bench time`, peer `linked-wheel`).
//!
//! Source: Varghese & Lauck, "Hashed and Hierarchical Timing Wheels", SOSP 1987, scheme 7.

#![forbid(unsafe_code)]

use core::fmt;

mod geometry;
mod handle;
mod place;
mod slots;
mod turn;

pub use geometry::{
    DUPLICATE_STOP, FAST_BITMAP, OVERFLOW, UNBOUNDED, Wheel1t3w1024slOv, Wheel2t1w2048sl,
    Wheel2t2w512sl, Wheel2t3w64slOv, Wheel4t3w4slOv, Wheel4t3w256sl, Wheel16t1w2048sl,
    Wheel16t2w512sl,
};
pub use handle::{Expiry, StartError, TimerHandle, UpdateError};
use place::{NO_SLOT, Timer};
use slots::Slots;

/// A tick that does not come.
const NEVER: u64 = u64::MAX;

/// Timers of objects: each object, named by a number, has up to `TIMERS` timers of its own.
///
/// `RINGS` rings of `SLOTS` slots each; `FEATURES` is any of [`OVERFLOW`], [`FAST_BITMAP`] and
/// [`DUPLICATE_STOP`]; a call of [`Self::expire`] expires at most `MAX_EXPIRIES` timers. The named
/// geometries, such as [`Wheel16t2w512sl`], are instances. A geometry that cannot work does not
/// compile, see [`Self::new`].
///
/// Unit: one tick; the caller decides how long a tick is.
/// Cost: start, stop and update O(1); a timer that is not restarted moves at most `RINGS - 1` times.
/// Memory grows with the most timers ever running and never shrinks; nothing allocates once it is
/// large enough.
pub struct TimingWheel<
    const TIMERS: usize,
    const RINGS: usize,
    const SLOTS: usize,
    const FEATURES: u32,
    const MAX_EXPIRIES: usize,
> {
    /// The time last told.
    now: u64,
    timers: Vec<Timer>,
    /// What each timer's expiry tells; as many.
    expiries: Vec<u32>,
    /// Where each timer's entry is, if it has one; as many.
    positions: Vec<u32>,
    /// Places of timers that do not run; some still have an entry.
    free: Vec<u32>,
    slots: Slots<RINGS, SLOTS, FEATURES>,
}

impl<
    const TIMERS: usize,
    const RINGS: usize,
    const SLOTS: usize,
    const FEATURES: u32,
    const MAX_EXPIRIES: usize,
> TimingWheel<TIMERS, RINGS, SLOTS, FEATURES, MAX_EXPIRIES>
{
    /// The longest interval, in ticks.
    pub const MAX_INTERVAL: u64 =
        if FEATURES & OVERFLOW != 0 { NEVER - 1 } else { Self::REACH - 1 };
    /// The number of object numbers; each is below this.
    pub const OBJECTS: u64 = Expiry::<TIMERS>::OBJECTS;

    const BITS: u32 = SLOTS.ilog2();
    /// One turn of the slowest ring.
    const REACH: u64 = {
        geometry::check(TIMERS, RINGS, SLOTS, FEATURES, MAX_EXPIRIES);
        geometry::reach(RINGS, SLOTS)
    };
    const OVERFLOW_SLOT: usize = Slots::<RINGS, SLOTS, FEATURES>::OVERFLOW_SLOT;

    /// An empty wheel standing at tick `now`.
    ///
    /// A geometry that cannot work is refused when this is compiled:
    /// ```compile_fail
    /// use plugin_api::wheel::{TimingWheel, UNBOUNDED};
    /// TimingWheel::<1, 2, 500, 0, UNBOUNDED>::new(0); // Slots: a power of two.
    /// ```
    /// ```compile_fail
    /// use plugin_api::wheel::{TimingWheel, UNBOUNDED};
    /// TimingWheel::<3, 2, 512, 0, UNBOUNDED>::new(0); // Timers per object: a power of two.
    /// ```
    /// ```compile_fail
    /// use plugin_api::wheel::{TimingWheel, UNBOUNDED};
    /// TimingWheel::<1, 0, 512, 0, UNBOUNDED>::new(0); // One ring at least.
    /// ```
    /// ```compile_fail
    /// use plugin_api::wheel::{TimingWheel, UNBOUNDED};
    /// TimingWheel::<1, 4, 65536, 0, UNBOUNDED>::new(0); // A turn below 2^48 ticks.
    /// ```
    /// ```compile_fail
    /// use plugin_api::wheel::{TimingWheel, UNBOUNDED};
    /// TimingWheel::<1, 2, 512, 8, UNBOUNDED>::new(0); // A feature that does not exist.
    /// ```
    /// ```compile_fail
    /// use plugin_api::wheel::TimingWheel;
    /// TimingWheel::<1, 2, 512, 0, 0>::new(0); // A wheel that never expires anything.
    /// ```
    /// ```
    /// use plugin_api::wheel::{FAST_BITMAP, OVERFLOW, TimingWheel};
    /// TimingWheel::<1, 2, 512, { OVERFLOW | FAST_BITMAP }, 64>::new(0);
    /// ```
    pub fn new(now: u64) -> Self {
        Self::with_capacity(now, 0)
    }

    /// An empty wheel standing at tick `now` that does not allocate up to that many timers.
    pub fn with_capacity(now: u64, timers: usize) -> Self {
        const { geometry::check(TIMERS, RINGS, SLOTS, FEATURES, MAX_EXPIRIES) };
        let now = now.min(NEVER - 1);
        let mut wheel = Self {
            now,
            timers: Vec::new(),
            expiries: Vec::new(),
            positions: Vec::new(),
            free: Vec::new(),
            slots: Slots::new(now),
        };
        wheel.reserve(timers);
        wheel
    }

    /// Starts a timer of an object, `interval` ticks from the time last told, at least one.
    ///
    /// An object may start the same timer twice: that gives two timers.
    ///
    /// # Errors
    /// [`StartError`] if a number is out of range; nothing is started.
    #[inline]
    pub fn start(
        &mut self,
        object: u32,
        timer: u32,
        interval: u64,
    ) -> Result<TimerHandle, StartError> {
        let expiry = Expiry::<TIMERS>::pack(object, timer)?;
        let deadline = self
            .deadline_after(interval)
            .ok_or(StartError::Overlong { interval, longest: Self::MAX_INTERVAL })?;
        let place = match self.free.pop() {
            Some(place) => place,
            None => self.add_place()?,
        };
        self.expiries[place as usize] = expiry;
        let timer = &mut self.timers[place as usize];
        timer.deadline = deadline;
        timer.generation |= 1;
        let handle = TimerHandle::new(place, timer.generation);
        if timer.slot == NO_SLOT {
            (timer.slot, self.positions[place as usize]) = self.slots.enter(place, deadline);
        } else if deadline < self.slots.examined(timer.slot) {
            self.enter_sooner(place);
        }
        Ok(handle)
    }

    /// Stops a timer; false if it has expired or was stopped already.
    ///
    /// # Panics
    /// Without [`DUPLICATE_STOP`], if the timer does not run.
    #[inline]
    pub fn stop(&mut self, handle: TimerHandle) -> bool {
        let Some(timer) = self.running_timer(handle) else {
            assert!(FEATURES & DUPLICATE_STOP != 0, "{handle:?} was stopped or has expired before");
            return false;
        };
        timer.generation = timer.generation.wrapping_add(1);
        self.free.push(handle.place());
        true
    }

    /// Restarts a running timer: `interval` ticks from the time last told, at least one.
    ///
    /// # Errors
    /// [`UpdateError`] if it has expired or was stopped, or the interval is too long; then it
    /// stays as it was.
    #[inline]
    pub fn update(&mut self, handle: TimerHandle, interval: u64) -> Result<(), UpdateError> {
        let deadline = self
            .deadline_after(interval)
            .ok_or(UpdateError::Overlong { interval, longest: Self::MAX_INTERVAL })?;
        let timer = self.running_timer(handle).ok_or(UpdateError::NotRunning)?;
        timer.deadline = deadline;
        let slot = timer.slot;
        if deadline < self.slots.examined(slot) {
            self.enter_sooner(handle.place());
        }
        Ok(())
    }

    /// The tick at which a timer expires; `None` if it does not run.
    #[inline]
    pub fn deadline(&self, handle: TimerHandle) -> Option<u64> {
        let timer = self.timers.get(handle.place() as usize)?;
        timer.is(handle).then_some(timer.deadline)
    }

    /// Advances to tick `now` and appends what expires, in the order of the ticks.
    ///
    /// Expires at most `MAX_EXPIRIES` timers; [`Self::is_behind`] tells whether more are due, and
    /// the next call goes on with them. A `now` before the last one counts as the last one.
    /// Returns how many expired.
    /// Cost: O(entries examined), however far `now` is ahead; a few instructions if nothing is due.
    #[inline]
    pub fn expire(&mut self, now: u64, expired: &mut Vec<Expiry<TIMERS>>) -> usize {
        self.advance(now, |wheel, budget| wheel.empty_into(budget, expired))
    }

    /// Advances to tick `now` and calls back for what expires, in the order of the ticks.
    ///
    /// The function may start, stop and restart timers; a timer that it stops is not called for.
    /// Otherwise as [`Self::expire`].
    #[inline]
    pub fn expire_with(
        &mut self,
        now: u64,
        mut callback: impl FnMut(&mut Self, Expiry<TIMERS>),
    ) -> usize {
        self.advance(now, |wheel, budget| wheel.empty_each(budget, &mut callback))
    }

    /// The tick at which the next timer expires; `None` if none runs.
    ///
    /// Exact if the entries of the next slots are few, which is when one would sleep until then;
    /// otherwise it may be too early, never too late. At `now` or before if timers are due.
    /// Cost: O(slots); with [`FAST_BITMAP`] a 64th of that; at most 256 entries are looked at.
    pub fn next_expiry(&self) -> Option<u64> {
        (!self.is_empty()).then(|| self.earliest_deadline(256))
    }

    /// No timer expires before this tick; `u64::MAX` if none is near.
    ///
    /// Cost: a load. For deciding whether a call of [`Self::expire`] is worth it.
    #[inline]
    pub fn quiet_until(&self) -> u64 {
        self.slots.due
    }

    /// Whether `MAX_EXPIRIES` left timers that are due to the next call.
    #[inline]
    pub fn is_behind(&self) -> bool {
        self.slots.due <= self.now
    }

    /// The time last told.
    #[inline]
    pub fn now(&self) -> u64 {
        self.now
    }

    /// The tick whose timers expire; inside [`Self::expire_with`], the deadline of this one.
    #[inline]
    pub fn hand(&self) -> u64 {
        self.slots.hand
    }

    /// How many timers run.
    #[inline]
    pub fn len(&self) -> usize {
        self.timers.len() - self.free.len()
    }

    /// Whether no timer runs.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    #[inline]
    fn running_timer(&mut self, handle: TimerHandle) -> Option<&mut Timer> {
        let timer = self.timers.get_mut(handle.place() as usize)?;
        timer.is(handle).then_some(timer)
    }

    #[inline]
    fn deadline_after(&self, interval: u64) -> Option<u64> {
        let deadline = self.now.saturating_add(interval.max(1)).min(NEVER - 1);
        (interval <= Self::MAX_INTERVAL).then_some(deadline)
    }

    /// Moves the entry of a timer to where it is examined sooner.
    fn enter_sooner(&mut self, place: u32) {
        let Timer { deadline, slot, .. } = self.timers[place as usize];
        let position = self.positions[place as usize];
        if let Some(moved) = self.slots.remove(slot as usize, position) {
            self.positions[moved as usize] = position;
        }
        let (slot, position) = self.slots.enter(place, deadline);
        self.timers[place as usize].slot = slot;
        self.positions[place as usize] = position;
    }

    #[cold]
    fn add_place(&mut self) -> Result<u32, StartError> {
        if self.timers.len() == self.timers.capacity() {
            self.reserve((self.timers.len() * 2).max(32));
        }
        let place = u32::try_from(self.timers.len()).map_err(|_| StartError::Full)?;
        self.timers.push(Timer::UNUSED);
        self.expiries.push(0);
        self.positions.push(0);
        Ok(place)
    }

    /// Makes room for that many timers, their places in the free list, and their entries.
    fn reserve(&mut self, timers: usize) {
        self.timers.reserve_exact(timers.saturating_sub(self.timers.len()));
        self.expiries.reserve_exact(timers.saturating_sub(self.expiries.len()));
        self.positions.reserve_exact(timers.saturating_sub(self.positions.len()));
        self.free.reserve_exact(timers.saturating_sub(self.free.len()));
        self.slots.reserve(timers);
    }
}

impl<
    const TIMERS: usize,
    const RINGS: usize,
    const SLOTS: usize,
    const FEATURES: u32,
    const MAX_EXPIRIES: usize,
> fmt::Debug for TimingWheel<TIMERS, RINGS, SLOTS, FEATURES, MAX_EXPIRIES>
{
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("TimingWheel")
            .field("now", &self.now)
            .field("hand", &self.slots.hand)
            .field("running", &self.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
