//! Work that is put off to the end of a thread's turn, and calls after a grace period.
//!
//! The crate's page has a table that tells which to take.

mod mailbox;
mod softirq;
mod tasklet;

use core::{ffi::c_void, marker::PhantomData};

use gristmill_abi::{Status, deferred::SoftirqService, frame::ThreadCtx};

pub use self::{
    mailbox::Mailbox,
    softirq::{Softirq, SoftirqNumber},
    tasklet::{Scheduled, Tasklet, TaskletPriority},
};
use crate::{Error, Host, ThreadIndex, plugin::contain};

/// What runs at the end of a turn learns of its thread.
#[derive(Clone, Copy, Debug)]
pub struct DeferredContext<'a> {
    thread: ThreadIndex,
    now_ns: u64,
    turn: PhantomData<&'a ThreadCtx>,
}

impl DeferredContext<'_> {
    /// # Safety
    /// `ctx` is what the host passed to what runs at the end of a turn.
    unsafe fn new(ctx: *mut ThreadCtx) -> Self {
        // SAFETY: by the caller's promise.
        let ctx = unsafe { &*ctx };
        Self { thread: ThreadIndex(ctx.thread_index), now_ns: ctx.now_ns, turn: PhantomData }
    }

    /// The thread.
    pub fn thread(&self) -> ThreadIndex {
        self.thread
    }

    /// When the turn began, in nanoseconds since the host's start.
    pub fn now_ns(&self) -> u64 {
        self.now_ns
    }
}

impl Host {
    /// Has `function` called once every thread has begun another turn: what was taken out of the
    /// nodes' sight before may be freed then. On main, outside of nodes; before the plugin's state
    /// ends. Any thread.
    ///
    /// ```
    /// use std::sync::{Arc, atomic::{AtomicPtr, Ordering}};
    /// use plugin_api::{Error, Host};
    ///
    /// struct Table([u32; 256]);
    ///
    /// /// Nodes read the table by its address, without a lock, and keep it for no longer than a frame.
    /// fn exchange(host: &Host, shown: &AtomicPtr<Table>, table: Box<Table>) -> Result<(), Error> {
    ///     let old = shown.swap(Box::into_raw(table), Ordering::AcqRel) as usize;
    ///     host.after_grace_period(move || {
    ///         // SAFETY: made by `Box::into_raw`, and nobody sees it any more.
    ///         drop(unsafe { Box::from_raw(old as *mut Table) });
    ///     })
    /// }
    /// ```
    ///
    /// # Errors
    /// If the host is older than that.
    pub fn after_grace_period(
        &self,
        function: impl FnOnce() + Send + 'static,
    ) -> Result<(), Error> {
        let (service, context) = self.builtin::<SoftirqService>("softirq", "^1")?;
        after_grace(service, context, self.plugin, function)
    }
}

fn after_grace<F: FnOnce() + Send + 'static>(
    service: &SoftirqService,
    context: *mut c_void,
    plugin: u64,
    function: F,
) -> Result<(), Error> {
    let data = Box::into_raw(Box::new(function));
    // SAFETY: any thread; the host calls it once, with what is passed.
    let status = unsafe { (service.after_grace)(context, plugin, call_once::<F>, data.cast()) };
    if status.is_ok() {
        return Ok(());
    }
    // SAFETY: the host did not take it.
    drop(unsafe { Box::from_raw(data) });
    Err(Error::new("the host does not take the call"))
}

unsafe extern "C" fn call_once<F: FnOnce()>(data: *mut c_void) -> Status {
    // SAFETY: the host passes what `after_grace` gave it, once.
    let function = unsafe { Box::from_raw(data.cast::<F>()) };
    contain(function).map_or(Status::PANICKED, |()| Status::OK)
}

/// Something of ours that the host has the address of, to be freed when it does not run any more.
struct Lent<T>(*mut T);

// SAFETY: it is an address; whoever uses it is bound by what it leads to.
unsafe impl<T: Send> Send for Lent<T> {}

impl<T: Send + 'static> Lent<T> {
    /// Frees it now if it does not run any more, and else once every thread has begun another turn.
    ///
    /// # Safety
    /// It came from `Box::into_raw`, the host will not call it again, and it is freed once.
    unsafe fn free(self, ended: bool, service: &SoftirqService, context: *mut c_void, plugin: u64) {
        let free = move || {
            let lent = self; // All of it, not the address alone.
            // SAFETY: by the caller's promise.
            drop(unsafe { Box::from_raw(lent.0) });
        };
        if ended {
            free();
        } else {
            // What cannot be put off stays: it may be running.
            let _ = after_grace(service, context, plugin, free);
        }
    }
}
