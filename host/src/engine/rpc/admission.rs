//! Who may still send calls to main: closed for an owner before its code is stopped, so that none
//! of its calls comes after the queue was cleared of them. Modelled in `tests/loom`.

use crate::sync::{AtomicU64, AtomicUsize, Ordering, Padded, fence, yield_now};

/// Nobody is kept out.
const OPEN: u64 = u64::MAX;
/// Everybody is.
const ALL: u64 = u64::MAX - 1;
/// Counters that owners share: so many that one who sends all the time seldom holds another up.
const SHARES: usize = 8;

/// A gate in front of the queue.
#[derive(Debug)]
pub struct Admission {
    /// Owner that is kept out, [`OPEN`] or [`ALL`].
    closed: AtomicU64,
    /// Senders between the gate and the end of their push.
    inside: [Padded<AtomicUsize>; SHARES],
}

/// A sender that was let in; it pushes, without waiting for anything, and drops this.
#[derive(Debug)]
pub struct Entry<'a>(&'a AtomicUsize);

impl Admission {
    /// Open for all.
    pub fn new() -> Self {
        let inside = std::array::from_fn(|_| Padded(AtomicUsize::new(0)));
        Self { closed: AtomicU64::new(OPEN), inside }
    }

    /// Lets a sender of `owner` in, unless the gate is closed for it.
    pub fn enter(&self, owner: u64) -> Option<Entry<'_>> {
        let inside = self.inside(owner);
        inside.fetch_add(1, Ordering::Relaxed);
        let entry = Entry(inside);
        // Against the fence of `close`: this sees that it is closed, or is seen inside.
        fence(Ordering::SeqCst);
        let closed = self.closed.load(Ordering::Relaxed);
        (closed != owner && closed != ALL).then_some(entry)
    }

    /// Closes the gate for `owner` and waits until none that it let in is inside. Main.
    pub fn close(&self, owner: u64) {
        if self.closed.load(Ordering::Relaxed) != ALL {
            self.closed.store(owner, Ordering::Relaxed);
        }
        fence(Ordering::SeqCst);
        // Acquire: what it pushed can be popped.
        while self.inside(owner).load(Ordering::Acquire) != 0 {
            yield_now();
        }
    }

    /// Closes the gate for all, for ever. Main.
    pub fn close_for_all(&self) {
        self.closed.store(ALL, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        for Padded(inside) in &self.inside {
            while inside.load(Ordering::Acquire) != 0 {
                yield_now();
            }
        }
    }

    /// Opens the gate again after it was closed for `owner`. Main.
    pub fn open(&self, owner: u64) {
        if self.closed.load(Ordering::Relaxed) == owner {
            self.closed.store(OPEN, Ordering::Relaxed);
        }
    }

    fn inside(&self, owner: u64) -> &AtomicUsize {
        let share = owner % SHARES as u64;
        &self.inside[usize::try_from(share).expect("below the number of shares")].0
    }
}

impl Default for Admission {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Release);
    }
}
