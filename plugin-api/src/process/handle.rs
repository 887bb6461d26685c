//! A process, from outside.

use core::fmt;

use super::Service;

/// A counted reference to a process.
pub(crate) struct Reference {
    pub(crate) service: Service,
    pub(crate) process: gristmill_abi::process::ProcessHandle,
}

// SAFETY: the count is atomic, and all that is done by it may be done on any thread.
unsafe impl Send for Reference {}
// SAFETY: as above.
unsafe impl Sync for Reference {}

impl Clone for Reference {
    fn clone(&self) -> Self {
        // SAFETY: a reference that is held.
        unsafe { (self.service.table.retain)(self.service.context, self.process) };
        Self { service: self.service, process: self.process }
    }
}

impl Drop for Reference {
    fn drop(&mut self) {
        // SAFETY: a reference that was held, given back once.
        unsafe { (self.service.table.release)(self.service.context, self.process) };
    }
}

impl Reference {
    /// Events happen to the process; false if it has ended.
    #[inline]
    pub(crate) fn signal(&self, events: u64) -> bool {
        // SAFETY: a reference that is held.
        unsafe { (self.service.table.signal)(self.service.context, self.process, events) }.is_ok()
    }
}

/// A process that was made. Dropping this lets it run on by itself; when it has ended, the host
/// forgets it. The plugin's unloading ends it in any case.
pub struct ProcessHandle(pub(super) Reference);

impl fmt::Debug for ProcessHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ProcessHandle({:p})", self.0.process)
    }
}

impl Drop for ProcessHandle {
    fn drop(&mut self) {
        // SAFETY: a reference that is held.
        unsafe { (self.0.service.table.detach)(self.0.service.context, self.0.process) };
    }
}

impl ProcessHandle {
    /// Whether it has ended. Any thread.
    pub fn has_ended(&self) -> bool {
        let Reference { service, process } = self.0;
        // SAFETY: a reference that is held.
        unsafe { (service.table.has_ended)(service.context, process) != 0 }
    }

    /// Has it end: its waits fail with [`Cancelled`](super::Cancelled). False if it has. Main.
    pub fn cancel(&self) -> bool {
        // SAFETY: a reference that is held.
        unsafe { (self.0.service.table.cancel)(self.0.service.context, self.0.process) }.is_ok()
    }

    /// Begins it again; false if it has not ended. Main.
    pub fn restart(&self) -> bool {
        // SAFETY: a reference that is held.
        unsafe { (self.0.service.table.restart)(self.0.service.context, self.0.process) }.is_ok()
    }
}
