//! How a process is made, and how the host runs it.

use core::{ffi::c_void, mem, time::Duration};
use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
    rc::Rc,
};

use gristmill_abi::{
    ErrorText, Head, Status,
    process::{ProcessService, ProcessSpec, RESTART_NEVER, RESTART_ON_FAILURE},
};

use super::{
    Cancelled, Process, ProcessHandle, ProcessOptions, Reference, Restart, Service, Stop, nothing,
};
use crate::{Error, Host, plugin::contain};

type Run = dyn FnMut(&mut Process) -> Result<(), Stop> + Send;

/// What the host keeps for us.
struct Body {
    host: Host,
    service: Service,
    run: Box<Run>,
    /// How often it has begun.
    runs: u64,
}

impl Host {
    /// Makes a process, which begins in main's next turn. Its body is called again where the process
    /// begins again. Main.
    ///
    /// The body must not own what owns the [`ProcessHandle`]; it holds a [`Weak`](std::sync::Weak).
    ///
    /// # Errors
    /// If the stack is too small or too large; called on another thread.
    pub fn spawn(
        &self,
        options: ProcessOptions,
        run: impl FnMut(&mut Process) -> Result<(), Stop> + Send + 'static,
    ) -> Result<ProcessHandle, Error> {
        let (table, context) = self.builtin::<ProcessService>("process", "^1")?;
        let service = Service { table, context };
        let body = Body { host: *self, service, run: Box::new(run), runs: 0 };
        let data = Box::into_raw(Box::new(body));
        let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let (restart, first, longest) = match options.restart {
            Restart::Never => (RESTART_NEVER, 0, 0),
            Restart::OnFailure { first, longest } => {
                (RESTART_ON_FAILURE, nanos(first), nanos(longest))
            }
        };
        let spec = ProcessSpec {
            head: Head::of::<ProcessSpec<'_>>(),
            name: options.name.as_str().into(),
            entry,
            data: data.cast(),
            drop: end,
            stack_size: options.stack_size,
            restart,
            reserved: 0,
            backoff_ns: first,
            backoff_max_ns: longest,
            watchdog_ns: nanos(options.watchdog),
        };
        let mut process = core::ptr::null();
        let made = self.call(|error| {
            // SAFETY: all pointers are good for the call.
            unsafe {
                (table.create)(context, self.plugin, &raw const spec, &raw mut process, error)
            }
        });
        if let Err(error) = made {
            // SAFETY: the host did not take it.
            drop(unsafe { Box::from_raw(data) });
            return Err(error);
        }
        Ok(ProcessHandle(Reference { service, process }))
    }

    /// Lets others run, packets too, if this process has had its slice: in a command that takes
    /// long, which runs in the process of its session. Does nothing where no process runs.
    ///
    /// # Errors
    /// [`Cancelled`] if the process is to end.
    pub fn yield_if_due(&self) -> Result<(), Cancelled> {
        let Ok((table, context)) = self.builtin::<ProcessService>("process", "^1") else {
            return Ok(());
        };
        let service = Service { table, context };
        if service.should_yield() { service.wait(&mut nothing()).map(drop) } else { Ok(()) }
    }
}

/// Unwinds a process that waits on though it is to end.
pub(super) struct Unwind;

unsafe extern "C" fn entry(data: *mut c_void, error: *mut ErrorText) -> Status {
    // SAFETY: the host passes what the process was made with, and to nobody else meanwhile.
    let body = unsafe { &mut *data.cast::<Body>() };
    // SAFETY: the host passes room for an error.
    let error = unsafe { &mut *error };
    body.runs += 1;
    let run = || {
        let mut process = Process {
            host: body.host,
            service: body.service,
            listening: 0,
            over: Rc::default(),
            run: body.runs,
            told: false,
        };
        (body.run)(&mut process)
    };
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(Ok(())) => Status::OK,
        Ok(Err(Stop::Cancelled)) => Status::CANCELLED,
        Ok(Err(Stop::Failed(reason))) => {
            error.set(&reason.to_string());
            Status::FAILED
        }
        Err(payload) if payload.is::<Unwind>() => Status::CANCELLED,
        Err(payload) => {
            error.set(text(&*payload));
            mem::forget(payload); // Its own drop might panic.
            Status::PANICKED
        }
    }
}

fn text(payload: &(dyn Any + Send)) -> &str {
    let text = payload.downcast_ref::<&str>().copied();
    text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or_default()
}

unsafe extern "C" fn end(data: *mut c_void) -> Status {
    // SAFETY: the host gives back, once, what the process was made with.
    let body = unsafe { Box::from_raw(data.cast::<Body>()) };
    contain(|| drop(body)).map_or(Status::PANICKED, |()| Status::OK)
}
