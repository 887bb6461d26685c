//! Where packets go: the plan of the graph on the main thread, and what each thread runs of it.
//!
//! The [`plan`] knows names: nodes, their nexts, feature arcs. It is changed and validated on the
//! side, then compiled into a [`Runtime`](runtime::Runtime) for each thread, in which everything
//! is an index. Threads stop only while their runtimes are exchanged.

pub mod arc;
pub mod compile;
pub mod frame;
pub mod node;
pub mod plan;
pub mod runtime;

pub use node::{NodeIndex, NodeKind, Owner, Severity};
pub use plan::{Plan, PlanError, PlanNext, PlanNode};
