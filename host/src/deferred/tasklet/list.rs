//! Tasklets that wait on one thread: any thread adds, the owner takes all, in the order in which they
//! came. Modelled in `tests/loom`.
//!
//! Two stacks: the owner's, which costs no atomic operation, and that of the others. The links are in the
//! things themselves, so nothing is allocated; whoever is in one is in no other. The owner takes the
//! whole of it, which makes the old trouble of stacks, that one comes back while another takes it away,
//! impossible.
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
    /// The last that the owner added; each is a counted reference.
    own: AtomicPtr<T>,
    /// The last that another thread added.
    others: AtomicPtr<T>,
}

impl<T: Linked> List<T> {
    /// An empty one.
    pub fn new() -> Self {
        let none = || AtomicPtr::new(ptr::null_mut());
        Self { own: none(), others: none() }
    }

    /// Adds one that is in no list. The owner alone.
    pub fn push_own(&self, item: Arc<T>) {
        item.link().store(self.own.load(Ordering::Relaxed), Ordering::Relaxed);
        self.own.store(Arc::into_raw(item).cast_mut(), Ordering::Relaxed);
    }

    /// Adds one that is in no list. Any thread. What was done to it before goes with it.
    pub fn push(&self, item: Arc<T>) {
        let item = Arc::into_raw(item).cast_mut();
        let mut last = self.others.load(Ordering::Relaxed);
        loop {
            // SAFETY: the reference was given to the list, and nobody else has it yet.
            unsafe { &*item }.link().store(last, Ordering::Relaxed);
            let (success, failure) = (Ordering::Release, Ordering::Relaxed);
            match self.others.compare_exchange_weak(last, item, success, failure) {
                Ok(_) => return,
                Err(other) => last = other,
            }
        }
    }

    /// Takes all: those of others and then the owner's, in the order in which they were added. The
    /// owner; or main, for a thread that does not run any more.
    pub fn take(&self) -> Taken<T> {
        let own = self.own.load(Ordering::Relaxed);
        self.own.store(ptr::null_mut(), Ordering::Relaxed);
        let others = match self.others.load(Ordering::Relaxed).is_null() {
            true => ptr::null_mut(),
            false => self.others.swap(ptr::null_mut(), Ordering::Acquire),
        };
        Taken(turned(others, turned(own, ptr::null_mut())))
    }
}

/// The first of what leads from `last` backwards, in front of `rest`.
fn turned<T: Linked>(mut last: *mut T, rest: *mut T) -> *mut T {
    let mut first = rest;
    while !last.is_null() {
        // SAFETY: a counted reference that was in the list and was taken out: the caller's now.
        let before = unsafe { &*last }.link().load(Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { &*last }.link().store(first, Ordering::Relaxed);
        (first, last) = (last, before);
    }
    first
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
