//! One command: how it is declared, what it is given, what it can answer.

mod waiting;

use std::error::Error;
use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{Mode, OFlags};

use super::args::{ArgKind, Args};
use super::execute::{Context, Lend, Live};
use super::grammar::{Grammar, GrammarError};
use super::parse::UsageError;
use super::peer::Peer;
use super::table::Answer;

pub use waiting::{Lender, Waiting, WaitingBuiltin};

/// Whether a command changes anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// It only looks.
    Read,
    /// It changes something.
    Write,
}

/// Who brought a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// The generation of the plugin; 0 is the host.
    pub id: u64,
    /// What it is called.
    pub name: Arc<str>,
}

impl Owner {
    /// The host itself.
    pub fn host() -> Self {
        Self { id: 0, name: "host".into() }
    }
}

/// Why a command did not run, or failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CommandError {
    /// No command begins like this.
    #[error("{}unknown input `{word}'", at(.path))]
    Unknown {
        /// The words that were understood.
        path: String,
        /// The word that was not.
        word: String,
    },
    /// A word is short for several.
    #[error("{}`{word}' is ambiguous: {}", at(.path), candidates.join(", "))]
    Ambiguous {
        /// The words that were understood.
        path: String,
        /// The word that was not.
        word: String,
        /// What it may mean.
        candidates: Vec<String>,
    },
    /// The words are only the begin of commands.
    #[error("{}incomplete, goes on with {}", at(.path), candidates.join(", "))]
    Incomplete {
        /// The words.
        path: String,
        /// The words that may come next.
        candidates: Vec<String>,
    },
    /// The arguments do not fit.
    #[error("{path}")]
    Usage {
        /// The command's path.
        path: String,
        /// What is wrong.
        source: Box<UsageError>,
        /// How it is used.
        usage: String,
    },
    /// The command ran and failed.
    #[error("{path}")]
    Failed {
        /// The command's path; empty until it is known.
        path: String,
        /// Why.
        source: Box<dyn Error + Send + Sync>,
    },
    /// A line of a script failed; the lines before it took effect.
    #[error("{file}:{line}")]
    Script {
        /// The script's name.
        file: String,
        /// The line's number, from 1.
        line: usize,
        /// Why.
        source: Box<CommandError>,
    },
}

/// The words that were understood, before a message.
fn at(path: &str) -> String {
    if path.is_empty() { String::new() } else { format!("{path}: ") }
}

impl CommandError {
    /// The failure of a command's function.
    pub fn failed(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Failed { path: String::new(), source: source.into() }
    }

    /// Names the command that failed, if it is not named yet.
    #[must_use]
    pub fn of(self, command: &str) -> Self {
        match self {
            Self::Failed { path, source } if path.is_empty() => {
                Self::Failed { path: command.to_owned(), source }
            }
            other => other,
        }
    }

    /// The message with its causes and, after wrong arguments, the usage.
    pub fn report(&self) -> String {
        let mut report = String::new();
        let mut cause: Option<&dyn Error> = Some(self);
        while let Some(error) = cause {
            let text = error.to_string();
            if !report.is_empty() && !text.is_empty() {
                report.push_str(": ");
            }
            report.push_str(&text);
            cause = error.source();
        }
        if let Some(usage) = self.usage() {
            report.push_str("\nusage: ");
            report.push_str(usage);
        }
        report
    }

    fn usage(&self) -> Option<&str> {
        match self {
            Self::Usage { usage, .. } => Some(usage),
            Self::Script { source, .. } => source.usage(),
            _ => None,
        }
    }
}

/// Who gives a command.
#[derive(Debug, Clone, Default)]
pub struct Caller {
    /// The process at the other end; none is the host itself (a start-up script).
    pub peer: Option<Peer>,
}

impl Caller {
    /// Whether the host may open files for this caller with its own rights: only when the caller
    /// has no fewer.
    pub fn has_host_rights(&self) -> bool {
        self.peer
            .as_ref()
            .is_none_or(|peer| peer.uid == 0 || peer.uid == rustix::process::geteuid().as_raw())
    }
}

/// Why a file named in a command cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The system says no.
    #[error("cannot open {}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is a directory, a device, a pipe.
    #[error("{} is not a regular file", .0.display())]
    Kind(PathBuf),
    /// The client sent no descriptor and has fewer rights than the host.
    #[error("cannot open {}: it is not there, or its caller may not read it", .0.display())]
    NotPassed(PathBuf),
}

/// One run of a command: all it is given but the context.
#[derive(Debug)]
pub struct Call<'a> {
    /// The arguments.
    pub args: Args,
    /// Who asks.
    pub caller: &'a Caller,
    /// Descriptors of files, each with the place of its word in the command line.
    pub(super) files: Vec<(usize, OwnedFd)>,
    /// How many scripts run around this call.
    pub(super) depth: usize,
    pub(super) end: bool,
    pub(super) live: Option<Live>,
}

impl Call<'_> {
    /// Ends the session or the script after this command.
    pub fn end(&mut self) {
        self.end = true;
    }

    /// Makes the session one that repeats a command from now on.
    pub(super) fn repeat(&mut self, live: Live) {
        self.live = Some(live);
    }

    /// Opens the file that the argument `name` names, for reading, with the caller's rights.
    ///
    /// The client opens it and passes the descriptor; only for a caller with the host's rights
    /// does the host open it itself. Once per argument.
    ///
    /// # Errors
    /// [`CommandError::Failed`] if there is no such argument, or an [`OpenError`].
    pub fn open(&mut self, name: &str) -> Result<File, CommandError> {
        let value = self.args.require(name)?;
        assert!(value.kind == ArgKind::Path, "{name} is declared as a path, not {:?}", value.kind);
        let path = PathBuf::from(&value.text);
        let place = usize::try_from(value.word).unwrap_or(usize::MAX);
        let passed = self.files.iter().position(|&(word, _)| word == place);
        let file = match passed {
            Some(index) => File::from(self.files.swap_remove(index).1),
            None if self.caller.has_host_rights() => open(&path).map_err(CommandError::failed)?,
            None => return Err(CommandError::failed(OpenError::NotPassed(path))),
        };
        // A descriptor comes from outside, and reading a pipe could hold the main thread.
        if file.metadata().is_ok_and(|metadata| metadata.is_file()) {
            Ok(file)
        } else {
            Err(CommandError::failed(OpenError::Kind(path)))
        }
    }
}

/// Opens a file for reading without waiting for anyone.
fn open(path: &Path) -> Result<File, OpenError> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    rustix::fs::open(path, flags, Mode::empty())
        .map(File::from)
        .map_err(|error| OpenError::Open { path: path.to_owned(), source: error.into() })
}

/// What a command does; runs on the main thread.
pub enum Run<C> {
    /// It works on the context, which it is lent: it does not wait.
    OnContext(Box<OnContext<C>>),
    /// It has nothing but its call, as a plugin's. In a session's process it may wait.
    Alone(Box<Alone>),
    /// It is lent the context between its waits, for as long as it likes. The workers run.
    Waiting(Box<Waiting<C>>),
}

/// A function that works on the context.
pub type OnContext<C> =
    dyn Fn(&mut C, &mut Call<'_>, &mut Answer) -> Result<(), CommandError> + Send + Sync;

/// A function that has nothing but its call.
pub type Alone = dyn Fn(&mut Call<'_>, &mut Answer) -> Result<(), CommandError> + Send + Sync;

impl<C: Context> Run<C> {
    /// Runs it, with all workers parked if it needs that.
    pub(super) fn run(
        &self,
        lender: &mut impl Lend<Context = C>,
        needs_barrier: bool,
        call: &mut Call<'_>,
        answer: &mut Answer,
    ) -> Result<(), CommandError> {
        match (self, needs_barrier) {
            (Self::Waiting(run), _) => {
                let mut lend = |borrow: &mut dyn FnMut(&mut C)| lender.lend(borrow);
                run(&mut Lender::new(&mut lend), call, answer)
            }
            (Self::Alone(run), false) => run(call, answer),
            (Self::Alone(run), true) => {
                lender.lend(|context| context.at_barrier(&mut |_| run(call, answer)))
            }
            (Self::OnContext(run), false) => lender.lend(|context| run(context, call, answer)),
            (Self::OnContext(run), true) => {
                lender.lend(|context| context.at_barrier(&mut |context| run(context, call, answer)))
            }
        }
    }
}

/// A command.
pub struct Command<C> {
    /// What it looks like.
    pub grammar: Grammar,
    /// One line for people.
    pub help: String,
    /// Whether it changes anything.
    pub role: Role,
    /// Whether the workers must stand still while it runs.
    pub needs_barrier: bool,
    /// Who brought it.
    pub owner: Owner,
    /// What it does.
    pub run: Run<C>,
}

impl<C> Command<C> {
    /// The words that select it.
    pub fn path(&self) -> &[String] {
        self.grammar.path()
    }
}

impl<C> fmt::Debug for Command<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Command")
            .field("grammar", &self.grammar.to_string())
            .field("role", &self.role)
            .field("needs_barrier", &self.needs_barrier)
            .field("owner", &self.owner.name)
            .finish_non_exhaustive()
    }
}

/// A command of the host's own: a constant beside the code, submitted by `inventory`.
///
/// The host collects them for its one context type, once, and hands all to its registry with
/// `registry.add_builtins(inventory::iter::<Builtin<Host>>)`:
/// ```text
/// inventory::collect!(Builtin<Host>);
///
/// inventory::submit! {
///     Builtin::<Host> {
///         grammar: "show version",
///         help: "the host's version",
///         role: Role::Read,
///         needs_barrier: false,
///         run: |_host, _call, answer| {
///             answer.line(env!("CARGO_PKG_VERSION"));
///             Ok(())
///         },
///     }
/// }
/// ```
#[derive(Debug)]
pub struct Builtin<C> {
    /// Path, arguments and usage in one; see [`super::grammar`].
    pub grammar: &'static str,
    /// One line for people.
    pub help: &'static str,
    /// Whether it changes anything.
    pub role: Role,
    /// Whether the workers must stand still while it runs.
    pub needs_barrier: bool,
    /// What it does.
    pub run: fn(&mut C, &mut Call<'_>, &mut Answer) -> Result<(), CommandError>,
}

impl<C: 'static> Builtin<C> {
    /// The command it declares.
    ///
    /// # Errors
    /// [`GrammarError`] if its declaration is wrong.
    pub fn command(&self) -> Result<Command<C>, GrammarError> {
        Ok(Command {
            grammar: Grammar::parse(self.grammar)?,
            help: self.help.to_owned(),
            role: self.role,
            needs_barrier: self.needs_barrier,
            owner: Owner::host(),
            run: Run::OnContext(Box::new(self.run)),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::super::args::ArgValue;
    use super::*;

    fn call(caller: &Caller, path: &Path, files: Vec<(usize, OwnedFd)>) -> io::Result<String> {
        let value = ArgValue {
            name: "file".into(),
            kind: ArgKind::Path,
            text: path.to_str().unwrap().into(),
            number: 0,
            extra: 0,
            word: 1,
        };
        let args = Args(vec![value]);
        let mut call = Call { args, caller, files, depth: 0, end: false, live: None };
        let mut file = call.open("file").map_err(|error| io::Error::other(error.report()))?;
        let mut text = String::new();
        file.read_to_string(&mut text)?;
        Ok(text)
    }

    fn stranger() -> Caller {
        let uid = rustix::process::geteuid().as_raw() + 1;
        Caller { peer: Some(Peer { uid, gid: 1, pid: 1, groups: vec![] }) }
    }

    #[test]
    fn the_host_opens_nothing_for_a_caller_with_fewer_rights() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        std::fs::write(&path, "text").unwrap();
        assert_eq!(call(&Caller::default(), &path, vec![]).unwrap(), "text");
        let refused = call(&stranger(), &path, vec![]).unwrap_err().to_string();
        assert!(refused.contains("its caller may not read it"), "{refused}");
        let passed = || vec![(1, OwnedFd::from(File::open(&path).unwrap()))];
        assert_eq!(call(&stranger(), &path, passed()).unwrap(), "text");
        let other_word = vec![(2, OwnedFd::from(File::open(&path).unwrap()))];
        assert!(call(&stranger(), &path, other_word).is_err());
    }

    #[test]
    fn only_a_regular_file_is_opened_passed_or_not() {
        let directory = tempfile::tempdir().unwrap();
        let pipe = vec![(1, OwnedFd::from(io::pipe().unwrap().0))];
        let error = call(&stranger(), Path::new("x"), pipe).unwrap_err().to_string();
        assert_eq!(error, "x is not a regular file");
        assert!(call(&Caller::default(), directory.path(), vec![]).is_err());
        assert!(call(&Caller::default(), &directory.path().join("none"), vec![]).is_err());
    }

    #[test]
    fn a_report_names_the_command_the_causes_and_the_usage() {
        let failed = CommandError::failed(OpenError::Open {
            path: "/x".into(),
            source: io::Error::other("no luck"),
        });
        assert_eq!(failed.of("plugin load").report(), "plugin load: cannot open /x: no luck");
        let usage = CommandError::Usage {
            path: "show node".into(),
            source: Box::new(UsageError::Extra("b".into())),
            usage: "show node [<name:word>]".into(),
        };
        let script =
            CommandError::Script { file: "setup".into(), line: 3, source: Box::new(usage) };
        assert_eq!(
            script.report(),
            "setup:3: show node: unknown input `b'\nusage: show node [<name:word>]"
        );
    }
}
