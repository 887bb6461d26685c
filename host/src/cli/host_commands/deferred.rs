//! `show softirqs`, `show tasklets`.

use super::reads;
use crate::{
    cli::{Answer, Call, Cell, Column, CommandError, Table},
    control::Control,
};

inventory::submit! {
    reads("show softirqs", "how often each softirq ran, by thread", softirqs)
}

inventory::submit! {
    reads("show tasklets", "all tasklets and how often they ran", tasklets)
}

fn softirqs(
    control: &mut Control,
    _: &mut Call<'_>,
    answer: &mut Answer,
) -> Result<(), CommandError> {
    let threads = control.host.threads();
    let mut columns = vec![Column::number("Number")];
    columns.extend(["Softirq", "Plugin"].map(Column::text));
    columns.extend(threads.iter().map(|thread| Column::number(format!("Thread {}", thread.index))));
    let mut table = Table::new(columns);
    for softirq in control.host.softirqs.open_ones() {
        let runs = threads.iter().map(|thread| thread.deferred.runs(softirq.number));
        let info = [
            Cell::Unsigned(softirq.number.into()),
            Cell::Text(softirq.name),
            Cell::Text(softirq.plugin),
        ];
        table.row(info.into_iter().chain(runs.map(Cell::Unsigned)));
    }
    let squeezed = threads.iter().map(|thread| thread.deferred.squeezed());
    let info = [Cell::Nothing, Cell::Text("(left to the next turn)".into()), Cell::Nothing];
    table.row(info.into_iter().chain(squeezed.map(Cell::Unsigned)));
    answer.table(table);
    Ok(())
}

fn tasklets(
    control: &mut Control,
    _: &mut Call<'_>,
    answer: &mut Answer,
) -> Result<(), CommandError> {
    let mut columns = ["Tasklet", "Plugin", "Priority", "State"].map(Column::text).to_vec();
    columns.extend(["Disabled", "Thread", "Scheduled", "Runs", "Panics"].map(Column::number));
    let mut table = Table::new(columns);
    for tasklet in control.host.tasklets.report() {
        let state = match (tasklet.is_running, tasklet.is_scheduled) {
            (true, true) => "running, scheduled",
            (true, false) => "running",
            (false, true) => "scheduled",
            (false, false) => "idle",
        };
        table.row([
            Cell::Text(tasklet.name),
            Cell::Text(tasklet.plugin),
            Cell::Text(if tasklet.high { "high" } else { "normal" }.into()),
            Cell::Text(state.into()),
            Cell::Unsigned(tasklet.disabled),
            Cell::Unsigned(tasklet.thread.into()),
            Cell::Unsigned(tasklet.scheduled),
            Cell::Unsigned(tasklet.runs),
            Cell::Unsigned(tasklet.panics),
        ]);
    }
    answer.table(table);
    Ok(())
}
