//! A line's words, and the command lines of a text.

/// The longest line, continued ones joined, in bytes.
pub const LINE_MAX: usize = 16 * 1024;

/// Why a line has no words to give.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SplitError {
    /// A quote was opened and not closed.
    #[error("the quote {0} is not closed")]
    Unclosed(char),
    /// The line ends in the middle of an escape.
    #[error("a backslash ends the line")]
    Dangling,
    /// The line is longer than [`LINE_MAX`].
    #[error("a line of {0} bytes, the longest is {LINE_MAX}")]
    TooLong(usize),
}

/// Splits a line into words, like a shell does without its substitutions.
///
/// Blanks separate words. `'…'` takes everything as it is, `"…"` too but for `\"` and `\\`, a
/// backslash outside quotes takes the next character as it is, `#` at the start of a word begins
/// a comment.
///
/// # Errors
/// [`SplitError`] if a quote or an escape is left open, or the line is too long.
pub fn split(line: &str) -> Result<Vec<String>, SplitError> {
    if line.len() > LINE_MAX {
        return Err(SplitError::TooLong(line.len()));
    }
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut rest = line.chars();
    while let Some(found) = rest.next() {
        match found {
            '#' if word.is_none() => break,
            '\'' | '"' => quoted(found, &mut rest, word.get_or_insert_default())?,
            '\\' => {
                let escaped = rest.next().ok_or(SplitError::Dangling)?;
                word.get_or_insert_default().push(escaped);
            }
            blank if blank.is_whitespace() => words.extend(word.take()),
            plain => word.get_or_insert_default().push(plain),
        }
    }
    words.extend(word);
    Ok(words)
}

/// Appends to `word` what stands before the closing `quote`.
fn quoted(
    quote: char,
    rest: &mut std::str::Chars<'_>,
    word: &mut String,
) -> Result<(), SplitError> {
    while let Some(found) = rest.next() {
        match found {
            _ if found == quote => return Ok(()),
            '\\' if quote == '"' => match rest.next() {
                Some(escaped @ ('"' | '\\')) => word.push(escaped),
                Some(other) => word.extend(['\\', other]),
                None => return Err(SplitError::Unclosed(quote)),
            },
            plain => word.push(plain),
        }
    }
    Err(SplitError::Unclosed(quote))
}

/// The command lines of a text: the number of each one's first line, and the line itself.
///
/// A backslash before the end of a line joins the next one to it, except in a comment line. Blank
/// lines and comment lines are left out.
pub fn lines(text: &str) -> impl Iterator<Item = (usize, String)> + '_ {
    let mut physical = text.lines().zip(1..);
    std::iter::from_fn(move || {
        loop {
            let (first, number) = physical.next()?;
            let start = first.trim_start();
            if start.is_empty() || start.starts_with('#') {
                continue;
            }
            let mut line = String::new();
            let mut part = first;
            while let Some(continued) = part.strip_suffix('\\') {
                line.push_str(continued);
                line.push(' ');
                part = physical.next().map_or("", |(next, _)| next);
            }
            line.push_str(part);
            if !line.trim().is_empty() {
                return Some((number, line));
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_and_escapes_hold_a_word_together_and_a_comment_ends_the_line() {
        let words = split(r#"  set "a b" 'c "d' e\ f "g\"h" i#j '' # rest "#).unwrap();
        assert_eq!(words, ["set", "a b", "c \"d", "e f", "g\"h", "i#j", ""]);
    }

    #[test]
    fn what_is_left_open_is_an_error() {
        assert_eq!(split("a 'b"), Err(SplitError::Unclosed('\'')));
        assert_eq!(split("a \"b\\"), Err(SplitError::Unclosed('"')));
        assert_eq!(split("a \\"), Err(SplitError::Dangling));
        assert_eq!(split(&"x".repeat(LINE_MAX + 1)), Err(SplitError::TooLong(LINE_MAX + 1)));
    }

    #[test]
    fn continued_lines_are_joined_and_numbered_by_their_first() {
        let text = "# a comment \\\n\nshow \\\r\n  node\nquit\\";
        let found: Vec<_> = lines(text).collect();
        assert_eq!(found, [(3, "show    node".to_owned()), (5, "quit ".to_owned())]);
    }
}
