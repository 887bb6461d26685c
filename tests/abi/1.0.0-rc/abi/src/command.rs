//! Commands: typed arguments in, typed cells out.

use core::ffi::c_void;

use crate::{ErrorText, Head, List, Status, Str, text::Opaque};

/// [`CommandDecl::role`].
pub mod role {
    /// Changes nothing.
    pub const READ: u32 = 0;
    /// Changes something.
    pub const WRITE: u32 = 1;
}

/// A command; the declaration's name is its path.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct CommandDecl {
    /// Size and version.
    pub head: Head,
    /// Path, arguments and usage in one, such as `show ip fib [<prefix:ip4-prefix>]`.
    pub grammar: Str<'static>,
    /// One sentence.
    pub help: Str<'static>,
    /// One of [`role`].
    pub role: u32,
    /// 1: runs with the workers stopped at the barrier.
    pub needs_barrier: u32,
    /// Runs it, on the main thread.
    pub run: unsafe extern "C" fn(
        plugin: Opaque,
        args: List<'_, ArgValue<'_>>,
        answer: *const AnswerTable,
        error: *mut ErrorText,
    ) -> Status,
}

/// [`ArgValue::kind`].
pub mod arg_kind {
    /// A keyword that was given; no value.
    pub const FLAG: u32 = 0;
    /// `text`.
    pub const TEXT: u32 = 1;
    /// `number`, unsigned.
    pub const UNSIGNED: u32 = 2;
    /// `number`, two's complement.
    pub const SIGNED: u32 = 3;
    /// `number` holds the bits of an f64.
    pub const FLOAT: u32 = 4;
    /// `number`, 0 or 1.
    pub const BOOL: u32 = 5;
    /// `number`, host byte order.
    pub const IP4: u32 = 6;
    /// `number` is the address, `extra` the prefix length.
    pub const IP4_PREFIX: u32 = 7;
    /// `number`, first byte highest.
    pub const MAC: u32 = 8;
    /// `number` is the interface's index.
    pub const INTERFACE: u32 = 9;
    /// `number`, nanoseconds.
    pub const DURATION: u32 = 10;
    /// `text` is the path; `number` is 1 + a descriptor of that regular file, open for reading by
    /// the caller's rights until the command returns, 0 if there is none. `extra` is 1 when the
    /// caller has the host's own rights, so that the plugin may open or create the file by them;
    /// with 0 it must not.
    pub const PATH: u32 = 11;
}

/// An argument the host has checked.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct ArgValue<'a> {
    /// Name in the grammar.
    pub name: Str<'a>,
    /// As typed.
    pub text: Str<'a>,
    /// See [`arg_kind`].
    pub number: u64,
    /// One of [`arg_kind`].
    pub kind: u32,
    /// See [`arg_kind`].
    pub extra: u32,
}

/// [`AnswerTable::cell`].
pub mod cell_kind {
    /// Nothing.
    pub const NOTHING: u32 = 0;
    /// Text.
    pub const TEXT: u32 = 1;
    /// Unsigned number.
    pub const UNSIGNED: u32 = 2;
    /// Signed number, two's complement.
    pub const SIGNED: u32 = 3;
    /// Bits of an f64; shown with two digits.
    pub const FLOAT: u32 = 4;
    /// 0 or 1.
    pub const BOOL: u32 = 5;
}

/// Where a command's answer goes: lines of text, and tables of typed cells.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct AnswerTable {
    /// Size and version.
    pub head: Head,
    /// First argument of the functions.
    pub context: *mut c_void,
    /// Adds a line of text.
    pub line: unsafe extern "C" fn(context: *mut c_void, text: Str<'_>),
    /// Begins a table; `title` may be empty.
    pub columns:
        unsafe extern "C" fn(context: *mut c_void, title: Str<'_>, names: List<'_, Str<'_>>),
    /// Adds a cell to the current row; a row is full when every column has its cell.
    pub cell: unsafe extern "C" fn(context: *mut c_void, kind: u32, number: u64, text: Str<'_>),
}
