//! `show barrier`, `clear barrier`.

use super::{reads, writes};
use crate::{
    cli::{Answer, Call, Cell, Column, CommandError, Table},
    control::Control,
    engine::latency::Latency,
    time::Nanos,
};

inventory::submit! {
    reads("show barrier", "how often the workers were stopped, by whom, and what it cost", show)
}

inventory::submit! {
    writes("clear barrier", "forget what stopping the workers has cost", |control, _, _| {
        control.host.gate.ledger.clear();
        Ok(())
    })
}

fn show(control: &mut Control, _: &mut Call<'_>, answer: &mut Answer) -> Result<(), CommandError> {
    let counts = ["Stops", "Held-Down", "Late"].map(Column::number);
    let times = ["Wait", "Hold", "Stall"].into_iter().flat_map(|what| {
        ["p50", "p99", "max"].map(|part| Column::number(format!("{what} {part} [us]")))
    });
    let columns = ["For", "Plugin"].map(Column::text).into_iter().chain(counts).chain(times);
    let mut table = Table::new(columns);
    for row in control.host.gate.ledger.rows() {
        let costs = row.costs.lock();
        let mut cells = vec![
            Cell::Text(row.what.to_owned()),
            Cell::Text(row.plugin),
            Cell::Unsigned(costs.hold.count()),
            Cell::Unsigned(costs.held_down),
            Cell::Unsigned(costs.late),
        ];
        cells.extend([&costs.wait, &costs.hold, &costs.stall].into_iter().flat_map(percentiles));
        table.row(cells);
    }
    answer.table(table);
    Ok(())
}

fn percentiles(latency: &Latency) -> [Cell; 3] {
    [latency.percentile(50), latency.percentile(99), latency.max()].map(microseconds)
}

#[expect(clippy::cast_precision_loss, reason = "for people")]
fn microseconds(time: Nanos) -> Cell {
    Cell::Float { value: time.0 as f64 / 1e3, digits: 1 }
}
