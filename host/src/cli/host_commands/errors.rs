//! `show errors`, `clear errors`.

use super::{reads, writes};
use crate::cli::{Cell, Column, Table};

inventory::submit! {
    reads("show errors", "packets dropped, by node and reason", |control, _, answer| {
        let [node, reason, severity] = ["Node", "Reason", "Severity"].map(Column::text);
        let mut table = Table::new([Column::number("Count"), node, reason, severity]);
        for drop in control.drop_reports() {
            table.row([
                Cell::Unsigned(drop.count),
                Cell::Text(drop.node),
                Cell::Text(drop.reason),
                Cell::display(drop.severity),
            ]);
        }
        answer.table(table);
        Ok(())
    })
}

inventory::submit! {
    writes("clear errors", "start the drop counters again from nothing", |control, _, _| {
        control.clear_errors();
        Ok(())
    })
}
