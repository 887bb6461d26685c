//! `show threads`, `set workers`.

use std::sync::atomic::Ordering::Relaxed;

use super::{reads, writes};
use crate::{
    cli::{Answer, Call, Cell, Column, CommandError, Table},
    control::Control,
    engine::{ThreadShared, scheduling::scheduling_of},
};

inventory::submit! {
    reads("show threads", "the threads that forward packets", show)
}

inventory::submit! {
    writes(
        "set workers <count:u32>",
        "have so many threads forward besides main, with traffic flowing",
        |control, call, _| {
            let count = call.args.u32("count").unwrap_or(0);
            control.set_workers(count).map_err(CommandError::failed)
        },
    )
}

fn show(control: &mut Control, _: &mut Call<'_>, answer: &mut Answer) -> Result<(), CommandError> {
    let mut columns = vec![Column::text("Name")];
    columns.extend(["Thread", "TID", "CPU"].map(Column::number));
    columns.extend(["Policy", "State"].map(Column::text));
    columns.extend(["Queues", "Turns", "Idle-Turns", "Sleeps"].map(Column::number));
    let mut table = Table::new(columns);
    for thread in control.host.threads() {
        let state = if thread.sleeps_now() { "asleep" } else { "awake" };
        table.row(row(control, &thread, state.to_owned()));
    }
    for gone in control.workers.gone() {
        let state =
            gone.stuck_in.map_or_else(|| "leaving".to_owned(), |node| format!("given up: {node}"));
        table.row(row(control, &gone.shared, state));
    }
    answer.table(table);
    Ok(())
}

fn row(control: &Control, thread: &ThreadShared, state: String) -> [Cell; 10] {
    let name = if thread.index == 0 { "main" } else { "worker" };
    let (cpu, tid) = (thread.cpu.load(Relaxed), thread.tid.load(Relaxed));
    let policy = scheduling_of(tid).map(|(policy, priority)| match priority {
        0 => policy.to_string(),
        priority => format!("{policy} {priority}"),
    });
    let interfaces = control.host.interfaces.read();
    let queues = interfaces.iter().flat_map(|interface| interface.placed());
    let queues = queues.filter(|queue| queue.thread == thread.index).count();
    [
        Cell::Text(name.into()),
        Cell::Unsigned(thread.index.into()),
        Cell::Unsigned(tid.into()),
        if cpu == 0 { Cell::Nothing } else { Cell::Unsigned((cpu - 1).into()) },
        policy.map_or(Cell::Nothing, Cell::Text),
        Cell::Text(state),
        Cell::Unsigned(queues as u64),
        Cell::Unsigned(thread.turns.load(Relaxed)),
        Cell::Unsigned(thread.idle_turns.load(Relaxed)),
        Cell::Unsigned(thread.sleeps.load(Relaxed)),
    ]
}
