//! Nodes: what a plugin does to packets.

use core::marker::PhantomData;
use std::sync::Arc;

use gristmill_abi::{
    ErrorText, Head, List, Status,
    declaration::{CounterDecl, NodeDecl, Variant, node_flag, node_type},
    frame::{ENTRY_PANICKED, Frame as RawFrame, NodeRuntime, ThreadCtx},
    text::Opaque,
};

use crate::{Error, Frame, NextNodes, Plugin, TraceFormat, plugin::contain};

/// A thread of the host: 0 is main, workers count from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ThreadIndex(pub u32);

/// When a node is dispatched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeKind {
    /// When packets were enqueued to it.
    Internal,
    /// Every turn of the loop, with an empty frame to put packets into.
    Input,
    /// Like input, before all inputs.
    PreInput,
    /// At the time it asked for with [`Frame::call_again_at`] or [`Frame::call_again_in`] when it
    /// was called last, with an empty frame to put packets into; the first time at once.
    ///
    /// To within 10 us, never too early; a thread that sleeps wakes up for it. Who did not ask is
    /// called again only when marked, see [`Host::interrupt`](crate::Host::interrupt); and so if it
    /// panics before it has asked.
    Sched,
}

/// A vertex of the packet graph.
///
/// One instance exists per thread, so a node needs no locks and no atomics of its own; what the
/// instances share is in the plugin.
pub trait Node: Send + Sized + 'static {
    /// Name in the graph, kebab-case, unique in the host: `ttl-guard`.
    const NAME: &'static str;
    /// When it is dispatched.
    const KIND: NodeKind = NodeKind::Internal;
    /// Of an input: whether its thread may sleep, although the node is not dispatched meanwhile.
    ///
    /// For a node that has nothing to do until a descriptor or a [`Timer`](crate::Timer) wakes the
    /// thread; after that it is dispatched again. An input that polls something says `false`.
    const MAY_SLEEP: bool = false;
    /// Of an input: it is dispatched only when it was marked, see
    /// [`Host::interrupt`](crate::Host::interrupt), and its thread may sleep until then.
    const ON_INTERRUPT: bool = false;
    /// Its counters, as [`counters!`](crate::counters) declares them.
    const COUNTERS: &'static [CounterDecl] = &[];
    /// How `show trace` shows the records that it leaves of traced packets, see
    /// [`Frame::trace_each`] and [`trace_record!`](crate::trace_record).
    const TRACE: TraceFormat = TraceFormat::HEX;
    /// The plugin it belongs to.
    type Plugin: Plugin;
    /// The out-arcs of this node.
    type Next: NextNodes;

    /// The instance of one thread.
    ///
    /// Context: main.
    ///
    /// # Errors
    /// A reason why there can be none; the plugin is not loaded then.
    fn new(plugin: &Arc<Self::Plugin>, thread: ThreadIndex) -> Result<Self, Error>;

    /// Decides the next node of every packet of `frame` (1 to 256 packets; none in an input node).
    ///
    /// Context: the thread of the instance; must not block, allocate or suspend.
    fn dispatch(&mut self, frame: &mut Frame<'_, Self::Next>);
}

/// Declares a node's counters: names by which `show node` lists them.
#[macro_export]
macro_rules! counters {
    ($(#[$meta:meta])* $vis:vis enum $counters:ident { $($(#[$counter_meta:meta])* $counter:ident => $name:literal),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(usize)]
        $vis enum $counters { $($(#[$counter_meta])* #[doc = $name] $counter),+ }

        impl $counters {
            /// The declarations, for [`Node::COUNTERS`]($crate::Node::COUNTERS).
            pub const ALL: &'static [$crate::abi::declaration::CounterDecl] =
                &[$($crate::abi::declaration::CounterDecl { name: $crate::abi::Str::new($name) }),+];
        }

        impl From<$counters> for usize {
            #[inline(always)]
            fn from(counter: $counters) -> usize {
                counter as usize
            }
        }
    };
}

/// Declares a [`Node`] of this plugin.
#[macro_export]
macro_rules! declare_node {
    ($node:ty) => {
        $crate::__declare! {
            plugin: <$node as $crate::Node>::Plugin,
            kind: NODE,
            name: <$node as $crate::Node>::NAME,
            detail: "",
            body: $crate::abi::declaration::NodeDecl = $crate::private::node_decl::<$node>(),
        }
    };
}

struct EntryOf<N>(PhantomData<N>);

impl<N: Node> EntryOf<N> {
    const VARIANTS: &'static [Variant] =
        &[Variant { cpu_level: 0, reserved: 0, entry: dispatch::<N> }];
}

pub(crate) const fn decl<N: Node>() -> NodeDecl {
    NodeDecl {
        head: Head::of::<NodeDecl>(),
        node_type: match N::KIND {
            NodeKind::Internal => node_type::INTERNAL,
            NodeKind::Input => node_type::INPUT,
            NodeKind::PreInput => node_type::PRE_INPUT,
            NodeKind::Sched => node_type::SCHED,
        },
        flags: (if N::MAY_SLEEP { node_flag::MAY_SLEEP } else { 0 })
            | (if N::ON_INTERRUPT { node_flag::ON_INTERRUPT } else { 0 }),
        nexts: List::new(N::Next::DECLS),
        counters: List::new(N::COUNTERS),
        variants: List::new(EntryOf::<N>::VARIANTS),
        create: create::<N>,
        destroy: destroy::<N>,
        format_trace: N::TRACE.0,
    }
}

unsafe extern "C" fn dispatch<N: Node>(
    ctx: *mut ThreadCtx,
    node: *mut NodeRuntime,
    frame: *mut RawFrame,
) -> u32 {
    contain(|| {
        // SAFETY: the host passes a frame that is this thread's for the call.
        let raw = unsafe { &mut *frame };
        // SAFETY: as above, for the runtime.
        let state = unsafe { (*node).state }.cast::<N>();
        // SAFETY: `create` made it, for this thread alone.
        let state = unsafe { &mut *state };
        // SAFETY: the three belong together and to this thread.
        let mut frame = unsafe { Frame::from_raw(ctx, node, raw) };
        state.dispatch(&mut frame);
        frame.result()
    })
    .unwrap_or_else(panicked::<N>)
}

/// Says whose panic the one was that was logged before this.
#[cold]
fn panicked<N: Node>() -> u32 {
    let (node, plugin) = (N::NAME, <N::Plugin as Plugin>::NAME);
    crate::host::log_error(&format!(
        "node {node} of plugin {plugin} panicked; what it had not decided on is dropped"
    ));
    ENTRY_PANICKED
}

unsafe extern "C" fn create<N: Node>(plugin: Opaque, thread: u32, error: *mut ErrorText) -> Opaque {
    // SAFETY: the host passes the state of the plugin that declared the node.
    let plugin = unsafe { crate::plugin::borrow::<N::Plugin>(plugin) };
    // SAFETY: the host passes room for an error.
    let error = unsafe { &mut *error };
    match contain(|| N::new(&plugin, ThreadIndex(thread))) {
        Some(Ok(node)) => Box::into_raw(Box::new(node)).cast(),
        Some(Err(reason)) => {
            error.set(&reason.to_string());
            core::ptr::null_mut()
        }
        None => {
            error.set("the node's constructor panicked");
            core::ptr::null_mut()
        }
    }
}

unsafe extern "C" fn destroy<N: Node>(instance: Opaque) -> Status {
    // SAFETY: `create` made it and the host gives it back once.
    let node = unsafe { Box::from_raw(instance.cast::<N>()) };
    contain(|| drop(node)).map_or(Status::PANICKED, |()| Status::OK)
}
