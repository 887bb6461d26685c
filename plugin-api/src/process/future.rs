//! Futures in a process: a waker is an event.
#![expect(
    clippy::disallowed_types,
    reason = "parking_lot is the host's; nothing here is modelled with loom"
)]

use core::{
    ffi::c_void,
    future::Future,
    pin::{Pin, pin},
    sync::atomic::{AtomicBool, Ordering},
    task::{Context, Poll, Waker},
    time::Duration,
};
use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::Wake,
};

use gristmill_abi::{
    Head, Status,
    process::{DelayedEvent, WAIT_EVENT, Wait},
};

use super::{
    Cancelled, Delayed, Events, Process, ProcessHandle, ProcessOptions, Reference, Service, Stop,
    WAKE, events::signal_later, nothing,
};
use crate::{Error, Host, plugin::contain};

/// Wakes a process by its own event. Any thread.
struct Signal(Reference);

impl Wake for Signal {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.signal(WAKE); // One that has ended needs no waking.
    }
}

impl Process {
    /// Runs a future to its end; the process waits while it is pending.
    ///
    /// # Errors
    /// [`Cancelled`] if the process is to end first; then the future is dropped.
    pub fn block_on<F: Future>(&mut self, future: F) -> Result<F::Output, Cancelled> {
        let waker = Waker::from(Arc::new(Signal(self.reference())));
        let mut context = Context::from_waker(&waker);
        let mut future = pin!(future);
        loop {
            if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
                return Ok(output);
            }
            self.wait(Wait { flags: WAIT_EVENT, events: WAKE, ..nothing() })?;
        }
    }
}

impl Host {
    /// Makes a process of a future: as [`spawn`](Self::spawn), for who prefers `async`.
    ///
    /// ```
    /// use std::time::Duration;
    /// use plugin_api::{Error, Host, LogLevel, ProcessHandle, ProcessOptions, event};
    ///
    /// fn start(host: Host) -> Result<ProcessHandle, Error> {
    ///     let (sender, mut requests) = event::<String>();
    ///     sender.send("hello".to_owned()).ok();
    ///     host.spawn_async(ProcessOptions::new("acme-echo"), move |process| async move {
    ///         let request = requests.next_event().await;
    ///         process.sleep(Duration::from_millis(1)).await;
    ///         process.host().log(LogLevel::Notice, &request);
    ///         Ok(())
    ///     })
    /// }
    /// ```
    ///
    /// # Errors
    /// As there.
    pub fn spawn_async<F: Future<Output = Result<(), Error>>>(
        &self,
        options: ProcessOptions,
        make: impl FnOnce(AsyncProcess) -> F + Send + 'static,
    ) -> Result<ProcessHandle, Error> {
        let mut make = Some(make);
        self.spawn(options, move |process| {
            let make = make.take().ok_or("a process of a future runs once")?;
            let own = AsyncProcess { host: process.host(), own: Arc::new(process.reference()) };
            process.block_on(make(own))?.map_err(Stop::from)
        })
    }
}

/// A process of a future, from within.
#[derive(Clone)]
pub struct AsyncProcess {
    host: Host,
    own: Arc<Reference>,
}

impl core::fmt::Debug for AsyncProcess {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("AsyncProcess")
    }
}

impl AsyncProcess {
    /// The host, as the plugin sees it.
    pub fn host(&self) -> Host {
        self.host
    }

    /// Ends after a time, to the next 10 us.
    pub fn sleep(&self, time: Duration) -> Sleep {
        Sleep { process: self.clone(), time, timer: None }
    }
}

/// A time that passes.
#[derive(Debug)]
#[must_use = "a future does nothing unless it is awaited"]
pub struct Sleep {
    process: AsyncProcess,
    time: Duration,
    timer: Option<(Arc<Timer>, Delayed)>,
}

/// Whether the time has passed, and who waits for it.
#[derive(Debug, Default)]
struct Timer {
    over: AtomicBool,
    waker: Mutex<Option<Waker>>,
}

impl Timer {
    fn waker(&self) -> MutexGuard<'_, Option<Waker>> {
        self.waker.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if let Some((timer, _)) = &self.timer {
            *timer.waker() = Some(context.waker().clone());
            let over = timer.over.load(Ordering::Relaxed);
            return if over { Poll::Ready(()) } else { Poll::Pending };
        }
        let timer = Arc::new(Timer::default());
        *timer.waker() = Some(context.waker().clone());
        let own = &self.process.own;
        let service: Service = own.service;
        let spec = DelayedEvent {
            head: Head::of::<DelayedEvent>(),
            process: own.process,
            events: WAKE,
            delay_ns: u64::try_from(self.time.as_nanos()).unwrap_or(u64::MAX),
            deliver,
            data: Arc::into_raw(Arc::clone(&timer)).cast_mut().cast(),
            token: 0,
        };
        match signal_later(&self.process.host, service, &spec) {
            Ok(delayed) => {
                self.timer = Some((timer, delayed));
                Poll::Pending
            }
            Err(error) => {
                // SAFETY: the host did not take it.
                unsafe { deliver(spec.data, 0, 0) };
                panic!("a process sleeps on main, where it is: {error}");
            }
        }
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some((_, delayed)) = self.timer.take() {
            delayed.take_back(); // It may have happened.
        }
    }
}

/// The time has passed, or is not waited for any more.
///
/// # Safety
/// `data` is a count of a `Timer`, which ends with this.
unsafe extern "C" fn deliver(data: *mut c_void, _: u64, happened: u32) -> Status {
    // SAFETY: by the caller's promise.
    let timer = unsafe { Arc::from_raw(data.cast::<Timer>()) };
    timer.over.store(happened != 0, Ordering::Relaxed);
    let wake = || {
        let waker = timer.waker().take();
        if let Some(waker) = waker.filter(|_| happened != 0) {
            waker.wake();
        }
    };
    contain(wake).map_or(Status::PANICKED, |()| Status::OK)
}

impl<T> Events<T> {
    /// The next event. It needs no [`listen`](Process::listen).
    pub fn next_event(&mut self) -> NextEvent<'_, T> {
        NextEvent(self)
    }
}

/// The next event of a type.
#[derive(Debug)]
#[must_use = "a future does nothing unless it is awaited"]
pub struct NextEvent<'a, T>(&'a mut Events<T>);

impl<T> Future for NextEvent<'_, T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        self.0.poll(context.waker()).map_or(Poll::Pending, Poll::Ready)
    }
}
