//! `tap`: Linux TAP and TUN interfaces through `/dev/net/tun`.

mod command;
mod device;
mod kernel;
mod namespace;
mod netlink;

use std::{collections::BTreeMap, sync::Arc};

use parking_lot::Mutex;
use plugin_api::{
    Config, Error, Host, InterfaceIndex, Notice, Plugin, declare_command, declare_device,
    declare_plugin,
};

use crate::{
    command::{CreateTap, DeleteTap, ShowTap},
    device::{TapDevice, TapInfo},
};

/// The plugin: what it knows of its interfaces.
#[derive(Debug)]
pub struct Tap {
    host: Host,
    taps: Mutex<BTreeMap<InterfaceIndex, Arc<TapInfo>>>,
}

impl Plugin for Tap {
    const NAME: &'static str = "tap";

    fn create(host: Host, _: &Config<'_>) -> Result<Self, Error> {
        Ok(Self { host, taps: Mutex::default() })
    }

    fn notify(self: &Arc<Self>, notice: Notice) {
        if let Notice::InterfaceRemoved(index) = notice {
            self.taps.lock().remove(&index);
        }
    }
}

declare_plugin!(Tap);
declare_device!(TapDevice);
declare_command!(CreateTap);
declare_command!(DeleteTap);
declare_command!(ShowTap);
