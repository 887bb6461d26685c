//! Declarations, character by character.

use super::{DECLARATION_MAX, DEPTH_MAX, GrammarError, Item, NAME_MAX, is_name};
use crate::cli::args::ArgKind;

/// Reads a declaration's parts, the path's words among them.
pub(super) fn read(declaration: &str) -> Result<Vec<Item>, GrammarError> {
    if declaration.len() > DECLARATION_MAX {
        return Err(GrammarError::TooLong(declaration.len()));
    }
    Reader { text: declaration, at: 0, rest: None }.sequence(0)
}

/// A place in a declaration.
struct Reader<'a> {
    text: &'a str,
    /// In bytes, at a character's begin.
    at: usize,
    /// The name of the argument that takes all remaining words, once it was read.
    rest: Option<String>,
}

impl<'a> Reader<'a> {
    /// Reads parts up to the end of the text or, in a group, up to its bracket.
    fn sequence(&mut self, depth: usize) -> Result<Vec<Item>, GrammarError> {
        let mut items = Vec::new();
        loop {
            self.blanks();
            let at = self.at;
            let Some(found) = self.peek() else {
                return if depth == 0 { Ok(items) } else { Err(GrammarError::Unclosed('[')) };
            };
            if found == ']' && depth > 0 {
                self.at += 1;
                return Ok(items);
            }
            if let Some(rest) = &self.rest {
                return Err(GrammarError::AfterRest(rest.clone()));
            }
            items.push(match found {
                '[' if depth == DEPTH_MAX => return Err(GrammarError::TooDeep),
                '[' => {
                    self.at += 1;
                    let group = self.sequence(depth + 1)?;
                    if group.is_empty() {
                        return Err(GrammarError::Empty(at));
                    }
                    Item::Optional(group)
                }
                '<' => self.typed()?,
                '{' => self.choice()?,
                _ => Item::Keyword(self.word()?),
            });
        }
    }

    /// Reads `<name:type>`.
    fn typed(&mut self) -> Result<Item, GrammarError> {
        let inside = self.enclosed('<', '>')?;
        let (name, kind) = inside.split_once(':').unwrap_or((inside, inside));
        if !is_name(name) {
            return Err(GrammarError::Name(name.to_owned()));
        }
        let kind = ArgKind::declared(kind).ok_or_else(|| GrammarError::Type(kind.to_owned()))?;
        if kind == ArgKind::Rest {
            self.rest = Some(name.to_owned());
        }
        Ok(Item::Typed { name: name.to_owned(), kind })
    }

    /// Reads `{name:a|b}`.
    fn choice(&mut self) -> Result<Item, GrammarError> {
        let at = self.at;
        let inside = self.enclosed('{', '}')?;
        let (name, options) = inside.split_once(':').ok_or(GrammarError::Unnamed(at))?;
        let mut words: Vec<String> = Vec::new();
        for option in options.split('|') {
            if option.is_empty() {
                return Err(GrammarError::Empty(at));
            }
            if !is_word(option) {
                return Err(GrammarError::Name(option.to_owned()));
            }
            if words.iter().any(|word| word == option) {
                return Err(GrammarError::Twice(option.to_owned()));
            }
            words.push(option.to_owned());
        }
        if !is_name(name) {
            return Err(GrammarError::Name(name.to_owned()));
        }
        Ok(Item::Choice { name: name.to_owned(), options: words })
    }

    /// Reads a word that is written as it stands.
    fn word(&mut self) -> Result<String, GrammarError> {
        let left = &self.text[self.at..];
        let end = left.find(|found| !is_word_character(found)).unwrap_or(left.len());
        let word = &left[..end];
        if word.is_empty() {
            let found = left.chars().next().unwrap_or_default();
            return Err(GrammarError::Unexpected { at: self.at, found });
        }
        if !is_word(word) {
            return Err(GrammarError::Name(word.to_owned()));
        }
        self.at += end;
        Ok(word.to_owned())
    }

    /// Reads what stands between two brackets on one level.
    fn enclosed(&mut self, open: char, close: char) -> Result<&'a str, GrammarError> {
        let text = self.text;
        let left = &text[self.at + open.len_utf8()..];
        let end = left.find(close).ok_or(GrammarError::Unclosed(open))?;
        self.at += open.len_utf8() + end + close.len_utf8();
        Ok(&left[..end])
    }

    fn blanks(&mut self) {
        let left = &self.text[self.at..];
        self.at += left.len() - left.trim_start_matches(' ').len();
    }

    fn peek(&self) -> Option<char> {
        self.text[self.at..].chars().next()
    }
}

fn is_word_character(found: char) -> bool {
    found.is_ascii_alphanumeric() || matches!(found, '-' | '_' | '.' | '/' | '+')
}

/// Whether a word can be a keyword or an alternative.
fn is_word(word: &str) -> bool {
    !word.is_empty() && word.len() <= NAME_MAX && word.chars().all(is_word_character)
}
