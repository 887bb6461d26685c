//! `show logging`, `clear logging`, `show logging classes`, `set logging class`, `set logging file`.

use std::path::PathBuf;

use super::{reads, writes};
use crate::{
    cli::{Answer, Call, Cell, Column, CommandError, Lender, Role, Table, WaitingBuiltin},
    control::Control,
    log::LogFileError,
};

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

inventory::submit! {
    reads(
        "show logging classes",
        "what is logged of each class, and how much of it was",
        |control, _, answer| {
            let [class, level, set] = ["Class", "Level", "Set"].map(Column::text);
            let rate = Column::number("Rate").unit("lines/s");
            let counts = ["Lines", "Suppressed"].map(Column::number);
            let mut table = Table::new([class, level, rate, set].into_iter().chain(counts));
            for report in control.host.log.class_reports() {
                let set = match (report.setting.level, report.setting.rate) {
                    (None, None) => "",
                    (Some(_), None) => "level",
                    (None, Some(_)) => "rate",
                    (Some(_), Some(_)) => "level, rate",
                };
                table.row([
                    Cell::Text(report.class.to_string()),
                    Cell::display(report.level),
                    Cell::Unsigned(report.rate.into()),
                    Cell::Text(set.to_owned()),
                    Cell::Unsigned(report.lines),
                    Cell::Unsigned(report.suppressed),
                ]);
            }
            answer.table(table);
            Ok(())
        },
    )
}

inventory::submit! {
    writes(
        "set logging class <class:word> level {level:error|warn|notice|debug|default} [rate <rate:u32>]",
        "say what is logged of a class and those below it, and how many lines in a second; \
            with default, what the class above has",
        set_class,
    )
}

fn set_class(
    control: &mut Control,
    call: &mut Call<'_>,
    _: &mut Answer,
) -> Result<(), CommandError> {
    let class = call.args.text("class").unwrap_or_default();
    let level = call.args.text("level").and_then(|level| level.parse().ok());
    let setting = crate::log::ClassSetting { level, rate: call.args.u32("rate") };
    control.host.log.set_class(class, setting).map_err(CommandError::failed)
}

inventory::submit! {
    WaitingBuiltin {
        grammar: "set logging file <file:word>",
        help: "append the log to a file, opened anew if it is that already; or `off'",
        role: Role::Write,
        run: set_file,
    }
}

/// Why the log does not go where it is told to.
#[derive(Debug, thiserror::Error)]
enum SetFileError {
    #[error("{}: only root and the host's own user may have it write files", .0.display())]
    Rights(PathBuf),
    #[error("{}: give a path that begins with `/', or `off'", .0.display())]
    Relative(PathBuf),
    #[error(transparent)]
    File(#[from] LogFileError),
}

/// Opening a file may block, and so may the last lines of the one before.
fn set_file(
    lender: &mut Lender<'_, Control>,
    call: &mut Call<'_>,
    answer: &mut Answer,
) -> Result<(), CommandError> {
    let path = PathBuf::from(&call.args.require("file")?.text);
    let host = lender.lend(|control| control.host);
    let has_rights = call.caller.has_host_rights();
    let set = move || -> Result<String, SetFileError> {
        if !has_rights {
            return Err(SetFileError::Rights(path));
        }
        if path.as_os_str() == "off" {
            host.log.end_file();
            return Ok("to no file".to_owned());
        }
        if path.is_relative() {
            return Err(SetFileError::Relative(path));
        }
        host.log.write_to(&host.work, &path)?;
        Ok(format!("to {}", path.display()))
    };
    let done = host.blocking_until_ended("set logging file", set).map_err(CommandError::failed)?;
    answer.line(done.map_err(CommandError::failed)?);
    Ok(())
}
