//! `pcap`: interfaces that replay a capture file, and write one.
//!
//! ```text
//! file ─► capture ─► reading thread ─chunks─► input queue ─► packets … the graph
//!                           └──────alarm────────┘ ▲ pace
//! the graph … packets ─► output queue ─ring─► work item ─► file
//! ```

mod alarm;
mod capture;
mod cli;
mod device;
mod file;
mod input;
mod output;
mod pace;
mod reader;
mod report;

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use parking_lot::Mutex;
use plugin_api::{
    Config, Error, Host, InterfaceIndex, Notice, Plugin, declare_command, declare_device,
    declare_plugin,
};

use crate::{
    cli::{CreatePcap, DeletePcap, ShowPcap},
    device::PcapDevice,
    output::Writing,
    report::Report,
};

/// The plugin: what it knows of its interfaces.
#[derive(Debug)]
pub struct Pcap {
    host: Host,
    /// Captures are written nowhere else; `None`: wherever the host may write.
    output_directory: Option<PathBuf>,
    reports: Mutex<BTreeMap<InterfaceIndex, Arc<Report>>>,
    writings: Mutex<BTreeMap<InterfaceIndex, Arc<Writing>>>,
}

impl Pcap {
    fn forget(&self, index: InterfaceIndex) {
        self.reports.lock().remove(&index);
        let writing = self.writings.lock().remove(&index);
        drop(writing); // Not with the lock: it may wait for its last run.
    }
}

impl Plugin for Pcap {
    const NAME: &'static str = "pcap";

    fn create(host: Host, config: &Config<'_>) -> Result<Self, Error> {
        let output_directory = config.text("output-directory").map(PathBuf::from);
        if let Some(directory) = output_directory.as_ref().filter(|path| !path.is_absolute()) {
            let directory = directory.display();
            return Err(Error::new(format!("output-directory {directory}: must begin with /")));
        }
        Ok(Self { host, output_directory, reports: Mutex::default(), writings: Mutex::default() })
    }

    fn notify(self: &Arc<Self>, notice: Notice) {
        if let Notice::InterfaceRemoved(index) = notice {
            self.forget(index);
        }
    }
}

declare_plugin!(Pcap);
declare_device!(PcapDevice);
declare_command!(CreatePcap);
declare_command!(DeletePcap);
declare_command!(ShowPcap);
