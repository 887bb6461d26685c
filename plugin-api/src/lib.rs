//! The SDK for Gristmill plugins.
//!
//! A plugin is a crate that implements [`Plugin`] and declares what it brings: nodes
//! ([`declare_node!`]), device classes ([`declare_device!`]), commands ([`declare_command!`]),
//! feature arcs and features ([`declare_arc!`], [`declare_feature!`]), services
//! ([`service!`], [`offer_service!`], [`require_service!`]). [`export_plugin!`] makes a shared
//! object of it. All of this is safe Rust; the `unsafe` is here. Beside that it has settings
//! ([`Config`]), counters ([`counters!`]), timers ([`Host::timer`], [`Host::interval_timer`]),
//! descriptors that the host watches for it ([`Host::watch`]), processes ([`Host::spawn`]), work that
//! may block ([`Host::work_queue`]), calls to the main thread ([`Host::call_main`]) and the way to other threads for packets
//! ([`Host::handoff`]), and looks at packets with the header views of [`wire`].
//! [`testing`] runs its nodes and devices without a host.
//!
//! *What to put off, and how.* A node does what its packets wait for, and leaves the rest:
//!
//! | take a | for what | where and when it runs | at once on two threads | may block | takes |
//! |---|---|---|---|---|---|
//! | softirq, [`Host::softirq`] | each thread does for itself, as often as can be: batches, refills | at the end of the turn, on each thread it was raised on | yes: protect what is shared | no | `Fn` |
//! | tasklet, [`Host::tasklet`] | is one thing that all threads have a part in: a table, a summary | at the end of the turn, once however often it was scheduled | never: no lock | no | `FnMut` |
//! | work item, [`Host::work_queue`] | may block: files, names, other programs | on a work thread, soon or after a delay | never the same item | yes | `FnMut` |
//! | timer, [`Host::timer`] | comes at a time | at the end of the turn, on the thread it was started on | never the same timer | no | `Fn` |
//! | process, [`Host::spawn`] | goes on for long and waits for events: a protocol | on main, between packets | never | it waits | `FnMut` |
//!
//! What comes of a work item reaches a process as an event ([`WorkQueue::send`]) or the node's thread at
//! the end of its turn ([`WorkQueue::post`]). What nodes read without a lock is freed by
//! [`Host::after_grace_period`].
//!
//! State belongs into the [`Plugin`], which all share, or into a node, of which each thread has its
//! own; never into a `static`. The crate says `#![deny(unsafe_code)]` if it likes; `forbid` does not
//! go together with the declaring macros, which reopen the lint for the records they leave (E0453).
//!
//! A node in full:
//!
//! ```
//! use std::sync::Arc;
//! use plugin_api::{Config, Error, Frame, Host, Node, Plugin, ThreadIndex, declare_node, declare_plugin, next_nodes};
//!
//! /// Drops every packet shorter than a minimum.
//! pub struct Runts { shortest: usize }
//!
//! impl Plugin for Runts {
//!     const NAME: &'static str = "acme-runts";
//!     fn create(_: Host, config: &Config<'_>) -> Result<Self, Error> {
//!         Ok(Self { shortest: config.parse("shortest")?.unwrap_or(60) })
//!     }
//! }
//! declare_plugin!(Runts);
//!
//! next_nodes! {
//!     /// Where a packet goes from here.
//!     pub enum Next { Ethernet => Optional("ethernet-input"), Short => Drop("acme-runt") }
//! }
//!
//! /// The node; one on each thread.
//! pub struct Filter { shortest: usize }
//!
//! impl Node for Filter {
//!     const NAME: &'static str = "acme-runts";
//!     type Plugin = Runts;
//!     type Next = Next;
//!     fn new(plugin: &Arc<Runts>, _: ThreadIndex) -> Result<Self, Error> {
//!         Ok(Self { shortest: plugin.shortest })
//!     }
//!     fn dispatch(&mut self, frame: &mut Frame<'_, Next>) {
//!         frame.enqueue_each(|packet| {
//!             if packet.len() < self.shortest { Next::Short } else { Next::Ethernet }
//!         });
//!     }
//! }
//! declare_node!(Filter);
//! # fn main() {}
//! ```
#![expect(unsafe_code, reason = "the safe face of raw structures shared with the host")]

pub mod cli;
mod config;
mod deferred;
mod device;
mod error;
mod export;
mod feature;
mod file;
mod frame;
mod grace;
mod handoff;
mod host;
mod interface;
mod interrupt;
mod interval;
mod next;
mod node;
mod packet;
mod plugin;
mod process;
mod rpc;
pub mod service;
pub mod testing;
mod timer;
pub mod wheel;
pub mod wire;
mod work;

pub use cli::{Answer, Args, Cell, Command, Role};
pub use config::Config;
pub use deferred::{
    DeferredContext, Mailbox, Scheduled, Softirq, SoftirqNumber, Tasklet, TaskletPriority,
};
pub use device::{Device, Interface, RxFrame, RxQueue, TxFrame};
pub use error::Error;
pub use file::{FileHandler, Interest, WatchedFile};
pub use frame::Frame;
pub use grace::{Grace, GraceDomain, GraceReader};
pub use gristmill_abi as abi;
pub use gristmill_abi::declaration::CounterDecl;
pub use handoff::{Handoff, ThreadSet, To};
pub use host::{Host, LogLevel};
pub use interface::{InterfaceIndex, InterfaceInfo};
pub use interrupt::Interrupt;
pub use interval::IntervalTimer;
pub use next::{NextIndex, NextNodes, Target};
pub use node::{Node, NodeKind, ThreadIndex};
pub use packet::{Buffer, BufferIndex, Packet, Segments};
pub use plugin::{Notice, Plugin};
pub use process::{
    AsyncProcess, Batch, Cancelled, Delayed, Ended, Events, Interfaces, NextEvent, OneTime,
    Process, ProcessHandle, ProcessOptions, Restart, Sender, Sleep, Stop, event,
};
pub use rpc::{CallError, MainCaller, Reply};
pub use timer::{Timer, TimerKind};
pub use work::{Queued, WorkItem, WorkQueue, WorkQueueOptions};

#[doc(hidden)]
pub use export::private;
#[doc(hidden)]
pub use {abi_stable, linkme};

/// Version of this SDK.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
