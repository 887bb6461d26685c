//! `plugin load`, `plugin unload`, `plugin list`, `show plugins`.

use super::{reads, writes};
use crate::{
    cli::{Answer, Call, Cell, Column, CommandError, Lender, Role, Table, WaitingBuiltin},
    control::Control,
    plugin::{lifecycle::Draining, load::LoadReport},
    time::Nanos,
};

inventory::submit! {
    WaitingBuiltin {
        grammar: "plugin load <file:path>",
        help: "load a plugin: a name that is looked for, or a path",
        role: Role::Write,
        run: load,
    }
}

inventory::submit! {
    writes("plugin unload <name:word>", "take a plugin out of the running host", |control, call, answer| {
        let name = call.args.require("name")?.text.clone();
        control.unload_plugin(&name).map_err(CommandError::failed)?;
        answer.line(format!("{name} unloaded"));
        Ok(())
    })
}

inventory::submit! {
    reads("plugin list", "the plugins that are loaded", |control, _, answer| {
        list(control, answer);
        Ok(())
    })
}

inventory::submit! {
    reads(
        "show plugins [<name:word>]",
        "the plugins that are loaded, or all that one of them registered",
        show,
    )
}

/// Main goes on while the file is read: others may have loaded, unloaded or ended things before it is
/// this load's turn again.
fn load(
    lender: &mut Lender<'_, Control>,
    call: &mut Call<'_>,
    answer: &mut Answer,
) -> Result<(), CommandError> {
    let wanted = call.args.require("file")?.text.clone();
    let file = if wanted.contains('/') { Some(call.open("file")?.into()) } else { None };
    let (host, request) =
        lender.lend(|control| (control.host, control.request_load(&wanted, file)));
    let read = host.blocking_until_ended("plugin load", || request.read());
    let mut ready = read.map_err(CommandError::failed)?.map_err(CommandError::failed)?;
    let loaded = lender.lend(|control| control.finish_load(&mut ready));
    if ready.has_copy() {
        // Nobody needs it. To remove it may take as long as writing it did.
        let _ = host.blocking_until_ended("plugin load", || drop(ready));
    }
    answer.table(report_table(&loaded.map_err(CommandError::failed)?));
    Ok(())
}

/// What a load cost, in one row.
fn report_table(report: &LoadReport) -> Table {
    let names = ["total", "inspect", "map", "prepare", "wait", "workers-held", "stall"];
    let mut columns = vec![Column::text("plugin")];
    columns.extend(names.map(|name| Column::number(name).unit("us")));
    let mut table = Table::new(columns);
    let times = [
        report.total,
        report.inspect,
        report.map,
        report.prepare,
        report.pause.wait,
        report.pause.hold,
        report.pause.stall,
    ];
    let name = Cell::Text(report.name.clone());
    table.row(std::iter::once(name).chain(times.map(micros)));
    table
}

#[expect(clippy::cast_precision_loss, reason = "for people")]
fn micros(time: Nanos) -> Cell {
    Cell::float(time.0 as f64 / 1e3, 1)
}

fn list(control: &Control, answer: &mut Answer) {
    let columns = ["Plugin", "Version", "SDK", "File", "State"].map(Column::text);
    let mut table = Table::new(columns);
    let loaded = control.plugins.values().map(|loaded| (&loaded.generation, "loaded".to_owned()));
    let draining = control.draining.iter().map(|draining| {
        let Draining { parked, stuck, is_kept, .. } = draining;
        let parked = (*parked > 0).then(|| format!("{parked} processes are parked"));
        let stuck = (*stuck > 0).then(|| format!("{stuck} work items ran on"));
        let kept = is_kept.then(|| "what it put off may run still".to_owned());
        let what: Vec<String> = [parked, stuck, kept].into_iter().flatten().collect();
        (&draining.generation, format!("draining: {}", what.join(", ")))
    });
    for (generation, state) in loaded.chain(draining) {
        let sdk = generation.image.as_ref().map_or("", |image| image.sdk_version());
        table.row([
            Cell::Text(generation.name.clone()),
            Cell::Text(generation.version.clone()),
            Cell::Text(sdk.to_owned()),
            Cell::display(generation.path.display()),
            Cell::Text(state),
        ]);
    }
    answer.table(table);
}

fn show(
    control: &mut Control,
    call: &mut Call<'_>,
    answer: &mut Answer,
) -> Result<(), CommandError> {
    let Some(name) = call.args.text("name") else {
        list(control, answer);
        return Ok(());
    };
    let loaded = control.plugins.get(name);
    let loaded =
        loaded.ok_or_else(|| CommandError::failed(format!("no plugin {name:?} is loaded")))?;
    let mut table = Table::new(["Kind", "Name"].map(Column::text)).titled(format!(
        "{} {} from {}",
        loaded.generation.name,
        loaded.generation.version,
        loaded.generation.path.display()
    ));
    for (kind, name) in control.resources_of(loaded.generation.owner) {
        table.row([Cell::Text(kind.to_owned()), Cell::Text(name)]);
    }
    answer.table(table);
    Ok(())
}
