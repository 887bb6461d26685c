//! Who runs: the two loops, the dispatch of frames, the barrier between main and workers, packets
//! from thread to thread, and calls to main.

pub mod barrier;
pub mod dispatch;
pub mod fence;
pub mod files;
pub mod gate;
pub mod handoff;
pub mod latency;
pub mod main_cell;
pub mod main_loop;
pub mod poller;
pub mod ring;
pub mod rpc;
pub mod scheduling;
pub mod sleep;
pub mod thread;
pub mod watchdog;
pub mod worker;
pub mod worker_loop;
pub mod workers;

pub use barrier::{Barrier, BarrierGate, Caller, LateWorker, Pause};
pub use handoff::Handoff;
pub use rpc::Rpc;
pub use scheduling::{Policy, Scheduling};
pub use thread::{Thread, ThreadShared};
