//! `create host-interface`, `delete host-interface`, `show af-packet`.

use std::{
    error,
    sync::{Arc, atomic::Ordering},
};

use plugin_api::{Answer, Args, Cell, Command, Error, Interface, Role};

use crate::{
    AfPacket,
    device::{HostInterface, Info, Parts},
};

/// Receive queues of one interface at most; each has 8 MiB of ring.
const QUEUES_MAX: u32 = 16;

/// `create host-interface`
pub(crate) struct CreateHostInterface;

impl Command for CreateHostInterface {
    const GRAMMAR: &'static str = "create host-interface name <host-if-name:word> \
        [num-rx-queues <num-rx-queues:u32>]";
    const HELP: &'static str = "Creates an interface on a kernel interface";
    type Plugin = AfPacket;

    fn run(plugin: &Arc<AfPacket>, args: &Args<'_>, answer: &mut Answer<'_>) -> Result<(), Error> {
        let kernel_name = args.text("host-if-name").ok_or("which kernel interface?")?;
        let queues = args.u32("num-rx-queues").unwrap_or(1).clamp(1, QUEUES_MAX) as usize;
        let name = format!("host-{kernel_name}");
        let Parts { device, rx, tx } =
            HostInterface::open(plugin.host, name.clone(), kernel_name, queues)
                .map_err(|error| chain(&error))?;
        let info = Arc::clone(device.info());
        let interface = Interface {
            name: &name,
            mac: info.kernel.mac,
            mtu: info.kernel.mtu,
            is_l3: false,
            kernel_index: info.kernel.index,
        };
        let index = plugin.host.create_interface(&interface, Arc::new(device), rx, tx)?;
        plugin.interfaces.lock().insert(index, info);
        answer.line(&name);
        Ok(())
    }
}

/// `delete host-interface`
pub(crate) struct DeleteHostInterface;

impl Command for DeleteHostInterface {
    const GRAMMAR: &'static str = "delete host-interface name <host-if-name:word>";
    const HELP: &'static str = "Deletes the interface on a kernel interface";
    type Plugin = AfPacket;

    fn run(plugin: &Arc<AfPacket>, args: &Args<'_>, _: &mut Answer<'_>) -> Result<(), Error> {
        let name = args.text("host-if-name").ok_or("which kernel interface?")?;
        let find = || {
            let interfaces = plugin.interfaces.lock();
            let found = interfaces.iter().find(|(_, info)| info.kernel_name == name);
            found.map(|(&index, _)| index)
        };
        let index = find().ok_or_else(|| {
            Error::new(format!("there is no interface on kernel interface {name}"))
        })?;
        plugin.host.delete_interface(index)?;
        plugin.interfaces.lock().remove(&index);
        Ok(())
    }
}

/// `show af-packet`
pub(crate) struct ShowAfPacket;

impl Command for ShowAfPacket {
    const GRAMMAR: &'static str = "show af-packet";
    const HELP: &'static str = "Shows the interfaces on kernel interfaces, and what went wrong";
    const ROLE: Role = Role::Read;
    type Plugin = AfPacket;

    fn run(plugin: &Arc<AfPacket>, _: &Args<'_>, answer: &mut Answer<'_>) -> Result<(), Error> {
        let infos: Vec<Arc<Info>> = plugin.interfaces.lock().values().map(Arc::clone).collect();
        answer.table(
            "",
            &[
                "Interface",
                "Kernel name",
                "MTU",
                "Queues",
                "Gone",
                "Kernel packets",
                "Kernel drops",
                "Rx cut",
                "Rx malformed",
                "Tx refused",
                "Tx no room",
                "Tx down",
            ],
        );
        for info in &infos {
            info.ask_kernel();
            let cells: [Cell<'_>; 5] = [
                (&info.name).into(),
                (&info.kernel_name).into(),
                info.kernel.mtu.into(),
                info.sockets.len().into(),
                info.gone.load(Ordering::Relaxed).into(),
            ];
            let counters = &info.counters;
            let counted = [
                &counters.kernel_packets,
                &counters.kernel_drops,
                &counters.rx_cut,
                &counters.rx_malformed,
                &counters.tx_refused,
                &counters.tx_no_room,
                &counters.tx_down,
            ];
            let counted = counted.map(|counter| Cell::from(counter.load(Ordering::Relaxed)));
            answer.row(cells.into_iter().chain(counted));
        }
        Ok(())
    }
}

/// An error and its causes, in one line.
pub(crate) fn chain(error: &dyn error::Error) -> Error {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    Error::new(text)
}
