//! Tasklets: one function, run once for each scheduling and never twice at once.

use core::{cell::UnsafeCell, ffi::c_void, fmt};

use gristmill_abi::{
    ErrorText, Head, Status,
    declaration::PluginHandle,
    deferred::{
        SoftirqService, TASKLET_ALREADY, TASKLET_HI, TASKLET_KILLED, THIS_THREAD, TaskletHandle,
        TaskletService, TaskletSpec,
    },
    frame::ThreadCtx,
};

use super::{DeferredContext, Lent};
use crate::{Error, Host, ThreadIndex, plugin::contain};

type Function = dyn FnMut(&DeferredContext<'_>) + Send;

/// When a tasklet runs among what is put off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TaskletPriority {
    /// After timers and what devices put off.
    #[default]
    Normal,
    /// First of all.
    High,
}

/// What came of a scheduling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheduled {
    /// It runs at the end of the turn, or once it is enabled.
    Now,
    /// It was scheduled before and has not begun: it runs once.
    Already,
    /// It was killed.
    Killed,
}

/// A tasklet of this plugin. Any thread schedules it.
///
/// Dropping it kills it and waits until it does not run, on main and on threads of the plugin's own;
/// elsewhere its function is freed later.
pub struct Tasklet {
    service: &'static TaskletService,
    softirqs: &'static SoftirqService,
    context: *mut c_void,
    plugin: PluginHandle,
    handle: TaskletHandle,
    /// Ours; the host has its address.
    function: *mut UnsafeCell<Box<Function>>,
}

// SAFETY: the service is for any thread; the host calls the function on one at a time.
unsafe impl Send for Tasklet {}
// SAFETY: as above.
unsafe impl Sync for Tasklet {}

impl fmt::Debug for Tasklet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tasklet({:p})", self.handle)
    }
}

impl Host {
    /// A tasklet, enabled and not scheduled: `function` runs at the end of a turn of the thread it is
    /// scheduled on, outside of nodes, once however often it was scheduled before, and never on two
    /// threads at once. It may schedule itself. Any thread.
    ///
    /// ```
    /// use std::sync::{Arc, OnceLock, mpsc};
    /// use plugin_api::{DeferredContext, Error, Host, Tasklet, TaskletPriority};
    ///
    /// struct Acme { host: Host, found: mpsc::Sender<u32>, collect: OnceLock<Tasklet> }
    ///
    /// /// To be called by `Plugin::start`. Nodes of all threads send what they found and schedule
    /// /// the tasklet, which alone has the table.
    /// fn start(acme: &Arc<Acme>, found: mpsc::Receiver<u32>) -> Result<(), Error> {
    ///     let mut table = Vec::new();
    ///     let collect = move |_: &DeferredContext<'_>| table.extend(found.try_iter());
    ///     let tasklet = acme.host.tasklet("acme-collect", TaskletPriority::Normal, collect)?;
    ///     acme.collect.get_or_init(|| tasklet).schedule();
    ///     Ok(())
    /// }
    /// ```
    ///
    /// # Errors
    /// If the host has no tasklets.
    pub fn tasklet(
        &self,
        name: &str,
        priority: TaskletPriority,
        function: impl FnMut(&DeferredContext<'_>) + Send + 'static,
    ) -> Result<Tasklet, Error> {
        let (service, context) = self.builtin::<TaskletService>("tasklet", "^1")?;
        let (softirqs, _) = self.builtin::<SoftirqService>("softirq", "^1")?;
        let function: Box<Function> = Box::new(function);
        let function = Box::into_raw(Box::new(UnsafeCell::new(function)));
        let spec = TaskletSpec {
            head: Head::of::<TaskletSpec<'_>>(),
            name: name.into(),
            function: run,
            data: function.cast(),
            flags: if priority == TaskletPriority::High { TASKLET_HI } else { 0 },
            reserved: 0,
        };
        let mut handle = core::ptr::null();
        let made = self.call(|error| {
            // SAFETY: all pointers are good for the call.
            unsafe {
                (service.create)(context, self.plugin, &raw const spec, &raw mut handle, error)
            }
        });
        if let Err(error) = made {
            // SAFETY: the host did not take it.
            drop(unsafe { Box::from_raw(function) });
            return Err(error);
        }
        Ok(Tasklet { service, softirqs, context, plugin: self.plugin, handle, function })
    }
}

unsafe extern "C" fn run(data: *mut c_void, ctx: *mut ThreadCtx) -> Status {
    // SAFETY: the host passes what the tasklet was made with; it lives until that is killed.
    let function = unsafe { &*data.cast::<UnsafeCell<Box<Function>>>() };
    // SAFETY: the host runs a tasklet on one thread at a time, and what one run did is seen by the
    // next.
    let function = unsafe { &mut *function.get() };
    // SAFETY: the host passes the thread's context.
    let context = unsafe { DeferredContext::new(ctx) };
    contain(|| function(&context)).map_or(Status::PANICKED, |()| Status::OK)
}

impl Tasklet {
    /// Schedules it on this thread, on main if this thread forwards nothing.
    ///
    /// Cost: a call into the host; two atomic operations, here and when it runs.
    #[inline]
    pub fn schedule(&self) -> Scheduled {
        self.put(THIS_THREAD).unwrap_or(Scheduled::Killed)
    }

    /// Schedules it on a thread, and wakes that if it sleeps.
    ///
    /// # Errors
    /// If there is no such thread.
    #[inline]
    pub fn schedule_on(&self, thread: ThreadIndex) -> Result<Scheduled, Error> {
        self.put(thread.0).ok_or_else(|| Error::new(format!("there is no {thread:?}")))
    }

    #[inline]
    fn put(&self, thread: u32) -> Option<Scheduled> {
        // SAFETY: the handle is good until `drop`; a number that is no thread's is refused.
        match unsafe { (self.service.schedule)(self.context, self.handle, thread) } {
            Status::OK => Some(Scheduled::Now),
            TASKLET_ALREADY => Some(Scheduled::Already),
            TASKLET_KILLED => Some(Scheduled::Killed),
            _ => None,
        }
    }

    /// Disables it once more, and waits until it does not run: what is scheduled waits until it was
    /// enabled as often.
    ///
    /// # Errors
    /// If this thread cannot wait (it forwards packets, or this is its function), or has waited for a
    /// second. It is disabled all the same.
    pub fn disable(&self) -> Result<(), Error> {
        self.disable_with(1)
    }

    /// As [`disable`](Self::disable), without waiting: it may be running still.
    pub fn disable_without_waiting(&self) {
        let _ = self.disable_with(0); // It fails only where it waits.
    }

    fn disable_with(&self, wait: u32) -> Result<(), Error> {
        let mut error = ErrorText::new();
        // SAFETY: the handle is good until `drop`.
        let status =
            unsafe { (self.service.disable)(self.context, self.handle, wait, &raw mut error) };
        if status.is_ok() { Ok(()) } else { Err(Error::from_text(&error)) }
    }

    /// Takes one disabling back.
    ///
    /// # Errors
    /// If it is not disabled.
    pub fn enable(&self) -> Result<(), Error> {
        // SAFETY: the handle is good until `drop`.
        let status = unsafe { (self.service.enable)(self.context, self.handle) };
        if status.is_ok() { Ok(()) } else { Err(Error::new("the tasklet is not disabled")) }
    }

    /// Ends it for good, scheduled or not, and waits until it does not run.
    ///
    /// # Errors
    /// If this thread cannot wait (it forwards packets, or this is its function), or has waited for a
    /// second. It does not begin again all the same.
    pub fn kill(&self) -> Result<(), Error> {
        let mut error = ErrorText::new();
        // SAFETY: the handle is good until `drop`.
        let status = unsafe { (self.service.kill)(self.context, self.handle, &raw mut error) };
        if status.is_ok() { Ok(()) } else { Err(Error::from_text(&error)) }
    }

    /// Whether it is to run and has not begun.
    pub fn is_scheduled(&self) -> bool {
        // SAFETY: the handle is good until `drop`.
        unsafe { (self.service.is_scheduled)(self.context, self.handle) != 0 }
    }
}

impl Drop for Tasklet {
    fn drop(&mut self) {
        // SAFETY: the handle is given back once.
        let status = unsafe { (self.service.destroy)(self.context, self.handle) };
        // SAFETY: made by `Host::tasklet`; it was killed, so the host will not call it again.
        unsafe {
            Lent(self.function).free(status.is_ok(), self.softirqs, self.context, self.plugin);
        }
    }
}
