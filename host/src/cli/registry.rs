//! All commands, the host's and the plugins', sorted by path.

use std::sync::Arc;

use super::command::{Builtin, Command, CommandError, Owner, WaitingBuiltin};
use super::grammar::GrammarError;

/// Why a command is refused. Nothing of it is kept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RegisterError {
    /// Its declaration is wrong.
    #[error("the declaration {declaration:?} of a command is refused")]
    Declaration {
        /// The declaration.
        declaration: String,
        /// What is wrong with it.
        source: GrammarError,
    },
    /// There is one of that path.
    #[error("`{path}' of {owner} is a command of {other} already")]
    Taken {
        /// The path.
        path: String,
        /// Whose command is refused.
        owner: Arc<str>,
        /// Whose command is there.
        other: Arc<str>,
    },
    /// One path goes on where the other's arguments are.
    #[error("`{path}' of {owner} cannot be told from `{usage}' of {other}")]
    Clash {
        /// The path.
        path: String,
        /// Whose command is refused.
        owner: Arc<str>,
        /// How the other command is used.
        usage: String,
        /// Whose command is there.
        other: Arc<str>,
    },
}

/// Commands whose paths begin alike, and in how many words.
pub type Below<'a, C> = (&'a [Arc<Command<C>>], usize);

/// The commands.
#[derive(Debug)]
pub struct Registry<C> {
    /// Sorted by path, each path once.
    commands: Vec<Arc<Command<C>>>,
}

impl<C> Default for Registry<C> {
    fn default() -> Self {
        Self { commands: Vec::new() }
    }
}

impl<C> Registry<C> {
    /// Adds a command.
    ///
    /// # Errors
    /// [`RegisterError`] if its path is taken or cannot be told from another's arguments.
    pub fn add(&mut self, command: Command<C>) -> Result<(), RegisterError> {
        let owner = &command.owner.name;
        let path = command.path();
        let place = match self.commands.binary_search_by(|other| other.path().cmp(path)) {
            Err(place) => place,
            Ok(place) => {
                return Err(RegisterError::Taken {
                    path: path.join(" "),
                    owner: owner.clone(),
                    other: self.commands[place].owner.name.clone(),
                });
            }
        };
        if let Some(other) = self.commands.iter().find(|other| clash(other, &command)) {
            return Err(RegisterError::Clash {
                path: path.join(" "),
                owner: owner.clone(),
                usage: other.grammar.to_string(),
                other: other.owner.name.clone(),
            });
        }
        self.commands.insert(place, Arc::new(command));
        Ok(())
    }

    /// Adds the host's own commands: `registry.add_builtins(inventory::iter::<Builtin<Host>>)`.
    ///
    /// # Errors
    /// [`RegisterError`] with the first that is refused; the others before it are kept.
    pub fn add_builtins<'a>(
        &mut self,
        builtins: impl IntoIterator<Item = &'a Builtin<C>>,
    ) -> Result<(), RegisterError>
    where
        C: 'static,
    {
        builtins.into_iter().try_for_each(|own| self.add_declared(own.grammar, own.command()))
    }

    /// Adds the host's own commands that wait.
    ///
    /// # Errors
    /// As of [`add_builtins`](Self::add_builtins).
    pub fn add_waiting<'a>(
        &mut self,
        builtins: impl IntoIterator<Item = &'a WaitingBuiltin<C>>,
    ) -> Result<(), RegisterError>
    where
        C: 'static,
    {
        builtins.into_iter().try_for_each(|own| self.add_declared(own.grammar, own.command()))
    }

    fn add_declared(
        &mut self,
        declaration: &str,
        command: Result<Command<C>, GrammarError>,
    ) -> Result<(), RegisterError> {
        let declaration = declaration.to_owned();
        self.add(command.map_err(|source| RegisterError::Declaration { declaration, source })?)
    }

    /// Removes one command of `owner` and says whether it was there.
    pub fn remove(&mut self, owner: &Owner, path: &[String]) -> bool {
        let before = self.commands.len();
        self.commands.retain(|command| command.owner.id != owner.id || command.path() != path);
        self.commands.len() < before
    }

    /// Removes all commands of an owner and says how many they were.
    ///
    /// A command that is running keeps its function until it returns.
    pub fn remove_owner(&mut self, id: u64) -> usize {
        let before = self.commands.len();
        self.commands.retain(|command| command.owner.id != id);
        before - self.commands.len()
    }

    /// All commands, sorted by path.
    pub fn commands(&self) -> &[Arc<Command<C>>] {
        &self.commands
    }

    /// Finds the command that `words` begin with, and how many of them are its path.
    ///
    /// Each word may be short for the only one that begins like it; a whole word wins. What no
    /// longer path takes is left for the arguments.
    ///
    /// # Errors
    /// [`CommandError`] if there is none, or several.
    pub fn resolve(&self, words: &[String]) -> Result<(Arc<Command<C>>, usize), CommandError> {
        let (level, understood) = self.descend(words);
        let path = || level.path(understood);
        if let Some(command) = level.command(understood) {
            return Ok((command.clone(), understood));
        }
        let Some(word) = words.get(understood) else {
            let candidates = level.words(understood).map(str::to_owned).collect();
            return Err(CommandError::Incomplete { path: path(), candidates });
        };
        let similar = level.words(understood).filter(|next| next.starts_with(word.as_str()));
        let candidates: Vec<String> = similar.map(str::to_owned).collect();
        if candidates.is_empty() || word.is_empty() {
            return Err(CommandError::Unknown { path: path(), word: word.clone() });
        }
        Err(CommandError::Ambiguous { path: path(), word: word.clone(), candidates })
    }

    /// The commands below the path that `words` are short for, and how many words that path has.
    ///
    /// # Errors
    /// [`CommandError::Unknown`] if a word leads nowhere.
    pub fn below(&self, words: &[String]) -> Result<Below<'_, C>, CommandError> {
        let (level, understood) = self.descend(words);
        match words.get(understood) {
            None => Ok((level.0, understood)),
            Some(word) => {
                Err(CommandError::Unknown { path: level.path(understood), word: word.clone() })
            }
        }
    }

    /// Follows the words as far as they are a path.
    fn descend(&self, words: &[String]) -> (Level<'_, C>, usize) {
        let mut level = Level(&self.commands);
        for (depth, word) in words.iter().enumerate() {
            match level.next(depth, word) {
                Some(next) => level = next,
                None => return (level, depth),
            }
        }
        (level, words.len())
    }
}

/// Whether the words of one command could be the other's path and an argument.
fn clash<C>(one: &Command<C>, other: &Command<C>) -> bool {
    let claims = |short: &Command<C>, long: &Command<C>| {
        let next = long.path().strip_prefix(short.path()).and_then(<[String]>::first);
        next.is_some_and(|word| short.grammar.claims(word))
    };
    claims(one, other) || claims(other, one)
}

/// Commands whose paths begin alike; sorted.
struct Level<'a, C>(&'a [Arc<Command<C>>]);

impl<'a, C> Level<'a, C> {
    /// The words, in which the paths are alike.
    fn path(&self, depth: usize) -> String {
        self.0.first().map_or_else(String::new, |command| command.path()[..depth].join(" "))
    }

    /// The command whose path ends here: sorted before all longer ones.
    fn command(&self, depth: usize) -> Option<&'a Arc<Command<C>>> {
        self.0.first().filter(|command| depth > 0 && command.path().len() == depth)
    }

    /// The different words at place `depth`.
    fn words(&self, depth: usize) -> impl Iterator<Item = &'a str> + use<'a, C> {
        let mut last = None;
        let words = self.0.iter().filter_map(move |command| command.path().get(depth));
        words.map(String::as_str).filter(move |&word| last.replace(word) != Some(word))
    }

    /// The commands that go on with `word`, or with the only word it is short for.
    fn next(&self, depth: usize, word: &str) -> Option<Self> {
        let mut similar = self.words(depth).filter(|next| next.starts_with(word));
        let first = similar.next().filter(|_| !word.is_empty())?;
        // Sorted: a whole word comes before those it is the begin of.
        if first != word && similar.next().is_some() {
            return None;
        }
        let goes_on = |command: &&Arc<Command<C>>| {
            command.path().get(depth).is_some_and(|next| next == first)
        };
        let start = self.0.iter().position(|command| goes_on(&command))?;
        let length = self.0[start..].iter().take_while(goes_on).count();
        Some(Self(&self.0[start..start + length]))
    }
}

#[cfg(test)]
mod tests {
    use super::super::command::{Role, Run};
    use super::super::grammar::Grammar;
    use super::*;

    fn command(owner: u64, declaration: &str) -> Command<()> {
        Command {
            grammar: Grammar::parse(declaration).unwrap(),
            help: String::new(),
            role: Role::Read,
            needs_barrier: false,
            owner: Owner { id: owner, name: format!("owner-{owner}").into() },
            run: Run::OnContext(Box::new(|(), _, _| Ok(()))),
        }
    }

    fn registry() -> Registry<()> {
        let mut registry = Registry::default();
        for declaration in [
            "show interface [<interface>]",
            "show interface addr",
            "show interface features",
            "show ip fib [<prefix:ip4-prefix>]",
            "show ip6 fib",
            "set interface state <interface> {state:up|down}",
            "plugin load <file:path>",
        ] {
            registry.add(command(1, declaration)).unwrap();
        }
        registry
    }

    fn words(line: &str) -> Vec<String> {
        line.split_whitespace().map(str::to_owned).collect()
    }

    /// The path and the number of words, or the error.
    fn resolve(line: &str) -> Result<(String, usize), String> {
        let resolved = registry().resolve(&words(line));
        let (command, length) = resolved.map_err(|error| error.report())?;
        Ok((command.path().join(" "), length))
    }

    #[test]
    fn words_may_be_short_and_whole_words_win() {
        assert_eq!(resolve("sh int").unwrap(), ("show interface".into(), 2));
        assert_eq!(resolve("sh int addr").unwrap(), ("show interface addr".into(), 3));
        assert_eq!(resolve("sh int fea").unwrap(), ("show interface features".into(), 3));
        assert_eq!(resolve("show ip fib").unwrap(), ("show ip fib".into(), 3));
        assert_eq!(resolve("p l x y").unwrap(), ("plugin load".into(), 2));
        assert_eq!(resolve("sh int tap0").unwrap(), ("show interface".into(), 2));
    }

    #[test]
    fn what_leads_nowhere_is_named_with_what_was_understood() {
        assert_eq!(resolve("foo").unwrap_err(), "unknown input `foo'");
        assert_eq!(resolve("sh foo").unwrap_err(), "show: unknown input `foo'");
        assert_eq!(resolve("sh i").unwrap_err(), "show: `i' is ambiguous: interface, ip, ip6");
        assert_eq!(resolve("s").unwrap_err(), "`s' is ambiguous: set, show");
        assert_eq!(resolve("sh").unwrap_err(), "show: incomplete, goes on with interface, ip, ip6");
        assert_eq!(resolve("").unwrap_err(), "incomplete, goes on with plugin, set, show");
        let empty = registry().resolve(&[String::new()]).unwrap_err().report();
        assert_eq!(empty, "unknown input `'");
    }

    #[test]
    fn a_taken_path_and_one_inside_another_s_arguments_are_refused_by_name() {
        let mut registry = registry();
        let error = registry.add(command(2, "plugin load")).unwrap_err().to_string();
        assert_eq!(error, "`plugin load' of owner-2 is a command of owner-1 already");
        let error = registry.add(command(2, "plugin load fast")).unwrap_err().to_string();
        assert_eq!(
            error,
            "`plugin load fast' of owner-2 cannot be told from `plugin load <file:path>' of owner-1"
        );
        let error = registry.add(command(2, "set interface <interface>"));
        assert!(matches!(error, Err(RegisterError::Clash { .. })), "{error:?}");
        assert_eq!(registry.commands().len(), 7);
    }

    #[test]
    fn an_owner_s_commands_go_together_and_no_one_else_s() {
        let mut registry = registry();
        registry.add(command(2, "show acme")).unwrap();
        registry.add(command(2, "clear acme")).unwrap();
        let two = Owner { id: 2, name: "x".into() };
        assert!(!registry.remove(&two, &words("plugin load")));
        assert!(registry.remove(&two, &words("clear acme")));
        assert_eq!(registry.remove_owner(2), 1);
        assert_eq!(registry.remove_owner(2), 0);
        assert_eq!(registry.commands().len(), 7);
        assert!(registry.commands().is_sorted_by_key(|command| command.path()));
    }
}
