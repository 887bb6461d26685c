//! The pool: one mapped region of buffers, shared by all threads.
//!
//! Free buffers travel between threads in batches, through a lock-free queue; a thread keeps a
//! few hundred at hand in its [`Cache`](super::Cache). The last buffers freed are the first used
//! again, so that a host that forwards little touches little memory.
#![expect(unsafe_code, reason = "maps the region and reads headers by index")]

use std::{
    ptr::NonNull,
    sync::atomic::{AtomicU16, AtomicU32, AtomicUsize, Ordering},
};

use crossbeam_queue::ArrayQueue;
use gristmill_abi::buffer::{FLAG_NEXT, Header, LINE, LINE_SHIFT, STRIDE};
use parking_lot::Mutex;
use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous, munmap};

use super::Marks;

/// Buffers of one batch.
pub(super) const BATCH: usize = 32;
const HUGE_PAGE: usize = 2 << 20;

/// A batch of free buffers.
pub(super) type Batch = [u32; BATCH];

/// Why there is no pool.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PoolError {
    /// The count does not fit an index.
    #[error("{0} buffers cannot be indexed: take at most {max}", max = Pool::MAX)]
    TooMany(usize),
    /// The system gave no memory.
    #[error("cannot map {bytes} bytes for buffers")]
    Map {
        /// Size of the region.
        bytes: usize,
        /// What the system said.
        source: rustix::io::Errno,
    },
}

/// All buffers of the host.
#[derive(Debug)]
pub struct Pool {
    base: NonNull<u8>,
    bytes: usize,
    buffers: usize,
    huge: bool,
    /// Free buffers, in batches, of which each buffer is in at most one.
    batches: ArrayQueue<Batch>,
    /// Free buffers that do not make a batch.
    stragglers: Mutex<Vec<u32>>,
    /// Buffers that were never given out yet: handed out last, so their pages stay untouched.
    untouched: AtomicUsize,
    /// How many buffers each thread has at hand.
    pub(super) cached: Box<[AtomicU32]>,
    /// Which packets are traced.
    pub marks: Marks,
}

// SAFETY: the region is shared memory whose buffers each have one owner at a time.
unsafe impl Send for Pool {}
// SAFETY: as above.
unsafe impl Sync for Pool {}

impl Pool {
    /// Buffers at most: an index counts lines of 64 bytes in 32 bits.
    pub const MAX: usize = (u32::MAX as usize) / (STRIDE / LINE);
    /// Threads that can have a cache.
    pub const THREADS: usize = 64;

    /// Maps `buffers` buffers (rounded up to whole batches), on huge pages if there are any.
    ///
    /// # Errors
    /// [`PoolError`] if they are too many or the system has no memory.
    pub fn new(buffers: usize) -> Result<Self, PoolError> {
        if buffers > Self::MAX - BATCH {
            return Err(PoolError::TooMany(buffers));
        }
        let buffers = buffers.max(1).next_multiple_of(BATCH);
        let bytes = (buffers * STRIDE).next_multiple_of(HUGE_PAGE);
        let (base, huge) = map(bytes).map_err(|source| PoolError::Map { bytes, source })?;
        Ok(Self {
            base,
            bytes,
            buffers,
            huge,
            batches: ArrayQueue::new(buffers / BATCH),
            stragglers: Mutex::default(),
            untouched: AtomicUsize::new(0),
            cached: (0..Self::THREADS).map(|_| AtomicU32::new(0)).collect(),
            marks: Marks::default(),
        })
    }

    /// Address of buffer index 0.
    pub fn base(&self) -> *mut u8 {
        self.base.as_ptr()
    }

    /// Buffers in all.
    pub fn buffers(&self) -> usize {
        self.buffers
    }

    /// Whether the region is on huge pages.
    pub fn is_huge(&self) -> bool {
        self.huge
    }

    /// Free buffers in the shared part.
    pub fn free_shared(&self) -> usize {
        let untouched = self.buffers - self.untouched.load(Ordering::Relaxed).min(self.buffers);
        self.batches.len() * BATCH + self.stragglers.lock().len() + untouched
    }

    /// Free buffers that thread `thread` has at hand.
    pub fn free_cached(&self, thread: usize) -> usize {
        self.cached.get(thread).map_or(0, |count| count.load(Ordering::Relaxed) as usize)
    }

    /// Buffers that hold packets or wait, empty, in a device's queue; exact when no thread runs.
    pub fn in_use(&self) -> usize {
        let cached: usize = (0..Self::THREADS).map(|thread| self.free_cached(thread)).sum();
        self.buffers.saturating_sub(self.free_shared() + cached)
    }

    pub(super) fn take_batch(&self) -> Option<Batch> {
        self.batches.pop().or_else(|| self.fresh_batch())
    }

    pub(super) fn give_batch(&self, batch: Batch) {
        if let Err(batch) = self.batches.push(batch) {
            // The queue holds as many batches as there are buffers for: only a double free
            // brings one more.
            panic!("buffers {batch:?} were freed twice");
        }
    }

    /// Gives single buffers back, from any thread.
    pub fn give_stragglers(&self, indices: &[u32]) {
        let mut stragglers = self.stragglers.lock();
        stragglers.extend_from_slice(indices);
        while stragglers.len() >= BATCH {
            let rest = stragglers.len() - BATCH;
            let mut batch = [0; BATCH];
            batch.copy_from_slice(&stragglers[rest..]);
            stragglers.truncate(rest);
            self.give_batch(batch);
        }
    }

    /// Up to `wanted` single buffers, when no batches are left.
    pub(super) fn take_stragglers(&self, wanted: usize, into: &mut Vec<u32>) {
        let mut stragglers = self.stragglers.lock();
        let rest = stragglers.len().saturating_sub(wanted);
        into.extend(stragglers.drain(rest..));
    }

    /// Frees a packet with its chain from a thread that has no cache.
    pub fn release(&self, index: u32) {
        let mut freed = Vec::new();
        if self.marks.any() {
            self.end_traces(&[index]);
        }
        self.unchain(index, &mut freed);
        self.give_stragglers(&freed);
    }

    /// Packets are about to be freed by the last owner that they have: those of them that are traced
    /// are so no more. A buffer of a chain may have been a packet of its own.
    #[cold]
    pub(super) fn end_traces(&self, packets: &[u32]) {
        for &packet in packets {
            let mut next = Some(packet);
            while let Some(index) = next {
                let at = self.header(index);
                // SAFETY: the caller owns the packet, so line 0 is valid and not written to.
                let header = unsafe { &*at };
                if header.ref_count.load(Ordering::Acquire) != 1 {
                    break;
                }
                next = (header.flags & FLAG_NEXT != 0).then_some(header.next_buffer);
                let mark = header.trace;
                if mark != 0 {
                    self.marks.end(mark);
                    // SAFETY: as above, and there is no other owner.
                    unsafe { (*at).trace = 0 };
                }
            }
        }
    }

    /// Appends the buffers of a packet that now have no owner.
    pub(super) fn unchain(&self, index: u32, freed: &mut Vec<u32>) {
        let mut next = Some(index);
        while let Some(index) = next {
            let header = self.header(index);
            // SAFETY: the caller owns the packet, so line 0 is valid and not written to.
            let header = unsafe { &*header };
            next = (header.flags & FLAG_NEXT != 0).then_some(header.next_buffer);
            if !give_up(&header.ref_count) {
                return; // The rest of a shared chain belongs to the other owners too.
            }
            freed.push(index);
        }
    }

    /// Line 0 of a buffer.
    ///
    /// # Panics
    /// If there is no such buffer.
    pub fn header(&self, index: u32) -> *mut Header {
        let offset = (index as usize) << LINE_SHIFT;
        assert!(offset < self.buffers * STRIDE, "buffer {index} is outside the pool");
        // SAFETY: just checked to be inside the region.
        unsafe { self.base.as_ptr().add(offset) }.cast()
    }

    /// Makes line 0 of a buffer that of a fresh, empty packet.
    pub(super) fn reset(&self, index: u32) {
        // SAFETY: `header` checked the place; a free buffer is nobody's but the caller's.
        unsafe { self.header(index).write(Header::fresh()) };
    }

    fn fresh_batch(&self) -> Option<Batch> {
        let first = self
            .untouched
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |first| {
                (first < self.buffers).then_some(first + BATCH)
            })
            .ok()?;
        #[expect(clippy::cast_possible_truncation, reason = "MAX buffers fit 32 bits")]
        Some(std::array::from_fn(|at| ((first + at) * (STRIDE / LINE)) as u32))
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        // SAFETY: mapped by `new`, and no one holds a buffer of a pool that is dropped.
        let unmapped = unsafe { munmap(self.base.as_ptr().cast(), self.bytes) };
        debug_assert!(unmapped.is_ok(), "{unmapped:?}");
    }
}

/// Whether the last owner gave up. Plain while there is one, atomic beyond.
fn give_up(owners: &AtomicU16) -> bool {
    if owners.load(Ordering::Acquire) == 1 {
        return true;
    }
    owners.fetch_sub(1, Ordering::AcqRel) == 1
}

fn map(bytes: usize) -> rustix::io::Result<(NonNull<u8>, bool)> {
    let mapped = |flags| {
        // SAFETY: a fresh private mapping at an address of the kernel's choice.
        unsafe {
            mmap_anonymous(
                std::ptr::null_mut(),
                bytes,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::PRIVATE | flags,
            )
        }
    };
    let (base, huge) = match mapped(MapFlags::HUGETLB) {
        Ok(base) => (base, true),
        Err(_) => (mapped(MapFlags::NORESERVE)?, false),
    };
    NonNull::new(base.cast()).map(|base| (base, huge)).ok_or(rustix::io::Errno::NOMEM)
}
