//! Descriptors with functions: the file poller of one thread.
//!
//! Whoever registers a descriptor gives functions for reading, writing and errors; they run on the
//! poller's thread, at the poller's place in its loop, with nothing locked.
//!
//! ```text
//!            watch                 event                      end of the function
//!   nothing ───────▶ watched ─────────────────▶ running ────────────────────────▶ watched
//!                      │                           │
//!                      └── remove ──▶ nothing ◀────┘ remove: on this thread at once, on another
//!                                                    one when the function has ended
//! ```
//! The host watches a copy of the descriptor that it made itself, and names it in what epoll
//! reports by place and generation. So an event that was on its way when the descriptor was removed
//! finds nobody, whatever was opened under the same number since.

mod leaving;

use std::{
    collections::VecDeque,
    fmt,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    thread::{self, ThreadId},
};

use parking_lot::{Condvar, Mutex};
use plugin_api::{Interest, ThreadIndex};
use rustix::io::Errno;

use super::{
    poller::{Ready, Token, Watch},
    watchdog::{self, Job},
};
use crate::{graph::Owner, host::current_thread};

/// What a descriptor's functions are called for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileEvent {
    /// Bytes to read, or the end.
    Read,
    /// Room to write.
    Write,
    /// An error, or a closed end on a descriptor that is not read.
    Error,
    /// The host watches it no more, and not because it was asked to.
    Closed,
}

/// How a call went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Called {
    /// Well.
    Done,
    /// It said that it failed.
    Failed,
    /// It panicked.
    Panicked,
    /// There is no such function.
    Missing,
}

/// The functions of a descriptor.
pub trait FileFunctions: Send + Sync {
    /// Calls the function for `event`. Context: the poller's thread, outside of nodes.
    fn handle(&self, event: FileEvent) -> Called;
}

/// Names a watched descriptor of one poller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileId {
    place: u32,
    generation: u32,
}

/// What is to be watched.
pub struct FileSpec {
    /// What it is called in `show files`.
    pub name: String,
    /// Whose it is.
    pub owner: Owner,
    /// What it is watched for.
    pub interest: Interest,
    /// What is called.
    pub functions: Arc<dyn FileFunctions>,
}

/// A row of `show files`.
#[derive(Clone, Debug)]
pub struct FileReport {
    /// The name.
    pub name: String,
    /// Whose it is.
    pub owner: Owner,
    /// What it is watched for.
    pub interest: Interest,
    /// Calls for reading.
    pub reads: u64,
    /// Calls for writing.
    pub writes: u64,
    /// Errors of the descriptor.
    pub errors: u64,
    /// Calls that failed or panicked.
    pub failures: u64,
}

/// What there is to show of a thread's descriptors.
#[derive(Clone, Debug, Default)]
pub struct FilesReport {
    /// Those that are watched.
    pub watched: Vec<FileReport>,
    /// The last ones that the host closed, for an error or a panic.
    pub closed: Vec<FileReport>,
    /// How many those were since the start.
    pub closed_count: u64,
}

/// The descriptors that one thread's poller watches for others.
pub struct Files {
    thread: ThreadIndex,
    watch: Watch,
    table: Mutex<Table>,
    /// A function has ended.
    ended: Condvar,
}

#[derive(Default)]
struct Table {
    places: Vec<Place>,
    free: Vec<u32>,
    running: Option<FileId>,
    /// Taken away by this thread, and being told so.
    closing: Option<(FileId, ThreadId)>,
    /// Closed by the host, the newest last.
    closed: VecDeque<FileReport>,
    closed_count: u64,
}

struct Place {
    generation: u32,
    file: Option<File>,
}

struct File {
    fd: OwnedFd,
    functions: Arc<dyn FileFunctions>,
    /// As in its report, counted so that a call can keep it.
    name: Arc<str>,
    report: FileReport,
}

/// Descriptors that were ever watched, by all threads: a thread of the same index may have had others,
/// which plugins still name.
static WATCHED: AtomicU32 = AtomicU32::new(0);
/// How many closed descriptors are remembered.
const CLOSED: usize = 16;
/// Bit of the tokens that are ours; the host's own are small numbers or very large ones.
const OURS: u64 = 1 << 62;
/// Generations that are told apart.
const GENERATIONS: u32 = 1 << 30;

impl FileId {
    /// The identifier as a number, not 0.
    pub fn number(self) -> u64 {
        OURS | u64::from(self.generation) << 32 | u64::from(self.place)
    }

    /// The identifier behind a number; `None` if there is none.
    pub fn of(number: u64) -> Option<Self> {
        if number >> 62 != 1 {
            return None;
        }
        let [generation, place] = [number >> 32, number].map(|part| part & 0xffff_ffff);
        let place = u32::try_from(place).ok()?;
        Some(Self { place, generation: u32::try_from(generation).ok()? & (GENERATIONS - 1) })
    }
}

impl fmt::Debug for Files {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Files").field("thread", &self.thread).finish_non_exhaustive()
    }
}

impl Files {
    /// No descriptors, to be watched by the poller of `thread`.
    pub fn new(thread: ThreadIndex, watch: Watch) -> Self {
        Self { thread, watch, table: Mutex::default(), ended: Condvar::new() }
    }

    /// The poller's own handle, for descriptors of the host that have a token.
    pub fn watch(&self) -> &Watch {
        &self.watch
    }

    /// Watches a copy of `fd`. Any thread.
    ///
    /// # Errors
    /// What the system says: `EPERM` for a regular file, which is always ready.
    pub fn add(&self, fd: BorrowedFd<'_>, spec: FileSpec) -> Result<FileId, Errno> {
        let fd = rustix::io::fcntl_dupfd_cloexec(fd, 0)?;
        let FileSpec { name, owner, interest, functions } = spec;
        let shared_name = Arc::from(name.as_str());
        let report =
            FileReport { name, owner, interest, reads: 0, writes: 0, errors: 0, failures: 0 };
        let mut table = self.table.lock();
        let free = table.free.pop();
        let place = free.unwrap_or_else(|| {
            table.places.push(Place { generation: 0, file: None });
            u32::try_from(table.places.len() - 1).expect("fewer descriptors than 2^32")
        });
        let generation = WATCHED.fetch_add(1, Ordering::Relaxed) & (GENERATIONS - 1);
        let id = FileId { place, generation };
        if let Err(error) = self.watch.add(fd.as_fd(), Token(id.number()), interest) {
            table.free.push(place);
            return Err(error);
        }
        table.places[place as usize].generation = generation;
        table.places[place as usize].file = Some(File { fd, functions, name: shared_name, report });
        Ok(id)
    }

    /// Whether a descriptor is watched. Any thread.
    pub fn has(&self, id: FileId) -> bool {
        self.table.lock().file(id).is_some()
    }

    /// Watches a descriptor for something else from now on. Any thread.
    ///
    /// # Errors
    /// `ENOENT` if it is not watched; what the system says.
    pub fn modify(&self, id: FileId, interest: Interest) -> Result<(), Errno> {
        let mut table = self.table.lock();
        let file = table.file(id).ok_or(Errno::NOENT)?;
        self.watch.modify(file.fd.as_fd(), Token(id.number()), interest)?;
        file.report.interest = interest;
        Ok(())
    }

    /// Watches a descriptor no more and closes the copy; waits until its function does not run,
    /// unless that is where it is called. Whether it was watched. Any thread.
    pub fn remove(&self, id: FileId) -> bool {
        let mut table = self.table.lock();
        let removed = table.take(id);
        if let Some(file) = &removed {
            let _ = self.watch.remove(file.fd.as_fd()); // It is closed next.
        }
        let (own, here) = (current_thread() == Some(self.thread), thread::current().id());
        let busy = |table: &Table| {
            let closing = table.closing.filter(|&(closing, by)| closing == id && by != here);
            (table.running == Some(id) && !own) || closing.is_some()
        };
        while busy(&table) {
            self.ended.wait(&mut table);
        }
        drop(table);
        removed.is_some()
    }

    /// What `show files` shows of this thread.
    pub fn report(&self) -> FilesReport {
        let table = self.table.lock();
        let files = table.places.iter().filter_map(|place| place.file.as_ref());
        FilesReport {
            watched: files.map(|file| file.report.clone()).collect(),
            closed: table.closed.iter().cloned().collect(),
            closed_count: table.closed_count,
        }
    }

    /// Calls the functions that `ready` is for; gives what went wrong. Nothing happens if its token
    /// is not ours or was removed since.
    ///
    /// Context: the poller's thread, outside of nodes.
    pub fn serve(&self, ready: Ready) -> Option<FileFault> {
        let id = FileId::of(ready.token.0)?;
        let interest = self.table.lock().file(id)?.report.interest;
        if ready.error || (ready.hangup && !interest.read) {
            return self.call(id, FileEvent::Error);
        }
        let read = (ready.readable && interest.read).then(|| self.call(id, FileEvent::Read));
        let write = (ready.writable && interest.write).then(|| self.call(id, FileEvent::Write));
        read.flatten().or_else(|| write.flatten())
    }

    fn call(&self, id: FileId, event: FileEvent) -> Option<FileFault> {
        let mut table = self.table.lock();
        let file = table.file(id)?; // A function may have removed it.
        match event {
            FileEvent::Read => file.report.reads += 1,
            FileEvent::Write => file.report.writes += 1,
            FileEvent::Error => file.report.errors += 1,
            FileEvent::Closed => {}
        }
        let functions = Arc::clone(&file.functions);
        let (name, owner) = (Arc::clone(&file.name), file.report.owner);
        table.running = Some(id);
        drop(table);
        let job = Job { what: "descriptor", name: &name, owner, longest: None };
        let called = watchdog::job(&job, || functions.handle(event));
        let fault = self.called(id, event, called, &functions);
        self.table.lock().running = None;
        self.ended.notify_all();
        fault
    }

    /// What a call leads to; its descriptor counts as running until all of it has been told.
    fn called(
        &self,
        id: FileId,
        event: FileEvent,
        called: Called,
        functions: &Arc<dyn FileFunctions>,
    ) -> Option<FileFault> {
        let mut table = self.table.lock();
        let file = table.file(id)?;
        let failed = matches!(called, Called::Failed | Called::Panicked);
        file.report.failures += u64::from(failed);
        let fault = |file: &File, closed| FileFault {
            name: file.report.name.clone(),
            owner: file.report.owner,
            panicked: called == Called::Panicked,
            closed,
        };
        // Level-triggered, either would come again at once, for ever.
        let unheard = called == Called::Missing && event == FileEvent::Error;
        if !unheard && called != Called::Panicked {
            return failed.then(|| fault(file, false));
        }
        let file = table.take(id)?;
        let _ = self.watch.remove(file.fd.as_fd()); // It is closed next.
        if table.closed.len() == CLOSED {
            table.closed.pop_front();
        }
        table.closed.push_back(file.report.clone());
        table.closed_count += 1;
        drop(table);
        functions.close();
        Some(fault(&file, true))
    }
}

impl dyn FileFunctions {
    /// Tells that the host has closed the descriptor.
    fn close(&self) {
        let _ = self.handle(FileEvent::Closed); // Nothing is left that it could fail for.
    }
}

impl Table {
    fn file(&mut self, id: FileId) -> Option<&mut File> {
        let place = self.places.get_mut(id.place as usize)?;
        place.file.as_mut().filter(|_| place.generation == id.generation)
    }

    fn take(&mut self, id: FileId) -> Option<File> {
        self.file(id)?;
        let place = &mut self.places[id.place as usize];
        self.free.push(id.place);
        place.file.take()
    }
}

/// Something went wrong with a descriptor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileFault {
    /// Its name.
    pub name: String,
    /// Whose it is.
    pub owner: Owner,
    /// A function panicked; else it failed, or there is no function for an error.
    pub panicked: bool,
    /// The host has closed it.
    pub closed: bool,
}

#[cfg(test)]
mod tests;
