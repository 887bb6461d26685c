//! `show handoff`.

use super::reads;
use crate::{
    cli::{Answer, Call, Cell, Column, CommandError, Table},
    control::Control,
};

inventory::submit! {
    reads("show handoff", "packets handed from thread to thread: the rings, and what each node sent", show)
}

fn show(control: &mut Control, _: &mut Call<'_>, answer: &mut Answer) -> Result<(), CommandError> {
    let names = ["Thread", "Ring-Size", "Waiting", "Longest", "Vectors", "Packets", "Node-Gone"];
    let mut rings = Table::new(names.map(Column::number));
    for ring in control.host.handoff.report() {
        let received = &ring.received;
        rings.row([
            Cell::Unsigned(ring.thread.into()),
            Cell::Unsigned(ring.capacity as u64),
            Cell::Unsigned(ring.len as u64),
            Cell::Unsigned(received.longest.get()),
            Cell::Unsigned(received.vectors.get()),
            Cell::Unsigned(received.packets.get()),
            Cell::Unsigned(received.node_gone.get()),
        ]);
    }
    answer.table(rings.titled("received, and vectors in the rings"));
    let names = ["From", "To", "Sent", "Congestion-Drops"].map(Column::number);
    let mut sent = Table::new([Column::text("Node")].into_iter().chain(names));
    let (plan, instances) = control.host.running_graph();
    for (index, node) in plan.nodes() {
        for (from, counts) in instances.counts(index) {
            let Some(handed_off) = counts.read_handed_off() else { continue };
            for (to, packets, congested) in handed_off.read() {
                sent.row([
                    Cell::Text(node.name.to_string()),
                    Cell::Unsigned(from.into()),
                    Cell::Unsigned(to.into()),
                    Cell::Unsigned(packets),
                    Cell::Unsigned(congested),
                ]);
            }
        }
    }
    answer.table(sent.titled("packets sent"));
    Ok(())
}
