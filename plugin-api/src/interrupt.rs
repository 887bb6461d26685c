//! Nodes that are dispatched when they are marked.

use core::ffi::c_void;

use gristmill_abi::host::{ALL_THREADS, InterruptService};

use crate::{Error, Host, Node, ThreadIndex};

/// Marks one node of this plugin: [`Host::interrupt`]. Any thread.
#[derive(Clone, Copy, Debug)]
pub struct Interrupt {
    service: &'static InterruptService,
    context: *mut c_void,
    node: u32,
}

// SAFETY: the service's `mark` may be called from any thread.
unsafe impl Send for Interrupt {}
// SAFETY: as above.
unsafe impl Sync for Interrupt {}

impl Host {
    /// What marks the node `N` of this plugin, so that it is dispatched in the next turn of a
    /// thread's loop: an input that says [`Node::ON_INTERRUPT`], or a *sched* node.
    ///
    /// Context: main, from [`Plugin::start`](crate::Plugin::start) on.
    ///
    /// # Errors
    /// If the node is not in the graph, or cannot be marked.
    pub fn interrupt<N: Node>(&self) -> Result<Interrupt, Error> {
        let (service, context) = self.builtin::<InterruptService>("interrupt", "^1")?;
        let mut node = 0;
        self.call(|error| {
            // SAFETY: main thread; all pointers are good for the call.
            unsafe { (service.node)(context, self.plugin, N::NAME.into(), &raw mut node, error) }
        })?;
        Ok(Interrupt { service, context, node })
    }
}

impl Interrupt {
    /// Has a thread dispatch the node in its next turn, with an empty frame: once, however often
    /// it was marked by then. What the caller wrote before is seen by that dispatch.
    ///
    /// Cost: a short lock, and a system call if the thread sleeps.
    ///
    /// # Errors
    /// If there is no such thread.
    pub fn mark(&self, thread: ThreadIndex) -> Result<(), Error> {
        // SAFETY: any thread; a number that is no thread's is refused.
        let status = unsafe { (self.service.mark)(self.context, self.node, thread.0) };
        if status.is_ok() { Ok(()) } else { Err(Error::new(format!("there is no {thread:?}"))) }
    }

    /// As [`mark`](Self::mark), for every thread.
    pub fn mark_all(&self) {
        // SAFETY: any thread. It cannot fail: main is there.
        unsafe { (self.service.mark)(self.context, self.node, ALL_THREADS) };
    }
}
