//! WHO WAITS: processes, which main runs between the packets, each on a stack of its own.
//!
//! * [`processes`] — what the main loop, plugins and the host ask for: make, signal, run, wait, end;
//! * [`scheduler`] — who runs next, and what each waits for;
//! * [`signals`] — events from other threads;
//! * [`body`] — what a process runs, and how it suspends itself;
//! * [`host_process`] — processes of the host's own;
//! * [`coroutine`] — a body that suspends itself and is resumed; `switch.rs` below it is the
//!   instructions that exchange stacks;
//! * [`stack`] — mapped stacks with a guard below, and the pool of those that wait for a user;
//! * [`overflow`] — names the process whose stack was too small, before the host ends by it;
//! * [`backtrace`] — where a thread, or the process that runs on it, is at this moment.

pub mod backtrace;
pub mod body;
pub mod coroutine;
pub mod host_process;
pub mod overflow;
pub mod processes;
mod report;
pub mod scheduler;
pub mod signals;
pub mod stack;
mod switch;

pub use body::{Body, Deliver, Ending, Hold, PluginDeliver};
pub use coroutine::{Coroutine, PanicText, Parked, ParkedTotals, Step, Suspend};
pub use host_process::{Context, WATCHDOG};
pub use overflow::{AlternateStack, Bounds};
pub use processes::{Notice, Processes, SLICE, WaitError, What};
pub use report::{Counts, ProcessReport};
pub use scheduler::{Later, Request, Restart, Spec, State, Woken};
pub use signals::ProcessShared;
pub use stack::{Stack, StackError, StackPool};
