//! Who runs: the two loops, the dispatch of frames, the barrier between main and workers, packets
//! from thread to thread, and calls to main.

pub mod barrier;
pub mod dispatch;
pub mod files;
pub mod handoff;
pub mod main_cell;
pub mod main_loop;
pub mod poller;
pub mod ring;
pub mod rpc;
pub mod sleep;
pub mod thread;
pub mod watchdog;
pub mod worker_loop;

pub use barrier::{Barrier, BarrierGate, LateWorker, Pause};
pub use handoff::Handoff;
pub use rpc::Rpc;
pub use thread::{Thread, ThreadShared};
