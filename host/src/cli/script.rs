//! Scripts: command lines one after the other, up to the first that fails.

use std::io::Read;

use millctl::words;

use super::command::{Call, Caller, CommandError};
use super::execute::{Context, Flow, execute_within};
use super::table::Answer;

/// The longest script, in bytes.
pub const SCRIPT_MAX: u64 = 1 << 20;
/// How many scripts may run one inside the other.
pub const NESTING_MAX: usize = 8;

/// Why a script does not run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ScriptError {
    /// The file cannot be read, or is not text.
    #[error("cannot read {file}")]
    Read {
        /// The script's name.
        file: String,
        /// Why.
        source: std::io::Error,
    },
    /// The file is too long.
    #[error("{0} is longer than {SCRIPT_MAX} bytes")]
    TooLong(String),
    /// Scripts that run scripts, without an end perhaps.
    #[error("scripts are nested deeper than {NESTING_MAX}")]
    TooDeep,
}

/// Runs the command lines of `text`, in whose place messages name `file`.
///
/// `#` begins a comment, a backslash joins the next line to this one. `quit` ends the script.
///
/// # Errors
/// [`CommandError::Script`] with the first line that fails; those before it took effect.
pub fn run_script<C: Context>(
    context: &mut C,
    file: &str,
    text: &str,
    caller: &Caller,
    answer: &mut Answer,
) -> Result<Flow, CommandError> {
    run_within(0, context, file, text, caller, answer)
}

fn run_within<C: Context>(
    depth: usize,
    context: &mut C,
    file: &str,
    text: &str,
    caller: &Caller,
    answer: &mut Answer,
) -> Result<Flow, CommandError> {
    if depth >= NESTING_MAX {
        return Err(CommandError::failed(ScriptError::TooDeep));
    }
    for (line, text) in words::lines(text) {
        let flow = words::split(&text)
            .map_err(CommandError::failed)
            .and_then(|words| {
                execute_within(depth + 1, context, &words, caller, Vec::new(), answer)
            })
            .map_err(|source| CommandError::Script {
                file: file.to_owned(),
                line,
                source: Box::new(source),
            })?;
        if flow == Flow::End {
            return Ok(flow);
        }
    }
    Ok(Flow::Continue)
}

/// `exec SCRIPT`.
pub(super) fn exec<C: Context>(
    context: &mut C,
    call: &mut Call<'_>,
    answer: &mut Answer,
) -> Result<(), CommandError> {
    let script = call.open("script")?;
    let file = call.args.text("script").unwrap_or_default().to_owned();
    let mut text = String::new();
    let read = script.take(SCRIPT_MAX + 1).read_to_string(&mut text);
    let length = read
        .map_err(|source| CommandError::failed(ScriptError::Read { file: file.clone(), source }))?;
    if u64::try_from(length).is_ok_and(|length| length > SCRIPT_MAX) {
        return Err(CommandError::failed(ScriptError::TooLong(file)));
    }
    if run_within(call.depth, context, &file, &text, call.caller, answer)? == Flow::End {
        call.end();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::toy::Toy;
    use super::*;

    fn run(toy: &mut Toy, text: &str) -> Result<Flow, String> {
        run_script(toy, "setup", text, &Caller::default(), &mut Answer::default())
            .map_err(|error| error.report())
    }

    #[test]
    fn lines_run_until_quit() {
        let mut toy = Toy::new();
        let text = "# both up\nset int state tap0 up # now\n\nset int \\\n  state tap1 up\n";
        assert_eq!(run(&mut toy, text), Ok(Flow::Continue));
        assert_eq!(toy.up, [true, true]);
        let flow = run(&mut toy, "set int state tap0 down\nquit\nset int state tap1 down");
        assert_eq!((flow, toy.up), (Ok(Flow::End), [false, true]));
    }

    #[test]
    fn the_first_line_that_fails_is_named_and_the_last_to_run() {
        let mut toy = Toy::new();
        let text = "set int state tap0 up\nset int \\\n state tap9 up\nset int state tap1 up\n";
        let error = run(&mut toy, text).unwrap_err();
        assert!(error.starts_with("setup:2: set interface state: unknown"), "{error}");
        assert_eq!(toy.up, [true, false]);
        let error = run(&mut toy, "show 'x").unwrap_err();
        assert_eq!(error, "setup:1: the quote ' is not closed");
    }

    #[test]
    fn a_script_that_runs_itself_ends_with_an_error() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("again");
        let line = format!("exec '{}'\n", path.display());
        std::fs::write(&path, &line).unwrap();
        let error = run(&mut Toy::new(), &line).unwrap_err();
        assert!(error.ends_with("scripts are nested deeper than 8"), "{error}");
        std::fs::write(&path, "quit").unwrap();
        assert_eq!(run(&mut Toy::new(), &line), Ok(Flow::End));
        std::fs::write(&path, [0xff]).unwrap();
        assert!(run(&mut Toy::new(), &line).unwrap_err().contains("cannot read"));
    }
}
