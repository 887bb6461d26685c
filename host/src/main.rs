//! The Gristmill host: reads its arguments, boots, runs the main loop, ends.

use std::process::ExitCode;

use gristmill::{args::Args, run};

fn main() -> ExitCode {
    match Args::parse(std::env::args_os()) {
        Ok(args) => run::run(args),
        Err(error) => run::refuse(&error),
    }
}
