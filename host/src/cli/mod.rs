//! Commands: their grammar, their answers, and the control socket they come over.
//!
//! Read in this order: [`grammar`] (one string declares a command), [`parse`] (words become
//! [`Args`]), [`command`] and [`registry`] (the host's and the plugins'), [`mod@execute`] (one command
//! line from words to [`Answer`]), [`script`], [`socket`] (where the host listens, who may talk),
//! `session` and [`server`] (requests in, replies out, nothing waits).
//!
//! All of it is generic over the context that commands work on: anything that is a [`Context`].

pub mod args;
pub mod command;
pub mod execute;
pub mod grammar;
mod help;
mod host_commands;
pub mod parse;
pub mod peer;
pub mod registry;
pub mod script;
pub mod server;
mod session;
mod session_process;
pub mod socket;
pub mod table;
mod value;

pub use args::{ArgKind, ArgValue, Args, Names, ValueError};
pub use command::{
    Builtin, Call, Caller, Command, CommandError, Lender, OpenError, Owner, Role, Run,
    WaitingBuiltin,
};
pub use execute::{Context, Flow, Lend, Live, basics, execute};
pub use grammar::{Grammar, GrammarError};
pub use parse::UsageError;
pub use peer::{Access, Peer};
pub use registry::{RegisterError, Registry};
pub use script::run_script;
pub use server::{Options, Server, Watch};
pub use session::Session;
pub use socket::{BindError, Listener};
pub use table::{Align, Answer, Cell, Column, Table};

#[cfg(test)]
mod toy;
