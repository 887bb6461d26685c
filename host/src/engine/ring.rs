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
//! values of one producer come out in the order in which it pushed them. A bit in `tail` closes the
//! ring: a producer that moves `tail` on finds it or comes before it, so that whoever closes it and
//! takes what is in it then leaves nothing behind.
//!
//! Source: Vyukov, "Bounded MPMC queue", 1024cores, with one consumer. Modelled in `tests/loom`.
#![expect(unsafe_code, reason = "slots are written and read by whom their sequence number names")]

use std::{fmt, mem::MaybeUninit};

use crate::sync::{Arc, AtomicUsize, Ordering, Padded, UnsafeCell, yield_now};

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

/// A position of the producers that nobody may take: the ring is closed.
const CLOSED: usize = 1 << (usize::BITS - 1);

impl<T: Send> Producer<T> {
    /// Pushes a value; gives it back if the ring is full or closed.
    ///
    /// Cost: O(1), one exchange on a shared line; never waits for another thread.
    ///
    /// # Errors
    /// The value.
    #[inline]
    pub fn push(&self, value: T) -> Result<(), T> {
        let Some(claim) = self.claim() else { return Err(value) };
        // SAFETY: the claim gave the free slot to this thread alone.
        claim.slot.value.with_mut(|room| unsafe { room.write(MaybeUninit::new(value)) });
        claim.publish();
        Ok(())
    }

    /// Pushes a value that `write` makes where it stays; `false`, and nothing is made, if the ring
    /// is full or closed.
    ///
    /// Cost: as of [`push`](Self::push).
    ///
    /// # Safety
    /// `write` makes a value of the room that it is given, and does not panic: the owner would wait
    /// for that value for ever.
    #[inline]
    pub unsafe fn push_with(&self, write: impl FnOnce(&mut MaybeUninit<T>)) -> bool {
        let Some(claim) = self.claim() else { return false };
        // SAFETY: the claim gave the free slot to this thread alone.
        claim.slot.value.with_mut(|room| write(unsafe { &mut *room }));
        claim.publish();
        true
    }

    /// Takes the next position; `None` if there is no room, or the ring is closed.
    #[inline(always)]
    fn claim(&self) -> Option<Claim<'_, T>> {
        let Ring { tail: Padded(tail), slots, .. } = &*self.0;
        let mut at = tail.load(Ordering::Relaxed);
        loop {
            if at & CLOSED != 0 {
                return None;
            }
            let slot = &slots[at & (slots.len() - 1)];
            // Acquire: the owner has taken the value of the lap before.
            let ahead = slot.sequence.load(Ordering::Acquire).wrapping_sub(at).cast_signed();
            if ahead == 0 {
                let next = at + 1; // Below `CLOSED`: 2^63 pushes take centuries.
                match tail.compare_exchange_weak(at, next, Ordering::Relaxed, Ordering::Relaxed) {
                    Ok(_) => return Some(Claim { slot, next }),
                    Err(now) => at = now,
                }
            } else {
                let now = tail.load(Ordering::Relaxed);
                if ahead < 0 && now == at {
                    return None; // The value of the lap before is still there.
                }
                at = now;
            }
        }
    }

    /// Closes the ring: no push works from now on. Values that are in it, or that a producer is
    /// writing, are the owner's still. Any thread.
    pub fn close(&self) {
        self.0.close();
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

    /// Gives every value in the ring to `look`, the oldest first.
    ///
    /// # Safety
    /// No thread pushes or pops meanwhile.
    pub unsafe fn look_at_all(&self, mut look: impl FnMut(&T)) {
        let Ring { head, tail, slots } = &*self.0;
        let head = head.0.load(Ordering::Relaxed);
        let tail = tail.0.load(Ordering::Relaxed) & !CLOSED;
        for at in 0..tail.wrapping_sub(head) {
            let slot = &slots[head.wrapping_add(at) & (slots.len() - 1)];
            // SAFETY: nobody uses the slot meanwhile.
            let value = slot.value.with_mut(|value| unsafe { &*value });
            // SAFETY: every push has ended, so the value is there.
            look(unsafe { value.assume_init_ref() });
        }
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
        // SAFETY: what is looked at is taken here, and `advance` below says so.
        let value = self.look(|value| unsafe { value.assume_init_read() })?;
        self.advance();
        Some(value)
    }

    /// As [`pop`](Self::pop), without moving the value: `read` looks at it where it is, and then it
    /// is dropped there.
    ///
    /// Should `read` panic, the value stays the oldest.
    #[inline]
    pub fn pop_with<R>(&mut self, read: impl FnOnce(&mut T) -> R) -> Option<R> {
        // SAFETY: a value that is there is whole.
        let result = self.look(|value| read(unsafe { value.assume_init_mut() }))?;
        if std::mem::needs_drop::<T>() {
            // SAFETY: as above; nobody looks at it again, because `advance` moves on.
            self.look(|value| unsafe { value.assume_init_drop() });
        }
        self.advance();
        Some(result)
    }

    /// Gives the oldest value to `look`, if there is one.
    #[inline(always)]
    fn look<R>(&self, look: impl FnOnce(&mut MaybeUninit<T>) -> R) -> Option<R> {
        let slots = &self.ring.slots;
        let slot = &slots[self.head & (slots.len() - 1)];
        // Acquire: the producer has written the value.
        if slot.sequence.load(Ordering::Acquire) != self.head.wrapping_add(1) {
            return None;
        }
        // SAFETY: the number says that the value is there, and this is the one end that uses it.
        Some(slot.value.with_mut(|value| look(unsafe { &mut *value })))
    }

    /// The oldest value has been taken.
    #[inline(always)]
    fn advance(&mut self) {
        let Ring { head: Padded(head), slots, .. } = &*self.ring;
        let slot = &slots[self.head & (slots.len() - 1)];
        // Release: the value has been taken; the slot is free for the next lap.
        slot.sequence.store(self.head.wrapping_add(slots.len()), Ordering::Release);
        self.head = self.head.wrapping_add(1);
        head.store(self.head, Ordering::Relaxed);
    }

    /// As [`Producer::close`].
    pub fn close(&self) {
        self.ring.close();
    }

    /// Closes the ring, and takes all that is left; waits for the values that producers are writing
    /// at this moment. Nothing comes after it.
    ///
    /// Cost: a producer that the system has put aside in the middle of its write holds it up.
    pub fn close_and_drain(&mut self, mut take: impl FnMut(T)) {
        self.ring.close();
        while !self.is_empty() {
            match self.pop() {
                Some(value) => take(value),
                None => yield_now(),
            }
        }
    }

    /// How many values are in the ring or on their way into it.
    ///
    /// Cost: one relaxed load of the producers' line.
    #[inline]
    pub fn len(&self) -> usize {
        (self.ring.tail.0.load(Ordering::Relaxed) & !CLOSED).wrapping_sub(self.head)
    }

    /// Whether nothing is in the ring or on its way into it.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A slot that a producer alone may write to, for position `next - 1`.
struct Claim<'a, T> {
    slot: &'a Slot<T>,
    next: usize,
}

impl<T> Claim<'_, T> {
    /// The value is there.
    #[inline(always)]
    fn publish(self) {
        self.slot.sequence.store(self.next, Ordering::Release);
    }
}

impl<T: Send> Ring<T> {
    fn close(&self) {
        self.tail.0.fetch_or(CLOSED, Ordering::Relaxed);
    }

    #[inline]
    fn len(&self) -> usize {
        let head = self.head.0.load(Ordering::Relaxed);
        let tail = self.tail.0.load(Ordering::Relaxed) & !CLOSED;
        // The two may be of different moments.
        tail.wrapping_sub(head).cast_signed().max(0).cast_unsigned().min(self.slots.len())
    }
}

impl<T: Send> Drop for Ring<T> {
    fn drop(&mut self) {
        let (head, tail) =
            (self.head.0.load(Ordering::Relaxed), self.tail.0.load(Ordering::Relaxed) & !CLOSED);
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
