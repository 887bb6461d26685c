//! `show timers`, `show timers statistics`.

use super::reads;
use crate::{
    cli::{Answer, Call, Cell, Column, CommandError, Table},
    control::Control,
    time::{Nanos, Ticks},
};

inventory::submit! {
    reads("show timers", "the dynamic timers of each thread", show)
}

inventory::submit! {
    reads(
        "show timers statistics [{action:start|stop}] [<period:duration>]",
        "who started how many timers, over a sample that `start` or a period begins, and `stop` or \
         the end of the period ends",
        statistics,
    )
}

fn show(control: &mut Control, _: &mut Call<'_>, answer: &mut Answer) -> Result<(), CommandError> {
    let numbers = ["Thread", "Next [ms]", "Active", "All"].map(Column::number);
    let [thread, next, active, all] = numbers;
    let mut table =
        Table::new([thread, Column::text("Running"), next, active, all, Column::text("Idle")]);
    let now = Ticks::at(control.host.now());
    for report in control.host.timers.report() {
        let next =
            report.next_expiry.map(|next| if next.is_before(now) { 0 } else { next.since(now) });
        table.row([
            Cell::Unsigned(report.thread.0.into()),
            report.running.map_or(Cell::Nothing, Cell::Text),
            next.map_or(Cell::Nothing, Cell::Unsigned),
            Cell::Unsigned(report.active as u64),
            Cell::Unsigned(report.all as u64),
            Cell::Boolean(report.idle),
        ]);
    }
    answer.table(table);
    Ok(())
}

fn statistics(
    control: &mut Control,
    call: &mut Call<'_>,
    answer: &mut Answer,
) -> Result<(), CommandError> {
    let now = Ticks::at(control.host.now());
    let timers = &control.host.timers;
    let period = call.args.number("period").map(|period| Ticks::at(Nanos(period)).0);
    match (call.args.text("action"), period) {
        (Some("start"), _) | (None, Some(_)) => timers.start_statistics(now, period),
        (Some(_), None) => timers.stop_statistics(now),
        (Some(_), Some(_)) => {
            return Err(CommandError::failed("`stop' takes no period: leave it out"));
        }
        (None, None) => {}
    }
    let report = timers.statistics(now);
    let state = if report.active { "going on" } else { "stopped" };
    let [started, expired] = ["Started", "Expired"].map(Column::number);
    let [plugin, site, function] = ["Plugin", "Started-By", "Function"].map(Column::text);
    let columns = [started, expired, plugin, site, function, Column::number("Thread")];
    let title =
        format!("sample of {} ms, {state}, {} events left out", report.period, report.overflowed);
    let mut table = Table::new(columns).titled(title);
    for row in report.rows {
        table.row([
            Cell::Unsigned(row.started),
            Cell::Unsigned(row.expired),
            Cell::Text(row.owner),
            Cell::Text(row.site),
            Cell::Text(row.function),
            Cell::Unsigned(row.thread.0.into()),
        ]);
    }
    answer.table(table);
    Ok(())
}
