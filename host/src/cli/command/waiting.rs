//! Commands of the host's own that wait, and what they are lent meanwhile.

use std::fmt;

use super::{Answer, Call, Command, CommandError, Grammar, GrammarError, Owner, Role, Run};

/// Lends a command that waits its context, again and again.
pub struct Lender<'a, C>(&'a mut Lends<'a, C>);

/// Calls what it is given with the context, once.
type Lends<'a, C> = dyn FnMut(&mut dyn FnMut(&mut C)) + 'a;

impl<'a, C> Lender<'a, C> {
    pub(super) fn new(lends: &'a mut Lends<'a, C>) -> Self {
        Self(lends)
    }

    /// Lends it to `borrow`, which does not wait.
    ///
    /// # Panics
    /// If whoever lends does not: a bug of the host.
    pub fn lend<R>(&mut self, borrow: impl FnOnce(&mut C) -> R) -> R {
        let (mut borrow, mut result) = (Some(borrow), None);
        (self.0)(&mut |context| result = borrow.take().map(|borrow| borrow(context)));
        result.expect("the context is lent once")
    }
}

impl<C> fmt::Debug for Lender<'_, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Lender")
    }
}

/// A function that is lent the context between its waits.
pub type Waiting<C> = dyn Fn(&mut Lender<'_, C>, &mut Call<'_>, &mut Answer) -> Result<(), CommandError>
    + Send
    + Sync;

/// A command of the host's own that waits, for work queues for instance: as a [`Builtin`](super::Builtin), and
/// `registry.add_waiting(inventory::iter::<WaitingBuiltin<Host>>)`.
#[derive(Debug)]
pub struct WaitingBuiltin<C> {
    /// Path, arguments and usage in one; see [`grammar`](crate::cli::grammar).
    pub grammar: &'static str,
    /// One line for people.
    pub help: &'static str,
    /// Whether it changes anything.
    pub role: Role,
    /// What it does, between waits with what it is lent.
    pub run: fn(&mut Lender<'_, C>, &mut Call<'_>, &mut Answer) -> Result<(), CommandError>,
}

impl<C: 'static> WaitingBuiltin<C> {
    /// The command it declares.
    ///
    /// # Errors
    /// [`GrammarError`] if its declaration is wrong.
    pub fn command(&self) -> Result<Command<C>, GrammarError> {
        Ok(Command {
            grammar: Grammar::parse(self.grammar)?,
            help: self.help.to_owned(),
            role: self.role,
            needs_barrier: false,
            owner: Owner::host(),
            run: Run::Waiting(Box::new(self.run)),
        })
    }
}
