//! Commands of plugins, as the host's registry has them.
#![expect(unsafe_code, reason = "calls the plugin's function, which calls back with the answer")]

use std::{ffi::c_void, os::fd::AsRawFd, sync::Arc};

use gristmill_abi::{
    ErrorText, Head, List, Str,
    command::{AnswerTable, ArgValue as RawArg, CommandDecl, arg_kind, cell_kind, role},
};

use super::generation::Generation;
use crate::{
    cli::{
        Answer, ArgKind, Call, Cell, Column, Command, CommandError, Grammar, GrammarError, Owner,
        Role, Run, Table,
    },
    control::Control,
};

/// The command a plugin declared.
///
/// # Errors
/// [`GrammarError`] if its grammar is wrong.
pub fn command(
    decl: CommandDecl,
    generation: &Arc<Generation>,
) -> Result<Command<Control>, GrammarError> {
    let owner = Owner { id: generation.owner.0, name: generation.name.as_str().into() };
    let generation = Arc::clone(generation);
    Ok(Command {
        grammar: Grammar::parse(decl.grammar.as_str())?,
        help: decl.help.as_str().to_owned(),
        role: if decl.role == role::READ { Role::Read } else { Role::Write },
        needs_barrier: decl.needs_barrier != 0,
        owner,
        run: Run::Alone(Box::new(move |call, answer| run(&decl, &generation, call, answer))),
    })
}

fn run(
    decl: &CommandDecl,
    generation: &Generation,
    call: &mut Call<'_>,
    answer: &mut Answer,
) -> Result<(), CommandError> {
    let args = call.args.clone();
    let mut files = Vec::new(); // Open until the plugin's function returns.
    let mut values = Vec::with_capacity(args.0.len());
    for arg in &args.0 {
        let (number, extra) = match arg.kind {
            ArgKind::Path => {
                let passed = call.open(&arg.name).ok();
                let fd = passed.as_ref().map_or(0, |file| file.as_raw_fd().unsigned_abs() + 1);
                files.extend(passed);
                (fd.into(), call.caller.has_host_rights().into())
            }
            _ => (arg.number, arg.extra),
        };
        values.push(RawArg {
            name: Str::new(&arg.name),
            text: Str::new(&arg.text),
            number,
            kind: raw_kind(arg.kind),
            extra,
        });
    }
    let mut collector = Collector { answer, table: None, row: Vec::new(), width: 0 };
    let table = AnswerTable {
        head: Head::of::<AnswerTable>(),
        context: (&raw mut collector).cast(),
        line,
        columns,
        cell,
    };
    let mut error = ErrorText::new();
    let _running = generation.enter_command();
    // SAFETY: the state is that of the plugin that declared the command; all else is good for
    // the call.
    let status = unsafe {
        (decl.run)(generation.state(), List::new(&values), &raw const table, &raw mut error)
    };
    collector.end_table();
    if status.is_ok() { Ok(()) } else { Err(CommandError::failed(error.as_str().to_owned())) }
}

fn raw_kind(kind: ArgKind) -> u32 {
    match kind {
        ArgKind::Flag => arg_kind::FLAG,
        ArgKind::Bool => arg_kind::BOOL,
        ArgKind::U8 | ArgKind::U16 | ArgKind::U32 | ArgKind::U64 | ArgKind::Size => {
            arg_kind::UNSIGNED
        }
        ArgKind::I64 => arg_kind::SIGNED,
        ArgKind::F64 => arg_kind::FLOAT,
        ArgKind::Ip4 => arg_kind::IP4,
        ArgKind::Ip4Prefix => arg_kind::IP4_PREFIX,
        ArgKind::Mac => arg_kind::MAC,
        ArgKind::Interface => arg_kind::INTERFACE,
        ArgKind::Duration => arg_kind::DURATION,
        ArgKind::Path => arg_kind::PATH,
        ArgKind::Choice | ArgKind::Word | ArgKind::String | ArgKind::Node | ArgKind::Rest => {
            arg_kind::TEXT
        }
    }
}

/// Builds the answer from the plugin's calls.
struct Collector<'a> {
    answer: &'a mut Answer,
    table: Option<Table>,
    row: Vec<Cell>,
    width: usize,
}

impl Collector<'_> {
    fn end_table(&mut self) {
        if let Some(mut table) = self.table.take() {
            if !self.row.is_empty() {
                table.row(std::mem::take(&mut self.row));
            }
            self.answer.table(table);
        }
    }
}

/// The collector of the answer that is being made.
///
/// # Safety
/// `context` is the table's, during the call that it was lent for.
unsafe fn collector<'a>(context: *mut c_void) -> &'a mut Collector<'a> {
    // SAFETY: by the caller's promise.
    unsafe { &mut *context.cast::<Collector<'a>>() }
}

unsafe extern "C" fn line(context: *mut c_void, text: Str<'_>) {
    // SAFETY: the plugin passes the context it was lent.
    let collector = unsafe { collector(context) };
    collector.end_table();
    collector.answer.line(text.as_str());
}

unsafe extern "C" fn columns(context: *mut c_void, title: Str<'_>, names: List<'_, Str<'_>>) {
    // SAFETY: the plugin passes the context it was lent.
    let collector = unsafe { collector(context) };
    collector.end_table();
    let names = names.as_slice();
    let table = Table::new(names.iter().map(|name| Column::text(name.as_str())));
    collector.width = names.len();
    collector.table = Some(match title.as_str() {
        "" => table,
        title => table.titled(title),
    });
}

unsafe extern "C" fn cell(context: *mut c_void, kind: u32, number: u64, text: Str<'_>) {
    // SAFETY: the plugin passes the context it was lent.
    let collector = unsafe { collector(context) };
    collector.row.push(match kind {
        cell_kind::TEXT => Cell::Text(text.as_str().to_owned()),
        cell_kind::UNSIGNED => Cell::Unsigned(number),
        cell_kind::SIGNED => Cell::Integer(number.cast_signed()),
        cell_kind::FLOAT => Cell::float(f64::from_bits(number), 2),
        cell_kind::BOOL => Cell::Boolean(number != 0),
        _ => Cell::Nothing,
    });
    if collector.row.len() == collector.width
        && let Some(table) = &mut collector.table
    {
        table.row(std::mem::take(&mut collector.row));
    }
}
