//! `show workqueues`.

use super::reads;
use crate::{
    cli::{Answer, Call, Cell, Column, CommandError, Table},
    control::Control,
    deferred::work::{Kind, PoolReport, QueueReport},
    time::Nanos,
};

inventory::submit! {
    reads(
        "show workqueues [<name:word>]",
        "the work queues and the pools of threads that run their items, or the items of one queue",
        show,
    )
}

fn show(
    control: &mut Control,
    call: &mut Call<'_>,
    answer: &mut Answer,
) -> Result<(), CommandError> {
    let work = &control.host.work;
    if let Some(name) = call.args.text("name") {
        if !work.queues().iter().any(|queue| queue.name == name) {
            return Err(CommandError::failed(format!("there is no work queue {name:?}")));
        }
        answer.table(items(control, name));
        return Ok(());
    }
    answer.table(queues(&work.queues()));
    answer.table(pools(&work.pools()));
    Ok(())
}

fn queues(reports: &[QueueReport]) -> Table {
    let mut columns: Vec<_> = ["Name", "Plugin", "Kind"].map(Column::text).into();
    let counts = ["Max-Active", "Pending", "Delayed", "Running", "Done", "Panicked"];
    columns.extend(counts.map(Column::number));
    columns.extend(["Longest", "Running-For"].map(|name| Column::number(name).unit("us")));
    let mut table = Table::new(columns);
    for queue in reports {
        let kind = match queue.kind {
            Kind::Unbound => "unbound",
            Kind::Ordered => "ordered",
            Kind::Bound => "bound",
        };
        table.row([
            queue.name.as_str().into(),
            queue.plugin.as_str().into(),
            kind.into(),
            queue.max_active.into(),
            queue.pending.into(),
            queue.delayed.into(),
            queue.running.into(),
            queue.done.into(),
            queue.panicked.into(),
            micros(queue.longest),
            queue.running_for.map_or(Cell::Nothing, micros),
        ]);
    }
    table
}

fn pools(reports: &[PoolReport]) -> Table {
    let mut columns = vec![Column::text("Pool"), Column::number("CPU")];
    let counts = ["Threads", "Running", "Blocked", "Idle", "Limit", "Max"];
    columns.extend(counts.map(Column::number));
    let mut table = Table::new(columns).titled("pools");
    for pool in reports {
        let name = pool.bound.map_or_else(|| "unbound".to_owned(), |on| format!("thread {on}"));
        table.row([
            Cell::Text(name),
            pool.cpu.into(),
            pool.threads.into(),
            pool.running.into(),
            pool.blocked.into(),
            pool.idle.into(),
            pool.limit.into(),
            pool.max.into(),
        ]);
    }
    table
}

fn items(control: &Control, queue: &str) -> Table {
    let mut columns = vec![Column::text("Item"), Column::number("Thread"), Column::text("State")];
    columns.extend(["Done", "Panicked"].map(Column::number));
    columns.extend(["Longest", "Running-For"].map(|name| Column::number(name).unit("us")));
    let mut table = Table::new(columns).titled(queue);
    for item in control.host.work.items(queue) {
        table.row([
            item.name.into(),
            item.bound.into(),
            item.state.into(),
            item.runs.into(),
            item.panicked.into(),
            micros(item.longest),
            item.running_for.map_or(Cell::Nothing, micros),
        ]);
    }
    table
}

/// Rounded up: what ran at all took some time.
fn micros(time: Nanos) -> Cell {
    Cell::Unsigned(time.0.div_ceil(1_000))
}
