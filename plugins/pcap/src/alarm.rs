//! What wakes the thread that replays.

use std::{
    io,
    os::fd::{AsRawFd, OwnedFd, RawFd},
    sync::atomic::{AtomicBool, Ordering, fence},
    time::Duration,
};

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};

/// A descriptor that becomes readable at once, or after a while: a timer of the kernel's, so that
/// a thread can sleep until the next packet is due.
///
/// The replaying thread sets it; the reading thread rings it only when it is waited for.
#[derive(Debug)]
pub(crate) struct Alarm {
    timer: OwnedFd,
    /// The replaying thread has no packet left and found none.
    starving: AtomicBool,
}

impl Alarm {
    pub(crate) fn new() -> io::Result<Self> {
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        Ok(Self { timer, starving: AtomicBool::new(false) })
    }

    pub(crate) fn readable(&self) -> RawFd {
        self.timer.as_raw_fd()
    }

    /// Readable from now on.
    pub(crate) fn ring(&self) {
        self.ring_after(Duration::from_nanos(1));
    }

    /// Not readable before `delay` has passed.
    pub(crate) fn ring_after(&self, delay: Duration) {
        let delay = delay.max(Duration::from_nanos(1)); // Zero would be never.
        self.set(Timespec {
            tv_sec: i64::try_from(delay.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: delay.subsec_nanos().into(),
        });
    }

    /// Not readable until it is rung.
    pub(crate) fn silence(&self) {
        self.set(Timespec { tv_sec: 0, tv_nsec: 0 });
    }

    /// Asks to be rung when there is something; look once more after this.
    pub(crate) fn starve(&self) {
        self.starving.store(true, Ordering::SeqCst);
        // The other side gives before it looks here: one of the two sees what the other did.
        fence(Ordering::SeqCst);
    }

    /// Rings if that was asked for; something was given before this.
    pub(crate) fn feed(&self) {
        fence(Ordering::SeqCst);
        if self.starving.swap(false, Ordering::SeqCst) {
            self.ring();
        }
    }

    #[cfg(test)]
    pub(crate) fn is_readable(&self, within: Duration) -> bool {
        use rustix::event::{PollFd, PollFlags, poll};
        let within = Timespec::try_from(within).expect("a test waits for seconds");
        let mut fds = [PollFd::new(&self.timer, PollFlags::IN)];
        poll(&mut fds, Some(&within)).expect("a descriptor that is open") == 1
    }

    fn set(&self, it_value: Timespec) {
        let once = Itimerspec { it_interval: Timespec { tv_sec: 0, tv_nsec: 0 }, it_value };
        let set = timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &once);
        debug_assert!(set.is_ok(), "{set:?}"); // No time that is in range is refused.
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_rung_once_for_one_that_starves_and_not_for_others() {
        let alarm = Alarm::new().unwrap();
        alarm.feed();
        assert!(!alarm.is_readable(Duration::ZERO));
        alarm.starve();
        alarm.feed();
        assert!(alarm.is_readable(Duration::from_secs(10)));
        alarm.silence();
        alarm.feed();
        assert!(!alarm.is_readable(Duration::ZERO));
    }

    #[test]
    fn to_set_it_anew_silences_it() {
        let alarm = Alarm::new().unwrap();
        for silence in [Alarm::silence, |alarm: &Alarm| alarm.ring_after(Duration::MAX)] {
            alarm.ring();
            assert!(alarm.is_readable(Duration::from_secs(10)));
            silence(&alarm);
            assert!(!alarm.is_readable(Duration::ZERO));
        }
    }
}
