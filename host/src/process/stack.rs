//! Stacks: mapped regions with a guard below, backed by memory only where they were touched.
//!
//! ```text
//!  base() ──▶ ┌──────────────────────────────┐  highest address
//!             │ header of the coroutine      │  the first page is always touched
//!             │ frames, growing downwards    │
//!             ├─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ┤  base() - high_water()
//!             │ never touched, not backed    │  read and write
//! limit() ──▶ ├──────────────────────────────┤  base() - size()
//!             │ guard, no access, 64 KiB     │  a frame that does not probe its pages must be
//!   low() ──▶ └──────────────────────────────┘  larger than this to jump it
//! ```
//!
//! A stack is two mappings of the kernel, which by default lets a process have 65530.
#![expect(unsafe_code, reason = "maps the stacks and asks the kernel which pages were touched")]

use std::ptr;

use rustix::{
    io::Errno,
    mm::{Advice, MapFlags, MprotectFlags, ProtFlags, madvise, mmap_anonymous, mprotect, munmap},
    param::page_size,
};

/// Bytes below a stack that nobody may touch. Costs addresses only.
///
/// Code of the host and of plugins in Rust probes each page of a large frame, so that one page would
/// do for it; C compiled without `-fstack-clash-protection` does not.
const GUARD: usize = 64 << 10;

/// Pages of which the kernel is asked in one call.
const PAGES: usize = 256;

/// From this size on the kernel could back a stack with one huge page.
const HUGE_PAGE: usize = 2 << 20;

/// Why there is no stack.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StackError {
    /// Too small for any body.
    #[error("a stack of {0} bytes is too small: take at least {min}", min = Stack::MIN)]
    TooSmall(usize),
    /// More than can be mapped.
    #[error("a stack of {0} bytes is too large: take at most {max}", max = Stack::MAX)]
    TooLarge(usize),
    /// No memory, or no mapping left.
    #[error(
        "cannot map a stack of {size} bytes, which takes two mappings: \
         raise the limit `vm.max_map_count`, or give the host more memory"
    )]
    Exhausted {
        /// Usable bytes.
        size: usize,
        /// What the system said.
        source: Errno,
    },
    /// The system refused for another reason.
    #[error("cannot map a stack of {size} bytes")]
    Map {
        /// Usable bytes.
        size: usize,
        /// What the system said.
        source: Errno,
    },
}

/// A stack, of which the owner is whoever runs on it.
///
/// Cost: two system calls to make, one to end; memory only for what is touched.
#[derive(Debug)]
pub struct Stack {
    low: *mut u8,
    guard: usize,
    size: usize,
}

// SAFETY: a region of plain memory with one owner.
unsafe impl Send for Stack {}

impl Stack {
    /// The least size, in bytes: enough for a body that does not panic.
    pub const MIN: usize = 16 << 10;
    /// The greatest size, in bytes.
    pub const MAX: usize = 1 << 30;
    /// The size, in bytes, for processes of the host: a panic and its report need 24 KiB.
    pub const DEFAULT: usize = 32 << 10;

    /// Maps a stack of `size` usable bytes, rounded up to whole pages.
    ///
    /// # Errors
    /// [`StackError`] if the size is out of bounds or the system gives none.
    pub fn new(size: usize) -> Result<Self, StackError> {
        let size = rounded(size)?;
        let guard = GUARD.next_multiple_of(page_size());
        let flags = MapFlags::PRIVATE | MapFlags::NORESERVE | MapFlags::STACK;
        let failed = |source| match source {
            Errno::NOMEM => StackError::Exhausted { size, source },
            _ => StackError::Map { size, source },
        };
        // SAFETY: a new mapping at a place of the kernel's choice.
        let low =
            unsafe { mmap_anonymous(ptr::null_mut(), guard + size, ProtFlags::empty(), flags) }
                .map_err(failed)?;
        // From here on the mapping goes away with the value.
        let stack = Self { low: low.cast(), guard, size };
        let access = MprotectFlags::READ | MprotectFlags::WRITE;
        // SAFETY: the upper part of the region that was just mapped, of which nobody knows.
        unsafe { mprotect(stack.limit().cast(), size, access) }.map_err(failed)?;
        if size >= HUGE_PAGE {
            // Before Linux 6.7 `MAP_STACK` does not keep huge pages away. A kernel without huge
            // pages refuses, and has none to give.
            // SAFETY: advice on a region of ours, which does not change its contents.
            let _ = unsafe { madvise(stack.limit().cast(), size, Advice::LinuxNoHugepage) };
        }
        Ok(stack)
    }

    /// Usable bytes.
    pub fn size(&self) -> usize {
        self.size
    }

    /// The lowest address of the guard.
    pub fn low(&self) -> *mut u8 {
        self.low
    }

    /// The lowest usable address, where the guard ends.
    pub fn limit(&self) -> *mut u8 {
        self.low.wrapping_add(self.guard)
    }

    /// The address behind the highest: where the first frame is put below.
    pub fn base(&self) -> *mut u8 {
        self.limit().wrapping_add(self.size)
    }

    /// Bytes from the base down to the lowest page that was touched since the stack was new, or
    /// came out of a pool. Touches nothing itself; pages that were swapped out do not count.
    /// 0 on a kernel that does not tell.
    ///
    /// Cost: a system call for each 256 pages that were not touched.
    pub fn high_water(&self) -> usize {
        let page = page_size();
        let mut resident = [0_u8; PAGES];
        let mut below = 0;
        while below < self.size {
            let bytes = (self.size - below).min(PAGES * page);
            let from = self.limit().wrapping_add(below);
            // SAFETY: the range is in our region, and the answer of a byte a page fits the array.
            let answer = unsafe { libc::mincore(from.cast(), bytes, resident.as_mut_ptr()) };
            if answer != 0 {
                return 0;
            }
            let pages = &resident[..bytes / page];
            if let Some(untouched) = pages.iter().position(|state| state & 1 != 0) {
                return self.size - below - untouched * page;
            }
            below += bytes;
        }
        0
    }

    /// Gives the memory of all pages but the first back to the system.
    fn trim(&mut self) -> Result<(), Errno> {
        let bytes = self.size - page_size();
        // SAFETY: nobody runs on a stack whose owner calls this, so nothing in it is needed.
        unsafe { madvise(self.limit().cast(), bytes, Advice::LinuxDontNeed) }
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        // SAFETY: exactly what `new` mapped; the owner ends, so that nobody runs on it.
        let unmapped = unsafe { munmap(self.low.cast(), self.guard + self.size) };
        debug_assert!(unmapped.is_ok(), "a stack is a mapping of ours: {unmapped:?}");
    }
}

/// Stacks that wait for their next user.
///
/// A stack that comes back keeps one page in memory, its first, so that a process that once went deep
/// does not hold memory for ever, and [`Stack::high_water`] is right for the next user.
///
/// Context: main.
#[derive(Debug)]
pub struct StackPool {
    /// Few and of few sizes: searched from the end.
    kept: Vec<Stack>,
    kept_max: usize,
    /// Taken from `kept` instead of being mapped.
    reused: u64,
}

impl StackPool {
    /// A pool that keeps at most `kept_max` stacks.
    pub fn new(kept_max: usize) -> Self {
        Self { kept: Vec::new(), kept_max, reused: 0 }
    }

    /// A stack of `size` usable bytes, rounded up to whole pages: a kept one of that size, or a new one.
    ///
    /// # Errors
    /// As [`Stack::new`].
    pub fn take(&mut self, size: usize) -> Result<Stack, StackError> {
        let size = rounded(size)?;
        match self.kept.iter().rposition(|stack| stack.size == size) {
            Some(place) => {
                self.reused += 1;
                Ok(self.kept.swap_remove(place))
            }
            None => Stack::new(size),
        }
    }

    /// Takes a stack back.
    pub fn give(&mut self, mut stack: Stack) {
        // One that cannot be trimmed, or is one too many, is unmapped.
        if self.kept.len() < self.kept_max && stack.trim().is_ok() {
            self.kept.push(stack);
        }
    }

    /// Stacks that wait.
    pub fn kept(&self) -> usize {
        self.kept.len()
    }

    /// How often a stack was used again.
    pub fn reused(&self) -> u64 {
        self.reused
    }
}

fn rounded(size: usize) -> Result<usize, StackError> {
    match size {
        ..Stack::MIN => Err(StackError::TooSmall(size)),
        Stack::MIN..=Stack::MAX => Ok(size.next_multiple_of(page_size())),
        _ => Err(StackError::TooLarge(size)),
    }
}

#[cfg(test)]
mod tests;
