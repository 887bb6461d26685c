//! `trace add`, `show trace`, `clear trace`.

use std::collections::BTreeSet;

use super::{reads, writes};
use crate::{
    cli::{Answer, Call, CommandError},
    control::Control,
    graph::NodeIndex,
    trace,
};

/// Packets that are shown if nothing is said.
const SHOWN: usize = 50;

inventory::submit! {
    writes(
        "trace add <node:node> <count:u32>",
        "trace the next packets that come to a node, or from it if it receives or makes them",
        add,
    )
}

inventory::submit! {
    reads("show trace [max <max:u32>]", "the ways of the packets that were traced", show)
}

inventory::submit! {
    writes("clear trace", "forget the packets that were traced, and trace no more", |control, _, _| {
        control.host.tracer.clear(&control.host.pool.marks);
        Ok(())
    })
}

fn add(control: &mut Control, call: &mut Call<'_>, _: &mut Answer) -> Result<(), CommandError> {
    let node = NodeIndex(call.args.u32("node").unwrap_or(u32::MAX));
    let count = call.args.u32("count").unwrap_or(0);
    let (plan, _) = control.host.running_graph();
    let added = control.host.tracer.add(&control.host.pool.marks, &plan, node, count);
    added.map_err(CommandError::failed)
}

fn show(
    control: &mut Control,
    call: &mut Call<'_>,
    answer: &mut Answer,
) -> Result<(), CommandError> {
    let max = call.args.u32("max").map_or(SHOWN, |max| max as usize);
    let host = control.host;
    let packets = trace::packets(&host.tracer.session());
    let (names, (plan, _)) = (host.tracer.names(), host.running_graph());
    let interface = |index: u32| {
        let interfaces = host.interfaces.read();
        let found = interfaces.iter().find(|interface| interface.index == index);
        found.map_or_else(|| format!("interface {index}"), |interface| interface.name.clone())
    };
    let mut threads: BTreeSet<u32> = host.threads().iter().map(|thread| thread.index).collect();
    threads.extend(packets.iter().map(trace::PacketTrace::thread));
    for thread in threads {
        let name = if thread == 0 { "main".to_owned() } else { format!("worker-{thread}") };
        answer.line(format!(
            "------------------- Start of thread {thread} {name} -------------------"
        ));
        let own: Vec<_> = packets.iter().filter(|packet| packet.thread() == thread).collect();
        if own.is_empty() {
            answer.line("No packets in trace buffer");
        }
        for (number, packet) in (1..).zip(&own).take(max) {
            answer.line(format!("Packet {number}"));
            answer.line("");
            for line in trace::describe(packet, &names, &plan, &interface) {
                answer.line(line);
            }
            answer.line("");
        }
        if own.len() > max {
            answer.line(format!("Limiting display to {max} packets. To display more specify max."));
        }
    }
    Ok(())
}
