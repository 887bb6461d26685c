//! One record's bytes, and where it is in its section.

use std::mem::offset_of;

use gristmill_abi::descriptor::{MAGIC, NameRecord, RecordHead, text};

use crate::plugin::{fault::RecordFault, kind::Kind};

/// Most records in one file.
pub(super) const RECORDS_MAX: usize = 4096;

/// A record's bytes with its head.
pub(super) struct Record<'a> {
    pub(super) number: u16,
    pub(super) offset: usize,
    pub(super) bytes: &'a [u8],
}

impl<'a> Record<'a> {
    pub(super) fn check_size(&self, needed: usize) -> Result<(), RecordFault> {
        if self.bytes.len() >= needed {
            return Ok(());
        }
        let size = u32::try_from(self.bytes.len()).unwrap_or(u32::MAX);
        Err(RecordFault::Size { offset: self.offset, size })
    }

    /// Bytes at `offset`; the record's size has been checked.
    pub(super) fn field<const N: usize>(&self, offset: usize) -> [u8; N] {
        *self.bytes[offset..].first_chunk().expect("the record has at least its known size")
    }

    /// Its name as far as it can be shown, whatever kind it is of.
    pub(super) fn name(&self) -> String {
        self.shown(offset_of!(NameRecord, name), 64)
    }

    pub(super) fn detail(&self) -> String {
        self.shown(offset_of!(NameRecord, detail), 192)
    }

    fn shown(&self, offset: usize, size: usize) -> String {
        let field = self.bytes.get(offset..offset + size).and_then(text).unwrap_or_default();
        field.replace(char::is_control, " ")
    }

    /// The text in a zero-padded field. A text that was cut may have lost part of a character.
    pub(super) fn text(
        &self,
        kind: Kind,
        field: &'static str,
        offset: usize,
        size: usize,
    ) -> Result<&'a str, RecordFault> {
        let bytes = &self.bytes[offset..offset + size];
        let fault = RecordFault::Text { kind, field };
        let Some(end) = bytes.iter().position(|&byte| byte == 0) else { return Err(fault) };
        let (shown, padding) = bytes.split_at(end);
        let shown = match std::str::from_utf8(shown) {
            Err(cut) if cut.error_len().is_none() && padding.len() == 1 => {
                &shown[..cut.valid_up_to()]
            }
            _ => shown,
        };
        match text(shown) {
            Some(text)
                if !text.chars().any(char::is_control) && padding.iter().all(|&byte| byte == 0) =>
            {
                Ok(text)
            }
            _ => Err(fault),
        }
    }
}

/// Finds the records: each at a multiple of 8 bytes, with nothing but zeros between.
pub(super) fn split(section: &[u8]) -> Result<Vec<Record<'_>>, RecordFault> {
    let mut records = Vec::new();
    let mut offset = 0;
    while offset < section.len() {
        let rest = &section[offset..];
        let word = &rest[..rest.len().min(MAGIC.len())];
        if word.iter().all(|&byte| byte == 0) {
            offset += MAGIC.len();
            continue;
        }
        check_magic(word, offset)?;
        let Some(head) = rest.first_chunk::<{ size_of::<RecordHead>() }>() else {
            return Err(RecordFault::Magic { offset });
        };
        let number = u16::from_ne_bytes([head[8], head[9]]);
        let reserved = u16::from_ne_bytes([head[10], head[11]]);
        let size = u32::from_ne_bytes([head[12], head[13], head[14], head[15]]);
        let length = usize::try_from(size).unwrap_or(usize::MAX);
        if length < head.len() || !length.is_multiple_of(8) || length > rest.len() || reserved != 0
        {
            return Err(RecordFault::Size { offset, size });
        }
        if records.len() == RECORDS_MAX {
            return Err(RecordFault::TooMany { limit: RECORDS_MAX });
        }
        records.push(Record { number, offset, bytes: &rest[..length] });
        offset += length;
    }
    Ok(records)
}

fn check_magic(word: &[u8], offset: usize) -> Result<(), RecordFault> {
    if word == MAGIC {
        return Ok(());
    }
    let (form, family) = MAGIC.split_last().expect("the magic is not empty");
    match word.split_last() {
        Some((found, start)) if start == family && found != form && found.is_ascii_digit() => {
            Err(RecordFault::Form { form: char::from(*found) })
        }
        _ => Err(RecordFault::Magic { offset }),
    }
}
