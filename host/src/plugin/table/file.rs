//! Service `file`: descriptors of plugins.

use std::{ffi::c_void, os::fd::BorrowedFd, sync::Arc};

use gristmill_abi::{
    ErrorText, Head, Status,
    declaration::PluginHandle,
    file::{FILE_EDGE, FILE_READ, FILE_WRITE, FileFn, FileService, FileSpec as AbiSpec},
};
use plugin_api::Interest;
use rustix::io::Errno;

use super::{answer, guard, host_of, passed};
use crate::{
    engine::files::{Called, FileEvent, FileFunctions, FileId, FileSpec, Files},
    graph::Owner,
    host::Host,
};

pub(super) static SERVICE: FileService =
    FileService { head: Head::of::<FileService>(), add, modify, remove };

/// Why a descriptor is not watched.
#[derive(Debug, thiserror::Error)]
enum FileError {
    #[error("there is no thread {0}")]
    Thread(u32),
    #[error("{0} is not a descriptor")]
    Number(i32),
    #[error("descriptor {fd}: {source}")]
    System { fd: i32, source: Errno },
    #[error("it is not watched any more")]
    Gone,
}

/// Functions of a plugin.
struct PluginFile {
    data: *mut c_void,
    read: Option<FileFn>,
    write: Option<FileFn>,
    error: Option<FileFn>,
    closed: Option<FileFn>,
}

// SAFETY: the SDK's data is `Send + Sync`; a plugin in C promises the same.
unsafe impl Send for PluginFile {}
// SAFETY: as above.
unsafe impl Sync for PluginFile {}

impl FileFunctions for PluginFile {
    fn handle(&self, event: FileEvent) -> Called {
        let function = match event {
            FileEvent::Read => self.read,
            FileEvent::Write => self.write,
            FileEvent::Error => self.error,
            FileEvent::Closed => self.closed,
        };
        let Some(function) = function else { return Called::Missing };
        // SAFETY: a plugin's descriptors are removed, and their functions waited for, before its
        // state ends.
        let status = unsafe { function(self.data) };
        match status {
            Status::OK => Called::Done,
            Status::PANICKED => Called::Panicked,
            _ => Called::Failed,
        }
    }
}

fn interest(flags: u32) -> Interest {
    Interest {
        read: flags & FILE_READ != 0,
        write: flags & FILE_WRITE != 0,
        edge: flags & FILE_EDGE != 0,
    }
}

fn files_of(host: &Host, thread: u32) -> Result<Arc<Files>, FileError> {
    host.files(thread).ok_or(FileError::Thread(thread))
}

/// Calls `act` with the descriptor that a plugin was told to be `id` of `thread`, wherever it is now;
/// again if it went elsewhere meanwhile.
fn with_file<R>(
    host: &Host,
    thread: u32,
    id: u64,
    act: impl Fn(&Files, FileId) -> Option<R>,
) -> Option<R> {
    let told = FileId::of(id)?;
    let mut at = host.find_file(thread, told);
    loop {
        let done = host.files(at.0).and_then(|files| act(&files, at.1));
        let now = host.find_file(thread, told);
        if done.is_some() || now == at {
            return done;
        }
        at = now;
    }
}

unsafe extern "C" fn add(
    context: *mut c_void,
    plugin: PluginHandle,
    spec: *const AbiSpec<'_>,
    id: *mut u64,
    error: *mut ErrorText,
) -> Status {
    // SAFETY: the plugin passes a specification, and room for an error.
    let spec = match unsafe { passed(spec, error) } {
        Ok(spec) => spec,
        Err(status) => return status,
    };
    let watch = || {
        // SAFETY: the plugin passes the context it was given.
        let host = unsafe { host_of(context) };
        if spec.fd < 0 {
            return Err(FileError::Number(spec.fd));
        }
        let AbiSpec { data, read, write, error, closed, .. } = spec;
        let own = FileSpec {
            name: spec.name.as_str().to_owned(),
            owner: Owner(plugin),
            interest: interest(spec.flags),
            functions: Arc::new(PluginFile { data, read, write, error, closed }),
        };
        // SAFETY: only borrowed to be copied; a number that is open nowhere is refused by that.
        let fd = unsafe { BorrowedFd::borrow_raw(spec.fd) };
        let added = files_of(host, spec.thread)?.add(fd, own);
        let added = added.map_err(|source| FileError::System { fd: spec.fd, source })?;
        // SAFETY: the plugin passes room for it.
        unsafe { id.write(added.number()) };
        Ok(())
    };
    // SAFETY: the plugin passes room for an error.
    unsafe { answer(error, watch) }
}

unsafe extern "C" fn modify(
    context: *mut c_void,
    thread: u32,
    id: u64,
    flags: u32,
    error: *mut ErrorText,
) -> Status {
    let modify = || {
        // SAFETY: the plugin passes the context it was given.
        let host = unsafe { host_of(context) };
        let modify = |files: &Files, id| files.modify(id, interest(flags)).ok();
        with_file(host, thread, id, modify).ok_or(FileError::Gone)
    };
    // SAFETY: the plugin passes room for an error.
    unsafe { answer(error, modify) }
}

unsafe extern "C" fn remove(context: *mut c_void, thread: u32, id: u64) -> Status {
    guard(|| {
        // SAFETY: the plugin passes the context it was given.
        let host = unsafe { host_of(context) };
        let removed = with_file(host, thread, id, |files, id| files.remove(id).then_some(()));
        if removed.is_some() { Status::OK } else { Status::FAILED }
    })
}
