//! What the program does: a host until it is told to stop, or the demonstration.

use std::{
    error::Error,
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use crate::{
    args::{Args, ArgsError, Mode, USAGE},
    boot::{BootError, Running, boot},
    config::{Config, ConfigError, Exec, PluginChoice},
    demo,
    time::Nanos,
};

/// Loaded where nothing says which plugins to load, in an order that their needs allow.
const DEFAULT_PLUGINS: [&str; 9] =
    ["ethernet", "ip4", "null", "tap", "af-packet", "pcap", "generator", "flows", "handoff"];

/// Why the program ends with an error.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// The configuration is not followed.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The command line does not fit the configuration.
    #[error(transparent)]
    Args(#[from] ArgsError),
    /// The host did not start.
    #[error(transparent)]
    Boot(#[from] BootError),
    /// The demonstration lost or doubled packets, or could not be set up.
    #[error(transparent)]
    Demo(#[from] demo::DemoError),
}

/// Does what the arguments ask for; the exit code tells whether it worked.
pub fn run(args: Args) -> ExitCode {
    let exists = Path::new(Args::DEFAULT_CONFIG).exists();
    let args = args.with_default_config(exists);
    let done = match &args.mode {
        Mode::Help => print(USAGE),
        Mode::Version => print(concat!("gristmill ", env!("CARGO_PKG_VERSION"), "\n")),
        Mode::Run => serve(&args),
        Mode::Demo(demo) => configure(&args).and_then(|config| Ok(demo::run(demo, &args, config)?)),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => refuse(&error),
    }
}

/// Says on stderr why the program ends.
pub fn refuse(error: &dyn Error) -> ExitCode {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(source) = cause {
        text.push_str(&format!(": {source}"));
        cause = source.source();
    }
    let _ = writeln!(io::stderr(), "gristmill: {text}"); // There is no one left to tell.
    ExitCode::FAILURE
}

fn print(text: &str) -> Result<(), RunError> {
    let _ = io::stdout().write_all(text.as_bytes()); // A closed pipe is the reader's wish.
    Ok(())
}

fn configure(args: &Args) -> Result<Config, RunError> {
    let mut config = match &args.config {
        Some(path) => Config::load(path)?,
        None => Config::default(),
    };
    args.apply(&mut config)?;
    Ok(config)
}

fn serve(args: &Args) -> Result<(), RunError> {
    let mut config = configure(args)?;
    if config.plugins.is_empty() {
        config.plugins =
            DEFAULT_PLUGINS.iter().map(|&name| PluginChoice::Name(name.to_owned())).collect();
    }
    let (plugins, exec) = (config.plugins.clone(), config.exec.clone());
    let mut host = boot(config)?;
    let served = start(&mut host, &plugins, &exec);
    if served.is_ok() {
        host.run(&mut |_, _| Some(Nanos(u64::MAX)));
    }
    host.end();
    served
}

fn start(host: &mut Running, plugins: &[PluginChoice], exec: &[Exec]) -> Result<(), RunError> {
    host.catch_signals()?;
    for plugin in plugins {
        host.load(plugin)?;
    }
    for step in exec {
        match step {
            Exec::Command { text, line } => host.command(text, *line)?,
            Exec::Script(path) => host.execute(path)?,
        }
    }
    host.listen()?;
    Ok(())
}

impl Running {
    /// Loads a plugin.
    ///
    /// # Errors
    /// The reason why it does not load.
    pub fn load(&mut self, plugin: &PluginChoice) -> Result<(), BootError> {
        let wanted = match plugin {
            PluginChoice::Name(name) => name.clone(),
            // A bare file name is a path too.
            PluginChoice::Path(path) if path.components().count() == 1 => {
                PathBuf::from(".").join(path).display().to_string()
            }
            PluginChoice::Path(path) => path.display().to_string(),
        };
        self.main.control.load_plugin(&wanted, None)?;
        Ok(())
    }
}
