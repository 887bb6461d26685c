//! What a plugin brings: one [`Declaration`] for each thing it registers.

use core::ffi::c_void;

use crate::{ErrorText, Head, List, Status, Str, frame::NodeFn, text::Opaque};

/// Names of the kinds of declarations. A host refuses a kind it does not know, by name.
pub mod kind {
    /// Body: [`PluginDecl`](super::PluginDecl); exactly one for each plugin.
    pub const PLUGIN: &str = "plugin";
    /// Body: [`NodeDecl`](super::NodeDecl).
    pub const NODE: &str = "node";
    /// Body: [`ArcDecl`](super::ArcDecl).
    pub const ARC: &str = "arc";
    /// Body: [`FeatureDecl`](super::FeatureDecl).
    pub const FEATURE: &str = "feature";
    /// Body: [`DeviceClassDecl`](crate::device::DeviceClassDecl).
    pub const DEVICE_CLASS: &str = "device-class";
    /// Body: [`CommandDecl`](crate::command::CommandDecl).
    pub const COMMAND: &str = "command";
    /// Body: [`OfferDecl`](super::OfferDecl).
    pub const OFFER: &str = "offer";
    /// Body: [`RequireDecl`](super::RequireDecl).
    pub const REQUIRE: &str = "require";
}

/// One declared thing.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Declaration {
    /// Size and version; its `struct_size` is that of the `Declaration`, not of the body.
    pub head: Head,
    /// One of [`kind`].
    pub kind: Str<'static>,
    /// The plugin it belongs to: several may be linked into one image.
    pub plugin: Str<'static>,
    /// Its name; unique for its kind in the host.
    pub name: Str<'static>,
    /// The structure `kind` says, beginning with its own [`Head`].
    pub body: *const c_void,
}

// SAFETY: a declaration is immutable and so is its body.
unsafe impl Sync for Declaration {}
// SAFETY: as above.
unsafe impl Send for Declaration {}

/// Names a generation of a plugin in calls to the host; made by the host.
pub type PluginHandle = u64;

/// One setting of the plugin's own configuration section.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct ConfigEntry<'a> {
    /// Key, dotted if nested.
    pub key: Str<'a>,
    /// Value as text, without quotes.
    pub value: Str<'a>,
}

/// Something changed that a plugin may want to know; `value` is an interface or thread index.
pub mod notice {
    /// An interface was created.
    pub const INTERFACE_ADDED: u32 = 1;
    /// An interface is about to be deleted.
    pub const INTERFACE_REMOVED: u32 = 2;
    /// An interface's admin or link state changed.
    pub const INTERFACE_STATE: u32 = 3;
    /// A thread was added.
    pub const THREAD_ADDED: u32 = 4;
    /// A thread is gone.
    pub const THREAD_REMOVED: u32 = 5;
}

/// The plugin itself. All functions run on the main thread.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct PluginDecl {
    /// Size and version.
    pub head: Head,
    /// Version (semver).
    pub version: Str<'static>,
    /// One sentence.
    pub description: Str<'static>,
    /// Makes the plugin's state; null and the error text if it cannot.
    pub create: unsafe extern "C" fn(
        host: PluginHandle,
        config: List<'_, ConfigEntry<'_>>,
        error: *mut ErrorText,
    ) -> Opaque,
    /// Called once its nodes are in the running graph.
    pub start: unsafe extern "C" fn(state: Opaque, error: *mut ErrorText) -> Status,
    /// Called before its nodes leave the graph.
    pub stop: unsafe extern "C" fn(state: Opaque) -> Status,
    /// Tells it of a [`notice`].
    pub notify: unsafe extern "C" fn(state: Opaque, notice: u32, value: u64) -> Status,
    /// Ends the state `create` made; nothing of the plugin runs any more.
    pub destroy: unsafe extern "C" fn(state: Opaque) -> Status,
}

/// [`NodeDecl::node_type`].
pub mod node_type {
    /// Dispatched with the packets enqueued to it.
    pub const INTERNAL: u32 = 0;
    /// Dispatched every turn of the loop with an empty frame.
    pub const INPUT: u32 = 1;
    /// Like input, before all inputs.
    pub const PRE_INPUT: u32 = 2;
    /// Called with an empty frame at the time it asked for in its last call
    /// ([`NodeRuntime::wake_at_ns`](crate::frame::NodeRuntime::wake_at_ns)); the first time, and
    /// when it is marked, at once.
    pub const SCHED: u32 = 3;
}

/// [`NodeDecl::flags`]; a host that does not know one ignores it.
pub mod node_flag {
    /// Of an input: its thread may sleep, although the node is then not dispatched. Whatever it
    /// waits for wakes the thread: a timer, or a descriptor.
    pub const MAY_SLEEP: u32 = 1;
    /// Of an input: dispatched only when it was marked
    /// ([`InterruptService`](crate::host::InterruptService)). A host that does not know this flag
    /// dispatches it every turn.
    pub const ON_INTERRUPT: u32 = 2;
}

/// [`NextDecl::kind`].
pub mod next_kind {
    /// The node of that name; the plugin is refused if there is none.
    pub const NODE: u32 = 0;
    /// `error-drop`, counted under that reason.
    pub const DROP: u32 = 1;
    /// The node of that name as soon as there is one; until then dropped as `next-not-loaded`.
    pub const OPTIONAL: u32 = 2;
    /// The feature's next on its arc; the name is empty.
    pub const FEATURE: u32 = 3;
}

/// One out-arc of a node.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct NextDecl {
    /// One of [`next_kind`].
    pub kind: u32,
    /// For a drop: 0 error, 1 warning, 2 info.
    pub severity: u32,
    /// Node or reason.
    pub name: Str<'static>,
}

/// One counter of a node.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct CounterDecl {
    /// Name, kebab-case.
    pub name: Str<'static>,
}

/// An entry compiled for one CPU level.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Variant {
    /// x86-64 level (1 to 4) it needs; 0 runs anywhere.
    pub cpu_level: u32,
    /// Reserved, 0.
    pub reserved: u32,
    /// The entry.
    pub entry: NodeFn,
}

/// A node.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct NodeDecl {
    /// Size and version.
    pub head: Head,
    /// One of [`node_type`].
    pub node_type: u32,
    /// Any of [`node_flag`]; 0 in nodes that know none.
    pub flags: u32,
    /// Out-arcs, in the order of their next numbers.
    pub nexts: List<'static, NextDecl>,
    /// Counters.
    pub counters: List<'static, CounterDecl>,
    /// Entries; at least one with `cpu_level` 0.
    pub variants: List<'static, Variant>,
    /// Makes the instance of one thread; main thread. Null and the error text if it cannot.
    pub create: unsafe extern "C" fn(plugin: Opaque, thread: u32, error: *mut ErrorText) -> Opaque,
    /// Ends an instance.
    pub destroy: unsafe extern "C" fn(instance: Opaque) -> Status,
}

/// A feature arc: an out-arc that other plugins' nodes may be put on.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct ArcDecl {
    /// Size and version.
    pub head: Head,
    /// Nodes the arc starts from; an arc to `end` of each of them becomes the feature arc.
    pub starts: List<'static, Str<'static>>,
    /// Node it ends at.
    pub end: Str<'static>,
    /// Whether features are chosen by the packet's tx interface (1) or its rx interface (0).
    pub by_tx_interface: u32,
    /// Reserved, 0.
    pub reserved: u32,
}

/// A node that can be put on an arc; the declaration's name is the node's.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct FeatureDecl {
    /// Size and version.
    pub head: Head,
    /// The arc.
    pub arc: Str<'static>,
    /// Features that must come after this one.
    pub before: List<'static, Str<'static>>,
    /// Features that must come before this one.
    pub after: List<'static, Str<'static>>,
    /// 1: on for every interface as soon as it is loaded.
    pub default_on: u32,
    /// Reserved, 0.
    pub reserved: u32,
}

/// A service offered to other plugins.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct OfferDecl {
    /// Size and version.
    pub head: Head,
    /// Version (semver) of the table.
    pub version: Str<'static>,
    /// The table: a `repr(C)` structure that begins with a [`Head`] and whose functions take the
    /// plugin's state as their first argument. Valid until the generation ends.
    pub table: unsafe extern "C" fn(plugin: Opaque) -> *const c_void,
}

/// A service required of another plugin.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct RequireDecl {
    /// Size and version.
    pub head: Head,
    /// Range (semver requirement) of versions that will do.
    pub range: Str<'static>,
}

/// A service that was found.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct ServiceRef {
    /// Its table.
    pub table: *const c_void,
    /// First argument of its functions.
    pub context: Opaque,
}
