//! `null`: an interface that swallows what is sent and receives nothing.

use std::{collections::BTreeSet, sync::Arc};

use parking_lot::Mutex;
use plugin_api::{
    Answer, Args, Command, Config, Device, Error, Host, Interface, Plugin, RxFrame, TxFrame,
    declare_command, declare_device, declare_plugin, next_nodes,
};

/// The plugin.
#[derive(Debug)]
pub struct Null {
    host: Host,
    ids: Mutex<BTreeSet<u32>>,
}

impl Plugin for Null {
    const NAME: &'static str = "null";

    fn create(host: Host, _: &Config<'_>) -> Result<Self, Error> {
        Ok(Self { host, ids: Mutex::default() })
    }
}

declare_plugin!(Null);

next_nodes! {
    /// Where received packets would go.
    pub enum Next { Ethernet => Optional("ethernet-input") }
}

/// A device that is not there.
#[derive(Debug)]
pub struct NullDevice;

impl Device for NullDevice {
    const CLASS: &'static str = "null";
    type Plugin = Null;
    type Next = Next;
    type Rx = ();
    type Tx = ();

    fn receive(&self, (): &mut (), _: &mut RxFrame<'_, Next>) {}

    fn transmit(&self, (): &mut (), frame: &mut TxFrame<'_>) -> usize {
        frame.len()
    }
}

declare_device!(NullDevice);

/// `create null`
#[derive(Debug)]
pub struct CreateNull;

impl Command for CreateNull {
    const GRAMMAR: &'static str = "create null [id <id:u32>]";
    const HELP: &'static str = "Creates an interface that swallows what is sent to it";
    type Plugin = Null;

    fn run(plugin: &Arc<Null>, args: &Args<'_>, answer: &mut Answer<'_>) -> Result<(), Error> {
        let mut ids = plugin.ids.lock();
        let free = (0..).find(|id| !ids.contains(id));
        let id = args.u32("id").or(free).ok_or("no id is free")?;
        let name = format!("null{id}");
        let interface =
            Interface { name: &name, mac: mac(id), mtu: 9000, is_l3: false, kernel_index: 0 };
        plugin.host.create_interface(&interface, Arc::new(NullDevice), Vec::new(), vec![()])?;
        ids.insert(id);
        answer.line(&name);
        Ok(())
    }
}

declare_command!(CreateNull);

/// A locally administered address that tells the interface.
fn mac(id: u32) -> [u8; 6] {
    let [a, b, c, d] = id.to_be_bytes();
    [0x02, 0x6e, a, b, c, d]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_interface_has_a_local_unicast_address_of_its_own() {
        assert_ne!(mac(1), mac(2));
        assert_eq!(mac(7)[0] & 0b11, 0b10);
    }
}
