//! `ethernet`: takes in Ethernet frames, to the node of their EtherType or across to another
//! interface.

pub mod cli;
pub mod ethernet_input;
pub mod ethertypes;
pub mod interfaces;

use std::{collections::BTreeMap, sync::Arc};

use parking_lot::Mutex;
use plugin_api::{
    Config, Error, Host, InterfaceIndex, LogLevel, NextIndex, NextNodes as _, Node as _, Notice,
    Plugin, abi::Str, declare_arc, declare_plugin, offer_service, service::ethernet_types,
};

use crate::{
    ethernet_input::{EthernetInput, Next},
    ethertypes::EtherTypes,
    interfaces::{Interfaces, Mode},
};

/// The plugin: what the packet path looks up, and the names behind it.
#[derive(Debug)]
pub struct Ethernet {
    host: Host,
    /// What is done with the packets of each interface.
    pub interfaces: Interfaces,
    /// Where packets of each EtherType go.
    pub types: EtherTypes,
    registered: Mutex<BTreeMap<u16, String>>,
}

impl Plugin for Ethernet {
    const NAME: &'static str = "ethernet";

    fn create(host: Host, config: &Config<'_>) -> Result<Self, Error> {
        let unknown = match config.text("unknown-type") {
            None | Some("drop") => Next::UnknownType,
            Some("punt") => Next::Punt,
            Some(other) => {
                return Err(format!("unknown-type = {other:?}: either drop or punt").into());
            }
        };
        let types = EtherTypes::new(unknown.number(), Next::UnknownVlan.number());
        let ethernet =
            Self { host, interfaces: Interfaces::new(), types, registered: Mutex::default() };
        ethernet.refresh_all();
        Ok(ethernet)
    }

    fn start(self: &Arc<Self>) -> Result<(), Error> {
        self.refresh_all();
        Ok(())
    }

    fn notify(self: &Arc<Self>, notice: Notice) {
        match notice {
            Notice::InterfaceAdded(index) | Notice::InterfaceState(index) => self.refresh(index),
            Notice::InterfaceRemoved(index) => self.interfaces.remove(index),
            _ => {}
        }
    }
}

declare_plugin!(Ethernet);
// What is put here sees packets as they came in, before anything has looked at them.
declare_arc!(Ethernet, "device-input", starts: ["interface-input"], end: "ethernet-input");
offer_service!(Ethernet, ethernet_types);

impl ethernet_types::Provider for Ethernet {
    fn register(&self, ethertype: u16, node: Str<'_>) -> Result<u16, Error> {
        ethertypes::check(ethertype)?;
        let next = self.host.add_next(EthernetInput::NAME, node.as_str())?;
        self.types.set(ethertype, NextIndex(next))?;
        self.registered.lock().insert(ethertype, node.as_str().to_owned());
        Ok(next)
    }
}

impl Ethernet {
    fn refresh_all(&self) {
        for index in self.host.interface_indices() {
            self.refresh(index);
        }
    }

    /// Takes over what the host says of an interface; a cross-connected one stays so.
    fn refresh(&self, index: InterfaceIndex) {
        if let Mode::L3 { .. } | Mode::Absent = self.interfaces.mode(index) {
            self.reset(index);
        }
    }

    /// Puts an interface into layer-3 mode, with the address the host says.
    fn reset(&self, index: InterfaceIndex) {
        match self.host.interface(index).filter(|info| !info.is_l3) {
            Some(info) if !self.interfaces.set(index, Mode::l3(info.mac)) => {
                let text = format!("{}: index {index} is beyond the table", info.name);
                self.host.log(LogLevel::Warn, &text);
            }
            Some(_) => {}
            None => self.interfaces.remove(index),
        }
    }
}
