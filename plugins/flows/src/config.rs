//! The plugin's section of the configuration:
//!
//! ```toml
//! [plugin.flows]
//! flows-max = 65536  # flows of each thread; packets of further ones are counted as not tracked
//! idle = 15          # seconds without a packet after which a flow ends
//! active = 1800      # seconds after which a flow that goes on is reported
//! ```

use plugin_api::{Config, Error};

use crate::table::Wheel;

/// Nanoseconds of a tick of the wheels.
pub const TICK_NS: u64 = 100_000_000;
/// Ticks of a second.
pub const TICKS_PER_SECOND: u32 = 10;

/// Most flows of a thread that can be asked for.
const FLOWS_MAX: u32 = 4 << 20;
/// The longest time-out. Unit: seconds; about seven hours.
const SECONDS_MAX: u32 = 26_000;

const _: () = assert!(((SECONDS_MAX * TICKS_PER_SECOND) as u64) < Wheel::MAX_INTERVAL);

/// When flows end. Unit: ticks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    idle: u32,
    active: u32,
}

impl Timeouts {
    /// Time-outs of so many seconds.
    ///
    /// # Errors
    /// If one of them is nothing, or too long.
    pub fn of_seconds(idle: u32, active: u32) -> Result<Self, Error> {
        for (name, seconds) in [("idle", idle), ("active", active)] {
            if !(1..=SECONDS_MAX).contains(&seconds) {
                return Err(format!("{name} = {seconds}: must be 1 to {SECONDS_MAX} s").into());
            }
        }
        Ok(Self { idle: idle * TICKS_PER_SECOND, active: active * TICKS_PER_SECOND })
    }

    /// Without a packet so long, a flow ends.
    #[inline(always)]
    pub fn idle(self) -> u32 {
        self.idle
    }

    /// Ticks after which the idle time-out has passed whole, wherever in its tick the present is.
    #[inline(always)]
    pub fn idle_interval(self) -> u64 {
        u64::from(self.idle) + 1
    }

    /// As [`idle_interval`](Self::idle_interval): so long after it began or was last reported, a
    /// flow is reported.
    #[inline(always)]
    pub fn active_interval(self) -> u64 {
        u64::from(self.active) + 1
    }

    /// No timer that is started with these time-outs expires before.
    #[inline(always)]
    pub fn least_interval(self) -> u64 {
        self.idle_interval().min(self.active_interval())
    }

    /// Idle and active in seconds.
    pub fn seconds(self) -> [u32; 2] {
        [self.idle, self.active].map(|ticks| ticks / TICKS_PER_SECOND)
    }

    /// Both in one number, to be kept in an atomic.
    pub fn to_bits(self) -> u64 {
        u64::from(self.idle) << 32 | u64::from(self.active)
    }

    /// The time-outs of [`to_bits`](Self::to_bits).
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "the halves are meant")]
    pub fn from_bits(bits: u64) -> Self {
        Self { idle: (bits >> 32) as u32, active: bits as u32 }
    }
}

/// What the section says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Flows of each thread.
    pub flows_max: u32,
    /// When they end, at first.
    pub timeouts: Timeouts,
}

impl Settings {
    /// Reads the section. Keys that nobody asks for are refused by the SDK.
    ///
    /// # Errors
    /// If a value does not do.
    pub fn read(config: &Config<'_>) -> Result<Self, Error> {
        let flows_max = config.parse("flows-max")?.unwrap_or(65_536);
        if !(1..=FLOWS_MAX).contains(&flows_max) {
            return Err(format!("flows-max = {flows_max}: must be 1 to {FLOWS_MAX}").into());
        }
        let idle = config.parse("idle")?.unwrap_or(15);
        let active = config.parse("active")?.unwrap_or(1_800);
        Ok(Self { flows_max, timeouts: Timeouts::of_seconds(idle, active)? })
    }
}

#[cfg(test)]
mod tests {
    use plugin_api::testing::create;

    use super::*;
    use crate::Flows;

    #[test]
    fn what_is_not_set_has_a_default_and_what_is_set_counts() {
        let settings = create::<Flows>(&[]).unwrap().settings();
        assert_eq!((settings.flows_max, settings.timeouts.seconds()), (65_536, [15, 1_800]));
        let set = [("flows-max", "7"), ("idle", "26000"), ("active", "1")];
        let settings = create::<Flows>(&set).unwrap().settings();
        assert_eq!((settings.flows_max, settings.timeouts.seconds()), (7, [26_000, 1]));
        assert_eq!(Timeouts::from_bits(settings.timeouts.to_bits()), settings.timeouts);
    }

    #[test]
    fn a_wrong_value_or_an_unknown_key_is_named() {
        for (set, reason) in [
            (("flows-max", "0"), "flows-max = 0: must be 1 to 4194304"),
            (("flows-max", "many"), "flows-max = \"many\" (line 7): invalid digit"),
            (("idle", "0"), "idle = 0: must be 1 to 26000 s"),
            (("active", "26001"), "active = 26001: must be 1 to 26000 s"),
            (("idel", "3"), "unknown setting \"idel\""),
        ] {
            let error = create::<Flows>(&[set]).unwrap_err().to_string();
            assert!(error.starts_with(reason), "{error}");
        }
    }
}
