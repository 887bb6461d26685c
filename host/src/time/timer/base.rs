//! A thread's timers, as a pure structure: two wheels, and what their timers stand for.
//!
//! Linux's base was a cascade of 256 + 4 x 64 slots of linked lists, turned tick by tick. This one
//! has the same contract on the [`TimingWheel`], for what an idle host does: after an hour's sleep
//! the cascade turns 3.6 million empty ticks, which takes 2 to 4 ms, and this one goes there in less
//! than 0.1 us; and it knows its next expiry without turning. That has a price: adding and moving
//! take 1.4 to 6 times as long as the cascade's, and expiry 3 to 9 times, except with 10^6 timers,
//! where it is about even (`cargo bench --bench time -- timer`; 5 to 330 ns each).
//! Deferrable timers have a wheel of their own, so that the other one alone bounds an idle sleep.

use plugin_api::wheel::{DUPLICATE_STOP, Expiry, FAST_BITMAP, OVERFLOW, TimerHandle, TimingWheel};

/// Rings and slots of a small build, for many threads with few timers each.
pub type SmallTimerBase<T> = TimerBase<T, 3, 16>;

/// Timers that stand for a `T`, and expire one at a time.
///
/// Unit: one tick, counted from the base's start, so that it never wraps.
/// Cost: as the wheel's; memory grows with the most timers ever pending.
#[derive(Debug)]
pub struct TimerBase<T, const RINGS: usize = 4, const SLOTS: usize = 256> {
    standard: Wheel<RINGS, SLOTS>,
    deferrable: Wheel<RINGS, SLOTS>,
    items: Vec<Option<Item<T>>>,
    free: Vec<u32>,
    /// Expired and not yet popped, the first one last; one that was removed or moved meanwhile is
    /// not in its item's place any more.
    ready: Vec<(u32, TimerHandle)>,
    expired: Vec<Expiry<1>>,
}

/// As many timers leave the wheel at a time.
const BATCH: usize = 64;

type Wheel<const RINGS: usize, const SLOTS: usize> =
    TimingWheel<1, RINGS, SLOTS, { OVERFLOW | FAST_BITMAP | DUPLICATE_STOP }, BATCH>;

/// Names a pending timer of one base.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    /// Where its item is; also its object number on the wheel.
    pub item: u32,
    /// What its wheel calls it.
    pub handle: TimerHandle,
    /// Which wheel that is.
    pub deferrable: bool,
}

#[derive(Debug)]
struct Item<T> {
    handle: TimerHandle,
    deferrable: bool,
    value: T,
}

impl<T, const RINGS: usize, const SLOTS: usize> TimerBase<T, RINGS, SLOTS> {
    /// A base with no timers, at tick 0.
    pub fn new() -> Self {
        Self {
            standard: Wheel::new(0),
            deferrable: Wheel::new(0),
            items: Vec::new(),
            free: Vec::new(),
            ready: Vec::with_capacity(BATCH),
            expired: Vec::with_capacity(BATCH),
        }
    }

    /// Adds a timer that expires at `deadline`, on the next tick if that is not in the future.
    pub fn insert(&mut self, deadline: u64, deferrable: bool, value: T) -> Key {
        let item = self.free.pop().unwrap_or_else(|| {
            self.items.push(None);
            u32::try_from(self.items.len() - 1).expect("fewer than 2^32 items fit into memory")
        });
        let wheel = self.wheel(deferrable);
        let interval = deadline.saturating_sub(wheel.now());
        let handle = wheel.start(item, 0, interval).expect("with overflow, every number is valid");
        self.items[item as usize] = Some(Item { handle, deferrable, value });
        Key { item, handle, deferrable }
    }

    /// Takes a timer out; `None` if it is not pending.
    pub fn remove(&mut self, key: Key) -> Option<T> {
        let place = self.items.get_mut(key.item as usize)?;
        let item = place.take_if(|item| item.handle == key.handle)?;
        self.wheel(key.deferrable).stop(key.handle);
        self.free.push(key.item);
        Some(item.value)
    }

    /// Moves a pending timer to another tick, where it may have another key; `None` if it is not
    /// pending.
    pub fn modify(&mut self, key: Key, deadline: u64) -> Option<Key> {
        let wheel = self.wheel(key.deferrable);
        if wheel.update(key.handle, deadline.saturating_sub(wheel.now())).is_ok() {
            return Some(key);
        }
        // It has expired and waits to be popped.
        let value = self.remove(key)?;
        Some(self.insert(deadline, key.deferrable, value))
    }

    /// Takes the next timer that has expired by tick `now`, in the order of the ticks; deferrable
    /// ones after the others.
    pub fn pop(&mut self, now: u64) -> Option<T> {
        loop {
            while let Some((place, handle)) = self.ready.pop() {
                let item = self.items[place as usize].take_if(|item| item.handle == handle);
                if let Some(item) = item {
                    self.free.push(place);
                    return Some(item.value);
                }
            }
            if self.standard.expire(now, &mut self.expired) == 0
                && self.deferrable.expire(now, &mut self.expired) == 0
            {
                return None;
            }
            let places = self.expired.drain(..).rev().map(Expiry::object);
            self.ready
                .extend(places.filter_map(|place| {
                    Some((place, self.items[place as usize].as_ref()?.handle))
                }));
        }
    }

    /// The tick at which the next timer expires that is not deferrable; see
    /// [`TimingWheel::next_expiry`] for how exact that is.
    pub fn next_expiry(&self) -> Option<u64> {
        let ready = self.pending_ready().next().map(|_| self.standard.now());
        ready.or_else(|| self.standard.next_expiry())
    }

    /// No timer of any kind expires before this tick. Cost: two loads.
    pub fn quiet_until(&self) -> u64 {
        let wheels = self.standard.quiet_until().min(self.deferrable.quiet_until());
        if self.ready.is_empty() { wheels } else { 0 }
    }

    /// Pending timers that keep an idle thread from sleeping on: all but the deferrable ones.
    pub fn active(&self) -> usize {
        self.standard.len() + self.pending_ready().filter(|item| !item.deferrable).count()
    }

    /// Pending timers.
    pub fn all(&self) -> usize {
        self.items.len() - self.free.len()
    }

    /// What is pending, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.items.iter().flatten().map(|item| &item.value)
    }

    /// Takes out what is pending and chosen: the value, its deadline, whether it is deferrable.
    pub fn extract(&mut self, chosen: impl Fn(&T) -> bool) -> Vec<(T, u64, bool)> {
        let mut extracted = Vec::new();
        for place in 0..self.items.len() {
            let Some(item) = self.items[place].take_if(|item| chosen(&item.value)) else {
                continue;
            };
            let wheel = if item.deferrable { &mut self.deferrable } else { &mut self.standard };
            // One that waits to be popped has no deadline any more: it is due at once.
            let deadline = wheel.deadline(item.handle).unwrap_or(0);
            wheel.stop(item.handle);
            self.free.extend(u32::try_from(place));
            extracted.push((item.value, deadline, item.deferrable));
        }
        extracted
    }

    fn pending_ready(&self) -> impl Iterator<Item = &Item<T>> {
        self.ready.iter().filter_map(|&(place, handle)| {
            self.items[place as usize].as_ref().filter(|item| item.handle == handle)
        })
    }

    fn wheel(&mut self, deferrable: bool) -> &mut Wheel<RINGS, SLOTS> {
        if deferrable { &mut self.deferrable } else { &mut self.standard }
    }
}

impl<T, const RINGS: usize, const SLOTS: usize> Default for TimerBase<T, RINGS, SLOTS> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timers_expire_in_order_and_each_once() {
        let mut base = TimerBase::<u32>::new();
        for (value, deadline) in [(1, 70_000), (2, 3), (3, 300)] {
            base.insert(deadline, false, value);
        }
        assert_eq!(base.next_expiry(), Some(3));
        assert_eq!(base.pop(2), None);
        assert_eq!(base.pop(299), Some(2));
        assert_eq!(base.pop(299), None);
        let late: Vec<_> = core::iter::from_fn(|| base.pop(1 << 40)).collect();
        assert_eq!(late, [3, 1]);
        assert_eq!((base.all(), base.quiet_until()), (0, u64::MAX));
    }

    #[test]
    fn a_deferrable_timer_does_not_bound_the_sleep_and_expires_all_the_same() {
        let mut base = SmallTimerBase::<&str>::new();
        base.insert(5, true, "lazy");
        assert_eq!((base.next_expiry(), base.active(), base.all()), (None, 0, 1));
        base.insert(50, false, "eager");
        assert_eq!(base.next_expiry(), Some(50));
        assert_eq!((base.pop(50), base.pop(50), base.pop(50)), (Some("eager"), Some("lazy"), None));
    }

    #[test]
    fn a_key_is_stale_once_its_timer_expired_or_was_removed() {
        let mut base = TimerBase::<u32>::new();
        let key = base.insert(5, false, 1);
        assert_eq!(base.modify(key, 9), Some(key));
        assert_eq!(base.remove(key), Some(1));
        let next = base.insert(5, false, 2);
        assert_eq!(next.item, key.item);
        assert_eq!(base.modify(key, 1), None);
        assert_eq!(base.remove(key), None);
        assert_eq!(base.pop(5), Some(2));
        assert_eq!(base.remove(next), None);
    }

    #[test]
    fn one_that_waits_to_be_popped_is_pending_and_can_be_removed_and_moved() {
        let mut base = TimerBase::<u32>::new();
        let keys: Vec<_> = (0..5).map(|value| base.insert(10, false, value)).collect();
        let first = base.pop(10).unwrap() as usize;
        assert_eq!((base.all(), base.active(), base.quiet_until()), (4, 4, 0));
        assert_eq!(base.next_expiry(), Some(10));
        let [removed, moved] = [(first + 1) % 5, (first + 2) % 5];
        assert_eq!(base.remove(keys[removed]), u32::try_from(removed).ok());
        let key = base.modify(keys[moved], 50).unwrap();
        let moved_value = u32::try_from(moved).unwrap();
        assert_ne!(key, keys[moved]);
        assert_eq!(base.remove(keys[first]), None);
        let rest: Vec<_> = core::iter::from_fn(|| base.pop(10)).collect();
        assert_eq!((rest.len(), rest.contains(&moved_value)), (2, false));
        assert_eq!((base.pop(49), base.pop(50)), (None, Some(moved_value)));
        assert_eq!((base.all(), base.next_expiry()), (0, None));
    }

    #[test]
    fn what_is_extracted_keeps_its_deadline_and_the_rest_stays() {
        let mut base = TimerBase::<u32>::new();
        for value in 0..10 {
            base.insert(100 + u64::from(value), value % 3 == 0, value);
        }
        let odd = base.extract(|value| value % 2 == 1);
        let expected =
            [(1, 101, false), (3, 103, true), (5, 105, false), (7, 107, false), (9, 109, true)];
        assert_eq!(odd, expected);
        assert_eq!((base.all(), base.iter().count()), (5, 5));
    }
}
