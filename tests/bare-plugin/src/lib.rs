//! A plugin on the ABI alone, without the SDK: one node, one arc, one command, one requirement.
//!
//! What is wrong with it is said by one byte, which a test changes in the file: so one build gives
//! every fault, and every faulty file is a content of its own.
#![expect(unsafe_code, reason = "it is what the SDK's macros would have written")]

use std::{
    ffi::c_void,
    ptr,
    sync::atomic::{AtomicU32, Ordering},
};

use abi_stable::{
    library::{__call_root_module_loader, CheckTypeLayout, LibHeader, RootModuleResult},
    prefix_type::PrefixTypeTrait,
    std_types::RStr,
};
use gristmill_abi::{
    ErrorText, Head, List, Status, Str,
    command::{AnswerTable, ArgValue, CommandDecl},
    declaration::{
        ArcDecl, ConfigEntry, Declaration, NextDecl, NodeDecl, PluginDecl, PluginHandle,
        RequireDecl, Variant, kind,
    },
    descriptor::{NameRecord, PluginRecord, kind as record},
    frame::{Frame, NodeRuntime, ThreadCtx},
    host::HostTable,
    root::{V1, V1Ref},
    text::Opaque,
};

/// The last byte says what is wrong.
#[used]
#[unsafe(no_mangle)]
static GRISTMILL_BARE_FAULT: [u8; 20] = *b"gristmill-bare-fault";

fn fault() -> u8 {
    // SAFETY: a static; volatile, since the compiler must not know what it will be.
    let bytes = unsafe { ptr::read_volatile(&raw const GRISTMILL_BARE_FAULT) };
    bytes[bytes.len() - 1]
}

const GRAMMAR: &str = "show bare [<name:text>]";

#[used]
#[unsafe(link_section = ".gristmill")]
static PLUGIN_RECORD: PluginRecord =
    PluginRecord::new("bare", "1.2.3", "1.0.0", "A plugin without the SDK");
#[used]
#[unsafe(link_section = ".gristmill")]
static NODE_RECORD: NameRecord = NameRecord::new(record::NODE, "bare-node", "");
#[used]
#[unsafe(link_section = ".gristmill")]
static ARC_RECORD: NameRecord = NameRecord::new(record::ARC, "bare-arc", "bare-node");
#[used]
#[unsafe(link_section = ".gristmill")]
static COMMAND_RECORD: NameRecord = NameRecord::new(record::COMMAND, "show bare", GRAMMAR);
#[used]
#[unsafe(link_section = ".gristmill")]
static REQUIRE_RECORD: NameRecord = NameRecord::new(record::REQUIRE, "interface", "^1");

#[unsafe(no_mangle)]
static _1as_0lib_1header_0root_bmodule_bloader: LibHeader =
    // SAFETY: the constructor returns a `V1Ref`.
    unsafe { LibHeader::from_constructor::<V1Ref>(construct, CheckTypeLayout::Yes) };

extern "C" fn construct() -> RootModuleResult {
    __call_root_module_loader(root)
}

fn root() -> V1Ref {
    assert!(fault() != b'P', "asked to panic");
    V1 { sdk_version, declaration, initialize }.leak_into_prefix()
}

extern "C" fn sdk_version() -> RStr<'static> {
    RStr::from_str("1.0.0")
}

/// Counts its calls in the table's `shared` field, which tests make an `AtomicU32`.
extern "C" fn initialize(host: *const ()) -> i32 {
    if fault() == b'I' {
        return 7;
    }
    // SAFETY: the host hands over its table.
    let shared = unsafe { (*host.cast::<HostTable>()).shared }.cast::<AtomicU32>();
    // SAFETY: the tests that load this plugin put a counter there, or null.
    if let Some(calls) = unsafe { shared.as_ref() } {
        calls.fetch_add(1, Ordering::Relaxed);
    }
    0
}

/// A declaration's body; immutable.
struct Body<T>(T);
// SAFETY: immutable, and what it points to is static.
unsafe impl<T> Sync for Body<T> {}

static PLUGIN: Body<PluginDecl> = Body(PluginDecl {
    head: Head::of::<PluginDecl>(),
    version: Str::new("1.2.3"),
    description: Str::new("A plugin without the SDK"),
    create,
    start,
    stop,
    notify,
    destroy: stop,
});
/// As a plugin has it that was built before the last field was appended.
static NODE: Body<NodeDecl> = Body(NodeDecl {
    head: Head { struct_size: 80, ..Head::of::<NodeDecl>() },
    node_type: 0,
    flags: 0,
    nexts: List::new(&[NextDecl { kind: 1, severity: 0, name: Str::new("bare-drop") }]),
    counters: List::new(&[]),
    variants: List::new(&[Variant { cpu_level: 0, reserved: 0, entry }]),
    create: create_node,
    destroy: stop,
    format_trace: None,
});
static SMALL_NODE: Body<NodeDecl> =
    Body(NodeDecl { head: Head { struct_size: 24, abi_major: 1, abi_minor: 0 }, ..NODE.0 });
static NO_VARIANT: Body<NodeDecl> = Body(NodeDecl { variants: List::new(&[]), ..NODE.0 });
static OTHER_MAJOR: Body<NodeDecl> =
    Body(NodeDecl { head: Head { abi_major: 2, ..Head::of::<NodeDecl>() }, ..NODE.0 });
/// As a plugin in C would have it that forgot to set its functions.
static NULL_FUNCTIONS: Body<[u64; 32]> = Body({
    let mut words = [0; 32];
    words[0] = 0x0000_0001_0000_0100; // 256 bytes, ABI 1.0
    words
});
static ARC: Body<ArcDecl> = Body(ArcDecl {
    head: Head::of::<ArcDecl>(),
    starts: List::new(&[Str::new("bare-node")]),
    end: Str::new("bare-node"),
    by_tx_interface: 0,
    reserved: 0,
});
static COMMAND: Body<CommandDecl> = Body(CommandDecl {
    head: Head::of::<CommandDecl>(),
    grammar: Str::new(GRAMMAR),
    help: Str::new("Shows nothing"),
    role: 0,
    needs_barrier: 0,
    run,
});
static REQUIRE: Body<RequireDecl> =
    Body(RequireDecl { head: Head::of::<RequireDecl>(), range: Str::new("^1") });

const fn declared<T>(
    kind: &'static str,
    plugin: &'static str,
    name: &'static str,
    body: &'static Body<T>,
) -> Declaration {
    Declaration {
        head: Head::of::<Declaration>(),
        kind: Str::new(kind),
        plugin: Str::new(plugin),
        name: Str::new(name),
        body: ptr::from_ref(&body.0).cast::<c_void>(),
    }
}

const NODE_DECLARED: Declaration = declared(kind::NODE, "bare", "bare-node", &NODE);

/// Not sorted: the host does that.
static GOOD: [Declaration; 5] = [
    declared(kind::REQUIRE, "bare", "interface", &REQUIRE),
    declared(kind::COMMAND, "bare", "show bare", &COMMAND),
    NODE_DECLARED,
    declared(kind::PLUGIN, "bare", "bare", &PLUGIN),
    declared(kind::ARC, "bare", "bare-arc", &ARC),
];
static WRONG: [(u8, Declaration); 10] = [
    (b'K', declared("gizmo", "bare", "bare-gizmo", &NODE)),
    (b'S', declared(kind::NODE, "bare", "bare-node", &SMALL_NODE)),
    (b'M', declared(kind::NODE, "bare", "bare-node", &OTHER_MAJOR)),
    (b'V', declared(kind::NODE, "bare", "bare-node", &NO_VARIANT)),
    (b'F', declared(kind::NODE, "bare", "bare-node", &NULL_FUNCTIONS)),
    (b'O', declared(kind::NODE, "other", "bare-node", &NODE)),
    (b'R', declared(kind::NODE, "bare", "bare-other", &NODE)),
    (b'E', declared(kind::NODE, "bare", "", &NODE)),
    (b'B', Declaration { body: ptr::null(), ..NODE_DECLARED }),
    (b'D', Declaration { head: Head { struct_size: 16, ..NODE_DECLARED.head }, ..NODE_DECLARED }),
];
static NAMED_OTHER: Declaration = declared(kind::PLUGIN, "bare", "other", &PLUGIN);

/// The third and the fourth are what a fault may exchange; `N` leaves the last one out, `W` never
/// ends.
extern "C" fn declaration(index: u32) -> *const () {
    let index = index as usize;
    let wrong = WRONG.iter().find(|(letter, _)| *letter == fault());
    let found = match (fault(), index) {
        (b'N', 4) => None,
        (b'Q', 3) => Some(&NAMED_OTHER),
        (b'W', _) => Some(&GOOD[2]),
        (_, 2) => Some(wrong.map_or(&GOOD[2], |(_, declaration)| declaration)),
        _ => GOOD.get(index),
    };
    found.map_or(ptr::null(), |found| ptr::from_ref(found).cast())
}

unsafe extern "C" fn create(
    _host: PluginHandle,
    _config: List<'_, ConfigEntry<'_>>,
    _error: *mut ErrorText,
) -> Opaque {
    ptr::dangling_mut()
}
unsafe extern "C" fn start(_state: Opaque, _error: *mut ErrorText) -> Status {
    Status::OK
}
unsafe extern "C" fn stop(_state: Opaque) -> Status {
    Status::OK
}
unsafe extern "C" fn notify(_state: Opaque, _notice: u32, _value: u64) -> Status {
    Status::OK
}
unsafe extern "C" fn create_node(_plugin: Opaque, _thread: u32, _error: *mut ErrorText) -> Opaque {
    ptr::dangling_mut()
}
unsafe extern "C" fn entry(
    _ctx: *mut ThreadCtx,
    _node: *mut NodeRuntime,
    _frame: *mut Frame,
) -> u32 {
    0
}
unsafe extern "C" fn run(
    _plugin: Opaque,
    _args: List<'_, ArgValue<'_>>,
    _answer: *const AnswerTable,
    _error: *mut ErrorText,
) -> Status {
    Status::OK
}
