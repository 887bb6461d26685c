//! A bounded ring that any thread pushes to and one thread pops from, without locks.
//!
//! ```text
//!            head (the owner's)          tail (the producers')
//!              ▼                           ▼
//!  slot     ┌──────┬──────┬──────┬──────┬──────┬──────┬──────┬──────┐
//!  sequence │ 9    │ 10   │ 11   │ 11   │ 12   │ …            at + 1: there is a value
//!           └──────┴──────┴──────┴──────┴──────┴──────┘       at: free, for position `at`
//! ```
//! A producer takes a position by moving `tail` on, writes the value, and says so in the slot's
//! sequence number; the owner takes the value and says, one lap ahead, that the slot is free. The
//! values of one producer come out in the order in which it pushed them.
//!
//! Source: Vyukov, "Bounded MPMC queue", 1024cores, with one consumer. Modelled in `tests/loom`.
#![expect(unsafe_code, reason = "slots are written and read by whom their sequence number names")]

use std::{fmt, mem::MaybeUninit};

use crate::sync::{Arc, AtomicUsize, Ordering, Padded, UnsafeCell};

/// Both ends of a ring with room for `capacity` values, a power of two.
///
/// # Panics
/// If `capacity` is not a power of two of at least 2: with one slot, its free and its full turn
/// would have the same number.
pub fn ring<T: Send>(capacity: usize) -> (Producer<T>, Consumer<T>) {
    assert!(capacity >= 2 && capacity.is_power_of_two(), "a ring of {capacity} slots");
    let slot =
        |at| Slot { sequence: AtomicUsize::new(at), value: UnsafeCell::new(MaybeUninit::uninit()) };
    let ring = Arc::new(Ring {
        tail: Padded(AtomicUsize::new(0)),
        head: Padded(AtomicUsize::new(0)),
        slots: (0..capacity).map(slot).collect(),
    });
    (Producer(Arc::clone(&ring)), Consumer { ring, head: 0 })
}

/// The end that pushes. Any thread; a clone pushes to the same ring.
pub struct Producer<T: Send>(Arc<Ring<T>>);

/// The end that pops: there is one.
pub struct Consumer<T: Send> {
    ring: Arc<Ring<T>>,
    /// Where the next value comes from; `Ring::head` is what others see of it.
    head: usize,
}

struct Ring<T: Send> {
    tail: Padded<AtomicUsize>,
    head: Padded<AtomicUsize>,
    slots: Box<[Slot<T>]>,
}

struct Slot<T> {
    /// The position it is free for; 1 more if it has that position's value.
    sequence: AtomicUsize,
    value: UnsafeCell<MaybeUninit<T>>,
}

// SAFETY: a value goes from one thread to another, and a slot belongs at each time to one of them.
unsafe impl<T: Send> Send for Ring<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Ring<T> {}

impl<T: Send> Producer<T> {
    /// Pushes a value; gives it back if the ring is full.
    ///
    /// Cost: O(1), one exchange on a shared line; never waits for another thread.
    ///
    /// # Errors
    /// The value.
    #[inline]
    pub fn push(&self, value: T) -> Result<(), T> {
        let Ring { tail: Padded(tail), slots, .. } = &*self.0;
        let mut at = tail.load(Ordering::Relaxed);
        loop {
            let slot = &slots[at & (slots.len() - 1)];
            // Acquire: the owner has taken the value of the lap before.
            let ahead = slot.sequence.load(Ordering::Acquire).wrapping_sub(at).cast_signed();
            if ahead == 0 {
                let next = at.wrapping_add(1);
                match tail.compare_exchange_weak(at, next, Ordering::Relaxed, Ordering::Relaxed) {
                    Ok(_) => {
                        // SAFETY: the exchange gave the free slot to this thread alone.
                        slot.value.with_mut(|room| unsafe { room.write(MaybeUninit::new(value)) });
                        slot.sequence.store(next, Ordering::Release); // The value is there.
                        return Ok(());
                    }
                    Err(now) => at = now,
                }
            } else {
                let now = tail.load(Ordering::Relaxed);
                if ahead < 0 && now == at {
                    return Err(value); // The value of the lap before is still there.
                }
                at = now;
            }
        }
    }

    /// How many values are in the ring or on their way into it; any thread.
    ///
    /// A value that a thread pushed before a sequentially consistent fence is counted by the
    /// owner after its own such fence, if the first fence came first.
    #[inline]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nothing is in the ring or on its way into it.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many values the ring has room for.
    pub fn capacity(&self) -> usize {
        self.0.slots.len()
    }
}

impl<T: Send> Clone for Producer<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T: Send> Consumer<T> {
    /// Takes the oldest value. `None` if there is none, or its producer is still writing it.
    ///
    /// Cost: O(1), no exchange.
    #[inline]
    pub fn pop(&mut self) -> Option<T> {
        let Ring { head: Padded(head), slots, .. } = &*self.ring;
        let slot = &slots[self.head & (slots.len() - 1)];
        let next = self.head.wrapping_add(1);
        // Acquire: the producer has written the value.
        if slot.sequence.load(Ordering::Acquire) != next {
            return None;
        }
        // SAFETY: the number says that the value is there, and this is the one end that takes it.
        let value = slot.value.with_mut(|value| unsafe { value.read() });
        // Release: the value has been taken; the slot is free for the next lap.
        slot.sequence.store(self.head.wrapping_add(slots.len()), Ordering::Release);
        self.head = next;
        head.store(next, Ordering::Relaxed);
        // SAFETY: it was written before its number was, and this is its one reader.
        Some(unsafe { value.assume_init() })
    }

    /// How many values are in the ring or on their way into it.
    ///
    /// Cost: one relaxed load of the producers' line.
    #[inline]
    pub fn len(&self) -> usize {
        self.ring.tail.0.load(Ordering::Relaxed).wrapping_sub(self.head)
    }

    /// Whether nothing is in the ring or on its way into it.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<T: Send> Ring<T> {
    #[inline]
    fn len(&self) -> usize {
        let head = self.head.0.load(Ordering::Relaxed);
        let tail = self.tail.0.load(Ordering::Relaxed);
        // The two may be of different moments.
        tail.wrapping_sub(head).cast_signed().max(0).cast_unsigned().min(self.slots.len())
    }
}

impl<T: Send> Drop for Ring<T> {
    fn drop(&mut self) {
        let (head, tail) =
            (self.head.0.load(Ordering::Relaxed), self.tail.0.load(Ordering::Relaxed));
        for at in 0..tail.wrapping_sub(head) {
            let slot = &self.slots[head.wrapping_add(at) & (self.slots.len() - 1)];
            // SAFETY: both ends are gone; nobody else uses the slot.
            let value = slot.value.with_mut(|value| unsafe { value.read() });
            // SAFETY: every push had ended, so the slot had a value, which nobody took.
            drop(unsafe { value.assume_init() });
        }
    }
}

impl<T: Send> fmt::Debug for Producer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Producer({} of {})", self.len(), self.capacity())
    }
}

impl<T: Send> fmt::Debug for Consumer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Consumer({} of {})", self.len(), self.ring.slots.len())
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
