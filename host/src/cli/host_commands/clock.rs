//! `show clock`.

use super::reads;
use crate::cli::{Cell, Column, Table};

inventory::submit! {
    reads("show clock", "the clock: where it comes from and how well it keeps time", |control, _, answer| {
        let report = control.host.clock().lock().report();
        let mut table = Table::new([Column::text("What"), Column::text("Value")]);
        let mut row = |what: &str, value: String| {
            table.row([Cell::Text(what.to_owned()), Cell::Text(value)]);
        };
        row("source", report.source.to_owned());
        row("frequency", format!("{:.3} MHz", report.frequency / 1e6));
        #[expect(clippy::cast_precision_loss, reason = "for people")]
        row("now", format!("{:.6} s", report.now.0 as f64 / 1e9));
        row("checks", format!("{:?}", report.tally));
        answer.table(table);
        Ok(())
    })
}
