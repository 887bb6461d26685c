use gristmill_abi::buffer::Header;

use super::*;
use crate::graph::{Owner, PlanNext, PlanNode, Severity, node::Code, plan::ERROR_DROP};

#[expect(unsafe_code, reason = "a node's entry has this type")]
unsafe extern "C" fn nothing(
    _: *mut gristmill_abi::frame::ThreadCtx,
    _: *mut gristmill_abi::frame::NodeRuntime,
    _: *mut gristmill_abi::frame::Frame,
) -> u32 {
    0
}

fn plan() -> (Plan, NodeIndex) {
    let mut plan = Plan::default();
    let node = |name: &str| PlanNode::new(name, Owner(1), Code::stateless(nothing), Vec::new());
    plan.add_node(node(ERROR_DROP)).unwrap();
    let start = plan.add_node(node("start")).unwrap();
    (plan, start)
}

#[test]
fn packets_can_be_asked_for_until_there_is_no_more_room() {
    let (tracer, marks, (plan, start)) = (Tracer::default(), Marks::default(), plan());
    tracer.admit(0);
    assert_eq!(tracer.add(&marks, &plan, start, 0), Err(TraceError::Nothing));
    assert_eq!(tracer.add(&marks, &plan, NodeIndex(9), 1), Err(TraceError::Gone));
    assert_eq!(tracer.add(&marks, &plan, start, PACKETS - 1), Ok(()));
    let refused = tracer.add(&marks, &plan, start, 2).unwrap_err();
    assert_eq!(refused, TraceError::TooMany { asked: 2, left: 1 });
    assert!(refused.to_string().contains("`clear trace'"));
    assert!(marks.any());
    tracer.clear(&marks);
    assert!(!marks.any() && tracer.session().captures.is_empty());
    assert_eq!(tracer.add(&marks, &plan, start, PACKETS), Ok(()));
}

#[test]
fn marks_are_not_given_twice_and_those_that_were_cleared_are_nobodys() {
    let (tracer, marks, (plan, start)) = (Tracer::default(), Marks::default(), plan());
    tracer.add(&marks, &plan, start, 2).unwrap();
    let first = tracer.session().captures[0].choose().unwrap();
    tracer.clear(&marks);
    tracer.add(&marks, &plan, start, 2).unwrap();
    let session = tracer.session();
    assert!(session.of(first).is_none());
    let second = session.captures[0].choose().unwrap();
    assert!(second > first && session.of(second).is_some());
    marks.end(first);
    marks.end(second);
    assert!(marks.any(), "one is still to be chosen, and the old one is of no account");
}

#[test]
fn a_node_that_goes_is_armed_no_more_and_its_name_stays() {
    let (tracer, marks, (mut plan, start)) = (Tracer::default(), Marks::default(), plan());
    tracer.add(&marks, &plan, start, 5).unwrap();
    let serial = plan.node(start).unwrap().serial;
    let chosen = tracer.session().captures[0].choose().unwrap();
    plan.remove_node(start);
    let drop = PlanNext::Drop { reason: "why".into(), severity: Severity::Info };
    let other = PlanNode::new("other", Owner(1), Code::stateless(nothing), vec![drop]);
    assert_eq!(plan.add_node(other), Ok(start), "it has the same index");
    tracer.follow_graph(&marks, &plan);
    assert!(tracer.session().armed(start, serial).is_none());
    marks.end(chosen);
    assert!(!marks.any(), "the four others are waited for no more");
    let names = tracer.names();
    assert_eq!(&*names.of(start, serial).unwrap().name, "start");
    assert_eq!(names.of(start, plan.node(start).unwrap().serial).unwrap().nexts.len(), 1);
}

#[test]
fn threads_that_come_have_memory_and_those_that_go_leave_their_hops() {
    let (tracer, marks, (plan, start)) = (Tracer::default(), Marks::default(), plan());
    tracer.admit(0);
    tracer.add(&marks, &plan, start, 1).unwrap();
    tracer.admit(3);
    tracer.retire(3);
    let logs = |at: usize| {
        let session = tracer.session();
        session.captures[at].logs().map(|(thread, _)| thread).collect::<Vec<_>>()
    };
    assert_eq!(logs(0), [0, 3]);
    tracer.add(&marks, &plan, start, 1).unwrap();
    assert_eq!(logs(1), [0]);
}

#[test]
fn a_fresh_buffer_has_no_mark() {
    assert_eq!(Header::fresh().trace, 0);
}
