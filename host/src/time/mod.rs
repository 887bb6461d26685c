//! WHEN: the clock and the dynamic timers. Everything else takes `now` as an argument.

mod alignment;
pub mod calibration;
pub mod clock;
mod interval;
pub mod timer;
mod units;

pub use alignment::Stamp;
pub use clock::{Clock, ClockReport, ThreadClock, VirtualTime};
pub use interval::IntervalTimer;
pub use units::{Cycles, Nanos, Ticks};
