//! One command line, from words to answer.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use super::args::{Args, Names};
use super::command::{Builtin, Call, Caller, Command, CommandError, Role};
use super::registry::Registry;
use super::table::Answer;
use super::{help, script};
use crate::{
    engine::watchdog::{self, Job},
    graph::Owner,
};

/// What commands work on: the host.
pub trait Context: Names + Sized + 'static {
    /// The commands there are.
    fn commands(&self) -> &Registry<Self>;

    /// Stops the workers, runs `run` once, releases the workers.
    ///
    /// # Errors
    /// What `run` returned; or, without having run it, that the workers did not stop.
    fn at_barrier(
        &mut self,
        run: &mut dyn FnMut(&mut Self) -> Result<(), CommandError>,
    ) -> Result<(), CommandError>;
}

/// Whoever lends a command its context, for as long as the command does not wait.
pub trait Lend {
    /// What is lent.
    type Context: Context;

    /// Lends it to `borrow`.
    fn lend<R>(&mut self, borrow: impl FnOnce(&mut Self::Context) -> R) -> R;
}

impl<C: Context> Lend for C {
    type Context = Self;

    fn lend<R>(&mut self, borrow: impl FnOnce(&mut Self) -> R) -> R {
        borrow(self)
    }
}

/// What comes after a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Flow {
    /// The next one.
    Continue,
    /// The end of the session or the script.
    End,
    /// The same one again and again.
    Repeat(Live),
}

/// A live view: a command that a session repeats until its client sends another, or leaves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Live {
    /// From one run to the next.
    pub interval: Duration,
    /// Runs; none is without end.
    pub times: Option<u32>,
    /// The command.
    pub words: Vec<String>,
}

/// Runs the command that `words` say and appends to `answer`.
///
/// No words are no command; a last word `?` lists the commands that begin with the words before
/// it. `files` are descriptors that came along, each with the place of its word.
///
/// Context: main.
///
/// # Errors
/// [`CommandError`] if there is no such command, its arguments do not fit, or it failed. Unless it
/// failed, nothing was done.
pub fn execute(
    lender: &mut impl Lend,
    words: &[String],
    caller: &Caller,
    files: Vec<(usize, OwnedFd)>,
    answer: &mut Answer,
) -> Result<Flow, CommandError> {
    execute_within(0, lender, words, caller, files, answer)
}

/// As [`execute`], `depth` scripts around it.
pub(super) fn execute_within(
    depth: usize,
    lender: &mut impl Lend,
    words: &[String],
    caller: &Caller,
    files: Vec<(usize, OwnedFd)>,
    answer: &mut Answer,
) -> Result<Flow, CommandError> {
    match words {
        [] => return Ok(Flow::Continue),
        [path @ .., last] if last == "?" => {
            lender.lend(|context| help::list_below(context.commands(), path, answer))?;
            return Ok(Flow::Continue);
        }
        _ => {}
    }
    let (command, args) = lender.lend(|context| read(context, words))?;
    let path = command.path().join(" ");
    let mut call = Call { args, caller, files, depth, end: false, live: None };
    let owner = Owner(command.owner.id);
    let job = Job { what: "command", name: &path, owner, longest: None };
    let barrier = command.needs_barrier;
    let ran = watchdog::job(&job, || command.run.run(lender, barrier, &mut call, answer));
    ran.map_err(|error| error.of(&path))?;
    Ok(match call.live {
        Some(live) => Flow::Repeat(live),
        None if call.end => Flow::End,
        None => Flow::Continue,
    })
}

/// Finds the command and reads its arguments.
fn read<C: Context>(
    context: &C,
    words: &[String],
) -> Result<(Arc<Command<C>>, Args), CommandError> {
    let (command, length) = context.commands().resolve(words)?;
    let args = command.grammar.read(&words[length..], length, context);
    let args = args.map_err(|source| CommandError::Usage {
        path: command.path().join(" "),
        source: Box::new(source),
        usage: command.grammar.to_string(),
    })?;
    Ok((command, args))
}

/// The shortest time between two runs of a live view.
const INTERVAL_MIN: Duration = Duration::from_millis(100);

/// `watch INTERVAL COMMAND`.
fn watch<C: Context>(_: &mut C, call: &mut Call<'_>, _: &mut Answer) -> Result<(), CommandError> {
    if call.depth > 0 {
        return Err(CommandError::failed("a script does not repeat a command"));
    }
    let interval = Duration::from_nanos(call.args.number("interval").unwrap_or_default());
    if interval < INTERVAL_MIN {
        return Err(CommandError::failed(format!("an interval is {INTERVAL_MIN:?} at least")));
    }
    let text = call.args.text("command").unwrap_or_default();
    let words = millctl::words::split(text).map_err(CommandError::failed)?;
    call.repeat(Live { interval, times: call.args.u32("times"), words });
    Ok(())
}

/// The commands every context has: `help`, `exec`, `comment`, and `quit` with its other names.
pub fn basics<C: Context>() -> Vec<Builtin<C>> {
    let read =
        |grammar, help, run| Builtin { grammar, help, role: Role::Read, needs_barrier: false, run };
    let mut basics = vec![
        read("help [<command:rest>]", "what a command does, or which there are", help::help),
        read(
            "watch <interval:duration> [times <times:u32>] <command:rest>",
            "the command's answer again and again, until another one is given",
            watch,
        ),
        read("comment [<text:rest>]", "nothing, in a script", |_, _, _| Ok(())),
        Builtin {
            grammar: "exec <script:path>",
            help: "run a file's commands up to the first that fails",
            role: Role::Write,
            needs_barrier: false,
            run: script::exec,
        },
    ];
    for grammar in ["quit", "exit", "q"] {
        basics.push(read(grammar, "end the session or the script", |_, call, _| {
            call.end();
            Ok(())
        }));
    }
    basics
}

#[cfg(test)]
mod tests {
    use super::super::command::WaitingBuiltin;
    use super::super::toy::Toy;
    use super::*;

    fn run(toy: &mut Toy, line: &str) -> Result<(Flow, String), String> {
        let words = millctl::words::split(line).unwrap();
        let mut answer = Answer::default();
        let flow = execute(toy, &words, &Caller::default(), vec![], &mut answer);
        flow.map(|flow| (flow, answer.render())).map_err(|error| error.report())
    }

    #[test]
    fn a_command_gets_its_arguments_and_the_barrier_it_asked_for() {
        let mut toy = Toy::new();
        run(&mut toy, "set int state tap1 up").unwrap();
        assert_eq!((toy.up, toy.barriers), ([false, true], 1));
        let (flow, shown) = run(&mut toy, "sh int").unwrap();
        assert_eq!(shown, "Name  Up\ntap0  no\ntap1  yes\n");
        assert_eq!((flow, toy.barriers), (Flow::Continue, 1));
    }

    #[test]
    fn what_is_wrong_is_said_with_the_usage_and_nothing_is_done() {
        let mut toy = Toy::new();
        assert_eq!(
            run(&mut toy, "set interface state nope up").unwrap_err(),
            "set interface state: unknown interface `nope'\n\
             usage: set interface state <interface> {up|down}"
        );
        assert_eq!(
            run(&mut toy, "set int state tap0 up now").unwrap_err().lines().next(),
            Some("set interface state: unknown input `now'")
        );
        assert_eq!(run(&mut toy, "fail over").unwrap_err(), "fail: cannot: over");
        assert_eq!(toy.barriers, 0);
    }

    #[test]
    fn a_command_that_waits_is_lent_the_context_as_often_as_it_asks() {
        let mut toy = Toy::new();
        let swap = WaitingBuiltin::<Toy> {
            grammar: "swap",
            help: "the interfaces' states, exchanged in two steps",
            role: Role::Write,
            run: |lender, call, answer| {
                let up = lender.lend(|toy| toy.up);
                // Here it may wait.
                lender.lend(|toy| toy.up = [up[1], up[0]]);
                answer.line("done");
                call.end();
                Ok(())
            },
        };
        toy.commands.add_waiting([&swap]).unwrap();
        toy.up = [true, false];
        assert_eq!(run(&mut toy, "swap").unwrap(), (Flow::End, "done\n".to_owned()));
        assert_eq!(toy.up, [false, true]);
    }

    #[test]
    fn quit_has_three_names_and_no_words_are_no_command() {
        let mut toy = Toy::new();
        for line in ["quit", "exit", "q"] {
            assert_eq!(run(&mut toy, line).unwrap().0, Flow::End);
        }
        assert_eq!(run(&mut toy, "  # nothing").unwrap(), (Flow::Continue, String::new()));
        assert_eq!(run(&mut toy, "comment quit").unwrap(), (Flow::Continue, String::new()));
    }

    #[test]
    fn a_question_mark_lists_what_goes_on_and_help_explains_one_command() {
        let mut toy = Toy::new();
        let (_, listed) = run(&mut toy, "sh ?").unwrap();
        assert_eq!(
            listed,
            "Command         Help\n\
             show file       the first line of a file\n\
             show interface  the interfaces\n"
        );
        let (_, all) = run(&mut toy, "?").unwrap();
        assert!(all.lines().count() > 8, "{all}");
        let (_, top) = run(&mut toy, "help").unwrap();
        assert!(top.contains("\nset") && !top.contains("set interface"), "{top}");
        let (_, one) = run(&mut toy, "help set int state").unwrap();
        assert!(one.contains("set interface state <interface> {up|down}"), "{one}");
        assert_eq!(run(&mut toy, "help nope").unwrap_err(), "help: unknown input `nope'");
        assert_eq!(run(&mut toy, "nope ?").unwrap_err(), "unknown input `nope'");
    }
}
