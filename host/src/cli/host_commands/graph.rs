//! `show graph`.

use super::{node::target, reads};
use crate::cli::{Cell, Column, Table};

inventory::submit! {
    reads("show graph", "every node, what leads to it and where it leads", |control, _, answer| {
        let (plan, _) = control.host.running_graph();
        let mut table = Table::new(["Name", "Next", "Previous"].map(Column::text));
        for (_, node) in plan.nodes() {
            let nexts: Vec<String> = node.nexts.iter().map(target).collect();
            let leads_here = |from: &&crate::graph::PlanNode| {
                from.nexts.iter().any(|next| target(next).split(' ').next() == Some(&*node.name))
            };
            let previous: Vec<&str> =
                plan.nodes().map(|(_, from)| from).filter(leads_here).map(|from| &*from.name).collect();
            table.row([
                Cell::Text(node.name.to_string()),
                Cell::Text(nexts.join(", ")),
                Cell::Text(previous.join(", ")),
            ]);
        }
        answer.table(table);
        Ok(())
    })
}
