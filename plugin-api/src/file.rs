//! Descriptors that the host's poller watches: sockets, pipes, eventfds, timers of the system.

use core::{ffi::c_void, fmt};
use std::{
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    sync::{Arc, PoisonError, RwLock},
};

use gristmill_abi::{
    ErrorText, Head, Status,
    file::{FILE_EDGE, FILE_READ, FILE_WRITE, FileService, FileSpec},
};

use crate::{Error, Host, LogLevel, ThreadIndex, plugin::contain};

/// What a descriptor is watched for; errors and a closed end are always reported.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Interest {
    /// Bytes to read, or the end.
    pub read: bool,
    /// Room to write.
    pub write: bool,
    /// Only changes are reported: once for each arrival, and not again while something is left.
    pub edge: bool,
}

impl Interest {
    /// Bytes to read.
    pub const READ: Self = Self { read: true, write: false, edge: false };
    /// Room to write.
    pub const WRITE: Self = Self { read: false, write: true, edge: false };

    fn flags(self) -> u32 {
        let bit = |on, flag| if on { flag } else { 0 };
        bit(self.read, FILE_READ) | bit(self.write, FILE_WRITE) | bit(self.edge, FILE_EDGE)
    }
}

/// What is done about a watched descriptor. Each function runs on the thread it was registered on,
/// between packets, and must not wait.
///
/// A function that fails is counted in `show files`, its reason goes to the log; after a panic the
/// host watches the descriptor no more.
pub trait FileHandler: Send + Sync + 'static {
    /// Whether [`error`](Self::error) is for something. If not, a descriptor in error is closed.
    const HANDLES_ERRORS: bool = false;

    /// There is something to read, or the end.
    ///
    /// # Errors
    /// As the plugin sees fit.
    fn readable(&self, fd: BorrowedFd<'_>) -> Result<(), Error> {
        let _ = fd;
        Ok(())
    }

    /// There is room to write.
    ///
    /// # Errors
    /// As the plugin sees fit.
    fn writable(&self, fd: BorrowedFd<'_>) -> Result<(), Error> {
        let _ = fd;
        Ok(())
    }

    /// The descriptor is in error, or its other end is closed and nothing is to be read.
    ///
    /// # Errors
    /// As the plugin sees fit.
    fn error(&self, fd: BorrowedFd<'_>) -> Result<(), Error> {
        let _ = fd;
        Ok(())
    }
}

/// A function that reads.
impl<F: Fn(BorrowedFd<'_>) -> Result<(), Error> + Send + Sync + 'static> FileHandler for F {
    fn readable(&self, fd: BorrowedFd<'_>) -> Result<(), Error> {
        self(fd)
    }
}

/// A descriptor that is watched until this is dropped, which waits until no function of it runs
/// (unless one of them drops it), and closes it.
pub struct WatchedFile {
    service: &'static FileService,
    context: *mut c_void,
    thread: ThreadIndex,
    id: u64,
    /// What the functions are given; one count is ours.
    data: *const c_void,
    release: unsafe fn(*const c_void),
    fd: Arc<Slot>,
}

/// The descriptor; empty once it is closed.
type Slot = RwLock<Option<Arc<OwnedFd>>>;

struct Watched<H> {
    host: Host,
    name: String,
    fd: Arc<Slot>,
    handler: H,
}

// SAFETY: the service is for any thread, and the handler is `Send + Sync`.
unsafe impl Send for WatchedFile {}
// SAFETY: as above.
unsafe impl Sync for WatchedFile {}

impl fmt::Debug for WatchedFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WatchedFile").field("fd", &self.fd).finish_non_exhaustive()
    }
}

impl Host {
    /// Has main's poller watch a descriptor that does not block. Any thread.
    ///
    /// As with a [`Timer`](crate::Timer), the plugin keeps what is returned, so the handler must
    /// not keep the plugin: it holds a [`Weak`](std::sync::Weak).
    ///
    /// ```
    /// use std::{io::Read, net::TcpStream, os::fd::OwnedFd};
    /// use plugin_api::{Error, Host, Interest, Sender, WatchedFile};
    ///
    /// fn follow(host: &Host, socket: OwnedFd, left: Sender<()>) -> Result<WatchedFile, Error> {
    ///     host.watch("acme-control", socket, Interest::READ, move |fd: std::os::fd::BorrowedFd<'_>| {
    ///         let mut bytes = [0; 512];
    ///         let count = TcpStream::from(fd.try_clone_to_owned()?).read(&mut bytes)?;
    ///         // At the end: let whoever keeps the watch know, who drops it.
    ///         if count == 0 { let _ = left.send(()); }
    ///         Ok(())
    ///     })
    /// }
    /// ```
    ///
    /// # Errors
    /// What the system says: a regular file, which is always ready, cannot be watched.
    pub fn watch<H: FileHandler>(
        &self,
        name: &str,
        fd: OwnedFd,
        interest: Interest,
        handler: H,
    ) -> Result<WatchedFile, Error> {
        self.watch_on(ThreadIndex(0), name, fd, interest, handler)
    }

    /// As [`watch`](Self::watch), on a certain thread.
    ///
    /// # Errors
    /// As there; or if there is no such thread.
    pub fn watch_on<H: FileHandler>(
        &self,
        thread: ThreadIndex,
        name: &str,
        fd: OwnedFd,
        interest: Interest,
        handler: H,
    ) -> Result<WatchedFile, Error> {
        let (service, context) = self.builtin::<FileService>("file", "^1")?;
        let raw = fd.as_raw_fd();
        let fd = Arc::new(RwLock::new(Some(Arc::new(fd))));
        let watched = Watched { host: *self, name: name.to_owned(), fd: Arc::clone(&fd), handler };
        let data = Arc::into_raw(Arc::new(watched));
        let spec = FileSpec {
            head: Head::of::<FileSpec<'_>>(),
            name: name.into(),
            fd: raw,
            flags: interest.flags(),
            thread: thread.0,
            reserved: 0,
            data: data.cast_mut().cast(),
            read: Some(read::<H>),
            write: Some(write::<H>),
            error: if H::HANDLES_ERRORS { Some(error::<H>) } else { None },
            closed: Some(closed::<H>),
        };
        let mut id = 0;
        let added = self.call(|error| {
            // SAFETY: all pointers are good for the call.
            unsafe { (service.add)(context, self.plugin, &raw const spec, &raw mut id, error) }
        });
        if let Err(error) = added {
            // SAFETY: the host did not take it.
            unsafe { release::<H>(data.cast()) };
            return Err(error);
        }
        let data = data.cast();
        Ok(WatchedFile { service, context, thread, id, data, release: release::<H>, fd })
    }
}

impl WatchedFile {
    /// Watches it for something else from now on. Any thread.
    ///
    /// # Errors
    /// If it is not watched any more.
    pub fn set_interest(&self, interest: Interest) -> Result<(), Error> {
        let mut error = ErrorText::new();
        let (context, thread) = (self.context, self.thread.0);
        // SAFETY: all pointers are good for the call.
        let status = unsafe {
            (self.service.modify)(context, thread, self.id, interest.flags(), &raw mut error)
        };
        if status.is_ok() { Ok(()) } else { Err(Error::from_text(&error)) }
    }

    /// The descriptor; `None` once the host has closed it, after an error or a panic.
    pub fn fd(&self) -> Option<Arc<OwnedFd>> {
        self.fd.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for WatchedFile {
    fn drop(&mut self) {
        // SAFETY: the service is the host's; a number that is gone is refused.
        unsafe { (self.service.remove)(self.context, self.thread.0, self.id) };
        // SAFETY: ours, given back once. A function that runs, and drops this, has its own.
        unsafe { (self.release)(self.data) };
    }
}

/// Calls a function of a handler, which lives until that ends.
///
/// # Safety
/// `data` is a `Watched<H>` that the caller may still use.
unsafe fn enter<H: FileHandler>(
    data: *mut c_void,
    function: impl FnOnce(&H, BorrowedFd<'_>) -> Result<(), Error>,
) -> Status {
    let data = data.cast::<Watched<H>>().cast_const();
    // SAFETY: by the caller's promise.
    unsafe { Arc::increment_strong_count(data) };
    // SAFETY: the count was raised for this one.
    let watched = unsafe { Arc::from_raw(data) };
    let Some(fd) = watched.fd.read().unwrap_or_else(PoisonError::into_inner).clone() else {
        return Status::OK; // Closed meanwhile.
    };
    let ran = contain(move || {
        let outcome = function(&watched.handler, fd.as_fd());
        if let Err(error) = &outcome {
            let text = format!("descriptor {}: {error}", watched.name);
            watched.host.log(LogLevel::Warn, &text);
        }
        outcome.is_ok()
    });
    match ran {
        Some(true) => Status::OK,
        Some(false) => Status::FAILED,
        None => Status::PANICKED,
    }
}

unsafe extern "C" fn read<H: FileHandler>(data: *mut c_void) -> Status {
    // SAFETY: the host passes what the descriptor was registered with.
    unsafe { enter::<H>(data, H::readable) }
}

unsafe extern "C" fn write<H: FileHandler>(data: *mut c_void) -> Status {
    // SAFETY: as above.
    unsafe { enter::<H>(data, H::writable) }
}

unsafe extern "C" fn error<H: FileHandler>(data: *mut c_void) -> Status {
    // SAFETY: as above.
    unsafe { enter::<H>(data, H::error) }
}

unsafe extern "C" fn closed<H: FileHandler>(data: *mut c_void) -> Status {
    // SAFETY: the host passes what the descriptor was registered with.
    let watched = unsafe { &*data.cast::<Watched<H>>() };
    contain(|| watched.fd.write().unwrap_or_else(PoisonError::into_inner).take())
        .map_or(Status::PANICKED, |_| Status::OK)
}

/// Gives a count of a `Watched<H>` back.
///
/// # Safety
/// `data` is such a count.
unsafe fn release<H>(data: *const c_void) {
    // SAFETY: by the caller's promise.
    let watched = unsafe { Arc::from_raw(data.cast::<Watched<H>>()) };
    contain(|| drop(watched));
}
