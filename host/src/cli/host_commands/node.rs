//! `show node`.

use super::reads;
use crate::{
    cli::{Answer, Call, Cell, Column, CommandError, Table},
    control::Control,
    graph::{NodeIndex, PlanNext, node::NodeCounts},
};

inventory::submit! {
    reads("show node [<name:node>]", "all nodes, or one with its nexts and counters", show)
}

fn show(
    control: &mut Control,
    call: &mut Call<'_>,
    answer: &mut Answer,
) -> Result<(), CommandError> {
    match call.args.u32("name") {
        Some(index) => one(control, NodeIndex(index), answer),
        None => all(control, answer),
    }
    Ok(())
}

fn all(control: &Control, answer: &mut Answer) {
    let [name, kind, plugin] = ["Name", "Kind", "Plugin"].map(Column::text);
    let numbers = ["Calls", "Vectors", "Vectors/Call"].map(Column::number);
    let mut table = Table::new([name, kind, plugin].into_iter().chain(numbers));
    for sum in control.node_sums() {
        table.row([
            Cell::Text(sum.name.clone()),
            Cell::display(sum.kind),
            Cell::Text(control.host.listeners.lock().name(sum.owner)),
            Cell::Unsigned(sum.calls),
            Cell::Unsigned(sum.vectors),
            Cell::float(sum.vectors_per_call(), 2),
        ]);
    }
    answer.table(table);
}

fn one(control: &Control, index: NodeIndex, answer: &mut Answer) {
    let (plan, instances) = control.host.running_graph();
    let Some(node) = plan.node(index) else { return };
    let plugin = control.host.listeners.lock().name(node.owner);
    answer.line(format!("{}: {} node of {plugin}, index {}", node.name, node.kind, index.0));
    let [next, to] = ["Next", "To"].map(Column::text);
    let numbers = ["Packets", "Dropped"].map(Column::number);
    let mut nexts = Table::new([next, to].into_iter().chain(numbers)).titled("Nexts");
    let sum = |count: &dyn Fn(&NodeCounts) -> u64| -> u64 {
        instances.counts(index).map(|(_, counts)| count(counts)).sum()
    };
    for (at, next) in node.nexts.iter().enumerate() {
        let packets = sum(&|counts| counts.arc_counter(at).get());
        let dropped = sum(&|counts| counts.drop_counter(at).get());
        nexts.row([
            Cell::Text(at.to_string()),
            Cell::Text(target(next)),
            Cell::Unsigned(packets),
            Cell::Unsigned(dropped),
        ]);
    }
    answer.table(nexts);
    if node.counters.is_empty() {
        return;
    }
    let mut counters = Table::new([Column::text("Counter"), Column::number("Value")]);
    for (at, name) in node.counters.iter().enumerate() {
        let value = sum(&|counts| counts.declared().nth(at).unwrap_or(0));
        counters.row([Cell::Text(name.clone()), Cell::Unsigned(value)]);
    }
    answer.table(counters);
}

/// Where a next leads, for people.
pub(super) fn target(next: &PlanNext) -> String {
    match next {
        PlanNext::Node(name) => name.clone(),
        PlanNext::Optional(name) => format!("{name} (if loaded)"),
        PlanNext::Drop { reason, .. } => format!("error-drop: {reason}"),
        PlanNext::Feature => "(next feature)".to_owned(),
    }
}
