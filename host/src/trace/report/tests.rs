use super::*;
use crate::{
    graph::{NodeIndex, Owner, PlanNode, Severity, node::Code},
    trace::hop::Record,
};

unsafe extern "C" fn nothing(
    _: *mut gristmill_abi::frame::ThreadCtx,
    _: *mut gristmill_abi::frame::NodeRuntime,
    _: *mut gristmill_abi::frame::Frame,
) -> u32 {
    0
}

/// Writes the record as text, unless it begins with a `p`, for which it says that it panicked.
unsafe extern "C" fn as_text(record: *const u8, len: u32, text: *const TraceText) -> Status {
    // SAFETY: the host passes `len` bytes.
    let record = unsafe { std::slice::from_raw_parts(record, len as usize) };
    if record.first() == Some(&b'p') {
        return Status::PANICKED;
    }
    // SAFETY: the host lends its sink for the call.
    let text = unsafe { &*text };
    let line = str::from_utf8(record).unwrap_or_default();
    // SAFETY: as above.
    unsafe { (text.write)(text.context, line.into()) };
    Status::OK
}

fn plan() -> Plan {
    let mut plan = Plan::default();
    let drop = PlanNext::Drop { reason: "too-short".into(), severity: Severity::Error };
    let next = PlanNext::Node(ERROR_DROP.to_owned());
    for (name, nexts) in [(ERROR_DROP, Vec::new()), ("start", vec![next, drop])] {
        let node = PlanNode::new(name, Owner(1), Code::stateless(nothing), nexts);
        plan.add_node(PlanNode { format_trace: Some(as_text), ..node }).unwrap();
    }
    plan
}

fn hop(plan: &Plan, name: &str, outcome: Outcome, form: Form, record: Record) -> (u32, Hop) {
    let node = plan.find(name).unwrap();
    let serial = plan.node(node).unwrap().serial;
    let at = Nanos(3_723_004_005_678);
    let (mark, number, rx_interface) = (1, 0, 4);
    (1, Hop { mark, number, outcome, node, serial, at, rx_interface, form, record })
}

fn lines(plan: &Plan, hops: Vec<(u32, Hop)>, missing: usize) -> Vec<String> {
    let mut names = Names::default();
    names.learn(plan);
    let interface = |index| format!("tap{index}");
    describe(&PacketTrace { hops, missing }, &names, plan, &interface)
}

#[test]
fn a_drop_is_shown_with_its_reason_and_the_packets_bytes() {
    let plan = plan();
    let record = Record::of_packet(20, Some(2), &[0xab; 20]);
    let hops = vec![
        hop(&plan, "start", Outcome::Next(1), Form::Received, record),
        hop(&plan, ERROR_DROP, Outcome::Taken, Form::Bytes, Record::of_packet(20, None, &[1, 2])),
    ];
    let expected = [
        "01:02:03:004005: start",
        "  rx: tap4 queue 2, 20 bytes",
        "  abababab abababab abababab abababab",
        "  abababab",
        "  drop: too-short",
        "01:02:03:004005: error-drop",
        "  rx: tap4",
        "  start: too-short",
        "  20 bytes",
        "  0102",
        "trace truncated: 3 more hops",
    ];
    assert_eq!(lines(&plan, hops, 3), expected);
}

#[test]
fn a_nodes_own_record_is_written_by_its_plugin_while_that_is_there() {
    let mut plan = plan();
    let own = |text: &str| Record::new(text.as_bytes());
    let own_hop = hop(&plan, "start", Outcome::Taken, Form::Own, own("two\nlines\u{1b}"));
    let taken = "  kept by the node";
    let expected = ["01:02:03:004005: start", "  rx: tap4", "  two", "  lines ", taken];
    assert_eq!(lines(&plan, vec![own_hop], 0), expected);

    let panics = hop(&plan, "start", Outcome::Open, Form::Own, own("p"));
    assert_eq!(lines(&plan, vec![panics], 0)[2..], ["  still in the node"]);
    let panics = hop(&plan, "start", Outcome::Undecided, Form::Own, own("p"));
    let expected = ["  (the node's formatter panicked)", "  70", "  drop: undecided"];
    assert_eq!(lines(&plan, vec![panics], 0)[2..], expected);

    let mut names = Names::default();
    names.learn(&plan);
    plan.remove_node(NodeIndex(1));
    let trace = PacketTrace { hops: vec![own_hop], missing: 0 };
    let shown = describe(&trace, &names, &plan, &|_| "gone".to_owned());
    assert_eq!(shown[..3], ["01:02:03:004005: start", "  rx: gone", "  74776f0a 6c696e65 731b"]);
}

#[test]
fn a_way_to_another_thread_names_it() {
    let plan = plan();
    let bytes = Record::of_packet(0, None, &[]);
    let handed = Outcome::HandedTo { thread: 2, next: 0 };
    let (_, there) = hop(&plan, "start", Outcome::Next(0), Form::Bytes, bytes);
    let (_, congested) = hop(&plan, "start", Outcome::Congested { thread: 3 }, Form::Bytes, bytes);
    let hops = vec![hop(&plan, "start", handed, Form::Bytes, bytes), (2, there), (2, congested)];
    let shown = lines(&plan, hops, 0);
    assert_eq!(shown[3..5], ["  handed to thread 2", "01:02:03:004005: start (thread 2)"]);
    assert_eq!(shown.last().unwrap(), "  drop: handoff-congestion of thread 3");
}
