use proptest::prelude::*;

use super::*;

fn usage(declaration: &str) -> String {
    Grammar::parse(declaration).unwrap().to_string()
}

#[test]
fn the_leading_words_are_the_path_and_the_rest_is_the_usage() {
    let grammar =
        Grammar::parse("set interface state <interface:interface> {state:up|down}").unwrap();
    assert_eq!(grammar.path(), ["set", "interface", "state"]);
    assert_eq!(grammar.to_string(), "set interface state <interface> {up|down}");
    assert_eq!(usage("show node [<name:word>]"), "show node [<name:word>]");
    assert_eq!(usage("  quit "), "quit");
    assert_eq!(usage("a [b [c<d:u8>]][e]"), "a [b [c <d:u8>]] [e]");
}

#[test]
fn a_malformed_declaration_is_refused_with_its_place() {
    let cases = [
        ("", GrammarError::NoPath),
        ("<a:u8>", GrammarError::NoPath),
        ("[a]", GrammarError::NoPath),
        ("a ]", GrammarError::Unexpected { at: 2, found: ']' }),
        ("a ?", GrammarError::Unexpected { at: 2, found: '?' }),
        ("a é", GrammarError::Unexpected { at: 2, found: 'é' }),
        ("a\tb", GrammarError::Unexpected { at: 1, found: '\t' }),
        ("a [b", GrammarError::Unclosed('[')),
        ("a <b", GrammarError::Unclosed('<')),
        ("a {b:c", GrammarError::Unclosed('{')),
        ("a []", GrammarError::Empty(2)),
        ("a {b:c|}", GrammarError::Empty(2)),
        ("a {b|c}", GrammarError::Unnamed(2)),
        ("a {b:c|c}", GrammarError::Twice("c".into())),
        ("a <b:u8> <b:u16>", GrammarError::Twice("b".into())),
        ("a <b:u8> [b]", GrammarError::Twice("b".into())),
        ("a <:u8>", GrammarError::Name(String::new())),
        ("a <b c:u8>", GrammarError::Name("b c".into())),
        ("a <b:u128>", GrammarError::Type("u128".into())),
        ("a <b>", GrammarError::Type("b".into())),
        ("a/b", GrammarError::Name("a/b".into())),
        ("1", GrammarError::Name("1".into())),
        ("a <b:rest> c", GrammarError::AfterRest("b".into())),
        ("a [<b:rest>] [c]", GrammarError::AfterRest("b".into())),
        ("a [[[[[b]]]]]", GrammarError::TooDeep),
    ];
    for (declaration, error) in cases {
        assert_eq!(Grammar::parse(declaration), Err(error), "{declaration:?}");
    }
    let long = "a ".repeat(DECLARATION_MAX);
    assert_eq!(Grammar::parse(&long), Err(GrammarError::TooLong(long.len())));
    assert!(Grammar::parse(&"a".repeat(NAME_MAX + 1)).is_err());
}

#[test]
fn a_declaration_that_could_be_read_in_two_ways_is_refused() {
    for declaration in [
        "a [<b:word>] <c:word>",
        "a [b <c:u8>] [b <d:u8>]",
        "a [via <b:u8>] via <c:u8>",
        "a [b [<c:word>]] <d:word>",
        "a [b [<c:word>]] [e]",
        "a [b [c]] c",
        "a [[b] c] [b <d:u8>]",
    ] {
        let error = Grammar::parse(declaration);
        assert!(matches!(error, Err(GrammarError::Ambiguous(_))), "{declaration:?}: {error:?}");
    }
    for declaration in
        ["a [<b:word>] via <c:u8>", "a [b] <c:u8>", "a [b [<c:word>]]", "a [<b:u8>] [c]"]
    {
        assert!(Grammar::parse(declaration).is_ok(), "{declaration:?}");
    }
}

#[test]
fn a_command_claims_the_words_that_its_own_arguments_are() {
    let claims = |declaration: &str, word: &str| Grammar::parse(declaration).unwrap().claims(word);
    assert!(claims("plugin load <file:path>", "fast"));
    assert!(claims("show trace [max <n:u32>]", "max"));
    assert!(!claims("show trace [max <n:u32>]", "filter"));
    assert!(!claims("show interface [<interface>]", "addr"));
    assert!(claims("set x [del] <interface>", "addr"));
    assert!(claims("set x {state:up|down}", "up"));
    assert!(!claims("set x {state:up|down}", "addr"));
}

proptest! {
    #[test]
    fn no_text_brings_the_reader_of_declarations_down(text in "\\PC{0,200}") {
        let _ = Grammar::parse(&text);
    }

    #[test]
    fn no_brackets_bring_the_reader_of_declarations_down(text in "a [\\[\\]<>{}:| a-c]{0,1100}") {
        let _ = Grammar::parse(&text);
    }

    #[test]
    fn a_usage_line_without_choices_is_a_declaration_of_the_same(text in "a [\\[\\]<>: a-cu8]{0,40}") {
        if let Ok(grammar) = Grammar::parse(&text) {
            prop_assert_eq!(Grammar::parse(&grammar.to_string()), Ok(grammar));
        }
    }
}
