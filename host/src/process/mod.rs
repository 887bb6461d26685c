//! WHO WAITS: coroutines with stacks of their own, on which processes run.
//!
//! * [`coroutine`] — a body that suspends itself and is resumed; `switch.rs` below it is the
//!   instructions that exchange stacks;
//! * [`stack`] — mapped stacks with a guard below, and the pool of those that wait for a user;
//! * [`overflow`] — names the process whose stack was too small, before the host ends by it;
//! * [`backtrace`] — where a thread, or the process that runs on it, is at this moment.

pub mod backtrace;
pub mod coroutine;
pub mod overflow;
pub mod stack;
mod switch;

pub use coroutine::{Coroutine, PanicText, Parked, ParkedTotals, Step, Suspend};
pub use overflow::{AlternateStack, Bounds};
pub use stack::{Stack, StackError, StackPool};
