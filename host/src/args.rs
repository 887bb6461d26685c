//! What the command line asks for.

use std::{
    ffi::{OsStr, OsString},
    path::PathBuf,
};

use lexopt::{Arg, Parser};

use crate::config::{Config, Exec, MAX_WORKERS, PluginChoice};

/// What `gristmill --help` prints.
pub const USAGE: &str = "\
usage: gristmill [OPTION]...
       gristmill demo [--seconds N] [--json] [OPTION]...

Runs a packet graph whose nodes come out of plugins. Without any argument, and
without /etc/gristmill/gristmill.toml, it runs the demo.

  --config FILE.toml   the configuration, if not /etc/gristmill/gristmill.toml
  --exec SCRIPT        run the commands of this file once the host is up
  --workers N          forward on N threads besides main, 0 to 63
  --cli-socket PATH    listen for millctl here
  --plugin-dir DIR     look for plugins here too; may be repeated
  --plugin NAME|PATH   load this at start too; may be repeated; a path has a '/'
  -h, --help           print this
  -V, --version        print the version

demo: generator -> ethernet -> ip4 -> sink, flat out, without any privilege
  --seconds N          how long, 1 to 86400; 9 if not given
  --json               print the result as JSON, as the last line
";

/// The arguments, checked; [`Default`] is what no argument at all gives.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Args {
    /// What to do.
    pub mode: Mode,
    /// The configuration file to read; none means built-in settings.
    pub config: Option<PathBuf>,
    /// A file of commands to run at start, after those of the configuration.
    pub exec: Option<PathBuf>,
    /// Threads besides main; at most [`MAX_WORKERS`].
    pub workers: Option<u32>,
    /// Where the control socket goes.
    pub cli_socket: Option<PathBuf>,
    /// More places to look for plugins, in the order given.
    pub plugin_dirs: Vec<PathBuf>,
    /// More plugins to load at start, in the order given.
    pub plugins: Vec<PluginChoice>,
}

/// What `gristmill` does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Runs until it is told to stop.
    #[default]
    Run,
    /// Runs the demonstration and ends.
    Demo(Demo),
    /// Prints [`USAGE`].
    Help,
    /// Prints the version.
    Version,
}

/// How the demonstration runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Demo {
    /// How long; at least 1.
    pub seconds: u32,
    /// Whether the result is printed as one JSON object.
    pub json: bool,
}

impl Demo {
    /// How long it is if nothing is said: it shows three things, each for a while.
    const SECONDS: u32 = 9;
}

impl Default for Demo {
    fn default() -> Self {
        Self { seconds: Self::SECONDS, json: false }
    }
}

/// Why the command line cannot be followed.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ArgsError {
    /// There is no such option.
    #[error("unknown option {0}: see gristmill --help")]
    UnknownOption(String),
    /// A word that is neither an option nor a command.
    #[error("unexpected argument {0:?}: see gristmill --help")]
    UnexpectedArgument(OsString),
    /// An option came last that needs a value.
    #[error("{0} needs a value")]
    MissingValue(String),
    /// A switch was given a value.
    #[error("{option} takes no value, {value:?} was given")]
    UnexpectedValue {
        /// The switch.
        option: String,
        /// What followed its `=`.
        value: OsString,
    },
    /// A value does not do.
    #[error("{option} {value:?}: {problem}")]
    BadValue {
        /// The option.
        option: &'static str,
        /// Its value.
        value: OsString,
        /// What it must be.
        problem: String,
    },
    /// An option was given twice that can have one value only.
    #[error("{0} was given twice")]
    Repeated(&'static str),
    /// An option of the demo came without the demo.
    #[error("{0} belongs to gristmill demo")]
    DemoOnly(&'static str),
}

impl Args {
    /// The configuration read if none is named.
    pub const DEFAULT_CONFIG: &'static str = "/etc/gristmill/gristmill.toml";

    /// Reads the arguments, of which the first is the program's name.
    ///
    /// `--help` and `--version` end the reading: what follows them is not looked at.
    ///
    /// # Errors
    /// [`ArgsError`] at the first argument that cannot be followed.
    pub fn parse<I>(args: I) -> Result<Self, ArgsError>
    where
        I: IntoIterator,
        I::Item: Into<OsString>,
    {
        let mut parser = Parser::from_iter(args);
        let mut args = Self::default();
        let mut demo = false;
        let mut seconds = None;
        let mut json = None;
        while let Some(arg) = parser.next()? {
            match arg {
                Arg::Long("config") => {
                    let file = path(&mut parser, "--config")?;
                    once(&mut args.config, "--config", file)?;
                }
                Arg::Long("exec") => {
                    let script = path(&mut parser, "--exec")?;
                    once(&mut args.exec, "--exec", script)?;
                }
                Arg::Long("workers") => {
                    let workers = number(&mut parser, "--workers", 0, MAX_WORKERS)?;
                    once(&mut args.workers, "--workers", workers)?;
                }
                Arg::Long("cli-socket") => {
                    let socket = path(&mut parser, "--cli-socket")?;
                    once(&mut args.cli_socket, "--cli-socket", socket)?;
                }
                Arg::Long("plugin-dir") => {
                    args.plugin_dirs.push(path(&mut parser, "--plugin-dir")?);
                }
                Arg::Long("plugin") => args.plugins.push(plugin(parser.value()?)?),
                Arg::Long("seconds") => {
                    let value = number(&mut parser, "--seconds", 1, 86_400)?;
                    once(&mut seconds, "--seconds", value)?;
                }
                Arg::Long("json") => once(&mut json, "--json", true)?,
                Arg::Short('h') | Arg::Long("help") => {
                    return Ok(Self { mode: Mode::Help, ..Self::default() });
                }
                Arg::Short('V') | Arg::Long("version") => {
                    return Ok(Self { mode: Mode::Version, ..Self::default() });
                }
                Arg::Value(word) if word == "demo" && !demo => demo = true,
                other => return Err(other.unexpected().into()),
            }
        }
        args.mode = mode(demo, seconds, json)?;
        Ok(args)
    }

    /// Fills in what depends on whether [`Args::DEFAULT_CONFIG`] exists.
    ///
    /// If it does, it is the configuration of a run that names none; if it does not, no argument
    /// at all means the demo.
    #[must_use]
    pub fn with_default_config(mut self, exists: bool) -> Self {
        if exists && self.mode == Mode::Run && self.config.is_none() {
            self.config = Some(PathBuf::from(Self::DEFAULT_CONFIG));
        } else if !exists && self == Self::default() {
            self.mode = Mode::Demo(Demo::default());
        }
        self
    }

    /// Lays the arguments over a configuration: single values replace, lists are appended to.
    ///
    /// # Errors
    /// If more workers are asked for than `corelist-workers` has cores.
    pub fn apply(&self, config: &mut Config) -> Result<(), ArgsError> {
        if let Some(workers) = self.workers {
            let cores = config.corelist_workers.len();
            let wanted = usize::try_from(workers).unwrap_or(usize::MAX);
            if cores != 0 && wanted > cores {
                let problem = format!("corelist-workers in the configuration names {cores} cores");
                return Err(bad("--workers", OsStr::new(&workers.to_string()), problem));
            }
            config.corelist_workers.truncate(wanted);
            config.workers = workers;
        }
        if let Some(socket) = &self.cli_socket {
            config.cli.socket = Some(socket.clone());
        }
        config.plugin_dirs.extend_from_slice(&self.plugin_dirs);
        for plugin in &self.plugins {
            if !config.plugins.contains(plugin) {
                config.plugins.push(plugin.clone());
            }
        }
        config.exec.extend(self.exec.clone().map(Exec::Script));
        Ok(())
    }
}

impl From<lexopt::Error> for ArgsError {
    fn from(error: lexopt::Error) -> Self {
        match error {
            lexopt::Error::MissingValue { option } => {
                Self::MissingValue(option.unwrap_or_else(|| String::from("the last option")))
            }
            lexopt::Error::UnexpectedOption(option) => Self::UnknownOption(option),
            lexopt::Error::UnexpectedValue { option, value } => {
                Self::UnexpectedValue { option, value }
            }
            lexopt::Error::UnexpectedArgument(value) | lexopt::Error::NonUnicodeValue(value) => {
                Self::UnexpectedArgument(value)
            }
            lexopt::Error::ParsingFailed { value, .. } => Self::UnexpectedArgument(value.into()),
            lexopt::Error::Custom(error) => Self::UnexpectedArgument(error.to_string().into()),
        }
    }
}

/// What to do, from the command `demo` and the options that belong to it.
fn mode(demo: bool, seconds: Option<u32>, json: Option<bool>) -> Result<Mode, ArgsError> {
    match (demo, seconds, json) {
        (true, ..) => Ok(Mode::Demo(Demo {
            seconds: seconds.unwrap_or(Demo::SECONDS),
            json: json.unwrap_or(false),
        })),
        (false, Some(_), _) => Err(ArgsError::DemoOnly("--seconds")),
        (false, None, Some(_)) => Err(ArgsError::DemoOnly("--json")),
        (false, None, None) => Ok(Mode::Run),
    }
}

/// Keeps the value of an option that may be given once.
fn once<T>(slot: &mut Option<T>, option: &'static str, value: T) -> Result<(), ArgsError> {
    match slot.replace(value) {
        Some(_) => Err(ArgsError::Repeated(option)),
        None => Ok(()),
    }
}

fn path(parser: &mut Parser, option: &'static str) -> Result<PathBuf, ArgsError> {
    let value = parser.value()?;
    if value.is_empty() {
        return Err(bad(option, &value, String::from("a path is not empty")));
    }
    Ok(PathBuf::from(value))
}

fn number(parser: &mut Parser, option: &'static str, min: u32, max: u32) -> Result<u32, ArgsError> {
    let value = parser.value()?;
    value
        .to_str()
        .and_then(|text| text.parse().ok())
        .filter(|number| (min..=max).contains(number))
        .ok_or_else(|| bad(option, &value, format!("must be a whole number from {min} to {max}")))
}

fn plugin(value: OsString) -> Result<PluginChoice, ArgsError> {
    PluginChoice::parse(&value).map_err(|problem| bad("--plugin", &value, problem.to_string()))
}

fn bad(option: &'static str, value: &OsStr, problem: String) -> ArgsError {
    ArgsError::BadValue { option, value: value.to_os_string(), problem }
}

#[cfg(test)]
mod tests;
