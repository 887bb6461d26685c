//! `show process`.

use super::reads;
use crate::{
    cli::{Answer, Call, Cell, Column, CommandError, Table},
    control::Control,
    process::{ProcessReport, State},
    time::Nanos,
};

inventory::submit! {
    reads("show process [<name:word>]", "all processes, or those of one name", show)
}

fn show(
    control: &mut Control,
    call: &mut Call<'_>,
    answer: &mut Answer,
) -> Result<(), CommandError> {
    let wanted = call.args.text("name");
    let reports = control.host.processes.report();
    if let Some(name) = wanted
        && !reports.iter().any(|report| report.name == name)
    {
        return Err(CommandError::failed(format!("no process is called {name:?}")));
    }
    let now = control.host.now();
    let mut table = Table::new(columns());
    for report in &reports {
        if wanted.is_none_or(|name| name == report.name) {
            table.row(row(report, &reports, now));
        }
    }
    answer.table(table);
    Ok(())
}

fn columns() -> Vec<Column> {
    let mut columns: Vec<_> = ["Name", "Plugin", "State"].map(Column::text).into();
    let numbers = [
        ("Stack-Used", "KiB"),
        ("Stack", "KiB"),
        ("Suspends", ""),
        ("Events", ""),
        ("Clocks", ""),
        ("Max-Hold", "us"),
        ("Overruns", ""),
        ("Restarts", ""),
    ];
    columns.extend(numbers.map(|(name, unit)| match unit {
        "" => Column::number(name),
        unit => Column::number(name).unit(unit),
    }));
    columns.push(Column::text("Waiting-For"));
    columns.push(Column::number("Until").unit("ms"));
    columns
}

fn row(report: &ProcessReport, all: &[ProcessReport], now: Nanos) -> [Cell; 13] {
    let counts = &report.counts;
    let kib = |bytes: usize| Cell::Unsigned(bytes.div_ceil(1024) as u64);
    let until = report.until.map(|until| until.since(now).0.div_ceil(1_000_000));
    [
        Cell::Text(report.name.clone()),
        Cell::Text(report.plugin.clone()),
        Cell::Text(state(report.state).to_owned()),
        kib(counts.stack_used),
        kib(report.stack_size),
        Cell::Unsigned(counts.suspends),
        Cell::Unsigned(counts.events),
        Cell::Unsigned(counts.clocks.0),
        Cell::Unsigned(counts.hold_max.0 / 1000),
        Cell::Unsigned(counts.overruns),
        Cell::Unsigned(counts.restarts),
        Cell::Text(waiting_for(report, all)),
        until.map_or(Cell::Nothing, Cell::Unsigned),
    ]
}

fn state(state: State) -> &'static str {
    match state {
        State::Ready => "ready",
        State::Running => "running",
        State::Waiting => "waiting",
        State::BackingOff => "backing-off",
        State::Ended => "ended",
        State::Parked => "parked",
    }
}

/// Names of events, `clock`, `end of` another process.
fn waiting_for(report: &ProcessReport, all: &[ProcessReport]) -> String {
    let mut parts = report.events.clone();
    if report.until.is_some() {
        parts.push("clock".to_owned());
    }
    if let Some(other) = &report.end_of {
        let other = all.iter().find(|report| report.process.number == other.number);
        parts.push(format!("end of {}", other.map_or("another one", |other| &other.name)));
    }
    parts.join(", ")
}
