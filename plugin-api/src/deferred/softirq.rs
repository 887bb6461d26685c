//! Softirqs: the same function on as many threads as it is raised on.

use core::{ffi::c_void, fmt};

use gristmill_abi::{
    Head, Status,
    declaration::PluginHandle,
    deferred::{SOFTIRQ_ANY, SoftirqService, SoftirqSpec, THIS_THREAD, softirq},
    frame::ThreadCtx,
    host::ALL_THREADS,
};

use super::{DeferredContext, Lent};
use crate::{Error, Host, ThreadIndex, plugin::contain};

type Function = dyn Fn(&DeferredContext<'_>) + Send + Sync;

/// Which softirq: lower numbers run first. The meanings are Linux's; those that the host has for
/// itself (HI, TIMER, TASKLET, RCU) are not among them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum SoftirqNumber {
    /// After those with a meaning, in the order in which they were opened.
    #[default]
    Any,
    /// What is to be sent.
    NetTx,
    /// What was received.
    NetRx,
    /// Storage that has answered.
    Block,
    /// Devices that are polled after an interrupt.
    IrqPoll,
    /// Spreading of load.
    Sched,
    /// Timers finer than a tick.
    Hrtimer,
}

impl SoftirqNumber {
    fn wanted(self) -> u32 {
        match self {
            Self::Any => SOFTIRQ_ANY,
            Self::NetTx => softirq::NET_TX,
            Self::NetRx => softirq::NET_RX,
            Self::Block => softirq::BLOCK,
            Self::IrqPoll => softirq::IRQ_POLL,
            Self::Sched => softirq::SCHED,
            Self::Hrtimer => softirq::HRTIMER,
        }
    }
}

/// A softirq of this plugin. Any thread raises it.
///
/// Dropping it closes it and waits until it does not run, on main and on threads of the plugin's own;
/// elsewhere its function is freed later.
pub struct Softirq {
    service: &'static SoftirqService,
    context: *mut c_void,
    plugin: PluginHandle,
    number: u32,
    /// Ours; the host has its address.
    function: *mut Box<Function>,
}

// SAFETY: the service's `raise` is for any thread, and the function is `Send + Sync`.
unsafe impl Send for Softirq {}
// SAFETY: as above.
unsafe impl Sync for Softirq {}

impl fmt::Debug for Softirq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Softirq").field(&self.number).finish()
    }
}

impl Host {
    /// A softirq: `function` runs at the end of a turn of each thread it was raised on, outside of
    /// nodes, on several threads at once. However often it was raised before it ran, it runs once; what
    /// is raised while it runs, it runs for again. Main.
    ///
    /// ```
    /// use std::sync::{Arc, OnceLock, atomic::{AtomicU64, Ordering::Relaxed}};
    /// use plugin_api::{DeferredContext, Error, Host, Softirq, SoftirqNumber};
    ///
    /// struct Acme { host: Host, batches: [AtomicU64; 64], softirq: OnceLock<Softirq> }
    ///
    /// /// To be called by `Plugin::start`; nodes then call `acme.softirq.get()` and raise it.
    /// fn start(acme: &Arc<Acme>) -> Result<(), Error> {
    ///     let weak = Arc::downgrade(acme);
    ///     let count = move |cx: &DeferredContext<'_>| {
    ///         let Some(acme) = weak.upgrade() else { return };
    ///         acme.batches[cx.thread().0 as usize].fetch_add(1, Relaxed);
    ///     };
    ///     let softirq = acme.host.softirq("acme-batches", SoftirqNumber::Any, count)?;
    ///     acme.softirq.get_or_init(|| softirq).raise();
    ///     Ok(())
    /// }
    /// ```
    ///
    /// # Errors
    /// If another has the name or the number; the text says who.
    pub fn softirq(
        &self,
        name: &str,
        number: SoftirqNumber,
        function: impl Fn(&DeferredContext<'_>) + Send + Sync + 'static,
    ) -> Result<Softirq, Error> {
        let (service, context) = self.builtin::<SoftirqService>("softirq", "^1")?;
        let function: Box<Function> = Box::new(function);
        let function = Box::into_raw(Box::new(function));
        let spec = SoftirqSpec {
            head: Head::of::<SoftirqSpec<'_>>(),
            name: name.into(),
            function: run,
            data: function.cast(),
            number: number.wanted(),
            reserved: 0,
        };
        let mut number = 0;
        let opened = self.call(|error| {
            // SAFETY: main thread; all pointers are good for the call.
            unsafe { (service.open)(context, self.plugin, &raw const spec, &raw mut number, error) }
        });
        if let Err(error) = opened {
            // SAFETY: the host did not take it.
            drop(unsafe { Box::from_raw(function) });
            return Err(error);
        }
        Ok(Softirq { service, context, plugin: self.plugin, number, function })
    }
}

unsafe extern "C" fn run(data: *mut c_void, ctx: *mut ThreadCtx) -> Status {
    // SAFETY: the host passes what the softirq was opened with; it lives until that is closed.
    let function = unsafe { &*data.cast::<Box<Function>>() };
    // SAFETY: the host passes the thread's context.
    let context = unsafe { DeferredContext::new(ctx) };
    contain(|| function(&context)).map_or(Status::PANICKED, |()| Status::OK)
}

impl Softirq {
    /// Raises it on this thread, on main if this thread forwards nothing: it runs at the end of the
    /// turn. Inside itself: in the next pass, or the next turn.
    ///
    /// Cost: a call into the host and a store.
    #[inline]
    pub fn raise(&self) {
        // SAFETY: any thread. It does not fail: the number is open.
        unsafe { (self.service.raise)(self.context, self.number, THIS_THREAD) };
    }

    /// Raises it on a thread, and wakes that if it sleeps.
    ///
    /// # Errors
    /// If there is no such thread.
    #[inline]
    pub fn raise_on(&self, thread: ThreadIndex) -> Result<(), Error> {
        // SAFETY: any thread; a number that is no thread's is refused.
        let status = unsafe { (self.service.raise)(self.context, self.number, thread.0) };
        if status.is_ok() { Ok(()) } else { Err(Error::new(format!("there is no {thread:?}"))) }
    }

    /// Raises it on every thread.
    pub fn raise_on_all(&self) {
        // SAFETY: any thread. It does not fail.
        unsafe { (self.service.raise)(self.context, self.number, ALL_THREADS) };
    }
}

impl Drop for Softirq {
    fn drop(&mut self) {
        // SAFETY: the number is given back once.
        let status = unsafe { (self.service.close)(self.context, self.plugin, self.number) };
        // SAFETY: made by `Host::softirq`; the number leads to it no more.
        unsafe {
            Lent(self.function).free(status.is_ok(), self.service, self.context, self.plugin);
        }
    }
}
