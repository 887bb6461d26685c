//! What a plugin asks of the host.

use core::{ffi::c_void, ops::Range, sync::atomic::Ordering};

use gristmill_abi::{
    ErrorText, Head, Status, Str,
    declaration::{PluginHandle, ServiceRef},
    host::{
        ALL_INTERFACES, BatchService, BufferService, GraphService, HostTable, InterfaceService,
        log_level,
    },
};

use crate::{Error, InterfaceIndex, export::HOST, plugin::contain};

/// How much a log line matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum LogLevel {
    /// Something failed.
    Error = log_level::ERROR,
    /// Something is odd.
    Warn = log_level::WARN,
    /// Worth knowing.
    Notice = log_level::NOTICE,
    /// For the curious.
    Debug = log_level::DEBUG,
}

/// The host, as one plugin sees it. Unless a method says otherwise: main thread only.
#[derive(Clone, Copy, Debug)]
pub struct Host {
    pub(crate) plugin: PluginHandle,
}

impl Host {
    pub(crate) fn new(plugin: PluginHandle) -> Self {
        Self { plugin }
    }

    /// Writes a line to the log, under the plugin's name. Any thread.
    pub fn log(&self, level: LogLevel, text: &str) {
        log(self.plugin, level as u32, text);
    }

    /// Nanoseconds since the host started. Any thread; a call into the host.
    pub fn now_ns(&self) -> u64 {
        table().map_or(0, |table| {
            // SAFETY: any thread may call it.
            unsafe { (table.now)(table) }
        })
    }

    /// The next number of `node` that leads to `target`, added if there is none.
    ///
    /// Called in [`Plugin::create`](crate::Plugin::create) it takes effect when the plugin's own
    /// nodes do, and `target` may be one of them; later, at once.
    ///
    /// # Errors
    /// If there is no such node, or the node is full.
    pub fn add_next(&self, node: &str, target: &str) -> Result<u16, Error> {
        let (graph, context) = self.builtin::<GraphService>("graph", "^1")?;
        let mut next = 0;
        self.call(|error| {
            // SAFETY: main thread; all pointers are good for the call.
            unsafe {
                (graph.add_next)(
                    context,
                    self.plugin,
                    node.into(),
                    target.into(),
                    &raw mut next,
                    error,
                )
            }
        })?;
        u16::try_from(next).map_err(|_| Error::new(format!("{node} has too many nexts")))
    }

    /// Puts the feature `node` on `arc`, or takes it off, for one interface or for all.
    ///
    /// # Errors
    /// If there is no such arc, feature or interface.
    pub fn set_feature(
        &self,
        arc: &str,
        node: &str,
        interface: Option<InterfaceIndex>,
        on: bool,
    ) -> Result<(), Error> {
        let (graph, context) = self.builtin::<GraphService>("graph", "^1")?;
        let interface = interface.map_or(ALL_INTERFACES, |interface| interface.0);
        self.call(|error| {
            // SAFETY: main thread; all pointers are good for the call.
            unsafe {
                (graph.set_feature)(
                    context,
                    self.plugin,
                    arc.into(),
                    node.into(),
                    interface,
                    on.into(),
                    error,
                )
            }
        })
    }

    /// Makes any number of changes of the graph in one stop of the workers: interfaces created,
    /// deleted, taken up or down, features and nexts. All of them are in force once this returns
    /// without an error, and else none is.
    ///
    /// Context: main. Cost: one stop, however many changes.
    ///
    /// # Errors
    /// That of `changes`, or why they cannot be put in force.
    pub fn batch<R, F: FnOnce() -> Result<R, Error>>(&self, changes: F) -> Result<R, Error> {
        let (batch, context) = self.builtin::<BatchService>("batch", "^1")?;
        let mut made = Made { changes: Some(changes), result: None };
        let data = (&raw mut made).cast();
        let run = make::<R, F>;
        // SAFETY: main thread; the function is called at most once, with `made`, before this returns.
        let done =
            self.call(|error| unsafe { (batch.make)(context, self.plugin, run, data, error) });
        match (done, made.result) {
            (_, Some(Err(error))) => Err(error),
            (Ok(()), Some(Ok(result))) => Ok(result),
            (Err(error), _) => Err(error),
            (Ok(()), None) => Err(Error::new("the host did not make the batch")),
        }
    }

    /// Reserves `size` bytes of every buffer's slot line for this plugin; the range is for
    /// [`Packet::slot`](crate::Packet::slot).
    ///
    /// # Errors
    /// If there is no room left; the text names who has it.
    pub fn buffer_slot(&self, name: &str, size: u32, align: u32) -> Result<Range<usize>, Error> {
        let (buffer, context) = self.builtin::<BufferService>("buffer", "^1")?;
        let mut offset = 0;
        self.call(|error| {
            // SAFETY: main thread; all pointers are good for the call.
            unsafe {
                (buffer.slot)(
                    context,
                    self.plugin,
                    name.into(),
                    size,
                    align,
                    &raw mut offset,
                    error,
                )
            }
        })?;
        Ok(offset as usize..offset as usize + size as usize)
    }

    /// Finds a service by name and version range.
    pub(crate) fn service(&self, name: &str, range: &str) -> Result<ServiceRef, Error> {
        let table = table().ok_or_else(|| Error::new("there is no host"))?;
        let mut found = ServiceRef { table: core::ptr::null(), context: core::ptr::null_mut() };
        self.call(|error| {
            // SAFETY: main thread; all pointers are good for the call.
            unsafe {
                (table.service)(
                    table,
                    self.plugin,
                    name.into(),
                    range.into(),
                    &raw mut found,
                    error,
                )
            }
        })?;
        Ok(found)
    }

    /// One of the host's own services.
    pub(crate) fn builtin<T>(
        &self,
        name: &str,
        range: &str,
    ) -> Result<(&'static T, *mut c_void), Error> {
        let found = self.service(name, range)?;
        // SAFETY: every service table begins with a `Head`.
        let head = unsafe { &*found.table.cast::<Head>() };
        if (head.struct_size as usize) < size_of::<T>() {
            return Err(Error::new(format!("the host's service {name} is older than this plugin")));
        }
        // SAFETY: the host's service of that name is a `T`, at least as long as ours, for ever.
        Ok((unsafe { &*found.table.cast::<T>() }, found.context))
    }

    pub(crate) fn interfaces(&self) -> Result<(&'static InterfaceService, *mut c_void), Error> {
        self.builtin("interface", "^1")
    }

    pub(crate) fn call(&self, call: impl FnOnce(*mut ErrorText) -> Status) -> Result<(), Error> {
        let mut error = ErrorText::new();
        if call(&raw mut error).is_ok() { Ok(()) } else { Err(Error::from_text(&error)) }
    }
}

/// A batch on its way through the host.
struct Made<R, F> {
    changes: Option<F>,
    result: Option<Result<R, Error>>,
}

unsafe extern "C" fn make<R, F: FnOnce() -> Result<R, Error>>(data: *mut c_void) -> Status {
    // SAFETY: the host passes what `batch` gave it, and nobody else has it meanwhile.
    let made = unsafe { &mut *data.cast::<Made<R, F>>() };
    let Some(changes) = made.changes.take() else { return Status::FAILED };
    let Some(result) = contain(changes) else { return Status::PANICKED };
    let status = if result.is_ok() { Status::OK } else { Status::FAILED };
    made.result = Some(result);
    status
}

fn table() -> Option<&'static HostTable> {
    let table = HOST.load(Ordering::Acquire);
    // SAFETY: `attach` stored null or the host's table, which outlives every plugin.
    unsafe { table.as_ref() }
}

fn log(plugin: PluginHandle, level: u32, text: &str) {
    if let Some(table) = table() {
        // SAFETY: any thread may call it.
        unsafe { (table.log)(table, plugin, level, Str::new(text)) };
    }
}

/// Reports an error of this image; the plugin is not known here.
pub(crate) fn log_error(text: &str) {
    log(0, log_level::ERROR, text);
}

/// Gives one packet back from any thread.
pub(crate) fn release(index: u32) {
    if let Some(table) = table() {
        // SAFETY: any thread may call it; the packet was ours.
        unsafe { (table.buffer_release)(table, index) };
    }
}
