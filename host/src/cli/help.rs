//! `help` and `?`.

use std::sync::Arc;

use super::command::{Call, Command, CommandError, Role};
use super::execute::Context;
use super::registry::Registry;
use super::table::{Answer, Column, Table};

/// Lists all commands below a path, however deep, as `show ?` does.
pub(super) fn list_below<C>(
    registry: &Registry<C>,
    path: &[String],
    answer: &mut Answer,
) -> Result<(), CommandError> {
    let (commands, depth) = registry.below(path)?;
    match commands {
        [only] if depth > 0 && only.path().len() == depth => explain(only, answer),
        _ => {
            let mut table = Table::new([Column::text("Command"), Column::text("Help")]);
            for command in commands {
                table.row([command.path().join(" ").into(), command.help.as_str().into()]);
            }
            answer.table(table);
        }
    }
    Ok(())
}

/// `help [COMMAND]`: one level of the commands, or one command in full.
pub(super) fn help<C: Context>(
    context: &mut C,
    call: &mut Call<'_>,
    answer: &mut Answer,
) -> Result<(), CommandError> {
    let words = call.args.text("command").unwrap_or_default();
    let words: Vec<String> = words.split_whitespace().map(str::to_owned).collect();
    let (commands, depth) = context.commands().below(&words).map_err(CommandError::failed)?;
    if let [only] = commands {
        explain(only, answer);
        return Ok(());
    }
    let mut table = Table::new([Column::text("Command"), Column::text("Help")]);
    let path = |command: &Arc<Command<C>>, length| command.path()[..length].join(" ");
    for group in commands.chunk_by(|one, other| one.path().get(depth) == other.path().get(depth)) {
        let command = &group[0];
        let length = command.path().len().min(depth + 1);
        if command.path().len() == length {
            table.row([path(command, length).into(), command.help.as_str().into()]);
        } else {
            let count = format!("{} commands", group.len());
            table.row([path(command, length).into(), count.into()]);
        }
    }
    answer.table(table);
    Ok(())
}

/// Says all about one command.
fn explain<C>(command: &Command<C>, answer: &mut Answer) {
    let mut table = Table::new(["Usage", "Help", "Role", "Barrier", "Owner"].map(Column::text));
    let role = match command.role {
        Role::Read => "read",
        Role::Write => "write",
    };
    table.row([
        command.grammar.to_string().into(),
        command.help.as_str().into(),
        role.into(),
        command.needs_barrier.into(),
        (&*command.owner.name).into(),
    ]);
    answer.table(table);
}
