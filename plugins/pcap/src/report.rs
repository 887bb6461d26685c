//! What there is to know of an interface; shared by its threads, read by `show pcap`.

use std::{
    path::PathBuf,
    sync::{
        OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
};

use plugin_api::{Host, LogLevel};

use crate::file::FileId;

/// What there is to know of an interface.
#[derive(Debug)]
pub(crate) struct Report {
    /// Its number among those of this plugin, from which its MAC address is made.
    pub(crate) id: u32,
    pub(crate) name: String,
    pub(crate) input: Option<InputReport>,
    pub(crate) output: Option<OutputReport>,
    /// Packets sent to an interface that writes no capture.
    pub(crate) unwritten: Counter,
    pub(crate) host: Host,
}

/// Of a capture that is replayed.
#[derive(Debug)]
pub(crate) struct InputReport {
    pub(crate) path: PathBuf,
    pub(crate) file: FileId,
    /// Times as fast as captured; `None`: flat out.
    pub(crate) speed: Option<f64>,
    pub(crate) is_looped: bool,
    /// All was replayed, or all before an error.
    pub(crate) has_ended: AtomicBool,
    pub(crate) packets: Counter,
    /// Times that the file was read to its end.
    pub(crate) rounds: Counter,
    /// Packets too long for a chain of buffers.
    pub(crate) too_long: Counter,
    /// Packets of another link type than the interface's.
    pub(crate) other_link: Counter,
    pub(crate) error: OnceLock<String>,
}

/// Of a capture that is written.
#[derive(Debug)]
pub(crate) struct OutputReport {
    pub(crate) path: PathBuf,
    pub(crate) file: FileId,
    /// Packets that are in the file.
    pub(crate) packets: Counter,
    /// Times that a packet was not taken because others waited to be written.
    pub(crate) queue_full: Counter,
    /// Packets lost because the system did not write them.
    pub(crate) failed: Counter,
    pub(crate) error: OnceLock<String>,
}

impl Report {
    pub(crate) fn new(
        host: Host,
        id: u32,
        name: String,
        input: Option<InputReport>,
        output: Option<OutputReport>,
    ) -> Self {
        Self { id, name, input, output, unwritten: Counter::default(), host }
    }

    /// Notes the error that ends the input.
    pub(crate) fn fail_input(&self, error: String) {
        if let Some(input) = &self.input {
            self.note(&input.error, error);
        }
    }

    /// Notes an error of the output; only the first is kept.
    pub(crate) fn fail_output(&self, error: String) {
        if let Some(output) = &self.output {
            self.note(&output.error, error);
        }
    }

    fn note(&self, place: &OnceLock<String>, error: String) {
        let line = format!("{}: {error}", self.name);
        if place.set(error).is_ok() {
            self.host.log(LogLevel::Error, &line);
        }
    }
}

impl InputReport {
    pub(crate) fn new(path: PathBuf, file: FileId, speed: Option<f64>, is_looped: bool) -> Self {
        Self {
            path,
            file,
            speed,
            is_looped,
            has_ended: AtomicBool::new(false),
            packets: Counter::default(),
            rounds: Counter::default(),
            too_long: Counter::default(),
            other_link: Counter::default(),
            error: OnceLock::new(),
        }
    }
}

impl OutputReport {
    pub(crate) fn new(path: PathBuf, file: FileId) -> Self {
        Self {
            path,
            file,
            packets: Counter::default(),
            queue_full: Counter::default(),
            failed: Counter::default(),
            error: OnceLock::new(),
        }
    }
}

/// A count that one thread writes and others read.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    /// Context: the one thread whose count it is.
    pub(crate) fn add(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(n), Relaxed);
    }

    pub(crate) fn load(&self) -> u64 {
        self.0.load(Relaxed)
    }
}
