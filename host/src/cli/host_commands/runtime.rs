//! `show runtime`, `clear runtime`.

use super::reads;
use crate::{
    cli::{Answer, Call, Cell, Column, CommandError, Table},
    control::Control,
};

inventory::submit! {
    reads("show runtime [{all:all}]", "what each node did on each thread; with `all` also those that did nothing", show)
}

inventory::submit! {
    super::writes("clear runtime", "start the nodes' counters again from nothing", |control, _, _| {
        control.clear_runtime();
        Ok(())
    })
}

fn show(
    control: &mut Control,
    call: &mut Call<'_>,
    answer: &mut Answer,
) -> Result<(), CommandError> {
    let all = call.args.find("all").is_some();
    let reports = control.node_reports();
    for thread in control.host.threads() {
        let [name, kind, state] = ["Name", "Kind", "State"].map(Column::text);
        let numbers = ["Calls", "Vectors", "Vectors/Call", "Clocks/Packet", "Max-Clocks", "Panics"];
        let columns = [name, kind, state].into_iter().chain(numbers.map(Column::number));
        let title = if thread.index == 0 {
            "Thread 0 main".to_owned()
        } else {
            format!("Thread {} worker", thread.index)
        };
        let mut table = Table::new(columns).titled(title);
        let own = reports.iter().filter(|report| report.thread == Some(thread.index));
        for report in own.filter(|report| all || report.calls > 0) {
            table.row([
                Cell::Text(report.name.clone()),
                Cell::display(report.kind),
                Cell::display(report.state),
                Cell::Unsigned(report.calls),
                Cell::Unsigned(report.vectors),
                Cell::float(report.vectors_per_call(), 2),
                Cell::float(report.clocks_per_packet(), 1),
                Cell::Unsigned(report.max_clocks),
                Cell::Unsigned(report.panics),
            ]);
        }
        answer.table(table);
    }
    Ok(())
}
