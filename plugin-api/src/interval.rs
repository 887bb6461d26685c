//! Interval timers, for what needs no speed: a timer of the system's own, watched like a socket.

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
    time::Duration,
};

use crate::{Error, Host, Interest, WatchedFile};

/// A one-shot or periodic timer whose function runs on main. Dropping it ends it.
///
/// It costs a descriptor, a system call to set it and two for each expiry; its function is told
/// how often it has expired since the last time. For more than a few such timers, and for those
/// that are restarted often, there are [`Timer`](crate::Timer) and [`wheel`](crate::wheel).
///
/// It is a timerfd. SIGALRM, which a process has once, belongs to nobody here: its signal would
/// interrupt whatever system call another plugin's thread is in.
#[derive(Debug)]
pub struct IntervalTimer(WatchedFile);

impl Host {
    /// An interval timer that does not run yet. Any thread.
    ///
    /// ```
    /// use std::time::Duration;
    /// use plugin_api::{Error, Host, IntervalTimer};
    ///
    /// fn every_second(host: Host) -> Result<IntervalTimer, Error> {
    ///     let timer = host.interval_timer("acme-beat", move |times| {
    ///         host.log(plugin_api::LogLevel::Debug, &format!("{times} more"));
    ///         Ok(())
    ///     })?;
    ///     timer.start(Duration::from_secs(1), Some(Duration::from_secs(1)))?;
    ///     Ok(timer)
    /// }
    /// ```
    ///
    /// # Errors
    /// If the system has no descriptor left.
    pub fn interval_timer(
        &self,
        name: &str,
        function: impl Fn(u64) -> Result<(), Error> + Send + Sync + 'static,
    ) -> Result<IntervalTimer, Error> {
        let flags = libc::TFD_NONBLOCK | libc::TFD_CLOEXEC;
        // SAFETY: only numbers are passed.
        let fd = unsafe { libc::timerfd_create(libc::CLOCK_MONOTONIC, flags) };
        if fd < 0 {
            return Err(io::Error::last_os_error().into());
        }
        // SAFETY: it was opened just now, for nobody else.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        let expired = move |fd: BorrowedFd<'_>| match expirations(fd) {
            0 => Ok(()), // Stopped or started anew meanwhile.
            times => function(times),
        };
        Ok(IntervalTimer(self.watch(name, fd, Interest::READ, expired)?))
    }
}

impl IntervalTimer {
    /// Starts it, or starts it anew: it expires after `first`, at once if that is zero, and from
    /// then on each `period`. Without a period, or if that is zero, it expires once. Any thread.
    ///
    /// # Errors
    /// If a time is longer than the system counts, or the timer's function has panicked.
    pub fn start(&self, first: Duration, period: Option<Duration>) -> Result<(), Error> {
        // Zero would stop it.
        self.set(first.max(Duration::from_nanos(1)), period.unwrap_or_default())
    }

    /// Stops it. Any thread.
    ///
    /// # Errors
    /// If the timer's function has panicked.
    pub fn stop(&self) -> Result<(), Error> {
        self.set(Duration::ZERO, Duration::ZERO)
    }

    fn set(&self, first: Duration, period: Duration) -> Result<(), Error> {
        let fd = self.0.fd().ok_or("the timer's function has panicked")?;
        let value = libc::itimerspec { it_interval: timespec(period)?, it_value: timespec(first)? };
        // SAFETY: the value is good for the call, and the old one is not asked for.
        let set = unsafe {
            libc::timerfd_settime(fd.as_raw_fd(), 0, &raw const value, core::ptr::null_mut())
        };
        if set == 0 { Ok(()) } else { Err(io::Error::last_os_error().into()) }
    }
}

fn timespec(duration: Duration) -> Result<libc::timespec, Error> {
    let too_long = |_| Error::new(format!("{duration:?} is longer than the system counts"));
    let tv_sec = libc::time_t::try_from(duration.as_secs()).map_err(too_long)?;
    Ok(libc::timespec { tv_sec, tv_nsec: duration.subsec_nanos().into() })
}

fn expirations(fd: BorrowedFd<'_>) -> u64 {
    let mut count = 0_u64;
    // SAFETY: there is room for the eight bytes of a count.
    let got = unsafe { libc::read(fd.as_raw_fd(), (&raw mut count).cast(), 8) };
    if got == 8 { count } else { 0 }
}
