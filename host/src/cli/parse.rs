//! A command's words, read by its grammar.

use super::args::{ArgKind, ArgValue, Args, Names, ValueError};
use super::grammar::{Grammar, Item, begin_of, flag_name};

/// Why the words do not fit the command.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UsageError {
    /// The words end too early.
    #[error("{0} is missing")]
    Missing(String),
    /// Another word should be here.
    #[error("unknown input `{word}', {expected} should be here")]
    Expected {
        /// What should be here.
        expected: String,
        /// What is here.
        word: String,
    },
    /// A value is none.
    #[error("{}", named(name, source))]
    Value {
        /// The argument's name.
        name: String,
        /// Why.
        source: ValueError,
    },
    /// A group was given twice.
    #[error("`{0}' is given twice")]
    Twice(String),
    /// Words are left over.
    #[error("unknown input `{0}'")]
    Extra(String),
}

/// The argument's name, unless the error itself says what kind of name is unknown.
fn named<'a>(name: &'a str, source: &ValueError) -> &'a str {
    match source {
        ValueError::Interface(_) | ValueError::Node(_) => "",
        _ => name,
    }
}

impl Grammar {
    /// Reads `words`, those after the path; `at` is the place of the first in its command line.
    ///
    /// Cost: O(words × the declaration's length); nothing is read twice.
    ///
    /// # Errors
    /// [`UsageError`] with the first word that does not fit.
    pub fn read(&self, words: &[String], at: usize, names: &dyn Names) -> Result<Args, UsageError> {
        let mut reading =
            Reading { words, at: 0, origin: at, names, values: Vec::new(), hint: None };
        reading.sequence(self.items())?;
        match reading.peek().map(str::to_owned) {
            None => Ok(Args(reading.values)),
            Some(word) => Err(reading.hint_or(UsageError::Extra(word))),
        }
    }
}

/// How far the words have been read.
struct Reading<'a> {
    words: &'a [String],
    at: usize,
    /// The place of the first word in its command line.
    origin: usize,
    names: &'a dyn Names,
    values: Vec<ArgValue>,
    /// Why the word at this place was not taken as an optional value.
    hint: Option<(usize, UsageError)>,
}

impl<'a> Reading<'a> {
    fn peek(&self) -> Option<&'a str> {
        self.words.get(self.at).map(String::as_str)
    }

    /// What was found wrong with the word at hand earlier, else `error`.
    fn hint_or(&mut self, error: UsageError) -> UsageError {
        let at = self.at;
        self.hint.take().filter(|(place, _)| *place == at).map_or(error, |(_, hint)| hint)
    }

    /// Reads parts that follow one another.
    fn sequence(&mut self, items: &[Item]) -> Result<(), UsageError> {
        let mut items = items;
        while let Some(first) = items.first() {
            let run = items.iter().take_while(|item| matches!(item, Item::Optional(_))).count();
            let (groups, after) = items.split_at(run);
            if run > 0 {
                self.groups(groups, after.first())?;
                items = after;
            } else {
                self.item(first)?;
                items = &items[1..];
            }
        }
        Ok(())
    }

    /// Reads optional groups in the order in which they come.
    fn groups(&mut self, run: &[Item], follow: Option<&Item>) -> Result<(), UsageError> {
        let mut used = vec![false; run.len()];
        while let Some(word) = self.peek() {
            if follow.is_some_and(|item| item.begins_with(word)) {
                break;
            }
            let keyword = run.iter().position(|group| group.begins_with(word));
            if keyword.is_some_and(|index| used[index]) {
                return Err(UsageError::Twice(word.to_owned()));
            }
            let Some(index) = keyword.or_else(|| self.typed_group(run, &used, word)) else { break };
            used[index] = true;
            if let Item::Optional(group) = &run[index] {
                self.flag(group);
                self.sequence(group)?;
            }
        }
        Ok(())
    }

    /// The first unused group that begins with a value that `word` can be.
    fn typed_group(&mut self, run: &[Item], used: &[bool], word: &str) -> Option<usize> {
        for (index, group) in run.iter().enumerate().filter(|&(index, _)| !used[index]) {
            let Some((name, kind)) = first_typed(group) else { continue };
            match ArgValue::read(name, kind, word, self.names) {
                Ok(_) => return Some(index),
                Err(source) => {
                    let error = UsageError::Value { name: name.to_owned(), source };
                    self.hint.get_or_insert((self.at, error));
                }
            }
        }
        None
    }

    /// Notes a group that is a flag.
    fn flag(&mut self, group: &[Item]) {
        if let Some(name) = flag_name(group) {
            self.push(ArgValue {
                name: name.to_owned(),
                kind: ArgKind::Flag,
                text: name.to_owned(),
                number: 1,
                extra: 0,
                word: 0,
            });
        }
    }

    /// Reads a part that must be there.
    fn item(&mut self, item: &Item) -> Result<(), UsageError> {
        let Some(word) = self.peek() else {
            return Err(UsageError::Missing(item.to_string()));
        };
        match item {
            Item::Keyword(_) if item.begins_with(word) => {}
            Item::Choice { name, options } if item.begins_with(word) => {
                let place = options.iter().position(|option| option == word).unwrap_or_default();
                self.push(ArgValue {
                    name: name.clone(),
                    kind: ArgKind::Choice,
                    text: word.to_owned(),
                    number: u64::try_from(place).unwrap_or(u64::MAX),
                    extra: 0,
                    word: 0,
                });
            }
            Item::Typed { name, kind: ArgKind::Rest } => return self.rest(name),
            Item::Typed { name, kind } => {
                let value = ArgValue::read(name, *kind, word, self.names);
                let failed = |source| UsageError::Value { name: name.clone(), source };
                self.push(value.map_err(failed)?);
            }
            Item::Keyword(_) | Item::Choice { .. } => {
                let expected =
                    UsageError::Expected { expected: item.to_string(), word: word.to_owned() };
                return Err(self.hint_or(expected));
            }
            Item::Optional(group) => return self.sequence(group),
        }
        self.at += 1;
        Ok(())
    }

    /// Takes all remaining words.
    fn rest(&mut self, name: &str) -> Result<(), UsageError> {
        let text = self.words[self.at..].join(" ");
        let failed = |source| UsageError::Value { name: name.to_owned(), source };
        let value = ArgValue::read(name, ArgKind::Rest, &text, self.names).map_err(failed)?;
        self.push(value);
        self.at = self.words.len();
        Ok(())
    }

    /// Keeps a value of the word at hand.
    fn push(&mut self, mut value: ArgValue) {
        value.word = u32::try_from(self.origin + self.at).unwrap_or(u32::MAX);
        self.values.push(value);
    }
}

/// The value that a part can begin with, its optional groups looked into.
fn first_typed(item: &Item) -> Option<(&str, ArgKind)> {
    match item {
        Item::Typed { name, kind } => Some((name, *kind)),
        Item::Keyword(_) | Item::Choice { .. } => None,
        Item::Optional(items) => begin_of(items).find_map(first_typed),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    struct Two;

    impl Names for Two {
        fn interface_index(&self, name: &str) -> Option<u32> {
            ["tap0", "tap1"]
                .into_iter()
                .zip(0..)
                .find(|(known, _)| *known == name)
                .map(|(_, at)| at)
        }
        fn node_index(&self, _: &str) -> Option<u32> {
            None
        }
    }

    fn words(line: &str) -> Vec<String> {
        line.split_whitespace().map(str::to_owned).collect()
    }

    /// The arguments as `name=text`, or the error.
    fn read(declaration: &str, line: &str) -> Result<String, UsageError> {
        let args = Grammar::parse(declaration).unwrap().read(&words(line), 0, &Two)?;
        let each = args.0.iter().map(|value| format!("{}={}", value.name, value.text));
        Ok(each.collect::<Vec<_>>().join(" "))
    }

    const TAP: &str = "create tap [id <id:u32>] [host-if-name <name:word>] [tun]";
    const ROUTE: &str = "ip route add <prefix:ip4-prefix> via <hop:ip4> [<interface:interface>]";
    const ADDRESS: &str = "set interface ip address [del] <interface> <address:ip4-prefix>";

    #[test]
    fn optional_groups_come_in_any_order_each_at_most_once() {
        assert_eq!(read(TAP, "").unwrap(), "");
        assert_eq!(read(TAP, "tun id 3").unwrap(), "tun=tun id=3");
        let all = read(TAP, "host-if-name t id 3 tun").unwrap();
        assert_eq!(all, "name=t id=3 tun=tun");
        assert_eq!(read(TAP, "tun tun"), Err(UsageError::Twice("tun".into())));
        assert_eq!(read(TAP, "id"), Err(UsageError::Missing("<id:u32>".into())));
        assert_eq!(read(TAP, "idle"), Err(UsageError::Extra("idle".into())));
    }

    #[test]
    fn what_is_wrong_with_an_optional_value_is_said() {
        assert_eq!(read(ROUTE, "1.0.0.0/8 via 1.1.1.1").unwrap(), "prefix=1.0.0.0/8 hop=1.1.1.1");
        let with = read(ROUTE, "1.0.0.0/8 via 1.1.1.1 tap1").unwrap();
        assert_eq!(with, "prefix=1.0.0.0/8 hop=1.1.1.1 interface=tap1");
        let unknown = ValueError::Interface("tap9".into());
        assert_eq!(
            read(ROUTE, "1.0.0.0/8 via 1.1.1.1 tap9"),
            Err(UsageError::Value { name: "interface".into(), source: unknown })
        );
        assert_eq!(
            read(ROUTE, "1.0.0.0/8 by 1.1.1.1"),
            Err(UsageError::Expected { expected: "via".into(), word: "by".into() })
        );
        let extra = read(ROUTE, "1.0.0.0/8 via 1.1.1.1 tap1 tap0");
        assert_eq!(extra, Err(UsageError::Extra("tap0".into())));
    }

    #[test]
    fn a_flag_may_stand_before_what_is_required() {
        let set = read(ADDRESS, "tap0 10.0.0.1/24").unwrap();
        assert_eq!(set, "interface=tap0 address=10.0.0.1/24");
        let delete = read(ADDRESS, "del tap0 10.0.0.1/24").unwrap();
        assert_eq!(delete, "del=del interface=tap0 address=10.0.0.1/24");
        assert_eq!(read(ADDRESS, "del"), Err(UsageError::Missing("<interface>".into())));
    }

    #[test]
    fn a_choice_tells_its_place_and_the_rest_is_joined() {
        let grammar = Grammar::parse("set x <interface> {state:up|down} [<why:rest>]").unwrap();
        let args = grammar.read(&words("tap1 down for a while"), 2, &Two).unwrap();
        assert_eq!((args.u32("interface"), args.number("state")), (Some(1), Some(1)));
        assert_eq!(args.text("why"), Some("for a while"));
        assert_eq!(args.find("state").unwrap().word, 3);
        let error = grammar.read(&words("tap1 sideways"), 2, &Two).unwrap_err();
        assert_eq!(error.to_string(), "unknown input `sideways', {up|down} should be here");
    }

    #[test]
    fn nested_groups_are_read_inside_their_own() {
        let declaration = "x [filter [strict] <name:word>] [max [<n:u32>]]";
        // `max` alone is a flag, so an open end beside another group would be ambiguous.
        assert!(Grammar::parse(declaration).is_err());
        let declaration = "x [filter [strict] <name:word>]";
        assert_eq!(read(declaration, "filter strict a").unwrap(), "strict=strict name=a");
        assert_eq!(read("x [max [<n:u32>]]", "max").unwrap(), "max=max");
        assert_eq!(read("x [max [<n:u32>]]", "max 3").unwrap(), "max=max n=3");
    }

    /// Parts of declarations and words that fit some of them.
    fn part() -> impl Strategy<Value = String> {
        prop::sample::select(vec![
            "[",
            "]",
            "<a>",
            "<a:u32>",
            "<b:word>",
            "<c:ip4-prefix>",
            "<d:rest>",
            "{e:x|y}",
            "{f:x}",
            "x",
            "y",
            "z",
            "<",
            ">",
            "{",
            "}",
            "|",
            ":",
            "é",
            "0",
            "<g:string>",
        ])
        .prop_map(str::to_owned)
    }

    proptest! {
        #[test]
        fn no_declaration_and_no_words_bring_the_reader_down(
            declaration in prop::collection::vec(part(), 0..24),
            words in prop::collection::vec("x|y|z|1|10.0.0.0/8|tap0|\\PC{0,8}", 0..12),
        ) {
            let grammar = Grammar::parse(&format!("p {}", declaration.join(" ")));
            if let Ok(Ok(args)) = grammar.map(|grammar| grammar.read(&words, 0, &Two)) {
                let mut names: Vec<_> = args.0.iter().map(|value| &value.name).collect();
                names.sort();
                names.dedup();
                prop_assert_eq!(names.len(), args.0.len(), "each argument at most once");
            }
        }

        /// Whatever a declaration allows, written out, is read back as it was meant.
        #[test]
        fn what_a_declaration_allows_is_read_as_it_was_meant(
            id in prop::option::of(any::<u32>()),
            name in prop::option::of("[a-hj-su-z][a-z]{0,5}"),
            tun in any::<bool>(),
            order in Just([0, 1, 2]).prop_shuffle(),
        ) {
            let groups = [
                id.map(|id| format!("id {id}")),
                name.as_ref().map(|name| format!("host-if-name {name}")),
                tun.then(|| "tun".to_owned()),
            ];
            let line: Vec<_> = order.iter().filter_map(|&place| groups[place].clone()).collect();
            let grammar = Grammar::parse(TAP).unwrap();
            let args = grammar.read(&words(&line.join(" ")), 0, &Two).unwrap();
            prop_assert_eq!(args.u32("id"), id);
            prop_assert_eq!(args.text("name"), name.as_deref());
            prop_assert_eq!(args.flag("tun"), tun);
        }
    }
}
