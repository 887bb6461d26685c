//! `af-packet`: interfaces on kernel interfaces, through AF_PACKET sockets.

mod command;
mod device;
mod offload;
mod ring;
mod socket;

use std::{collections::BTreeMap, sync::Arc};

use parking_lot::Mutex;
use plugin_api::{
    Config, Error, Host, InterfaceIndex, Notice, Plugin, declare_command, declare_device,
    declare_plugin,
};

use crate::{
    command::{CreateHostInterface, DeleteHostInterface, ShowAfPacket},
    device::{HostInterface, Info},
};

/// The plugin: what it knows of its interfaces.
#[derive(Debug)]
pub struct AfPacket {
    host: Host,
    interfaces: Mutex<BTreeMap<InterfaceIndex, Arc<Info>>>,
}

impl Plugin for AfPacket {
    const NAME: &'static str = "af-packet";

    fn create(host: Host, _: &Config<'_>) -> Result<Self, Error> {
        Ok(Self { host, interfaces: Mutex::default() })
    }

    fn notify(self: &Arc<Self>, notice: Notice) {
        if let Notice::InterfaceRemoved(index) = notice {
            self.interfaces.lock().remove(&index);
        }
    }
}

declare_plugin!(AfPacket);
declare_device!(HostInterface);
declare_command!(CreateHostInterface);
declare_command!(DeleteHostInterface);
declare_command!(ShowAfPacket);
