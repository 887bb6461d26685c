//! Maps the copy of checked bytes and finds the root module in it.
//!
//! ```text
//! copied ── known content? ──yes─────────────────────────────┐
//!             no                                              │
//!             └─ room for maps ─ dlopen of the copy (ctors) ──┤
//!                                                             └─ header ─ root module ─
//!                              initialize, once ─ declarations ─ compared with the file's records
//! ```
//! An image stays mapped for ever; what ends is the [`Image`] that stands for it, and with it the
//! private copy.
#![expect(unsafe_code, reason = "dlopen, and symbols whose type only their author knows")]

use std::{
    fmt,
    mem::ManuallyDrop,
    path::{Path, PathBuf},
    sync::{Arc, Weak},
};

use abi_stable::library::{AbiHeaderRef, LibHeader, LibraryError};
use gristmill_abi::{
    host::HostTable,
    root::{ENTRY_SYMBOL, Entry, ROOT_SYMBOL},
};
use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};
use parking_lot::Mutex;

use super::{
    copies::{Content, Copied, Copies},
    declarations::Declarations,
    error::LoadError,
    maps::MapUsage,
    private_copy::PrivateCopy,
    raw_declaration,
    root::Root,
};

/// Everything that was ever mapped.
#[derive(Debug)]
pub struct Images {
    copies: Arc<Copies>,
    /// One for each content, for ever.
    known: Mutex<Vec<Known>>,
}

/// A mapped content, in use or not.
struct Known {
    content: Content,
    /// Never closed: neither `abi_stable` nor thread-locals can bear it.
    library: ManuallyDrop<Library>,
    /// Whether the host's table was accepted.
    is_initialized: bool,
    image: Weak<Image>,
}

impl fmt::Debug for Known {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Known")
            .field("content", &self.content)
            .field("is_initialized", &self.is_initialized)
            .finish_non_exhaustive()
    }
}

/// A mapped plugin in use.
#[derive(Debug)]
pub struct Image {
    declarations: Declarations,
    sdk_version: String,
    number: usize,
    copy: Option<PrivateCopy>,
}

impl Image {
    /// What its code declares: checked, sorted by kind and name, in agreement with its file.
    pub fn declarations(&self) -> &Declarations {
        &self.declarations
    }

    /// Version of the SDK it was built with.
    pub fn sdk_version(&self) -> &str {
        &self.sdk_version
    }

    /// Which of the contents mapped so far it is, from 1; loading the same bytes gives the same.
    pub fn number(&self) -> usize {
        self.number
    }

    /// Its private copy; `None` if its code had been mapped before.
    pub fn copy(&self) -> Option<&Path> {
        self.copy.as_ref().map(PrivateCopy::path)
    }
}

impl Images {
    /// Keeps private copies in the first of `directories` that is safe, writable and not mounted
    /// noexec, else in memory. Clears away what dead hosts left there.
    pub fn new(directories: &[PathBuf]) -> Self {
        Self { copies: Arc::new(Copies::new(directories)), known: Mutex::new(Vec::new()) }
    }

    /// Where private copies are kept; `memory` if no directory would do.
    pub fn place(&self) -> String {
        self.copies.place()
    }

    /// Where copies are made of what is to be mapped.
    pub fn copies(&self) -> &Arc<Copies> {
        &self.copies
    }

    /// Directories that would not do, each with the reason; for the log.
    pub fn passed_over(&self) -> &[String] {
        self.copies.passed_over()
    }

    /// Contents mapped so far.
    pub fn count(&self) -> usize {
        self.known.lock().len()
    }

    /// Maps `plugin` and reads what it declares; the same bytes give the image they gave before. Its
    /// copy is taken if it is needed.
    ///
    /// This runs the plugin's code: its constructors and its root module, which is handed
    /// `host_table`. Images are never unmapped, hence the table's lifetime.
    ///
    /// Context: `main`. `dlopen` is not left to a work thread: it runs constructors, and a plugin's code
    /// is promised the one thread that creates, starts and ends it and may ask all of the host. What
    /// it reads was written moments ago, and is in memory.
    ///
    /// # Errors
    /// Nothing of the plugin is in use afterwards, but if the linker accepted it, its mapping
    /// stays.
    pub fn map(
        &self,
        plugin: &mut Copied,
        host_table: &'static HostTable,
    ) -> Result<Arc<Image>, LoadError> {
        let mut known = self.known.lock();
        let mut copy = None;
        let index = match known.iter().position(|known| known.content == plugin.content) {
            Some(index) => index,
            None => {
                let library = link(plugin)?;
                copy = plugin.copy.take();
                self.copies.set_mapped(plugin.content);
                known.push(Known {
                    content: plugin.content,
                    library: ManuallyDrop::new(library),
                    is_initialized: false,
                    image: Weak::new(),
                });
                known.len() - 1
            }
        };
        let entry = &mut known[index];
        if let Some(image) = entry.image.upgrade() {
            return Ok(image);
        }
        let image = Arc::new(entry.open(plugin, host_table, index + 1, copy)?);
        entry.image = Arc::downgrade(&image);
        Ok(image)
    }
}

/// Links the copy of a content that was not mapped before.
fn link(plugin: &mut Copied) -> Result<Library, LoadError> {
    let path = plugin.path().to_path_buf();
    if let Some(usage) = MapUsage::now() {
        usage.check_room(&path, plugin.mappings())?;
    }
    let copy = plugin.copy.as_mut().expect("what was not mapped was copied");
    // SAFETY: its headers were checked in the very bytes the copy has; that its constructors
    // behave is the promise of whoever may load plugins.
    let library = unsafe { Library::open(Some(copy.for_linker()), RTLD_NOW | RTLD_LOCAL) };
    library.map_err(|cause| LoadError::Link { path, cause: linker_text(&cause, copy.path()) })
}

impl Known {
    /// Goes from a mapped library to its checked declarations.
    fn open(
        &mut self,
        plugin: &Copied,
        host_table: &'static HostTable,
        number: usize,
        copy: Option<PrivateCopy>,
    ) -> Result<Image, LoadError> {
        let path = plugin.path().to_path_buf();
        let root = self.root(&path)?;
        if !self.is_initialized {
            let status = root.initialize(host_table);
            if status != 0 {
                return Err(LoadError::Initialize { path, status });
            }
            self.is_initialized = true;
        }
        let sdk_version =
            root.sdk_version().unwrap_or_else(|| plugin.description().sdk_version.to_string());
        let declarations = raw_declaration::read_all(root)
            .and_then(|declared| Declarations::new(declared, plugin.description()))
            .map_err(|fault| LoadError::Declaration { path, fault })?;
        Ok(Image { declarations, sdk_version, number, copy })
    }

    /// Finds where to enter the image.
    fn root(&self, path: &Path) -> Result<Root, LoadError> {
        // SAFETY: a symbol of this name is an `abi_stable` header by contract, which is compared
        // with ours before anything else of it is used; the inspector saw that there is room.
        let symbol = unsafe { self.library.get::<AbiHeaderRef>(ROOT_SYMBOL) };
        let Ok(symbol) = symbol else { return self.entry(path) };
        let refused = |error: &LibraryError| LoadError::Root {
            path: path.to_path_buf(),
            summary: summary(error),
            detail: error.to_string(),
        };
        let header: &LibHeader = symbol.upgrade().map_err(|error| refused(&error))?;
        if header.layout().is_none() {
            let summary = "it hides its layout: build it without unsafe_no_layout_constant";
            return Err(LoadError::Root {
                path: path.to_path_buf(),
                summary: summary.to_owned(),
                detail: summary.to_owned(),
            });
        }
        header.init_root_module().map(Root::Module).map_err(|error| refused(&error))
    }

    /// The entry of a plugin in C.
    fn entry(&self, path: &Path) -> Result<Root, LoadError> {
        let path = path.to_path_buf();
        // SAFETY: a symbol of this name is an `Entry` by contract, and it is only looked at here.
        let symbol = unsafe { self.library.get::<*const Entry>(ENTRY_SYMBOL) };
        let Ok(entry) = symbol else { return Err(LoadError::NoRoot { path }) };
        // SAFETY: it begins with a head, the inspector saw that there is room, and it is static.
        let found = unsafe { raw_declaration::read_entry(*entry) };
        found.map(Root::Entry).map_err(|fault| LoadError::Declaration { path, fault })
    }
}

/// What the dynamic linker said, in one line and without the name of the private copy.
fn linker_text(error: &libloading::Error, copy: &Path) -> String {
    let text = match error {
        libloading::Error::DlOpen { source } => source.to_string(),
        other => other.to_string(),
    };
    let text = text.replace(char::is_control, " ");
    let prefix = format!("{}: ", copy.display());
    text.strip_prefix(&prefix).unwrap_or(&text).to_owned()
}

/// The first difference, in one line.
fn summary(error: &LibraryError) -> String {
    match error {
        LibraryError::IncompatibleVersionNumber { expected_version, actual_version, .. } => {
            format!(
                "it was built with gristmill-abi {actual_version}, the host with {expected_version}"
            )
        }
        LibraryError::InvalidAbiHeader(found) => format!(
            "it was built with abi_stable's ABI {}.{}, the host with {}.{}",
            found.abi_major,
            found.abi_minor,
            abi_stable::library::AbiHeader::VALUE.abi_major,
            abi_stable::library::AbiHeader::VALUE.abi_minor
        ),
        LibraryError::InvalidCAbi { .. } => "it was built with another C ABI".to_owned(),
        LibraryError::RootModule { err: abi_stable::library::RootModuleError::Unwound, .. } => {
            "it panicked".to_owned()
        }
        other => first_difference(&other.to_string()),
    }
}

/// Picks what follows the first `Error:` out of hundreds of lines.
fn first_difference(text: &str) -> String {
    let lines: Vec<_> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let errors = lines.iter().filter(|line| line.starts_with("Error:")).count();
    let first = lines.iter().position(|line| line.starts_with("Error:")).unwrap_or_default();
    let mut rest = lines.iter().copied().skip(first);
    let mut reason = rest.next().unwrap_or("no reason given").trim_start_matches("Error:");
    if reason.is_empty() {
        reason = rest.next().unwrap_or("no reason given");
    }
    let mut line = reason.replace(char::is_control, " ");
    if let [Some("Expected:"), Some(expected), Some("Found:"), Some(found)] =
        [rest.next(), rest.next(), rest.next(), rest.next()]
    {
        line = format!("{line}: {expected} expected, {found} found");
    }
    if errors > 1 {
        line = format!("{line} (and {} more, in the log)", errors - 1);
    }
    line
}

#[cfg(test)]
mod tests;
