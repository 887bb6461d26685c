//! `create tap`, `delete tap`, `show tap`.

use std::{
    error,
    hash::{BuildHasher, RandomState},
    sync::{Arc, atomic::Ordering},
};

use plugin_api::{Answer, Args, Cell, Command, Error, Interface, InterfaceIndex, Role};

use crate::{
    Tap,
    device::{Parts, TapDevice, TapInfo},
    kernel::{self, KernelSpec},
};

/// Queues of one TAP at most; what the kernel allows.
const QUEUES_MAX: u32 = 256;

/// `create tap`
pub(crate) struct CreateTap;

impl Command for CreateTap {
    const GRAMMAR: &'static str = "create tap [id <id:u32>] [hw-addr <hw-addr:mac>] \
        [host-if-name <host-if-name:word>] [host-ns <host-ns:word>] \
        [host-mac-addr <host-mac-addr:mac>] [host-ip4-addr <host-ip4-addr:ip4-prefix>] \
        [host-mtu-size <host-mtu-size:u32>] [num-rx-queues <num-rx-queues:u32>] [tun]";
    const HELP: &'static str = "Creates a Linux TAP, or with tun a TUN, and an interface on it";
    type Plugin = Tap;

    fn run(plugin: &Arc<Tap>, args: &Args<'_>, answer: &mut Answer<'_>) -> Result<(), Error> {
        let tun = args.has("tun");
        if tun && (args.has("hw-addr") || args.has("host-mac-addr")) {
            return Err("a TUN has no MAC address".into());
        }
        let name = interface_name(plugin, args.u32("id"), tun)?;
        let spec = KernelSpec {
            name: args.text("host-if-name").unwrap_or(&name).to_owned(),
            tun,
            namespace: args.text("host-ns").map(str::to_owned),
            mac: args.mac("host-mac-addr"),
            ip4: args.ip4_prefix("host-ip4-addr"),
            mtu: args.u32("host-mtu-size"),
            queues: args.u32("num-rx-queues").unwrap_or(1).clamp(1, QUEUES_MAX) as usize,
        };
        let made = kernel::create(&spec).map_err(|error| chain(&error))?;
        let interface = Interface {
            name: &name,
            mac: if tun { [0; 6] } else { args.mac("hw-addr").unwrap_or_else(random_mac) },
            mtu: made.link.mtu,
            is_l3: tun,
            kernel_index: if made.watch.is_none() { made.link.index } else { 0 },
        };
        let Parts { device, rx, tx } = TapDevice::open(plugin.host, name.clone(), spec, made)?;
        let info = Arc::clone(device.info());
        let index = plugin.host.create_interface(&interface, Arc::new(device), rx, tx)?;
        plugin.taps.lock().insert(index, info);
        answer.line(&name);
        Ok(())
    }
}

/// `delete tap`
pub(crate) struct DeleteTap;

impl Command for DeleteTap {
    const GRAMMAR: &'static str = "delete tap <interface:interface>";
    const HELP: &'static str = "Deletes a TAP interface and its kernel side";
    type Plugin = Tap;

    fn run(plugin: &Arc<Tap>, args: &Args<'_>, _: &mut Answer<'_>) -> Result<(), Error> {
        let index = args.interface("interface").ok_or("which interface?")?;
        if !plugin.taps.lock().contains_key(&index) {
            let name = args.text("interface").unwrap_or_default();
            return Err(Error::new(format!("{name} is no TAP")));
        }
        plugin.host.delete_interface(index)?;
        plugin.taps.lock().remove(&index);
        Ok(())
    }
}

/// `show tap`
pub(crate) struct ShowTap;

impl Command for ShowTap {
    const GRAMMAR: &'static str = "show tap";
    const HELP: &'static str = "Shows the TAP interfaces, their kernel sides, and what went wrong";
    const ROLE: Role = Role::Read;
    type Plugin = Tap;

    fn run(plugin: &Arc<Tap>, _: &Args<'_>, answer: &mut Answer<'_>) -> Result<(), Error> {
        let columns = [
            "Interface",
            "Kind",
            "Kernel name",
            "Namespace",
            "MTU",
            "Queues",
            "Gone",
            "Rx too long",
            "Rx errors",
            "Tx refused",
            "Tx no room",
            "Tx down",
        ];
        let taps: Vec<(InterfaceIndex, Arc<TapInfo>)> =
            plugin.taps.lock().iter().map(|(&index, info)| (index, Arc::clone(info))).collect();
        answer.table("", &columns);
        for (_, info) in &taps {
            let (kernel, counters) = (&info.kernel, &info.counters);
            let cells: [Cell<'_>; 7] = [
                (&info.name).into(),
                if kernel.tun { "tun" } else { "tap" }.into(),
                (&kernel.name).into(),
                kernel.namespace.as_ref().into(),
                info.mtu.into(),
                kernel.queues.into(),
                info.gone.load(Ordering::Relaxed).into(),
            ];
            let wrong = [
                &counters.rx_too_long,
                &counters.rx_errors,
                &counters.tx_refused,
                &counters.tx_no_room,
                &counters.tx_down,
            ];
            let wrong = wrong.map(|counter| Cell::from(counter.load(Ordering::Relaxed)));
            answer.row(cells.into_iter().chain(wrong));
        }
        Ok(())
    }
}

/// The name of the interface with that id, or with the first that is free.
fn interface_name(plugin: &Tap, id: Option<u32>, tun: bool) -> Result<String, Error> {
    let kind = if tun { "tun" } else { "tap" };
    let name = |id: u32| format!("{kind}{id}");
    match id {
        Some(id) if plugin.host.find_interface(&name(id)).is_some() => {
            Err(Error::new(format!("{} exists already", name(id))))
        }
        Some(id) => Ok(name(id)),
        None => (0..u32::MAX)
            .map(name)
            .find(|name| plugin.host.find_interface(name).is_none())
            .ok_or_else(|| "no id is free".into()),
    }
}

/// A locally administered address that nobody else is likely to have.
fn random_mac() -> [u8; 6] {
    let [a, b, c, d, ..] = RandomState::new().hash_one(0_u8).to_ne_bytes();
    [0x02, 0xfe, a, b, c, d]
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
