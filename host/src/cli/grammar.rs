//! What a command looks like: path, typed arguments and usage declared by one string.
//!
//! ```text
//! declaration = word { word } { item }                  the leading words are the path
//! item        = word                                    a keyword
//!             | "<" name [ ":" type ] ">"               a typed argument; without a type the name is one
//!             | "{" name ":" word { "|" word } "}"      one of these words
//!             | "[" item { item } "]"                   may be left out
//! ```
//!
//! Optional groups that stand side by side come in any order. A group that can be nothing but
//! its first keyword is a flag of that name. Plugins bring such strings at run time: a
//! declaration is refused unless every line of input has at most one meaning, and reading one is
//! bounded in length, depth and time.

use std::collections::HashSet;
use std::fmt;

use super::args::ArgKind;

mod reader;

/// The longest declaration, in bytes.
pub const DECLARATION_MAX: usize = 1024;
/// The longest word or name in a declaration, in bytes.
pub const NAME_MAX: usize = 64;
/// How deep groups may be nested.
pub const DEPTH_MAX: usize = 4;

/// Why a declaration is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GrammarError {
    /// More than [`DECLARATION_MAX`] bytes.
    #[error("a declaration of {0} bytes, the longest is {DECLARATION_MAX}")]
    TooLong(usize),
    /// A character that means nothing here.
    #[error("unexpected {found:?} at byte {at}")]
    Unexpected {
        /// The byte's place.
        at: usize,
        /// The character.
        found: char,
    },
    /// The declaration ends inside brackets.
    #[error("the {0:?} is not closed")]
    Unclosed(char),
    /// A group in a group in a group.
    #[error("groups are nested deeper than {DEPTH_MAX}")]
    TooDeep,
    /// No word before the first argument.
    #[error("a command begins with a word")]
    NoPath,
    /// `[]` or `{name:}`.
    #[error("a group at byte {0} is empty")]
    Empty(usize),
    /// `{a|b}`.
    #[error("the choice at byte {0} has no name: write {{name:a|b}}")]
    Unnamed(usize),
    /// A name or word that is none.
    #[error("{0:?} is not a name: letters, digits and dashes, a letter first, at most {NAME_MAX}")]
    Name(String),
    /// A type this host does not know.
    #[error("unknown argument type {0:?}")]
    Type(String),
    /// Two arguments of the same name, or an alternative given twice.
    #[error("{0:?} is declared twice")]
    Twice(String),
    /// Something follows `<name:rest>`.
    #[error("nothing may follow <{0}:rest>")]
    AfterRest(String),
    /// An input could be read in two ways.
    #[error("the optional {0} cannot be told from what follows it")]
    Ambiguous(String),
}

/// One part of a declaration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// A word that is written as it stands.
    Keyword(String),
    /// A value.
    Typed {
        /// The argument's name.
        name: String,
        /// What it must be.
        kind: ArgKind,
    },
    /// One of several words.
    Choice {
        /// The argument's name.
        name: String,
        /// The words.
        options: Vec<String>,
    },
    /// What may be left out; never empty.
    Optional(Vec<Item>),
}

impl Item {
    /// Whether `word` is what this part begins with, literally.
    pub fn begins_with(&self, word: &str) -> bool {
        match self {
            Self::Keyword(keyword) => keyword == word,
            Self::Choice { options, .. } => options.iter().any(|option| option == word),
            Self::Typed { .. } => false,
            Self::Optional(items) => begin_of(items).any(|item| item.begins_with(word)),
        }
    }

    /// Whether this part can begin with a value.
    pub fn begins_typed(&self) -> bool {
        match self {
            Self::Typed { .. } => true,
            Self::Keyword(_) | Self::Choice { .. } => false,
            Self::Optional(items) => begin_of(items).any(Self::begins_typed),
        }
    }

    fn is_optional(&self) -> bool {
        matches!(self, Self::Optional(_))
    }
}

/// The parts that a group can begin with: its optional ones up to the first that is not.
pub(super) fn begin_of(items: &[Item]) -> impl Iterator<Item = &Item> {
    let optional = items.iter().take_while(|item| item.is_optional()).count();
    items.iter().take(optional + 1)
}

/// The name of the flag that a group is, if it can be nothing but its first keyword.
pub fn flag_name(group: &[Item]) -> Option<&str> {
    let bare = group.iter().all(|item| matches!(item, Item::Keyword(_) | Item::Optional(_)));
    match group.first() {
        Some(Item::Keyword(keyword)) if bare => Some(keyword),
        _ => None,
    }
}

impl fmt::Display for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Keyword(word) => f.write_str(word),
            Self::Typed { name, kind } if name == kind.name() => write!(f, "<{name}>"),
            Self::Typed { name, kind } => write!(f, "<{name}:{}>", kind.name()),
            Self::Choice { options, .. } => write!(f, "{{{}}}", options.join("|")),
            Self::Optional(items) => {
                let items: Vec<_> = items.iter().map(Self::to_string).collect();
                write!(f, "[{}]", items.join(" "))
            }
        }
    }
}

/// A declaration that has been read and checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grammar {
    /// Never empty.
    path: Vec<String>,
    items: Vec<Item>,
}

impl Grammar {
    /// Reads a declaration.
    ///
    /// # Errors
    /// [`GrammarError`] if it is malformed or could be read in two ways.
    pub fn parse(declaration: &str) -> Result<Self, GrammarError> {
        let mut items = reader::read(declaration)?;
        let arguments = items.iter().position(|item| !matches!(item, Item::Keyword(_)));
        let arguments = items.split_off(arguments.unwrap_or(items.len()));
        let path: Vec<String> = items.iter().map(Item::to_string).collect();
        if path.is_empty() {
            return Err(GrammarError::NoPath);
        }
        if let Some(word) = path.iter().find(|word| !is_name(word)) {
            return Err(GrammarError::Name(word.clone()));
        }
        check_names(&arguments, &mut HashSet::new())?;
        check_meanings(&arguments)?;
        Ok(Self { path, items: arguments })
    }

    /// The words that select the command.
    pub fn path(&self) -> &[String] {
        &self.path
    }

    /// What comes after the path.
    pub fn items(&self) -> &[Item] {
        &self.items
    }

    /// Whether `word`, right after the path, would be one of the command's own arguments.
    ///
    /// A longer path that goes on with such a word would take the word away from this command. An
    /// optional value does not count: `show interface [<interface>]` and `show interface addr`
    /// live together, as everyone knows them.
    pub fn claims(&self, word: &str) -> bool {
        for item in &self.items {
            if item.begins_with(word) {
                return true;
            }
            if !item.is_optional() {
                return item.begins_typed();
            }
        }
        false
    }
}

/// The usage line: the declaration without what people need not see.
impl fmt::Display for Grammar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.path.join(" "))?;
        self.items.iter().try_for_each(|item| write!(f, " {item}"))
    }
}

/// Whether a word can be the name of an argument or a word of a path.
fn is_name(word: &str) -> bool {
    word.len() <= NAME_MAX
        && word.starts_with(|first: char| first.is_ascii_alphabetic())
        && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

/// Checks that no two arguments and flags share a name.
fn check_names<'a>(items: &'a [Item], seen: &mut HashSet<&'a str>) -> Result<(), GrammarError> {
    for item in items {
        let name = match item {
            Item::Keyword(_) => None,
            Item::Typed { name, .. } | Item::Choice { name, .. } => Some(name.as_str()),
            Item::Optional(group) => {
                check_names(group, seen)?;
                flag_name(group)
            }
        };
        if let Some(name) = name.filter(|name| !seen.insert(name)) {
            return Err(GrammarError::Twice(name.to_owned()));
        }
    }
    Ok(())
}

/// Checks that a reader who never looks more than one word ahead takes no wrong turn.
fn check_meanings(items: &[Item]) -> Result<(), GrammarError> {
    let mut at = 0;
    while at < items.len() {
        let run = items[at..].iter().take_while(|item| item.is_optional()).count();
        if run > 0 {
            check_run(&items[at..at + run], items.get(at + run))?;
        }
        at += run.max(1);
    }
    Ok(())
}

/// Checks optional groups side by side, and what must follow them.
fn check_run(run: &[Item], follow: Option<&Item>) -> Result<(), GrammarError> {
    let mut firsts = HashSet::new();
    if let Some(follow) = follow {
        first_words(follow, &mut |word| firsts.insert(word));
    }
    for group in run {
        let ambiguous = || GrammarError::Ambiguous(group.to_string());
        let Item::Optional(items) = group else { continue };
        check_meanings(items)?;
        if group.begins_typed() && follow.is_some_and(Item::begins_typed) {
            return Err(ambiguous());
        }
        let alone = run.len() == 1 && follow.is_none();
        if !alone && open_end(items).any(Item::begins_typed) {
            return Err(ambiguous());
        }
        let mut fresh = true;
        first_words(group, &mut |word| {
            fresh &= firsts.insert(word);
            fresh
        });
        for end in open_end(items) {
            first_words(end, &mut |word| {
                fresh &= !firsts.contains(word);
                fresh
            });
        }
        if !fresh {
            return Err(ambiguous());
        }
    }
    Ok(())
}

/// Calls `visit` with each literal word that `item` can begin with.
fn first_words<'a>(item: &'a Item, visit: &mut dyn FnMut(&'a str) -> bool) {
    match item {
        Item::Keyword(word) => _ = visit(word),
        Item::Choice { options, .. } => options.iter().for_each(|option| _ = visit(option)),
        Item::Typed { .. } => {}
        Item::Optional(items) => {
            begin_of(items).for_each(|item| first_words(item, visit));
        }
    }
}

/// The optional groups that may be the last thing in `items`.
fn open_end(items: &[Item]) -> Box<dyn Iterator<Item = &Item> + '_> {
    let run = items.iter().rev().take_while(|item| item.is_optional());
    Box::new(run.flat_map(|item| {
        let Item::Optional(inner) = item else { unreachable!("the run is of optional groups") };
        std::iter::once(item).chain(open_end(inner))
    }))
}

#[cfg(test)]
mod tests;
