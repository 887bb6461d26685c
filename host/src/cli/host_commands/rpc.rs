//! `show rpc`.

use super::reads;
use crate::{
    cli::{Answer, Call, Cell, Column, CommandError, Table},
    control::Control,
};

inventory::submit! {
    reads("show rpc", "calls to main: what became of them, how many wait, for how long", show)
}

fn show(control: &mut Control, _: &mut Call<'_>, answer: &mut Answer) -> Result<(), CommandError> {
    let rpc = &control.host.rpc;
    let mut calls = Table::new([Column::text("Calls"), Column::number("Count")]);
    for (name, count) in rpc.counters().read() {
        calls.row([Cell::Text(name.into()), Cell::Unsigned(count)]);
    }
    answer.table(calls);
    let mut queue = Table::new(["Length", "Longest", "Capacity"].map(Column::number));
    queue.row([rpc.len(), rpc.longest(), rpc.capacity()].map(|n| Cell::Unsigned(n as u64)));
    answer.table(queue.titled("queue"));
    let mut latency = Table::new(["p50 [us]", "p99 [us]", "Max [us]"].map(Column::number));
    let times = [rpc.latency().percentile(50), rpc.latency().percentile(99), rpc.latency().max()];
    latency.row(times.map(|time| Cell::Unsigned(time.0.div_ceil(1_000))));
    answer.table(latency.titled("from sending to running, calls that were queued"));
    Ok(())
}
