//! Service `file`: descriptors whose functions a thread's poller calls.

use core::ffi::c_void;

use crate::{ErrorText, Head, Status, Str, declaration::PluginHandle};

/// A descriptor's function. Context: the thread it was registered on, outside of nodes.
pub type FileFn = unsafe extern "C" fn(data: *mut c_void) -> Status;

/// [`FileSpec::flags`]: bytes to read, or the end.
pub const FILE_READ: u32 = 1;
/// [`FileSpec::flags`]: room to write.
pub const FILE_WRITE: u32 = 2;
/// [`FileSpec::flags`]: only changes are reported.
pub const FILE_EDGE: u32 = 4;

/// A descriptor to watch.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct FileSpec<'a> {
    /// Size and version.
    pub head: Head,
    /// Name, for `show files`.
    pub name: Str<'a>,
    /// The descriptor; the host watches a copy of its own.
    pub fd: i32,
    /// `FILE_*`.
    pub flags: u32,
    /// The thread that calls the functions; 0 is main.
    pub thread: u32,
    /// Reserved, 0.
    pub reserved: u32,
    /// Argument of the functions.
    pub data: *mut c_void,
    /// There is something to read; null if never asked for.
    pub read: Option<FileFn>,
    /// There is room to write; null if never asked for.
    pub write: Option<FileFn>,
    /// The descriptor is in error. If null, the host closes its copy then.
    pub error: Option<FileFn>,
    /// The host has closed its copy, and not by `remove`; may be null.
    pub closed: Option<FileFn>,
}

/// Service `file`, version 1. Any thread.
#[repr(C)]
#[derive(Debug)]
pub struct FileService {
    /// Size and version.
    pub head: Head,
    /// Watches a descriptor; gives it a number, never 0.
    pub add: unsafe extern "C" fn(
        context: *mut c_void,
        plugin: PluginHandle,
        spec: *const FileSpec<'_>,
        id: *mut u64,
        error: *mut ErrorText,
    ) -> Status,
    /// Watches it for something else.
    pub modify: unsafe extern "C" fn(
        context: *mut c_void,
        thread: u32,
        id: u64,
        flags: u32,
        error: *mut ErrorText,
    ) -> Status,
    /// Watches it no more, and waits until none of its functions runs, unless called by one.
    /// Fails if it is not watched any more.
    pub remove: unsafe extern "C" fn(context: *mut c_void, thread: u32, id: u64) -> Status,
}
