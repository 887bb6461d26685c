//! `pcap`: interfaces that receive from a capture file and send into one.

mod capture;
mod command;
mod device;
mod output;
mod reader;
mod writer;

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use parking_lot::Mutex;
use plugin_api::{
    Config, Error, Host, InterfaceIndex, Notice, Plugin, declare_command, declare_device,
    declare_plugin,
};

use crate::{
    command::{CreatePcap, DeletePcap, ShowPcap},
    device::{Info, PcapDevice},
};

/// The plugin: what it knows of its interfaces.
#[derive(Debug)]
pub struct Pcap {
    host: Host,
    /// Captures are written nowhere else; `None`: wherever the host may write.
    output_directory: Option<PathBuf>,
    interfaces: Mutex<BTreeMap<InterfaceIndex, Arc<Info>>>,
}

impl Plugin for Pcap {
    const NAME: &'static str = "pcap";

    fn create(host: Host, config: &Config<'_>) -> Result<Self, Error> {
        let output_directory = config.text("output-directory").map(PathBuf::from);
        if let Some(directory) = output_directory.as_deref().filter(|path| !path.is_absolute()) {
            let text = format!("output-directory = {directory:?}: must begin with /");
            return Err(Error::new(text));
        }
        Ok(Self { host, output_directory, interfaces: Mutex::default() })
    }

    fn notify(self: &Arc<Self>, notice: Notice) {
        if let Notice::InterfaceRemoved(index) = notice {
            self.interfaces.lock().remove(&index);
        }
    }
}

declare_plugin!(Pcap);
declare_device!(PcapDevice);
declare_command!(CreatePcap);
declare_command!(DeletePcap);
declare_command!(ShowPcap);
