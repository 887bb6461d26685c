//! A line, and what keeps it one.

use std::{
    borrow::Cow,
    fmt::{self, Display, Write},
    str::FromStr,
    sync::Arc,
};

use gristmill_abi::host::log_level;

use crate::time::Nanos;

/// Longest text of a line, in bytes, before it is cut.
const MAX_TEXT: usize = 1_024;
/// Longest class of a line, in bytes, before it is cut.
const MAX_CLASS: usize = 64;

/// How important a line is, the most important first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// Something failed.
    Error,
    /// Something is odd.
    Warn,
    /// Worth knowing.
    Notice,
    /// For the curious.
    Debug,
}

/// A text that names no [`Level`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a level is error, warn, notice or debug")]
pub struct LevelError;

impl Level {
    /// The level of a plugin's number; a number of a later ABI is taken for the last level.
    pub const fn from_abi(number: u32) -> Self {
        match number {
            log_level::ERROR => Self::Error,
            log_level::WARN => Self::Warn,
            log_level::NOTICE => Self::Notice,
            _ => Self::Debug,
        }
    }

    /// The word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Notice => "notice",
            Self::Debug => "debug",
        }
    }

    pub(super) const fn number(self) -> u8 {
        match self {
            Self::Error => 0,
            Self::Warn => 1,
            Self::Notice => 2,
            Self::Debug => 3,
        }
    }

    /// The level of a [`number`](Self::number).
    pub(super) const fn of_number(number: u8) -> Self {
        match number {
            0 => Self::Error,
            1 => Self::Warn,
            2 => Self::Notice,
            _ => Self::Debug,
        }
    }

    const fn colour(self) -> &'static str {
        match self {
            Self::Error => "\x1b[1;31m",
            Self::Warn => "\x1b[33m",
            Self::Notice => "\x1b[36m",
            Self::Debug => "\x1b[2m",
        }
    }
}

impl Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Level {
    type Err = LevelError;

    fn from_str(text: &str) -> Result<Self, LevelError> {
        [Self::Error, Self::Warn, Self::Notice, Self::Debug]
            .into_iter()
            .find(|level| level.name() == text)
            .ok_or(LevelError)
    }
}

/// A line of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// When it was logged.
    pub at: Nanos,
    /// How important it is.
    pub level: Level,
    /// Which plugin or module logged it; no spaces or control characters.
    pub class: Arc<str>,
    /// What it says; no control characters.
    pub text: Arc<str>,
}

impl Line {
    /// Appends the line as it is shown, with its newline.
    pub(super) fn print(&self, colours: bool, out: &mut String) {
        let (colour, plain) = if colours { (self.level.colour(), "\x1b[0m") } else { ("", "") };
        let (seconds, micros) = (self.at.0 / 1_000_000_000, self.at.0 / 1_000 % 1_000_000);
        let Self { level, class, text, .. } = self;
        writeln!(out, "{seconds:>6}.{micros:06} {colour}{level:<6}{plain} {class}: {text}")
            .expect("a string takes everything");
    }
}

impl Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = String::new();
        self.print(false, &mut out);
        f.write_str(out.trim_end())
    }
}

/// A class without what could end it: spaces, colons, control characters.
pub(super) fn escaped_class(class: &str) -> Cow<'_, str> {
    let bad = |c: char| is_unsafe(c) || c.is_whitespace() || c == ':';
    if !class.is_empty() && class.len() <= MAX_CLASS && !class.contains(bad) {
        return Cow::Borrowed(class);
    }
    let mut out = Escaped { text: String::new(), max: MAX_CLASS, is_bad: bad };
    // The only error is that it is full.
    let _full = out.write_str(if class.is_empty() { "?" } else { class });
    Cow::Owned(out.text)
}

/// A text without what could end or overwrite its line, and not too long.
pub(super) fn escaped_text(text: impl Display) -> String {
    let mut out = Escaped { text: String::new(), max: MAX_TEXT, is_bad: is_unsafe };
    if write!(out, "{text}").is_err() {
        out.text.push('…');
    }
    out.text
}

/// Whether a character acts on the terminal or on the order of the text instead of being seen.
fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}')
        || matches!(c, '\u{feff}' | '\u{61c}' | '\u{e0000}'..='\u{e007f}')
}

/// Takes text up to `max` bytes, with bad characters escaped; then it is an error.
struct Escaped<F> {
    text: String,
    max: usize,
    is_bad: F,
}

impl<F: Fn(char) -> bool> Write for Escaped<F> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for c in text.chars() {
            let room = self.max.saturating_sub(self.text.len());
            if (self.is_bad)(c) {
                let escape = match c {
                    ' '..='~' => c.escape_unicode().to_string(),
                    _ => c.escape_default().to_string(),
                };
                if escape.len() > room {
                    return Err(fmt::Error);
                }
                self.text.push_str(&escape);
            } else if c.len_utf8() > room {
                return Err(fmt::Error);
            } else {
                self.text.push(c);
            }
        }
        Ok(())
    }
}
