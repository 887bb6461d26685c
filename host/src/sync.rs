//! Atomics and cells: the standard library's, or loom's where a model tries every order of steps.
//!
//! The models are in `tests/loom`, which compiles the files that use this one with `cfg(loom)`.

#[cfg(loom)]
pub use loom::{
    cell::UnsafeCell,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence},
    },
    thread::yield_now,
};
#[cfg(not(loom))]
pub use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence},
    },
    thread::yield_now,
};

/// A cell whose content is reached by address, for the time of a call, as loom wants to see it.
#[cfg(not(loom))]
#[derive(Debug)]
pub struct UnsafeCell<T>(std::cell::UnsafeCell<T>);

#[cfg(not(loom))]
impl<T> UnsafeCell<T> {
    /// A cell with that content.
    pub fn new(content: T) -> Self {
        Self(std::cell::UnsafeCell::new(content))
    }

    /// Calls `access` with the address of the content, to be written.
    #[inline(always)]
    pub fn with_mut<R>(&self, access: impl FnOnce(*mut T) -> R) -> R {
        access(self.0.get())
    }
}

/// A value behind a lock that is held for moments: the operating system's, or loom's.
#[cfg(not(loom))]
#[derive(Debug)]
pub struct Locked<T>(parking_lot::Mutex<T>);

#[cfg(not(loom))]
impl<T> Locked<T> {
    /// A value behind a lock of its own.
    pub fn new(value: T) -> Self {
        Self(parking_lot::Mutex::new(value))
    }

    /// Works on the value, alone.
    #[inline]
    pub fn with<R>(&self, work: impl FnOnce(&mut T) -> R) -> R {
        work(&mut self.0.lock())
    }
}

/// A value behind a lock, as loom has it.
#[cfg(loom)]
#[derive(Debug)]
pub struct Locked<T>(loom::sync::Mutex<T>);

#[cfg(loom)]
impl<T> Locked<T> {
    /// A value behind a lock of its own.
    pub fn new(value: T) -> Self {
        Self(loom::sync::Mutex::new(value))
    }

    /// Works on the value, alone.
    pub fn with<R>(&self, work: impl FnOnce(&mut T) -> R) -> R {
        work(&mut self.0.lock().expect("nobody panics while it is held"))
    }
}

/// A value alone on its cache lines: two, because they are fetched in pairs.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Padded<T>(pub T);
