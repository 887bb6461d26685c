//! Interval timers, for what needs no speed: a live view, a plugin's slow poll.
//!
//! A timerfd, watched by a thread's poller like any other descriptor. Not `setitimer` and SIGALRM,
//! as VPP has it: a process has one such timer, which a library may take for itself; its signal
//! interrupts whatever system call a thread of anybody's is in; its handler may do next to
//! nothing; and what it did reaches the loop by a descriptor all the same.
//!
//! A timer costs a descriptor, a system call to set it and two for each expiry. What is set often
//! is a dynamic timer's ([`super::timer`]) or a wheel's.

use std::{
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    time::Duration,
};

use rustix::{
    io::Errno,
    time::{
        Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
        timerfd_settime,
    },
};

/// A one-shot or periodic timer that is a descriptor: readable once it has expired.
#[derive(Debug)]
pub struct IntervalTimer(OwnedFd);

impl IntervalTimer {
    /// A timer that does not run.
    ///
    /// # Errors
    /// If the system has no descriptor left.
    pub fn new() -> Result<Self, Errno> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        Ok(Self(timerfd_create(TimerfdClockId::Monotonic, flags)?))
    }

    /// Starts it, or starts it anew: it expires after `first`, at once if that is zero, and from
    /// then on each `period`. Without a period, or if that is zero, it expires once.
    ///
    /// # Errors
    /// If a time is longer than the system counts.
    pub fn start(&self, first: Duration, period: Option<Duration>) -> Result<(), Errno> {
        // Zero would stop it.
        let value = timespec(first.max(Duration::from_nanos(1)))?;
        self.set(timespec(period.unwrap_or_default())?, value)
    }

    /// Stops it; an expiry that nobody has asked for is forgotten.
    ///
    /// # Errors
    /// What the system says, which it has no reason to.
    pub fn stop(&self) -> Result<(), Errno> {
        self.set(timespec(Duration::ZERO)?, timespec(Duration::ZERO)?)
    }

    /// How often it has expired since it was started or this was asked; does not wait.
    pub fn expirations(&self) -> u64 {
        let mut count = [0; 8];
        match rustix::io::read(&self.0, &mut count) {
            Ok(_) => u64::from_ne_bytes(count),
            Err(_) => 0, // Not since.
        }
    }

    fn set(&self, it_interval: Timespec, it_value: Timespec) -> Result<(), Errno> {
        let value = Itimerspec { it_interval, it_value };
        timerfd_settime(&self.0, TimerfdTimerFlags::empty(), &value).map(drop)
    }
}

impl AsFd for IntervalTimer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn timespec(duration: Duration) -> Result<Timespec, Errno> {
    Timespec::try_from(duration).map_err(|_| Errno::OVERFLOW)
}

#[cfg(test)]
mod tests {
    use rustix::event::{PollFd, PollFlags, poll};

    use super::*;

    fn readable(timer: &IntervalTimer, timeout: Duration) -> bool {
        let timeout = timespec(timeout).unwrap();
        poll(&mut [PollFd::new(timer, PollFlags::IN)], Some(&timeout)).unwrap() == 1
    }

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn once_is_once() {
        let timer = IntervalTimer::new().unwrap();
        timer.start(Duration::from_millis(1), None).unwrap();
        assert!(readable(&timer, LONG));
        assert_eq!((timer.expirations(), timer.expirations()), (1, 0));
        assert!(!readable(&timer, Duration::from_millis(5)));
    }

    #[test]
    fn a_period_goes_on_and_misses_no_count() {
        let timer = IntervalTimer::new().unwrap();
        timer.start(Duration::ZERO, Some(Duration::from_millis(1))).unwrap();
        let mut count = 0;
        while count < 5 {
            assert!(readable(&timer, LONG));
            count += timer.expirations();
        }
    }

    #[test]
    fn a_stopped_timer_stays_still_and_forgets() {
        let timer = IntervalTimer::new().unwrap();
        timer.start(Duration::ZERO, Some(Duration::from_millis(1))).unwrap();
        assert!(readable(&timer, LONG));
        timer.stop().unwrap();
        assert!(!readable(&timer, Duration::from_millis(5)));
        assert_eq!(timer.expirations(), 0);
    }

    #[test]
    fn a_time_that_nobody_can_count_is_refused() {
        let timer = IntervalTimer::new().unwrap();
        assert_eq!(timer.start(Duration::MAX, None), Err(Errno::OVERFLOW));
        assert_eq!(timer.start(LONG, Some(Duration::MAX)), Err(Errno::OVERFLOW));
    }
}
