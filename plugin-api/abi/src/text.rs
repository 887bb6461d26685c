//! Text, lists and results at the boundary.

use core::{ffi::c_void, fmt, marker::PhantomData};

/// Borrowed UTF-8 text.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Str<'a> {
    pub(crate) ptr: *const u8,
    pub(crate) len: usize,
    pub(crate) life: PhantomData<&'a str>,
}

// SAFETY: a `Str` is a `&str` in a fixed layout.
unsafe impl Send for Str<'_> {}
// SAFETY: as above.
unsafe impl Sync for Str<'_> {}

impl<'a> Str<'a> {
    /// The empty text.
    pub const EMPTY: Str<'static> = Str::new("");

    /// Borrows `text`.
    pub const fn new(text: &'a str) -> Self {
        Self { ptr: text.as_ptr(), len: text.len(), life: PhantomData }
    }

    /// The text; bytes that are not UTF-8 give the empty text.
    pub fn as_str(&self) -> &'a str {
        if self.ptr.is_null() {
            return "";
        }
        // SAFETY: whoever made the `Str` promised `len` readable bytes for its lifetime.
        let bytes = unsafe { core::slice::from_raw_parts(self.ptr, self.len) };
        core::str::from_utf8(bytes).unwrap_or_default()
    }
}

impl<'a> From<&'a str> for Str<'a> {
    fn from(text: &'a str) -> Self {
        Self::new(text)
    }
}

impl fmt::Debug for Str<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl fmt::Display for Str<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A borrowed slice.
#[repr(C)]
pub struct List<'a, T> {
    pub(crate) ptr: *const T,
    pub(crate) len: usize,
    pub(crate) life: PhantomData<&'a [T]>,
}

impl<T> Clone for List<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for List<'_, T> {}

// SAFETY: a `List` is a `&[T]` in a fixed layout.
unsafe impl<T: Sync> Send for List<'_, T> {}
// SAFETY: as above.
unsafe impl<T: Sync> Sync for List<'_, T> {}

impl<'a, T> List<'a, T> {
    /// Borrows `items`.
    pub const fn new(items: &'a [T]) -> Self {
        Self { ptr: items.as_ptr(), len: items.len(), life: PhantomData }
    }

    /// The items.
    pub fn as_slice(&self) -> &'a [T] {
        if self.ptr.is_null() {
            return &[];
        }
        // SAFETY: whoever made the `List` promised `len` items for its lifetime.
        unsafe { core::slice::from_raw_parts(self.ptr, self.len) }
    }
}

impl<T: fmt::Debug> fmt::Debug for List<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_slice(), f)
    }
}

/// How a call across the boundary ended.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status(pub i32);

impl Status {
    /// It worked.
    pub const OK: Self = Self(0);
    /// It failed; the [`ErrorText`] of the call says why.
    pub const FAILED: Self = Self(1);
    /// The callee panicked; the panic was caught on its side.
    pub const PANICKED: Self = Self(2);
    /// The other side does not have what was asked for.
    pub const MISSING: Self = Self(3);
    /// The process that calls is to end.
    pub const CANCELLED: Self = Self(4);

    /// Whether it worked.
    pub const fn is_ok(self) -> bool {
        self.0 == 0
    }
}

/// Room for an error's text, owned by the caller.
#[repr(C)]
pub struct ErrorText {
    pub(crate) len: u32,
    pub(crate) bytes: [u8; 508],
}

impl ErrorText {
    /// No text yet.
    pub const fn new() -> Self {
        Self { len: 0, bytes: [0; 508] }
    }

    /// Copies as much of `text` as fits.
    pub fn set(&mut self, text: &str) {
        let mut len = text.len().min(self.bytes.len());
        while !text.is_char_boundary(len) {
            len -= 1;
        }
        self.bytes[..len].copy_from_slice(&text.as_bytes()[..len]);
        #[expect(clippy::cast_possible_truncation, reason = "at most 508")]
        let short = len as u32;
        self.len = short;
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        let len = (self.len as usize).min(self.bytes.len());
        core::str::from_utf8(&self.bytes[..len]).unwrap_or("(error text is not UTF-8)")
    }
}

impl Default for ErrorText {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for ErrorText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

/// State that only its maker understands.
pub type Opaque = *mut c_void;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_text_is_cut_at_a_character() {
        let mut text = ErrorText::new();
        text.set(&"é".repeat(300));
        assert_eq!(text.as_str(), "é".repeat(254));
    }

    #[test]
    fn a_null_text_and_a_null_list_are_empty() {
        let text = Str { ptr: core::ptr::null(), len: 7, life: PhantomData };
        assert_eq!(text.as_str(), "");
        let list = List::<u64> { ptr: core::ptr::null(), len: 7, life: PhantomData };
        assert!(list.as_slice().is_empty());
    }
}
