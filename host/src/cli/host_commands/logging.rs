//! `show logging`, `clear logging`.

use super::{reads, writes};
use crate::cli::{Cell, Column, Table};

inventory::submit! {
    reads("show logging", "the last lines of the log", |control, _, answer| {
        let [level, class, text] = ["Level", "Class", "Text"].map(Column::text);
        let mut table = Table::new([Column::number("Time").unit("s"), level, class, text]);
        for line in control.host.log.lines() {
            table.row([
                Cell::float(line.at.as_secs_f64(), 6),
                Cell::display(line.level),
                Cell::Text(line.class.to_string()),
                Cell::Text(line.text.to_string()),
            ]);
        }
        answer.table(table);
        Ok(())
    })
}

inventory::submit! {
    writes("clear logging", "forget the lines of the log", |control, _, _| {
        control.host.log.clear();
        Ok(())
    })
}
