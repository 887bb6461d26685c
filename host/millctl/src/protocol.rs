//! What travels on the control socket.
//!
//! ```text
//! client -> host   u32 LE length | {"argv":["show","node"],"json":false,"files":[]}
//!                  + at most 4 descriptors (SCM_RIGHTS), which come with the request's bytes
//! host -> client   u32 LE length | {"ok":true,"output":"…"}            json:false
//!                                | {"ok":true,"output":{"tables":…}}   json:true
//!                                | {"ok":false,"error":"…"}            + output, if there is some
//! ```
//!
//! One request is answered before the next is read. `files[i]` is the place in `argv` of the word
//! whose file the i-th descriptor is. `"end":true` in a reply: the host closes the connection.
//! `"more":true`: another reply to the same request follows, of itself, until the last has none; the
//! next request ends that too.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// The longest request, without its length.
pub const REQUEST_MAX: usize = 64 * 1024;
/// The longest reply, without its length.
pub const REPLY_MAX: usize = 64 * 1024 * 1024;
/// The most descriptors beside one request.
pub const FILES_MAX: usize = 4;
/// The bytes of a message's length.
pub const LENGTH_BYTES: usize = 4;

/// A command.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// The command's words.
    pub argv: Vec<String>,
    /// Whether the answer is for a program.
    #[serde(default)]
    pub json: bool,
    /// For each descriptor that comes along, the place of its word in `argv`.
    #[serde(default)]
    pub files: Vec<usize>,
}

/// The host's answer.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Reply {
    /// Whether the command worked.
    pub ok: bool,
    /// A JSON string with text for people, or what the program asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<Box<RawValue>>,
    /// Why it did not work.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Whether the host closes the connection after this.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub end: bool,
    /// Whether another reply to the same request follows, of itself.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub more: bool,
}

impl Reply {
    /// A refusal.
    pub fn refused(error: impl Into<String>) -> Self {
        Self { error: Some(error.into()), ..Self::default() }
    }

    /// The output as it is printed: a string's text, anything else as JSON.
    pub fn printed(&self) -> String {
        let Some(output) = &self.output else { return String::new() };
        serde_json::from_str(output.get()).unwrap_or_else(|_| output.get().to_owned())
    }
}

/// Why a message cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProtocolError {
    /// The length is zero or more than the peer may send.
    #[error("a message of {found} bytes, it may have 1 to {max}")]
    Length {
        /// The length.
        found: usize,
        /// The longest allowed.
        max: usize,
    },
    /// The bytes are not the JSON that belongs here.
    #[error("not a message")]
    Json(#[from] serde_json::Error),
}

/// Prefixes a message with its length.
///
/// # Errors
/// [`ProtocolError::Length`] if it is longer than `max`.
pub fn encode(message: &impl Serialize, max: usize) -> Result<Vec<u8>, ProtocolError> {
    let mut bytes = vec![0; LENGTH_BYTES];
    serde_json::to_writer(&mut bytes, message)?;
    let found = bytes.len() - LENGTH_BYTES;
    let length = u32::try_from(found).ok().filter(|_| found <= max);
    let length = length.ok_or(ProtocolError::Length { found, max })?;
    bytes[..LENGTH_BYTES].copy_from_slice(&length.to_le_bytes());
    Ok(bytes)
}

/// The length of the message that `header` announces.
///
/// # Errors
/// [`ProtocolError::Length`] if it is zero or more than `max`.
pub fn announced(header: [u8; LENGTH_BYTES], max: usize) -> Result<usize, ProtocolError> {
    let found = usize::try_from(u32::from_le_bytes(header)).unwrap_or(usize::MAX);
    if found == 0 || found > max {
        return Err(ProtocolError::Length { found, max });
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_prefixed_by_its_length_and_a_long_one_is_refused() {
        let request = Request { argv: vec!["quit".into()], json: true, files: vec![0] };
        let bytes = encode(&request, REQUEST_MAX).unwrap();
        let (header, body) = bytes.split_first_chunk().unwrap();
        assert_eq!(announced(*header, REQUEST_MAX).unwrap(), body.len());
        assert_eq!(serde_json::from_slice::<Request>(body).unwrap(), request);
        assert!(encode(&request, body.len() - 1).is_err());
    }

    #[test]
    fn a_length_of_nothing_or_too_much_is_refused() {
        assert!(announced([0; 4], 8).is_err());
        assert!(announced([0xff; 4], 8).is_err());
        assert!(announced([9, 0, 0, 0], 8).is_err());
        assert_eq!(announced([8, 0, 0, 0], 8).unwrap(), 8);
    }

    #[test]
    fn large_integers_come_through_a_reply_digit_by_digit() {
        let text = r#"{"ok":true,"output":{"sent":18446744073709551615}}"#;
        let reply: Reply = serde_json::from_str(text).unwrap();
        assert_eq!(reply.printed(), r#"{"sent":18446744073709551615}"#);
        assert_eq!(serde_json::to_string(&reply).unwrap(), text);
    }
}
