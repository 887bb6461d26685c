//! `show buffers`.

use super::reads;
use crate::cli::{Cell, Column, Table};

inventory::submit! {
    reads("show buffers", "the buffers: in use, free, at hand in each thread", |control, _, answer| {
        let pool = &control.host.pool;
        let (place, count) = (Column::text("Where"), Column::number("Buffers"));
        let pages = if pool.is_huge() { "huge pages" } else { "ordinary pages" };
        let mut table = Table::new([place, count])
            .titled(format!("{} buffers of 2048 bytes on {pages}", pool.buffers()));
        table.row([Cell::Text("in use".into()), Cell::Unsigned(pool.in_use() as u64)]);
        table.row([Cell::Text("free".into()), Cell::Unsigned(pool.free_shared() as u64)]);
        for thread in control.host.threads() {
            let at_hand = pool.free_cached(thread.index as usize) as u64;
            let place = format!("at hand in thread {}", thread.index);
            table.row([Cell::Text(place), Cell::Unsigned(at_hand)]);
        }
        answer.table(table);
        Ok(())
    })
}
