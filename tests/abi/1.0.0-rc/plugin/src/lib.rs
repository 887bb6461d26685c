//! A plugin on ABI 1.0.0-rc alone: a feature that counts packets and their bytes, a timer, and a
//! command that shows them. It looks at a packet's header, uses a buffer index, its own counter, its
//! setting, the host's table, and the services `graph` and `timer`.

use std::{
    ffi::c_void,
    ptr,
    sync::atomic::{AtomicPtr, AtomicU64, Ordering::Relaxed},
};

use abi_stable::{
    library::{__call_root_module_loader, CheckTypeLayout, LibHeader, RootModuleResult},
    prefix_type::PrefixTypeTrait,
    std_types::RStr,
};
use gristmill_abi::{
    ErrorText, Head, List, Status, Str,
    buffer::{Header, LINE_SHIFT},
    command::{AnswerTable, ArgValue, CommandDecl, arg_kind, cell_kind, role},
    declaration::{
        ArcDecl, ConfigEntry, CounterDecl, Declaration, FeatureDecl, NextDecl, NodeDecl, PluginDecl,
        PluginHandle, RequireDecl, ServiceRef, Variant, kind, next_kind, node_type,
    },
    descriptor::{NameRecord, PluginRecord, kind as record},
    frame::{Frame, NodeRuntime, ThreadCtx},
    host::{
        ALL_INTERFACES, GraphService, HostTable, TimerHandle, TimerService, TimerSpec, log_level,
    },
    root::{V1, V1Ref},
    text::Opaque,
};

const NAME: &str = "snapshot";
const NODE_NAME: &str = "snapshot-count";
const ARC_NAME: &str = "snapshot-arc";
const PATH: &str = "show snapshot";
const GRAMMAR: &str = "show snapshot [<times:u32>]";
/// How long after its start the timer fires.
const DELAY_NS: u64 = 5_000_000;

#[used]
#[unsafe(link_section = ".gristmill")]
static PLUGIN_RECORD: PluginRecord = PluginRecord::new(NAME, "1.0.0", "1.0.0-rc", "As of 1.0.0-rc");
#[used]
#[unsafe(link_section = ".gristmill")]
static NODE_RECORD: NameRecord = NameRecord::new(record::NODE, NODE_NAME, "");
#[used]
#[unsafe(link_section = ".gristmill")]
static ARC_RECORD: NameRecord = NameRecord::new(record::ARC, ARC_NAME, "interface-output");
#[used]
#[unsafe(link_section = ".gristmill")]
static FEATURE_RECORD: NameRecord = NameRecord::new(record::FEATURE, NODE_NAME, ARC_NAME);
#[used]
#[unsafe(link_section = ".gristmill")]
static COMMAND_RECORD: NameRecord = NameRecord::new(record::COMMAND, PATH, GRAMMAR);
#[used]
#[unsafe(link_section = ".gristmill")]
static REQUIRE_RECORD: NameRecord = NameRecord::new(record::REQUIRE, "timer", "^1");

#[unsafe(no_mangle)]
static _1as_0lib_1header_0root_bmodule_bloader: LibHeader =
    // SAFETY: the constructor returns a `V1Ref`.
    unsafe { LibHeader::from_constructor::<V1Ref>(construct, CheckTypeLayout::Yes) };

extern "C" fn construct() -> RootModuleResult {
    __call_root_module_loader(root)
}

fn root() -> V1Ref {
    V1 { sdk_version, declaration, initialize }.leak_into_prefix()
}

extern "C" fn sdk_version() -> RStr<'static> {
    RStr::from_str("1.0.0-rc")
}

static HOST: AtomicPtr<HostTable> = AtomicPtr::new(ptr::null_mut());

extern "C" fn initialize(host: *const ()) -> i32 {
    HOST.store(host.cast_mut().cast(), Relaxed);
    0
}

fn host() -> &'static HostTable {
    // SAFETY: `initialize` was called first, and the table lives as long as the process.
    unsafe { &*HOST.load(Relaxed) }
}

/// All that the plugin knows; its nodes have the same.
struct State {
    plugin: PluginHandle,
    step: u64,
    packets: AtomicU64,
    bytes: AtomicU64,
    fired: AtomicU64,
    timers: AtomicPtr<TimerService>,
    timers_context: AtomicPtr<c_void>,
    timer: AtomicPtr<c_void>,
}

impl State {
    /// A service of the host.
    fn service<T>(&self, name: &str, error: *mut ErrorText) -> Result<(&'static T, Opaque), Status> {
        let mut found = ServiceRef { table: ptr::null(), context: ptr::null_mut() };
        // SAFETY: main thread, and all pointers are good for the call.
        let status = unsafe {
            (host().service)(host(), self.plugin, name.into(), "^1".into(), &raw mut found, error)
        };
        if !status.is_ok() {
            return Err(status);
        }
        // SAFETY: every service begins with a head, and the host keeps it for ever.
        let head = unsafe { &*found.table.cast::<Head>() };
        if (head.struct_size as usize) < size_of::<T>() {
            return Err(Status::MISSING);
        }
        // SAFETY: the service of that name is a `T`, at least as long as this.
        Ok((unsafe { &*found.table.cast::<T>() }, found.context))
    }

    fn run(&self, error: *mut ErrorText) -> Result<(), Status> {
        let done = |status: Status| if status.is_ok() { Ok(()) } else { Err(status) };
        let (graph, context) = self.service::<GraphService>("graph", error)?;
        // SAFETY: main thread, and all pointers are good for the call.
        done(unsafe {
            let (arc, node) = (ARC_NAME.into(), NODE_NAME.into());
            (graph.set_feature)(context, self.plugin, arc, node, ALL_INTERFACES, 1, error)
        })?;
        let (timers, context) = self.service::<TimerService>("timer", error)?;
        let spec = TimerSpec {
            head: Head::of::<TimerSpec<'_>>(),
            name: NAME.into(),
            function: fire,
            data: ptr::from_ref(self).cast_mut().cast(),
            flags: 0,
            reserved: 0,
        };
        let mut timer: TimerHandle = ptr::null();
        // SAFETY: all pointers are good for the call; the timer ends before the state does.
        done(unsafe {
            (timers.create)(context, self.plugin, &raw const spec, &raw mut timer, error)
        })?;
        self.timers.store(ptr::from_ref(timers).cast_mut(), Relaxed);
        self.timers_context.store(context, Relaxed);
        self.timer.store(timer.cast_mut(), Relaxed);
        // SAFETY: the table is the host's; any thread may call it.
        let at = unsafe { (host().now)(host()) } + DELAY_NS;
        // SAFETY: the timer was made above.
        done(unsafe { (timers.add)(context, timer, at, file!().into(), line!()) })
    }

    fn end(&self) -> Status {
        let timer = self.timer.swap(ptr::null_mut(), Relaxed);
        // SAFETY: null, or the host's service.
        let timers = unsafe { self.timers.load(Relaxed).as_ref() };
        match timers {
            // SAFETY: the timer is ours and is given back once.
            Some(timers) if !timer.is_null() => unsafe {
                (timers.destroy)(self.timers_context.load(Relaxed), timer)
            },
            _ => Status::OK,
        }
    }
}

/// # Safety
/// `state` is what `create` made.
unsafe fn state_of<'a>(state: Opaque) -> &'a State {
    // SAFETY: by the caller's promise.
    unsafe { &*state.cast::<State>() }
}

unsafe extern "C" fn create(
    plugin: PluginHandle,
    config: List<'_, ConfigEntry<'_>>,
    error: *mut ErrorText,
) -> Opaque {
    let step = config.as_slice().iter().find(|entry| entry.key.as_str() == "step");
    let Ok(step) = step.map_or(Ok(1), |step| step.value.as_str().parse()) else {
        // SAFETY: the host lends room for it.
        unsafe { (*error).set("step is no number") };
        return ptr::null_mut();
    };
    let text = Str::new("a plugin as of 1.0.0-rc");
    // SAFETY: any thread may log.
    unsafe { (host().log)(host(), plugin, log_level::NOTICE, text) };
    let state = State {
        plugin,
        step,
        packets: AtomicU64::new(0),
        bytes: AtomicU64::new(0),
        fired: AtomicU64::new(0),
        timers: AtomicPtr::default(),
        timers_context: AtomicPtr::default(),
        timer: AtomicPtr::default(),
    };
    Box::into_raw(Box::new(state)).cast()
}

unsafe extern "C" fn start(state: Opaque, error: *mut ErrorText) -> Status {
    // SAFETY: the host passes what `create` made.
    unsafe { state_of(state) }.run(error).map_or_else(|status| status, |()| Status::OK)
}

unsafe extern "C" fn stop(state: Opaque) -> Status {
    // SAFETY: as above.
    unsafe { state_of(state) }.end()
}

unsafe extern "C" fn notify(_state: Opaque, _notice: u32, _value: u64) -> Status {
    Status::OK
}

unsafe extern "C" fn destroy(state: Opaque) -> Status {
    // SAFETY: `create` made it; the host calls this once, and nothing uses it any more.
    drop(unsafe { Box::from_raw(state.cast::<State>()) });
    Status::OK
}

unsafe extern "C" fn fire(data: *mut c_void, _now_ns: u64) -> Status {
    // SAFETY: it was made with the state, and is destroyed before it.
    unsafe { state_of(data) }.fired.fetch_add(1, Relaxed);
    Status::OK
}

unsafe extern "C" fn create_node(plugin: Opaque, _thread: u32, _error: *mut ErrorText) -> Opaque {
    plugin // The state outlives the nodes.
}

unsafe extern "C" fn destroy_node(_node: Opaque) -> Status {
    Status::OK
}

unsafe extern "C" fn dispatch(
    ctx: *mut ThreadCtx,
    node: *mut NodeRuntime,
    frame: *mut Frame,
) -> u32 {
    // SAFETY: the host lends all three to this call.
    let (ctx, node, frame) = unsafe { (&*ctx, &mut *node, &*frame) };
    // SAFETY: `create_node` gave the state.
    let state = unsafe { state_of(node.state) };
    // SAFETY: a frame has as many indices as it says.
    let indices = unsafe { std::slice::from_raw_parts(frame.indices, frame.n as usize) };
    let mut bytes = 0;
    for &index in indices {
        let at = (index as usize) << LINE_SHIFT;
        // SAFETY: a buffer's index is its place from the base, and its header is this node's now.
        bytes += u64::from(unsafe { (*ctx.buffer_base.add(at).cast::<Header>()).len });
    }
    state.packets.fetch_add(u64::from(frame.n) * state.step, Relaxed);
    state.bytes.fetch_add(bytes, Relaxed);
    // SAFETY: the node declared one counter, and this thread writes it.
    unsafe { *node.counters += u64::from(frame.n) };
    0
}

unsafe extern "C" fn run(
    plugin: Opaque,
    args: List<'_, ArgValue<'_>>,
    answer: *const AnswerTable,
    _error: *mut ErrorText,
) -> Status {
    // SAFETY: the host passes the plugin's state, and lends a table.
    let (state, answer) = unsafe { (state_of(plugin), &*answer) };
    let times = args.as_slice().iter().find(|arg| arg.name.as_str() == "times");
    let times = times.filter(|arg| arg.kind == arg_kind::UNSIGNED).map_or(1, |arg| arg.number);
    let values = [&state.packets, &state.bytes, &state.fired].map(|value| value.load(Relaxed));
    let names = [Str::new("packets"), Str::new("bytes"), Str::new("fired")];
    // SAFETY: the table is lent for this call.
    unsafe { (answer.columns)(answer.context, Str::EMPTY, List::new(&names)) };
    for value in values {
        // SAFETY: as above.
        unsafe { (answer.cell)(answer.context, cell_kind::UNSIGNED, value * times, Str::EMPTY) };
    }
    Status::OK
}

/// A declaration's body; immutable.
struct Body<T>(T);
// SAFETY: immutable, and what it points to is static.
unsafe impl<T> Sync for Body<T> {}

static PLUGIN: Body<PluginDecl> = Body(PluginDecl {
    head: Head::of::<PluginDecl>(),
    version: Str::new("1.0.0"),
    description: Str::new("As of 1.0.0-rc"),
    create,
    start,
    stop,
    notify,
    destroy,
});
static NODE: Body<NodeDecl> = Body(NodeDecl {
    head: Head::of::<NodeDecl>(),
    node_type: node_type::INTERNAL,
    flags: 0,
    nexts: List::new(&[NextDecl { kind: next_kind::FEATURE, severity: 0, name: Str::EMPTY }]),
    counters: List::new(&[CounterDecl { name: Str::new("counted") }]),
    variants: List::new(&[Variant { cpu_level: 0, reserved: 0, entry: dispatch }]),
    create: create_node,
    destroy: destroy_node,
});
static ARC: Body<ArcDecl> = Body(ArcDecl {
    head: Head::of::<ArcDecl>(),
    starts: List::new(&[Str::new("ethernet-input")]),
    end: Str::new("interface-output"),
    by_tx_interface: 0,
    reserved: 0,
});
static FEATURE: Body<FeatureDecl> = Body(FeatureDecl {
    head: Head::of::<FeatureDecl>(),
    arc: Str::new(ARC_NAME),
    before: List::new(&[]),
    after: List::new(&[]),
    default_on: 0,
    reserved: 0,
});
static COMMAND: Body<CommandDecl> = Body(CommandDecl {
    head: Head::of::<CommandDecl>(),
    grammar: Str::new(GRAMMAR),
    help: Str::new("Shows what went by, each number so many times"),
    role: role::READ,
    needs_barrier: 0,
    run,
});
static REQUIRE: Body<RequireDecl> =
    Body(RequireDecl { head: Head::of::<RequireDecl>(), range: Str::new("^1") });

const fn declared<T>(kind: &'static str, name: &'static str, body: &'static Body<T>) -> Declaration {
    Declaration {
        head: Head::of::<Declaration>(),
        kind: Str::new(kind),
        plugin: Str::new(NAME),
        name: Str::new(name),
        body: ptr::from_ref(&body.0).cast::<c_void>(),
    }
}

static DECLARATIONS: [Declaration; 6] = [
    declared(kind::PLUGIN, NAME, &PLUGIN),
    declared(kind::NODE, NODE_NAME, &NODE),
    declared(kind::ARC, ARC_NAME, &ARC),
    declared(kind::FEATURE, NODE_NAME, &FEATURE),
    declared(kind::COMMAND, PATH, &COMMAND),
    declared(kind::REQUIRE, "timer", &REQUIRE),
];

extern "C" fn declaration(index: u32) -> *const () {
    DECLARATIONS.get(index as usize).map_or(ptr::null(), |found| ptr::from_ref(found).cast())
}
