//! The host's own commands, one file per noun; each submits itself.

mod barrier;
mod buffers;
mod clock;
mod deferred;
mod errors;
mod feature;
mod files;
mod graph;
mod handoff;
mod interface;
mod logging;
mod node;
mod plugin;
mod process;
mod punt;
mod resolve;
mod rpc;
mod runtime;
mod rx;
mod threads;
mod timers;
mod trace;
mod version;
mod workqueues;

use super::{Answer, Builtin, Call, CommandError, Role};
use crate::control::Control;

/// What a command's function is.
type Run = fn(&mut Control, &mut Call<'_>, &mut Answer) -> Result<(), CommandError>;

/// A command that changes nothing.
const fn reads(grammar: &'static str, help: &'static str, run: Run) -> Builtin<Control> {
    Builtin { grammar, help, role: Role::Read, needs_barrier: false, run }
}

/// A command that changes something and stops the workers itself where it must.
const fn writes(grammar: &'static str, help: &'static str, run: Run) -> Builtin<Control> {
    Builtin { grammar, help, role: Role::Write, needs_barrier: false, run }
}
