//! Checks over the source tree itself.
#![expect(clippy::unwrap_used, reason = "a test may panic where it cannot go on")]

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use gristmill_tests::SOURCE;

/// What must be at the top of the tree.
const TOP: [&str; 7] =
    ["Cargo.toml", "README.md", "host", "plugin-api", "plugins", "sdk-template", "tests"];
/// What may be there besides; most of it because a tool wants it there.
const TOP_TOO: [&str; 11] = [
    ".cargo",
    ".ci",
    ".clippy.toml",
    ".deny.toml",
    ".git",
    ".github",
    ".gitignore",
    ".rustfmt.toml",
    "Cargo.lock",
    "LICENSE",
    "target",
];

/// Longest file, in lines, before its tests.
const LINES_MAX: usize = 400;
/// Files that are longer, and why.
const LONG: [(&str, &str); 1] =
    [("plugins/ip4/src/router.rs", "one method for each thing that changes routes and neighbours")];

/// Files with `unsafe` in them. A new one is a decision: each says on its first lines why.
const UNSAFE: &str = include_str!("unsafe-files.txt");

/// Words that say that something is not done.
fn stray_words() -> [String; 6] {
    // In two parts, so that this file has none of them.
    [
        ["TO", "DO"],
        ["FIX", "ME"],
        ["X", "XX"],
        ["to", "do!"],
        ["unimple", "mented!"],
        ["#[ign", "ore"],
    ]
    .map(|parts| parts.concat())
}

/// Files of the tree, relative to its top; not what tools make.
fn files() -> Vec<PathBuf> {
    let top = Path::new(SOURCE).canonicalize().unwrap();
    let mut files = Vec::new();
    let mut directories = vec![top.clone()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name();
            let made = ["target", ".git", "corpus", "artifacts"].iter().any(|made| name == *made)
                || entry.path().parent().is_some_and(|place| place == top.join("tests/abi")); // Copies.
            if entry.file_type().unwrap().is_dir() {
                if !made {
                    directories.push(entry.path());
                }
            } else {
                files.push(entry.path().strip_prefix(&top).unwrap().to_path_buf());
            }
        }
    }
    files.sort();
    assert!(files.len() > 100, "the tree is not here: {}", top.display());
    files
}

fn with_extension(extensions: &[&str]) -> Vec<(String, String)> {
    let wanted = |path: &PathBuf| {
        let extension = path.extension().and_then(|extension| extension.to_str());
        extension.is_some_and(|extension| extensions.contains(&extension))
    };
    let read = |path: PathBuf| {
        let text = fs::read_to_string(Path::new(SOURCE).join(&path)).unwrap();
        (path.to_str().unwrap().to_owned(), text)
    };
    files().into_iter().filter(wanted).map(read).collect()
}

/// A line of code without its comment and its strings, roughly.
fn code(line: &str) -> String {
    let mut code = String::new();
    for (at, part) in line.split('"').enumerate() {
        if at % 2 == 0 {
            if let Some((before, _)) = part.split_once("//") {
                return code + before;
            }
            code.push_str(part);
        }
    }
    code
}

fn has_word(code: &str, word: &str) -> bool {
    let part_of_name = |c: char| c.is_alphanumeric() || c == '_';
    code.match_indices(word).any(|(at, _)| {
        let before = code[..at].chars().next_back();
        let after = code[at + word.len()..].chars().next();
        !before.is_some_and(part_of_name) && !after.is_some_and(part_of_name)
    })
}

#[test]
fn unsafe_is_in_the_listed_files_and_in_no_other() {
    let is_unsafe = |text: &str| text.lines().any(|line| has_word(&code(line), "unsafe"));
    let found: BTreeSet<String> = with_extension(&["rs"])
        .into_iter()
        .filter(|(_, text)| is_unsafe(text))
        .map(|(path, _)| path)
        .collect();
    let listed: BTreeSet<String> = UNSAFE.lines().map(str::to_owned).collect();
    let new: Vec<_> = found.difference(&listed).collect();
    let gone: Vec<_> = listed.difference(&found).collect();
    assert!(
        new.is_empty() && gone.is_empty(),
        "tests/tests/unsafe-files.txt: not listed: {new:#?}; without any: {gone:#?}"
    );
}

#[test]
fn nothing_is_left_for_later() {
    let words = stray_words();
    let mut stray = Vec::new();
    for (path, text) in with_extension(&["rs", "toml", "md", "sh", "txt"]) {
        for (number, line) in text.lines().enumerate() {
            if words.iter().any(|word| line.contains(word)) {
                stray.push(format!("{path}:{}: {line}", number + 1));
            }
        }
    }
    assert!(stray.is_empty(), "{stray:#?}");
}

#[test]
fn every_plugin_has_a_readme_and_a_test() {
    let files = files();
    let plugins: BTreeSet<PathBuf> = files
        .iter()
        .filter(|path| path.starts_with("plugins") && path.components().count() > 2)
        .map(|path| path.components().take(2).collect())
        .collect();
    assert!(plugins.len() >= 4, "{plugins:?}");
    for plugin in plugins {
        let name = plugin.display();
        assert!(files.contains(&plugin.join("README.md")), "{name} has no README.md");
        let tested = files.iter().filter(|file| file.starts_with(&plugin)).any(|file| {
            file.extension().is_some_and(|extension| extension == "rs")
                && fs::read_to_string(Path::new(SOURCE).join(file)).unwrap().contains("#[test]")
        });
        assert!(tested, "{name} has no test");
    }
}

#[test]
fn files_are_short_enough_to_be_read() {
    let mut long = Vec::new();
    for (path, text) in with_extension(&["rs"]) {
        let is_test = path.ends_with("/tests.rs") || path.contains("/tests/");
        let lines = text.lines().take_while(|line| *line != "#[cfg(test)]").count();
        if !is_test && lines > LINES_MAX {
            long.push((path, lines));
        }
    }
    for (excused, _) in LONG {
        let before = long.len();
        long.retain(|(path, _)| path != excused);
        assert_ne!(long.len(), before, "{excused} needs no excuse any more");
    }
    assert!(long.is_empty(), "more than {LINES_MAX} lines before the tests: {long:#?}");
}

#[test]
fn the_top_of_the_tree_has_what_it_must_and_nothing_else() {
    let names: BTreeSet<String> = fs::read_dir(SOURCE)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    let missing: Vec<_> = TOP.iter().filter(|name| !names.contains(**name)).collect();
    assert!(missing.is_empty(), "{missing:?}");
    let known = |name: &&String| TOP.iter().chain(&TOP_TOO).any(|known| known == name);
    let other: Vec<_> = names.iter().filter(|name| !known(name)).collect();
    assert!(other.is_empty(), "not at the top of the tree: {other:?}");
}

#[test]
fn every_crate_of_others_says_what_it_is_for() {
    let mut silent = Vec::new();
    for (path, text) in with_extension(&["toml"]) {
        if !path.ends_with("Cargo.toml") || path.starts_with("sdk-template") {
            continue;
        }
        let mut in_dependencies = false;
        let mut said = false;
        for (number, line) in text.lines().enumerate() {
            if line.starts_with('[') {
                in_dependencies = line.contains("dependencies");
            }
            let ours = line.contains("path =") || line.contains("workspace");
            if in_dependencies && line.contains(" = ") && !ours && !said && !line.contains('#') {
                silent.push(format!("{path}:{}: {line}", number + 1));
            }
            said = line.starts_with('#'); // The line above will do.
        }
    }
    assert!(silent.is_empty(), "no reason beside it: {silent:#?}");
}

#[test]
fn comments_and_strings_are_not_code() {
    assert_eq!(code("let a = \"danger // b\"; // danger"), "let a = ; ");
    assert!(has_word("danger {", "danger") && !has_word("danger_code", "danger"));
}

#[test]
fn the_change_log_tells_the_layout_that_is_built() {
    let text = fs::read_to_string(Path::new(SOURCE).join("plugin-api/CHANGELOG.md")).unwrap();
    let digest = format!("digest `{:#018x}`", plugin_api::abi::layout::DIGEST);
    assert!(text.contains(&digest), "plugin-api/CHANGELOG.md has no {digest}");
}
