//! Why something a plugin was asked for did not work.

use core::fmt;

use gristmill_abi::ErrorText;

/// A reason, as a line for the operator: lower case, no full stop, with the value that was wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error(String);

impl Error {
    /// An error that says `reason`.
    pub fn new(reason: impl Into<String>) -> Self {
        Self(reason.into())
    }

    pub(crate) fn from_text(text: &ErrorText) -> Self {
        Self(text.as_str().to_owned())
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Error {}

impl From<&str> for Error {
    fn from(reason: &str) -> Self {
        Self::new(reason)
    }
}

impl From<String> for Error {
    fn from(reason: String) -> Self {
        Self(reason)
    }
}

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Self {
        Self(error.to_string())
    }
}
