//! `set interface feature`, `show features`.

use super::{reads, writes};
use crate::{
    cli::{Cell, Column, CommandError, Table},
    engine::Caller,
};

inventory::submit! {
    writes(
        "set interface feature <interface:interface> <node:word> arc <arc:word> [disable]",
        "put a feature on an arc for the packets of one interface, or take it off",
        |control, call, _| {
            let arc = call.args.require("arc")?.text.clone();
            let node = call.args.require("node")?.text.clone();
            let interface = call.args.u32("interface");
            let on = !call.args.flag("disable");
            let set = control.host.change_graph(Caller::host("feature"), |plan| {
                plan.set_feature(&arc, &node, interface, on)
            });
            set.map_err(CommandError::failed)
        },
    )
}

inventory::submit! {
    reads("show features", "feature arcs, and the features on them in packets' order", |control, _, answer| {
        let (plan, _) = control.host.running_graph();
        let mut table = Table::new(["Arc", "From", "Feature", "On", "To"].map(Column::text));
        for (name, arc) in &plan.arcs {
            let end = || Cell::Text(arc.end.clone());
            let start = || Cell::Text(arc.starts.join(", "));
            if arc.features.is_empty() {
                table.row([Cell::Text(name.clone()), start(), Cell::Nothing, Cell::Nothing, end()]);
            }
            for feature in &arc.features {
                let interfaces = control.host.interfaces.read();
                let on = interfaces.iter().filter(|own| feature.enabled.on(own.index));
                let on: Vec<&str> = on.map(|own| own.name.as_str()).collect();
                table.row([
                    Cell::Text(name.clone()),
                    start(),
                    Cell::Text(feature.node.to_string()),
                    Cell::Text(on.join(", ")),
                    end(),
                ]);
            }
        }
        answer.table(table);
        Ok(())
    })
}
