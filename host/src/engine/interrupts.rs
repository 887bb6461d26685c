//! What waits to be dispatched on one thread because someone marked it.
//!
//! ```text
//!  any thread   lock ── not in the vector yet? append, say that there is some ── unlock ── ring
//!  owner        is there some? ── lock ── swap the vector for an empty one, say that there is none ──
//!               unlock ── dispatch
//! ```
//! The owner holds the lock for the swap alone. What is marked again before it was taken is taken
//! once; what is marked while it is dispatched is taken in the next turn. Modelled in `tests/loom`.

use crate::sync::{AtomicBool, Locked, Ordering};

/// The pending set of a thread, of things that are named by a `T`.
#[derive(Debug)]
pub struct Interrupts<T> {
    /// The vector is not empty; written under the lock.
    any: AtomicBool,
    filling: Locked<Vec<T>>,
}

impl<T: PartialEq> Interrupts<T> {
    /// Nothing is marked.
    pub fn new() -> Self {
        Self { any: AtomicBool::new(false), filling: Locked::new(Vec::new()) }
    }

    /// Marks something. Any thread; the owner must be rung after this, if it may sleep.
    ///
    /// Cost: O(what is marked) under the lock; allocates where there was never as much.
    pub fn mark(&self, what: T) {
        self.filling.with(|filling| {
            if !filling.contains(&what) {
                filling.push(what);
                self.any.store(true, Ordering::Relaxed);
            }
        });
    }

    /// Whether something is marked. The owner, which looks once more after it announced its sleep.
    ///
    /// Cost: a relaxed load.
    #[inline(always)]
    pub fn any(&self) -> bool {
        self.any.load(Ordering::Relaxed)
    }

    /// Swaps what is marked into `taken`, which is empty. The owner.
    pub fn take(&self, taken: &mut Vec<T>) {
        self.filling.with(|filling| {
            std::mem::swap(filling, taken);
            self.any.store(false, Ordering::Relaxed);
        });
    }
}

impl<T: PartialEq> Default for Interrupts<T> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn what_is_marked_twice_before_it_is_taken_is_taken_once() {
        let interrupts = Interrupts::new();
        assert!(!interrupts.any());
        [7, 8, 7].into_iter().for_each(|what| interrupts.mark(what));
        assert!(interrupts.any());
        let mut taken = Vec::new();
        interrupts.take(&mut taken);
        assert_eq!((taken, interrupts.any()), (vec![7, 8], false));
        interrupts.mark(7);
        let mut taken = Vec::new();
        interrupts.take(&mut taken);
        assert_eq!(taken, [7], "marked after it was taken, it is taken again");
    }
}
