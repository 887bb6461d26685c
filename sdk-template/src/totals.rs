//! What was seen, for all threads together.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::class::Class;

/// Packets and bytes of each class: what one thread saw in one frame, or a reading of all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen([[u64; 2]; Class::ALL.len()]);

impl Seen {
    /// Adds a packet of `len` bytes.
    #[inline]
    pub fn add(&mut self, class: Class, len: usize) {
        let [packets, bytes] = &mut self.0[class as usize];
        *packets += 1;
        *bytes += len as u64;
    }

    /// Packets and bytes of a class.
    pub fn of(&self, class: Class) -> [u64; 2] {
        self.0[class as usize]
    }
}

/// Packets and bytes of each class since the plugin was loaded.
#[derive(Debug, Default)]
pub struct Totals([[AtomicU64; 2]; Class::ALL.len()]);

impl Totals {
    /// Adds what was seen in a frame. Any thread.
    #[inline]
    pub fn add(&self, seen: &Seen) {
        for (total, seen) in self.0.iter().flatten().zip(seen.0.iter().flatten()) {
            if *seen != 0 {
                total.fetch_add(*seen, Relaxed);
            }
        }
    }

    /// What was seen up to now. Any thread.
    pub fn read(&self) -> Seen {
        Seen(self.0.each_ref().map(|class| class.each_ref().map(|total| total.load(Relaxed))))
    }
}
