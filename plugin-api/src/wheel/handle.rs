//! What names a timer, what an expiry tells, and why a timer does not start.

use core::error::Error;
use core::fmt;
use core::num::NonZeroU64;

/// Names no timer, as generation 2 is even: what 0 becomes.
const NONE: NonZeroU64 = NonZeroU64::MIN.saturating_add(2 << 32);

/// Names a started timer. A stale one is harmless: its place has moved on a generation (it would
/// take 2^31 starts in the same place for it to mean another timer). Eight bytes, even if optional.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TimerHandle(NonZeroU64);

impl TimerHandle {
    #[inline]
    pub(super) const fn new(place: u32, generation: u32) -> Self {
        Self::from_bits((generation as u64) << 32 | place as u64)
    }

    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "the lower half is meant")]
    pub(super) const fn place(self) -> u32 {
        self.0.get() as u32
    }

    /// Odd, as only that of a running timer is, if it is the handle of a timer at all.
    #[inline]
    pub(super) const fn generation(self) -> u32 {
        (self.0.get() >> 32) as u32
    }

    /// The handle as a number, never 0: to be kept in an atomic, or to cross a boundary.
    #[inline]
    pub const fn to_bits(self) -> u64 {
        self.0.get()
    }

    /// The handle of [`Self::to_bits`]. A number that came from elsewhere names no timer, or any.
    #[inline]
    pub const fn from_bits(bits: u64) -> Self {
        match NonZeroU64::new(bits) {
            Some(bits) => Self(bits),
            None => Self(NONE),
        }
    }
}

impl fmt::Debug for TimerHandle {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (place, generation) = (self.place(), self.generation());
        out.debug_struct("TimerHandle")
            .field("place", &place)
            .field("generation", &generation)
            .finish()
    }
}

/// A timer that expired: whose, and which of its timers. Four bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Expiry<const TIMERS: usize>(u32);

impl<const TIMERS: usize> Expiry<TIMERS> {
    /// The number of object numbers: what the timer's number leaves of 32 bits.
    pub(super) const OBJECTS: u64 = (1 << 32) >> TIMERS.trailing_zeros();

    /// The object the timer was started for.
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "below 2^32")]
    pub const fn object(self) -> u32 {
        self.0 & (Self::OBJECTS - 1) as u32
    }

    /// Which of its timers, below `TIMERS`.
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "below TIMERS")]
    pub const fn timer(self) -> u32 {
        (self.0 as u64 / Self::OBJECTS) as u32
    }

    #[inline]
    pub(super) const fn pack(object: u32, timer: u32) -> Result<u32, StartError> {
        if timer as usize >= TIMERS {
            return Err(StartError::NoSuchTimer { timer, timers: TIMERS });
        }
        if object as u64 >= Self::OBJECTS {
            return Err(StartError::NoSuchObject { object, objects: Self::OBJECTS });
        }
        #[expect(clippy::cast_possible_truncation, reason = "timer < TIMERS")]
        Ok(object | (timer as u64 * Self::OBJECTS) as u32)
    }

    #[inline]
    pub(super) const fn unpack(packed: u32) -> Self {
        Self(packed)
    }
}

impl<const TIMERS: usize> fmt::Debug for Expiry<TIMERS> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (object, timer) = (self.object(), self.timer());
        out.debug_struct("Expiry").field("object", &object).field("timer", &timer).finish()
    }
}

/// Why a timer did not start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StartError {
    /// The interval is longer than the wheel reaches.
    Overlong {
        /// What was asked for, in ticks.
        interval: u64,
        /// What is possible.
        longest: u64,
    },
    /// The timer's number is not below the timers per object.
    NoSuchTimer {
        /// What was asked for.
        timer: u32,
        /// The timers per object.
        timers: usize,
    },
    /// The object's number does not fit beside the timer's in 32 bits.
    NoSuchObject {
        /// What was asked for.
        object: u32,
        /// The number of object numbers.
        objects: u64,
    },
    /// 2^32 timers run.
    Full,
}

/// Why a timer did not restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum UpdateError {
    /// It was stopped, or has expired.
    NotRunning,
    /// The interval is longer than the wheel reaches.
    Overlong {
        /// What was asked for, in ticks.
        interval: u64,
        /// What is possible.
        longest: u64,
    },
}

impl fmt::Display for StartError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Overlong { interval, longest } => overlong(out, *interval, *longest),
            Self::NoSuchTimer { timer, timers } => {
                write!(out, "timer {timer} of an object: this wheel has {timers} per object")
            }
            Self::NoSuchObject { object, objects } => {
                write!(out, "object {object}: this wheel takes numbers below {objects}")
            }
            Self::Full => out.write_str("2^32 timers run already: stop some"),
        }
    }
}

impl fmt::Display for UpdateError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotRunning => out.write_str("the timer does not run: start it anew"),
            Self::Overlong { interval, longest } => overlong(out, *interval, *longest),
        }
    }
}

fn overlong(out: &mut fmt::Formatter<'_>, interval: u64, longest: u64) -> fmt::Result {
    write!(out, "interval of {interval} ticks: this wheel reaches {longest}; use one with overflow")
}

impl Error for StartError {}

impl Error for UpdateError {}
