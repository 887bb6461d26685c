//! Tasklets that wait on one thread: any thread adds, the owner takes all, in the order in which they
//! came. Modelled in `tests/loom`.
//!
//! A stack of links that are in the things themselves, so that nothing is allocated; whoever is in
//! it is in no other. The owner takes the whole of it, which makes the old trouble of stacks, that
//! one comes back while another takes it away, impossible.
#![expect(unsafe_code, reason = "links are counted references, given away as addresses")]

use std::ptr;

use crate::sync::{Arc, AtomicPtr, Ordering};

/// What can be in a [`List`], one at a time.
pub trait Linked: Sized {
    /// Its link, which is the list's while it is in one.
    fn link(&self) -> &AtomicPtr<Self>;
}

/// See above.
#[derive(Debug)]
pub struct List<T: Linked> {
    /// The last that came; each is a counted reference.
    last: AtomicPtr<T>,
}

impl<T: Linked> List<T> {
    /// An empty one.
    pub fn new() -> Self {
        Self { last: AtomicPtr::new(ptr::null_mut()) }
    }

    /// Adds one that is in no list. Any thread. What was done to it before goes with it.
    pub fn push(&self, item: Arc<T>) {
        let item = Arc::into_raw(item).cast_mut();
        let mut last = self.last.load(Ordering::Relaxed);
        loop {
            // SAFETY: the reference was given to the list, and nobody else has it yet.
            unsafe { &*item }.link().store(last, Ordering::Relaxed);
            let (success, failure) = (Ordering::Release, Ordering::Relaxed);
            match self.last.compare_exchange_weak(last, item, success, failure) {
                Ok(_) => return,
                Err(other) => last = other,
            }
        }
    }

    /// Whether there is one.
    pub fn any(&self) -> bool {
        !self.last.load(Ordering::Relaxed).is_null()
    }

    /// Takes all, the first that came first.
    pub fn take(&self) -> Taken<T> {
        let mut last = self.last.swap(ptr::null_mut(), Ordering::Acquire);
        let mut first = ptr::null_mut();
        while !last.is_null() {
            // SAFETY: a reference that was in the list, taken by the swap: ours now.
            let before = unsafe { &*last }.link().swap(first, Ordering::Relaxed);
            first = last;
            last = before;
        }
        Taken(first)
    }
}

impl<T: Linked> Drop for List<T> {
    fn drop(&mut self) {
        drop(self.take());
    }
}

impl<T: Linked> Default for List<T> {
    fn default() -> Self {
        Self::new()
    }
}

/// What was taken out of a list. Each that it gives is in no list any more.
#[derive(Debug)]
pub struct Taken<T: Linked>(*mut T);

impl<T: Linked> Iterator for Taken<T> {
    type Item = Arc<T>;

    fn next(&mut self) -> Option<Arc<T>> {
        if self.0.is_null() {
            return None;
        }
        // SAFETY: a counted reference that was taken out of the list, given on once.
        let item = unsafe { Arc::from_raw(self.0.cast_const()) };
        self.0 = item.link().load(Ordering::Relaxed);
        Some(item)
    }
}

impl<T: Linked> Drop for Taken<T> {
    fn drop(&mut self) {
        self.for_each(drop);
    }
}
