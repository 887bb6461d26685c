//! Calls to the main thread, which alone may change things.

use core::{
    ffi::c_void,
    fmt,
    mem::{ManuallyDrop, size_of},
};
use std::sync::{
    OnceLock,
    mpsc::{Receiver, RecvError, SyncSender, TryRecvError, sync_channel},
};

use gristmill_abi::{
    ErrorText, Head, Status,
    declaration::PluginHandle,
    host::{
        CALL_ALIGN, CALL_ARGUMENTS, CALL_AT_BARRIER, CALL_CLOSED, CALL_FULL, CALL_LATE,
        CALL_MUST_NOT_WAIT, CALL_RUN, CALL_WAIT_FOR_REPLY, CALL_WAIT_FOR_ROOM, CallSpec,
        RpcService,
    },
};

use crate::{Error, Host, plugin::contain};

/// Why a call to main did not run, or not to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CallError {
    /// The queue is full; on a thread that forwards packets nobody waits for room.
    Full,
    /// The plugin is being unloaded, or the host ends.
    Cancelled,
    /// The function panicked; the log has its message.
    Panicked,
    /// It was to run at the barrier, and a worker did not come there.
    LateWorker,
    /// This thread forwards packets and must not wait for an outcome.
    MustNotWait,
    /// The host says why.
    Refused(Error),
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full => "main has too many calls waiting: try again later",
            Self::Cancelled => "the call was cancelled: the plugin is unloaded, or the host ends",
            Self::Panicked => "the call panicked; the log has its message",
            Self::LateWorker => "a worker did not come to the barrier; the log says which",
            Self::MustNotWait => "a thread that forwards packets cannot wait for main",
            Self::Refused(reason) => return reason.fmt(f),
        })
    }
}

impl std::error::Error for CallError {}

impl From<CallError> for Error {
    fn from(error: CallError) -> Self {
        Self::new(error.to_string())
    }
}

impl Host {
    /// Has the main thread run `function`, soon, between packets; does not wait for it. Any thread.
    ///
    /// On main itself, outside of nodes, it has run when this returns. The calls of one thread run
    /// in their order. If the queue is full, a thread of the plugin's own waits for room, and one
    /// that forwards packets (a node, a device, a timer) is told so at once.
    ///
    /// ```
    /// use std::sync::{Arc, atomic::{AtomicU64, Ordering}};
    /// use plugin_api::{CallError, Host};
    ///
    /// struct Acme { host: Host, missed: AtomicU64 }
    ///
    /// /// To be called by a node that met an address it does not know.
    /// fn learn(acme: &Arc<Acme>, address: u32) {
    ///     let plugin = Arc::clone(acme);
    ///     let learned = acme.host.call_main(move || {
    ///         // Here is what only main may do, with `plugin` and `address`.
    ///         let _ = (&plugin, address);
    ///     });
    ///     if learned == Err(CallError::Full) {
    ///         acme.missed.fetch_add(1, Ordering::Relaxed);
    ///     }
    /// }
    ///
    /// /// To be called by a thread of the plugin's own: the workers stand still for it.
    /// fn interfaces(host: Host) -> Result<usize, CallError> {
    ///     host.main().at_barrier().call_and_wait(move || host.interface_indices().len())
    /// }
    /// ```
    ///
    /// Cost: a function of up to 64 bytes is copied, a larger one allocates.
    ///
    /// # Errors
    /// [`CallError`]; the function was dropped then, without having run.
    pub fn call_main(&self, function: impl FnOnce() + Send + 'static) -> Result<(), CallError> {
        self.main().call(function)
    }

    /// Has the main thread run `function` and waits for what it returns. A thread of the plugin's
    /// own, or main outside of nodes.
    ///
    /// # Errors
    /// [`CallError`], [`MustNotWait`](CallError::MustNotWait) on a thread that forwards packets: it
    /// asks for a [`Reply`].
    pub fn call_main_wait<R: Send + 'static>(
        &self,
        function: impl FnOnce() -> R + Send + 'static,
    ) -> Result<R, CallError> {
        self.main().call_and_wait(function)
    }

    /// Calls to main, with more to say about how. Any thread.
    pub fn main(&self) -> MainCaller {
        MainCaller { plugin: self.plugin, flags: CALL_WAIT_FOR_ROOM }
    }
}

/// How main is called: [`Host::main`].
#[derive(Clone, Copy, Debug)]
#[must_use = "it calls nothing by itself"]
pub struct MainCaller {
    plugin: PluginHandle,
    flags: u32,
}

impl MainCaller {
    /// The function runs while all workers stand at the barrier.
    pub fn at_barrier(self) -> Self {
        Self { flags: self.flags | CALL_AT_BARRIER, ..self }
    }

    /// If the queue is full, no thread waits for room.
    pub fn without_waiting(self) -> Self {
        Self { flags: self.flags & !CALL_WAIT_FOR_ROOM, ..self }
    }

    /// As [`Host::call_main`].
    ///
    /// # Errors
    /// [`CallError`]; the function was dropped then, without having run.
    pub fn call(self, function: impl FnOnce() + Send + 'static) -> Result<(), CallError> {
        self.send(0, move |what| match what {
            CALL_RUN => status_of(contain(function)),
            _ => status_of(contain(|| drop(function))),
        })
    }

    /// As [`Host::call_main_wait`].
    ///
    /// # Errors
    /// [`CallError`].
    pub fn call_and_wait<R: Send + 'static>(
        self,
        function: impl FnOnce() -> R + Send + 'static,
    ) -> Result<R, CallError> {
        let (sender, outcome) = sync_channel(1);
        self.send(CALL_WAIT_FOR_REPLY, answering(sender, function))?;
        outcome.recv().unwrap_or_else(cancelled)
    }

    /// Has main run `function`; the reply is there once it has. Any thread.
    ///
    /// # Errors
    /// [`CallError`]; the function was dropped then, without having run.
    pub fn call_for_reply<R: Send + 'static>(
        self,
        function: impl FnOnce() -> R + Send + 'static,
    ) -> Result<Reply<R>, CallError> {
        let (sender, outcome) = sync_channel(1);
        self.send(0, answering(sender, function))?;
        Ok(Reply { outcome, arrived: None })
    }

    fn send<F>(self, more_flags: u32, function: F) -> Result<(), CallError>
    where
        F: FnOnce(u32) -> Status + Send + 'static,
    {
        if const { size_of::<F>() <= CALL_ARGUMENTS && align_of::<F>() <= CALL_ALIGN } {
            self.send_bytes_of(more_flags, function)
        } else {
            const { assert!(size_of::<Box<F>>() <= CALL_ARGUMENTS) };
            self.send_bytes_of(more_flags, Box::new(function))
        }
    }

    /// Hands the function itself over, as bytes; it fits.
    fn send_bytes_of<F>(self, more_flags: u32, function: F) -> Result<(), CallError>
    where
        F: FnOnce(u32) -> Status + Send + 'static,
    {
        let service = Service::find(self.plugin).map_err(CallError::Refused)?;
        let function = ManuallyDrop::new(function);
        let spec = CallSpec {
            head: Head::of::<CallSpec>(),
            function: run::<F>,
            arguments: (&raw const function).cast(),
            size: u32::try_from(size_of::<F>()).unwrap_or(u32::MAX), // Which the host refuses.
            flags: self.flags | more_flags,
        };
        let mut error = ErrorText::new();
        let call = service.table.call;
        // SAFETY: any thread; all pointers are good for the call, and the function is `Send`.
        let status = unsafe { call(service.context, self.plugin, &raw const spec, &raw mut error) };
        if status.is_ok() {
            return Ok(()); // The bytes are the host's now.
        }
        drop(ManuallyDrop::into_inner(function));
        Err(match status {
            CALL_FULL => CallError::Full,
            CALL_CLOSED => CallError::Cancelled,
            CALL_MUST_NOT_WAIT => CallError::MustNotWait,
            _ => CallError::Refused(Error::from_text(&error)),
        })
    }
}

/// What main runs, and answers with. If it is dropped, so is the sender, and that is an answer too.
fn answering<R: Send + 'static>(
    sender: SyncSender<Result<R, CallError>>,
    function: impl FnOnce() -> R + Send + 'static,
) -> impl FnOnce(u32) -> Status + Send + 'static {
    move |what| {
        let (outcome, status) = match what {
            CALL_RUN => match contain(function) {
                Some(result) => (Ok(result), Status::OK),
                None => (Err(CallError::Panicked), Status::PANICKED),
            },
            why => {
                let late = why == CALL_LATE;
                let error = if late { CallError::LateWorker } else { CallError::Cancelled };
                (Err(error), status_of(contain(|| drop(function))))
            }
        };
        let unheard = sender.send(outcome); // There is room; nobody may want it any more.
        if contain(|| drop(unheard)).is_none() { Status::PANICKED } else { status }
    }
}

fn status_of(contained: Option<()>) -> Status {
    contained.map_or(Status::PANICKED, |()| Status::OK)
}

fn cancelled<R>(_: RecvError) -> Result<R, CallError> {
    Err(CallError::Cancelled)
}

/// Calls the function whose bytes these are.
unsafe extern "C" fn run<F: FnOnce(u32) -> Status>(arguments: *mut c_void, what: u32) -> Status {
    // SAFETY: the host passes the bytes of an `F`, aligned, once; they are ours now.
    let function = unsafe { arguments.cast::<F>().read() };
    contain(|| function(what)).unwrap_or(Status::PANICKED)
}

/// What comes of a call to main: [`MainCaller::call_for_reply`]. Dropping it does not stop the
/// call.
#[derive(Debug)]
pub struct Reply<R> {
    outcome: Receiver<Result<R, CallError>>,
    arrived: Option<Result<R, CallError>>,
}

impl<R> Reply<R> {
    /// Whether the call has run, or never will. Never waits.
    pub fn is_ready(&mut self) -> bool {
        if self.arrived.is_none() {
            self.arrived = match self.outcome.try_recv() {
                Ok(outcome) => Some(outcome),
                Err(TryRecvError::Empty) => None,
                Err(TryRecvError::Disconnected) => Some(Err(CallError::Cancelled)),
            };
        }
        self.arrived.is_some()
    }

    /// The outcome. Never waits.
    ///
    /// # Errors
    /// The reply itself, if the call has not run yet.
    pub fn take(mut self) -> Result<Result<R, CallError>, Self> {
        self.is_ready();
        match self.arrived.take() {
            Some(outcome) => Ok(outcome),
            None => Err(self),
        }
    }

    /// Waits for the outcome. A thread of the plugin's own; on others it is not waited for.
    ///
    /// # Errors
    /// [`CallError`], [`MustNotWait`](CallError::MustNotWait) where the call has not run and this
    /// thread may not wait for it.
    pub fn wait(self, host: Host) -> Result<R, CallError> {
        match self.take() {
            Ok(outcome) => outcome,
            Err(reply) => {
                let service = Service::find(host.plugin).map_err(CallError::Refused)?;
                // SAFETY: any thread.
                if unsafe { (service.table.may_wait)(service.context) } == 0 {
                    return Err(CallError::MustNotWait);
                }
                reply.outcome.recv().unwrap_or_else(cancelled)
            }
        }
    }
}

/// The host's service.
#[derive(Clone, Copy)]
struct Service {
    table: &'static RpcService,
    context: *mut c_void,
}

// SAFETY: the service is for any thread.
unsafe impl Send for Service {}
// SAFETY: as above.
unsafe impl Sync for Service {}

/// Found once; there is one host, and its services stay.
static SERVICE: OnceLock<Service> = OnceLock::new();

impl Service {
    fn find(plugin: PluginHandle) -> Result<Self, Error> {
        if let Some(service) = SERVICE.get() {
            return Ok(*service);
        }
        let (table, context) = Host::new(plugin).builtin::<RpcService>("rpc", "^1")?;
        Ok(*SERVICE.get_or_init(|| Self { table, context }))
    }
}

#[cfg(test)]
mod tests;
