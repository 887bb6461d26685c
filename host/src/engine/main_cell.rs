//! What only the main thread may look at, in a place that all threads share.
#![expect(unsafe_code, reason = "proves by the thread what the compiler cannot")]

use std::{
    cell::{Cell, UnsafeCell},
    fmt, ptr,
};

thread_local! {
    /// Its address tells threads apart.
    static HERE: u8 = const { 0 };
}

fn here() -> *const u8 {
    HERE.with(ptr::from_ref)
}

/// A value of the thread that made it, which is main.
pub struct MainCell<T> {
    value: UnsafeCell<T>,
    owner: *const u8,
    used: Cell<bool>,
}

// SAFETY: all but the owner's address, which never changes, is touched by one thread alone: the
// one that made it. No other thread has that address as long as the host lives, and main outlives it.
unsafe impl<T> Sync for MainCell<T> {}
// SAFETY: as above; the host, in which it is, is never moved to another thread but by reference.
unsafe impl<T> Send for MainCell<T> {}

impl<T> MainCell<T> {
    /// A value of the calling thread.
    pub fn new(value: T) -> Self {
        Self { value: UnsafeCell::new(value), owner: here(), used: Cell::new(false) }
    }

    /// Whether the caller is the thread that may use it.
    #[inline]
    pub fn is_here(&self) -> bool {
        self.owner == here()
    }

    /// Uses the value. `function` must not come here again, so it calls no plugin.
    ///
    /// # Panics
    /// On another thread, or inside another use: bugs of the host.
    #[inline]
    pub fn with<R>(&self, function: impl FnOnce(&mut T) -> R) -> R {
        assert!(self.is_here(), "only main comes here");
        assert!(!self.used.replace(true), "one use inside another");
        let _used = Used(&self.used);
        // SAFETY: this is the one thread that comes here, and the flag says that it is not here.
        function(unsafe { &mut *self.value.get() })
    }
}

/// Ends a use, by a panic too.
struct Used<'a>(&'a Cell<bool>);

impl Drop for Used<'_> {
    fn drop(&mut self) {
        self.0.set(false);
    }
}

impl<T> fmt::Debug for MainCell<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MainCell")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_thread_that_made_it_uses_it_and_no_other() {
        let cell = MainCell::new(1);
        cell.with(|value| *value += 1);
        assert_eq!(cell.with(|value| *value), 2);
        let refused = std::thread::scope(|scope| scope.spawn(|| cell.with(|_| ())).join());
        assert!(refused.is_err() && cell.is_here());
    }

    #[test]
    fn a_use_inside_a_use_is_refused_and_a_panic_ends_one() {
        let cell = MainCell::new(());
        let nested = || cell.with(|()| cell.with(|()| ()));
        let refused = std::panic::catch_unwind(std::panic::AssertUnwindSafe(nested));
        assert!(refused.is_err());
        cell.with(|()| ());
    }
}
