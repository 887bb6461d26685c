use gristmill_abi::{
    ErrorText, Head, List, Status, Str,
    command::{AnswerTable, ArgValue},
    declaration::{CounterDecl, Variant, node_type},
    frame::{Frame, NodeRuntime, ThreadCtx},
    text::Opaque,
};

use super::*;

extern "C" fn entry(_: *mut ThreadCtx, _: *mut NodeRuntime, _: *mut Frame) -> u32 {
    0
}
extern "C" fn create(_: Opaque, _: u32, _: *mut ErrorText) -> Opaque {
    std::ptr::null_mut()
}
extern "C" fn destroy(_: Opaque) -> Status {
    Status::OK
}
extern "C" fn run(
    _: Opaque,
    _: List<'_, ArgValue<'_>>,
    _: *const AnswerTable,
    _: *mut ErrorText,
) -> Status {
    Status::OK
}

const NODE: NodeDecl = NodeDecl {
    head: Head::of::<NodeDecl>(),
    node_type: node_type::INTERNAL,
    flags: 0,
    nexts: List::new(&[]),
    counters: List::new(&[]),
    variants: List::new(&[Variant { cpu_level: 0, reserved: 0, entry }]),
    create,
    destroy,
    format_trace: None,
};
const COMMAND: CommandDecl = CommandDecl {
    head: Head::of::<CommandDecl>(),
    grammar: Str::new("show p"),
    help: Str::new("Shows"),
    role: role::READ,
    needs_barrier: 0,
    run,
};

fn value_fault(name: &str, body: Body) -> String {
    let declared = Declared { plugin: "p".into(), name: name.into(), body };
    match check_value(&declared) {
        Ok(()) => String::new(),
        Err(fault) => fault.to_string(),
    }
}

fn next_fault(kind: u32, severity: u32, name: &'static str) -> String {
    nexts_fault(&[NextDecl { kind, severity, name: Str::new(name) }]).unwrap_or_default()
}

#[test]
fn a_node_of_an_unknown_type_or_for_no_cpu_is_refused() {
    assert_eq!(value_fault("n", Body::Node(NODE)), "");
    let error = value_fault("n", Body::Node(NodeDecl { node_type: 4, ..NODE }));
    assert_eq!(error, "declares node \"n\" with node type 4: update the host");
    let levels = List::new(&[
        Variant { cpu_level: 0, reserved: 0, entry },
        Variant { cpu_level: 5, reserved: 0, entry },
    ]);
    let error = value_fault("n", Body::Node(NodeDecl { variants: levels, ..NODE }));
    assert_eq!(error, "declares node \"n\" with an entry for CPU level 5: 0 to 4");
    const BAD: &[CounterDecl] = &[CounterDecl { name: Str::new("Bad name") }];
    let counters = List::new(BAD);
    let error = value_fault("n", Body::Node(NodeDecl { counters, ..NODE }));
    assert!(error.contains("with the counter \"Bad name\""), "{error}");
}

#[test]
fn nexts_that_lead_nowhere_are_refused() {
    assert_eq!(next_fault(next_kind::NODE, 0, "eth0.100-output"), "");
    assert_eq!(next_fault(next_kind::OPTIONAL, 0, "ip4-input"), "");
    assert_eq!(next_fault(next_kind::DROP, 2, "ttl-expired"), "");
    assert_eq!(next_fault(next_kind::FEATURE, 0, ""), "");
    assert_eq!(next_fault(next_kind::NODE, 0, ""), "the next \"\": not a node's name");
    assert_eq!(
        next_fault(next_kind::DROP, 0, "no ttl"),
        "the next \"no ttl\": not a reason's name"
    );
    assert_eq!(next_fault(next_kind::DROP, 3, "ttl"), "the next \"ttl\": severity 3");
    assert!(next_fault(next_kind::FEATURE, 0, "x").contains("has no name"));
    assert_eq!(next_fault(4, 0, "x"), "the next \"x\": kind 4: update the host");
}

#[test]
fn versions_ranges_and_switches_are_checked() {
    assert!(version_fault("1.0").is_some() && version_fault("1.0.0").is_none());
    let require = |range| RequireDecl { head: Head::of::<RequireDecl>(), range: Str::new(range) };
    assert_eq!(value_fault("s", Body::Require(require(">=1.2, <2"))), "");
    assert!(value_fault("s", Body::Require(require("new"))).contains("with the range \"new\": "));
    let arc = ArcDecl {
        head: Head::of::<ArcDecl>(),
        starts: List::new(&[]),
        end: Str::new("n"),
        by_tx_interface: 2,
        reserved: 0,
    };
    assert!(value_fault("a", Body::Arc(arc)).contains("with by_tx_interface 2: 0 or 1"));
}

#[test]
fn a_commands_grammar_begins_with_its_path() {
    assert_eq!(value_fault("show p", Body::Command(COMMAND)), "");
    let grammar = |text| CommandDecl { grammar: Str::new(text), ..COMMAND };
    assert_eq!(value_fault("show p", Body::Command(grammar("show p [<x:u32>]"))), "");
    for wrong in ["show", "show pp", ""] {
        let error = value_fault("show p", Body::Command(grammar(wrong)));
        assert!(error.contains("it begins with the path"), "{wrong:?}: {error}");
    }
    let error = value_fault("show p", Body::Command(CommandDecl { role: 2, ..COMMAND }));
    assert!(error.ends_with("with role 2: update the host"), "{error}");
}
