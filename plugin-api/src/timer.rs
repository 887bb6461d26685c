//! Timers with Linux's contract: O(1) to start, move and delete, a tick of 1 ms.

use core::{ffi::c_void, fmt, panic::Location};

use gristmill_abi::{
    ErrorText, Head, Status,
    host::{TIMER_DEFERRABLE, TIMER_PINNED, TimerHandle, TimerService, TimerSpec},
};

use crate::{Error, Host, plugin::contain};

type Function = dyn Fn(u64) + Send + Sync;

/// How a timer behaves on an idle thread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TimerKind {
    /// An idle thread does not wake up for it.
    pub deferrable: bool,
    /// It stays on the thread that starts it, even if that is idle.
    pub pinned: bool,
}

/// A timer of this plugin. Any thread may start, move and delete it.
///
/// Dropping it deletes it and waits until its function does not run.
pub struct Timer {
    service: &'static TimerService,
    context: *mut c_void,
    handle: TimerHandle,
    /// Ours; the host has its address.
    function: *mut Box<Function>,
}

// SAFETY: the service is for any thread, and the function is `Send + Sync`.
unsafe impl Send for Timer {}
// SAFETY: as above.
unsafe impl Sync for Timer {}

impl fmt::Debug for Timer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Timer({:p})", self.handle)
    }
}

impl Host {
    /// A timer that is not pending. Its function runs on the thread it is started on (main for
    /// threads that forward nothing), between packets, and may start and delete timers, this one
    /// included; it is given the time in nanoseconds. Any thread.
    ///
    /// The plugin keeps its timer, and the timer's function must not keep the plugin, or neither
    /// would end; so it holds a [`Weak`](std::sync::Weak):
    ///
    /// ```
    /// use std::sync::{Arc, OnceLock};
    /// use plugin_api::{Error, Host, Timer, TimerKind};
    ///
    /// struct Acme { host: Host, timer: OnceLock<Timer> }
    ///
    /// /// To be called by `Plugin::start`.
    /// fn start(acme: &Arc<Acme>) -> Result<(), Error> {
    ///     let weak = Arc::downgrade(acme);
    ///     let every_second = move |now_ns| {
    ///         let Some(acme) = weak.upgrade() else { return };
    ///         // Here is what is to be done.
    ///         if let Some(timer) = acme.timer.get() {
    ///             timer.modify(now_ns + 1_000_000_000);
    ///         }
    ///     };
    ///     let timer = acme.host.timer("acme-second", TimerKind::default(), every_second)?;
    ///     acme.timer.get_or_init(|| timer).modify(acme.host.now_ns());
    ///     Ok(())
    /// }
    ///
    /// /// To be called by `Plugin::stop`.
    /// fn stop(acme: &Acme) {
    ///     if let Some(timer) = acme.timer.get() {
    ///         let _ = timer.delete_and_wait(); // It fails only in the timer's own function.
    ///     }
    /// }
    /// ```
    ///
    /// # Errors
    /// If the host has no timers.
    pub fn timer(
        &self,
        name: &str,
        kind: TimerKind,
        function: impl Fn(u64) + Send + Sync + 'static,
    ) -> Result<Timer, Error> {
        let (service, context) = self.builtin::<TimerService>("timer", "^1")?;
        let function: Box<Function> = Box::new(function);
        let function = Box::into_raw(Box::new(function));
        let mut flags = if kind.deferrable { TIMER_DEFERRABLE } else { 0 };
        flags |= if kind.pinned { TIMER_PINNED } else { 0 };
        let spec = TimerSpec {
            head: Head::of::<TimerSpec<'_>>(),
            name: name.into(),
            function: run,
            data: function.cast(),
            flags,
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
        Ok(Timer { service, context, handle, function })
    }
}

unsafe extern "C" fn run(data: *mut c_void, now_ns: u64) -> Status {
    // SAFETY: the host passes what the timer was made with; it lives until the timer is dropped.
    let function = unsafe { &*data.cast::<Box<Function>>() };
    contain(|| function(now_ns)).map_or(Status::PANICKED, |()| Status::OK)
}

impl Timer {
    /// Moves the timer to that time since the host's start, or starts it; whether it was pending.
    #[track_caller]
    pub fn modify(&self, expires_ns: u64) -> bool {
        let site = Location::caller();
        let mut was_pending = 0;
        // SAFETY: the handle is good until `drop`.
        unsafe {
            (self.service.modify)(
                self.context,
                self.handle,
                expires_ns,
                site.file().into(),
                site.line(),
                &raw mut was_pending,
            )
        };
        was_pending != 0
    }

    /// Starts the timer; `false`, and nothing happens, if it is pending.
    #[track_caller]
    pub fn add(&self, expires_ns: u64) -> bool {
        let site = Location::caller();
        // SAFETY: the handle is good until `drop`.
        let status = unsafe {
            (self.service.add)(
                self.context,
                self.handle,
                expires_ns,
                site.file().into(),
                site.line(),
            )
        };
        status.is_ok()
    }

    /// Deletes the timer; whether it was pending. Its function may be running all the same.
    pub fn delete(&self) -> bool {
        let mut was_pending = 0;
        // SAFETY: the handle is good until `drop`.
        unsafe { (self.service.delete)(self.context, self.handle, &raw mut was_pending) };
        was_pending != 0
    }

    /// Deletes the timer and waits until its function does not run; whether it was pending.
    ///
    /// # Errors
    /// If the wait would not end: called by that function, or by one that it waits for.
    pub fn delete_and_wait(&self) -> Result<bool, Error> {
        let (mut was_pending, mut error) = (0, ErrorText::new());
        // SAFETY: the handle is good until `drop`.
        let status = unsafe {
            (self.service.delete_and_wait)(
                self.context,
                self.handle,
                &raw mut was_pending,
                &raw mut error,
            )
        };
        if status.is_ok() { Ok(was_pending != 0) } else { Err(Error::from_text(&error)) }
    }

    /// Whether the timer is pending.
    pub fn is_pending(&self) -> bool {
        // SAFETY: the handle is good until `drop`.
        unsafe { (self.service.is_pending)(self.context, self.handle) != 0 }
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        // SAFETY: the handle is given back once.
        let status = unsafe { (self.service.destroy)(self.context, self.handle) };
        if status.is_ok() {
            // SAFETY: the function does not run and will not.
            drop(unsafe { Box::from_raw(self.function) });
        }
        // Else its own function drops the timer: what runs cannot be freed, so it stays.
    }
}
