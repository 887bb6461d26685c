//! `show threads`.

use std::sync::atomic::Ordering::Relaxed;

use super::reads;
use crate::cli::{Cell, Column, Table};

inventory::submit! {
    reads("show threads", "the threads that forward packets", |control, _, answer| {
        let mut columns = vec![Column::text("Name")];
        columns.extend(["Thread", "TID", "CPU", "Turns", "Idle-Turns", "Sleeps"].map(Column::number));
        let mut table = Table::new(columns);
        for thread in control.host.threads() {
            let name = if thread.index == 0 { "main" } else { "worker" };
            let cpu = thread.cpu.load(Relaxed);
            table.row([
                Cell::Text(name.into()),
                Cell::Unsigned(thread.index.into()),
                Cell::Unsigned(thread.tid.load(Relaxed).into()),
                if cpu == 0 { Cell::Nothing } else { Cell::Unsigned((cpu - 1).into()) },
                Cell::Unsigned(thread.turns.load(Relaxed)),
                Cell::Unsigned(thread.idle_turns.load(Relaxed)),
                Cell::Unsigned(thread.sleeps.load(Relaxed)),
            ]);
        }
        answer.table(table);
        Ok(())
    })
}
