//! `show files`.

use super::reads;
use crate::{
    cli::{Answer, Call, Cell, Column, CommandError, Table},
    control::Control,
    engine::files::FileReport,
};

inventory::submit! {
    reads("show files", "the descriptors that each thread watches for plugins", show)
}

fn show(control: &mut Control, _: &mut Call<'_>, answer: &mut Answer) -> Result<(), CommandError> {
    let mut watched = table("watched");
    let mut closed = Vec::new();
    let mut count = 0;
    for (thread, files) in control.host.all_files() {
        let report = files.report();
        for file in &report.watched {
            watched.row(row(control, thread, file));
        }
        closed.extend(report.closed.into_iter().map(|file| (thread, file)));
        count += report.closed_count;
    }
    answer.table(watched);
    if count > 0 {
        let mut last = table(&format!("closed by the host: {count}, the last of them"));
        for (thread, file) in &closed {
            last.row(row(control, *thread, file));
        }
        answer.table(last);
    }
    Ok(())
}

fn table(title: &str) -> Table {
    let [name, plugin, interest] = ["Name", "Plugin", "Watched-For"].map(Column::text);
    let [thread, reads, writes, errors, failures] =
        ["Thread", "Reads", "Writes", "Errors", "Failures"].map(Column::number);
    Table::new([thread, name, plugin, interest, reads, writes, errors, failures])
        .titled(title.to_owned())
}

fn row(control: &Control, thread: u32, file: &FileReport) -> [Cell; 8] {
    let interest = file.interest;
    let words = [(interest.read, "read"), (interest.write, "write"), (interest.edge, "edge")];
    let words = words.iter().filter(|(on, _)| *on).map(|&(_, word)| word).collect::<Vec<_>>();
    [
        Cell::Unsigned(thread.into()),
        Cell::Text(file.name.clone()),
        Cell::Text(control.host.owner_name(file.owner)),
        Cell::Text(words.join(" ")),
        Cell::Unsigned(file.reads),
        Cell::Unsigned(file.writes),
        Cell::Unsigned(file.errors),
        Cell::Unsigned(file.failures),
    ]
}
