//! The control client: `millctl [-s SOCKET] [--json] COMMAND...`.

use std::ffi::OsString;
use std::io::{self, BufRead, IsTerminal, Read, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use lexopt::{Arg, ValueExt};
use millctl::client::{Client, ClientError};
use millctl::protocol::Reply;
use millctl::{place, words};

const HELP: &str = "\
Talks to a running Gristmill host.

usage: millctl [-s SOCKET] [--json] COMMAND...
       millctl [-s SOCKET] [--json] < LINES

  -s, --socket SOCKET  the host's control socket; without it /run/gristmill/cli.sock,
                       then $XDG_RUNTIME_DIR/gristmill/cli.sock
      --json           print the answer as JSON
  -h, --help           print this
  -V, --version        print the version

Without a command each line of the standard input is one. `millctl help` lists the host's commands.

exit status: 0 the command worked, 1 it did not (the reason is on stderr), 2 there is no host
";

/// What the client was asked to do.
enum Task {
    /// Print a text.
    Print(String),
    /// Talk to the host.
    Talk {
        /// Where the host may be.
        places: Vec<PathBuf>,
        /// Whether to print JSON.
        json: bool,
        /// The command, none to read lines.
        command: Vec<String>,
    },
}

/// Why the client ends with a status other than 0.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Usage(#[from] lexopt::Error),
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error(transparent)]
    Split(#[from] words::SplitError),
    #[error("{0}")]
    Command(String),
    #[error("line {line}")]
    Line {
        line: usize,
        #[source]
        source: Box<Failure>,
    },
    #[error("cannot read the standard input")]
    Input(#[source] io::Error),
    #[error("cannot write the answer")]
    Output(#[source] io::Error),
}

fn main() -> ExitCode {
    match parse(lexopt::Parser::from_env()).map_err(Failure::from).and_then(run) {
        Ok(()) => ExitCode::SUCCESS,
        // Who reads the answer has seen enough of it.
        Err(Failure::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
            ExitCode::SUCCESS
        }
        Err(failure) => {
            say(&failure);
            let no_host = matches!(failure, Failure::Client(ClientError::NoHost(_)));
            ExitCode::from(if no_host { 2 } else { 1 })
        }
    }
}

/// Reads the options; what follows the first word is the command, dashes and all.
fn parse(mut parser: lexopt::Parser) -> Result<Task, lexopt::Error> {
    let mut places = None;
    let mut json = false;
    let mut command: Vec<OsString> = Vec::new();
    while let Some(argument) = parser.next()? {
        match argument {
            Arg::Short('s') | Arg::Long("socket") => {
                places = Some(vec![PathBuf::from(parser.value()?)]);
            }
            Arg::Long("json") => json = true,
            Arg::Short('h') | Arg::Long("help") => return Ok(Task::Print(HELP.to_owned())),
            Arg::Short('V') | Arg::Long("version") => {
                return Ok(Task::Print(format!("millctl {}\n", env!("CARGO_PKG_VERSION"))));
            }
            Arg::Value(word) => {
                command.push(word);
                command.extend(parser.raw_args()?);
            }
            other => return Err(other.unexpected()),
        }
    }
    let command = command.into_iter().map(|word| word.string()).collect::<Result<_, _>>()?;
    Ok(Task::Talk { places: places.unwrap_or_else(place::default_places), json, command })
}

/// Does the task.
fn run(task: Task) -> Result<(), Failure> {
    let (places, json, command) = match task {
        Task::Print(text) => return print(&text),
        Task::Talk { places, json, command } => (places, json, command),
    };
    let mut client = Client::connect(&places)?;
    match command.as_slice() {
        [] if io::stdin().is_terminal() => converse(&mut client, json),
        [] => run_lines(&mut client, json),
        [line] => run_command(&mut client, words::split(line)?, json).map(drop),
        _ => run_command(&mut client, command, json).map(drop),
    }
}

/// Runs one command and says whether the host ended the session.
fn run_command(client: &mut Client, argv: Vec<String>, json: bool) -> Result<bool, Failure> {
    let mut reply = client.run(argv, json)?;
    while reply.more {
        // A terminal shows the newest alone, a file or a pipe gets them all.
        if io::stdout().is_terminal() {
            print("\x1b[H\x1b[2J")?;
        }
        print(&lines_of(&reply))?;
        reply = client.next_reply()?;
    }
    print(&lines_of(&reply))?;
    match reply.error {
        Some(error) if !reply.ok => Err(Failure::Command(error)),
        None if !reply.ok => Err(Failure::Command("the command failed".to_owned())),
        _ => Ok(reply.end),
    }
}

/// What a reply prints, in whole lines.
fn lines_of(reply: &Reply) -> String {
    let mut output = reply.printed();
    if !output.is_empty() && !output.ends_with('\n') {
        output.push('\n');
    }
    output
}

/// Runs the standard input's lines up to the first that fails.
fn run_lines(client: &mut Client, json: bool) -> Result<(), Failure> {
    let mut text = String::new();
    io::stdin().lock().read_to_string(&mut text).map_err(Failure::Input)?;
    for (line, text) in words::lines(&text) {
        let ended = words::split(&text)
            .map_err(Failure::from)
            .and_then(|argv| run_command(client, argv, json))
            .map_err(|source| Failure::Line { line, source: Box::new(source) })?;
        if ended {
            break;
        }
    }
    Ok(())
}

/// Runs what is typed until `quit` or the end of input; a command that fails ends nothing.
fn converse(client: &mut Client, json: bool) -> Result<(), Failure> {
    let mut line = String::new();
    loop {
        print("gristmill# ")?;
        line.clear();
        if io::stdin().lock().read_line(&mut line).map_err(Failure::Input)? == 0 {
            return print("\n");
        }
        let run = words::split(&line).map_err(Failure::from);
        match run.and_then(|argv| run_command(client, argv, json)) {
            Ok(false) => {}
            Ok(true) => return Ok(()),
            Err(failure @ (Failure::Client(_) | Failure::Output(_))) => return Err(failure),
            Err(failure) => say(&failure),
        }
    }
}

/// Prints to the standard output.
fn print(text: &str) -> Result<(), Failure> {
    let mut output = io::stdout().lock();
    output.write_all(text.as_bytes()).and_then(|()| output.flush()).map_err(Failure::Output)
}

/// Prints a failure and its causes to the standard error.
fn say(failure: &Failure) {
    let mut text = failure.to_string();
    let mut cause = std::error::Error::source(failure);
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    // There is nobody left to tell when this fails.
    let _ = writeln!(io::stderr(), "{text}");
}
