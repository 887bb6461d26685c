//! The commands: cross-connects, and what the node looks up.

use std::sync::Arc;

use plugin_api::{Answer, Args, Command, Error, InterfaceIndex, Role, declare_command};

use crate::{Ethernet, interfaces::Mode};

/// `set interface l2 xconnect`
#[derive(Debug)]
pub struct SetCrossConnect;

impl Command for SetCrossConnect {
    const GRAMMAR: &'static str = "set interface l2 xconnect <rx:interface> <tx:interface>";
    const HELP: &'static str =
        "Sends all packets received on one interface out of another; one direction";
    type Plugin = Ethernet;

    fn run(ethernet: &Arc<Ethernet>, args: &Args<'_>, _: &mut Answer<'_>) -> Result<(), Error> {
        let rx = args.interface("rx").ok_or("no rx interface")?;
        let tx = args.interface("tx").ok_or("no tx interface")?;
        ethernet.cross_connect(rx, tx)
    }
}

declare_command!(SetCrossConnect);

/// `set interface l3`
#[derive(Debug)]
pub struct SetL3;

impl Command for SetL3 {
    const GRAMMAR: &'static str = "set interface l3 <interface:interface>";
    const HELP: &'static str = "Ends the cross-connect of an interface";
    type Plugin = Ethernet;

    fn run(ethernet: &Arc<Ethernet>, args: &Args<'_>, _: &mut Answer<'_>) -> Result<(), Error> {
        let index = args.interface("interface").ok_or("no interface")?;
        ethernet.carries_ethernet(index)?;
        ethernet.reset(index);
        Ok(())
    }
}

declare_command!(SetL3);

/// `show mode`
#[derive(Debug)]
pub struct ShowMode;

impl Command for ShowMode {
    const GRAMMAR: &'static str = "show mode";
    const HELP: &'static str = "Shows which interfaces are routed and which are cross-connected";
    const ROLE: Role = Role::Read;
    type Plugin = Ethernet;

    fn run(ethernet: &Arc<Ethernet>, _: &Args<'_>, answer: &mut Answer<'_>) -> Result<(), Error> {
        answer.table("", &["interface", "mode", "peer"]);
        for index in ethernet.host.interface_indices() {
            let (mode, peer) = match ethernet.interfaces.mode(index) {
                Mode::L3 { .. } | Mode::Absent => ("l3", None),
                Mode::CrossConnect { peer } => ("l2 xconnect", Some(ethernet.name(peer))),
                Mode::Unconnected => ("l2 xconnect", None),
            };
            answer.row([ethernet.name(index).into(), mode.into(), peer.into()]);
        }
        Ok(())
    }
}

declare_command!(ShowMode);

/// `show ethernet`
#[derive(Debug)]
pub struct ShowEthernet;

impl Command for ShowEthernet {
    const GRAMMAR: &'static str = "show ethernet";
    const HELP: &'static str = "Shows which node gets the packets of which EtherType";
    const ROLE: Role = Role::Read;
    type Plugin = Ethernet;

    fn run(ethernet: &Arc<Ethernet>, _: &Args<'_>, answer: &mut Answer<'_>) -> Result<(), Error> {
        answer.table("", &["ethertype", "node", "next"]);
        for (&ethertype, node) in ethernet.registered.lock().iter() {
            let next = ethernet.types.route(ethertype).next();
            answer.row([format!("{ethertype:#06x}").into(), node.into(), next.0.into()]);
        }
        Ok(())
    }
}

declare_command!(ShowEthernet);

impl Ethernet {
    fn cross_connect(&self, rx: InterfaceIndex, tx: InterfaceIndex) -> Result<(), Error> {
        self.carries_ethernet(rx)?;
        self.carries_ethernet(tx)?;
        if rx == tx {
            return Err(format!("{} cannot be connected to itself", self.name(rx)).into());
        }
        if self.interfaces.set(rx, Mode::CrossConnect { peer: tx }) {
            Ok(())
        } else {
            Err(format!("{}: index {rx} is beyond the table", self.name(rx)).into())
        }
    }

    fn carries_ethernet(&self, index: InterfaceIndex) -> Result<(), Error> {
        match self.host.interface(index) {
            None => Err(format!("there is no interface {index}").into()),
            Some(info) if info.is_l3 => {
                Err(format!("{} carries packets without an Ethernet header", info.name).into())
            }
            Some(_) => Ok(()),
        }
    }

    /// The name of an interface; its index if it is gone.
    fn name(&self, index: InterfaceIndex) -> String {
        self.host.interface(index).map_or_else(|| index.to_string(), |info| info.name)
    }
}
