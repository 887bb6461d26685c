//! How the kernel schedules the workers.
#![expect(unsafe_code, reason = "no safe face of `sched_setscheduler` knows all policies")]

use std::{fmt, io};

/// A policy of the kernel's scheduler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// The usual one.
    Other,
    /// For what computes without a break.
    Batch,
    /// For what runs when nothing else does.
    Idle,
    /// Real time: runs until it waits.
    Fifo,
    /// Real time: in turns with those of its priority.
    RoundRobin,
}

/// What is asked of the kernel; nothing by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scheduling {
    /// The policy.
    pub policy: Option<Policy>,
    /// 1 to 99 for a real-time policy, else 0.
    pub priority: u32,
}

impl Policy {
    const ALL: [(&str, Self); 5] = [
        ("other", Self::Other),
        ("batch", Self::Batch),
        ("idle", Self::Idle),
        ("fifo", Self::Fifo),
        ("rr", Self::RoundRobin),
    ];

    /// The policy of that name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(known, _)| *known == name).map(|&(_, policy)| policy)
    }

    /// Whether it has a priority.
    pub fn is_real_time(self) -> bool {
        matches!(self, Self::Fifo | Self::RoundRobin)
    }

    fn number(self) -> libc::c_int {
        match self {
            Self::Other => libc::SCHED_OTHER,
            Self::Batch => libc::SCHED_BATCH,
            Self::Idle => libc::SCHED_IDLE,
            Self::Fifo => libc::SCHED_FIFO,
            Self::RoundRobin => libc::SCHED_RR,
        }
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Self::ALL.iter().find(|(_, policy)| policy == self).map_or("", |(name, _)| name);
        f.pad(name)
    }
}

impl Scheduling {
    /// Has the calling thread scheduled like that.
    ///
    /// # Errors
    /// What the system says: real time is for root, or for whom RLIMIT_RTPRIO allows it.
    pub fn apply(self) -> io::Result<()> {
        let Some(policy) = self.policy else { return Ok(()) };
        let priority = libc::c_int::try_from(self.priority).unwrap_or(0);
        let parameter = libc::sched_param { sched_priority: priority };
        // SAFETY: 0 is the calling thread, and the parameter is good for the call.
        let done = unsafe { libc::sched_setscheduler(0, policy.number(), &raw const parameter) };
        if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }
}

/// The policy of the thread `tid` and its priority, as the kernel has them.
pub fn scheduling_of(tid: u32) -> Option<(Policy, u32)> {
    let tid = libc::pid_t::try_from(tid).ok().filter(|&tid| tid != 0)?;
    // SAFETY: only a number is passed.
    let number = unsafe { libc::sched_getscheduler(tid) } & !libc::SCHED_RESET_ON_FORK;
    let (_, policy) = Policy::ALL.into_iter().find(|(_, policy)| policy.number() == number)?;
    let mut parameter = libc::sched_param { sched_priority: 0 };
    // SAFETY: there is room for the answer.
    let asked = unsafe { libc::sched_getparam(tid, &raw mut parameter) };
    let priority = if asked == 0 { parameter.sched_priority } else { 0 };
    Some((policy, u32::try_from(priority).unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_is_scheduled_as_it_was_asked() {
        let found = std::thread::spawn(|| {
            let tid = rustix::thread::gettid().as_raw_nonzero().get().unsigned_abs();
            Scheduling { policy: Some(Policy::Batch), priority: 0 }.apply().unwrap();
            scheduling_of(tid)
        });
        assert_eq!(found.join().unwrap(), Some((Policy::Batch, 0)));
    }

    #[test]
    fn every_policy_has_a_name() {
        for (name, policy) in Policy::ALL {
            assert_eq!((Policy::parse(name), policy.to_string().as_str()), (Some(policy), name));
        }
        assert_eq!(Policy::parse("deadline"), None);
    }
}
