//! Private copies of contents, made before main has anything to do with them.

use std::{
    collections::HashSet,
    hash::{BuildHasher, RandomState},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use parking_lot::Mutex;

use super::{
    descriptor::Description, error::LoadError, inspect::Inspected, place::Place,
    private_copy::PrivateCopy,
};

/// Tells contents apart: length, and hashes under two keys that no one outside can know.
pub(super) type Content = (usize, [u64; 2]);

/// Where private copies are kept, and which contents need none. Any thread.
#[derive(Debug)]
pub struct Copies {
    place: Place,
    passed_over: Vec<String>,
    hashers: [RandomState; 2],
    /// Contents that are mapped: for ever.
    mapped: Mutex<HashSet<Content>>,
    /// Counts copies, for their names.
    made: AtomicU64,
}

/// A plugin that was checked, and copied if its content is new: ready to be mapped.
///
/// To drop it while it has its copy frees the copy's memory, which blocks.
#[derive(Debug)]
pub struct Copied {
    path: PathBuf,
    description: Description,
    mappings: usize,
    pub(super) content: Content,
    /// Taken when it is mapped.
    pub(super) copy: Option<PrivateCopy>,
}

impl Copied {
    /// Where its bytes were read; only for messages.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What the plugin says of itself.
    pub fn description(&self) -> &Description {
        &self.description
    }

    /// Mappings it will add to the process.
    pub(super) fn mappings(&self) -> usize {
        self.mappings
    }
}

impl Copies {
    /// Keeps copies in the first of `directories` that is safe, writable and not mounted noexec,
    /// else in memory. Clears away what dead hosts left there.
    pub(super) fn new(directories: &[PathBuf]) -> Self {
        let (place, passed_over) = Place::choose(directories);
        Self {
            place,
            passed_over,
            hashers: [RandomState::new(), RandomState::new()],
            mapped: Mutex::default(),
            made: AtomicU64::new(0),
        }
    }

    pub(super) fn place(&self) -> String {
        self.place.to_string()
    }

    pub(super) fn passed_over(&self) -> &[String] {
        &self.passed_over
    }

    /// Copies what was checked, unless it is mapped already; it is not needed after that.
    ///
    /// Cost: reads the bytes three times and writes them once. Context: any thread that may block.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn copy(&self, plugin: &Inspected) -> Result<Copied, LoadError> {
        let bytes = plugin.bytes();
        let content = (bytes.len(), self.hashers.each_ref().map(|hasher| hasher.hash_one(bytes)));
        let is_mapped = self.mapped.lock().contains(&content);
        let copy = if is_mapped { None } else { Some(self.write(plugin)?) };
        Ok(Copied {
            path: plugin.path().to_path_buf(),
            description: plugin.description().clone(),
            mappings: plugin.mappings(),
            content,
            copy,
        })
    }

    /// A content is mapped from now on.
    pub(super) fn set_mapped(&self, content: Content) {
        self.mapped.lock().insert(content);
    }

    fn write(&self, plugin: &Inspected) -> Result<PrivateCopy, LoadError> {
        let number = self.made.fetch_add(1, Ordering::Relaxed) + 1;
        let name = &plugin.description().name;
        PrivateCopy::write(&self.place, name, number, plugin.bytes()).map_err(|cause| {
            LoadError::Copy {
                path: plugin.path().to_path_buf(),
                place: PathBuf::from(self.place()),
                cause,
            }
        })
    }
}
