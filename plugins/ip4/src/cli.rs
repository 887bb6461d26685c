//! Commands of `ip4`.

use std::sync::Arc;

use plugin_api::{
    Answer, Args, Command, Error, InterfaceIndex, Role, declare_command,
    wire::{Ip4Prefix, MacAddress},
};

use crate::{
    Ip4,
    fib::{InterfaceAddress, Path},
    router::path,
};

/// An argument that the grammar says is there.
fn need<T>(value: Option<T>, name: &str) -> Result<T, Error> {
    value.ok_or_else(|| Error::new(format!("{name} is missing")))
}

fn prefix(args: &Args<'_>, name: &str) -> Result<Ip4Prefix, Error> {
    let (address, len) = need(args.ip4_prefix(name), name)?;
    Ip4Prefix::new(address, len).map_err(|error| Error::new(error.to_string()))
}

/// `set interface ip address`
#[derive(Debug)]
pub(crate) struct SetAddress;

impl Command for SetAddress {
    const GRAMMAR: &'static str =
        "set interface ip address [del] <interface:interface> <address:ip4-prefix>";
    const HELP: &'static str = "Gives an interface an address, or takes it away";
    type Plugin = Ip4;

    fn run(ip4: &Arc<Ip4>, args: &Args<'_>, _: &mut Answer<'_>) -> Result<(), Error> {
        let interface = need(args.interface("interface"), "interface")?;
        let (address, _) = need(args.ip4_prefix("address"), "address")?;
        let prefix = prefix(args, "address")?;
        let done = if args.has("del") {
            ip4.remove_address(interface, address)
        } else {
            ip4.add_address(InterfaceAddress { interface, address, prefix })
        };
        done.map_err(|error| Error::new(error.to_string()))
    }
}

declare_command!(SetAddress);

fn route_path(args: &Args<'_>) -> Result<Path, Error> {
    path(need(args.ip4("next-hop"), "next-hop")?, args.interface("interface"))
}

/// `ip route add`
#[derive(Debug)]
pub(crate) struct RouteAdd;

impl Command for RouteAdd {
    const GRAMMAR: &'static str =
        "ip route add <prefix:ip4-prefix> via <next-hop:ip4> [<interface:interface>]";
    const HELP: &'static str =
        "Adds a path to a route; via 0.0.0.0 it is the interface's link itself";
    type Plugin = Ip4;

    fn run(ip4: &Arc<Ip4>, args: &Args<'_>, _: &mut Answer<'_>) -> Result<(), Error> {
        let (prefix, path) = (prefix(args, "prefix")?, route_path(args)?);
        ip4.change_routes(|fib| fib.add_path(prefix, path))
            .map_err(|error| Error::new(error.to_string()))
    }
}

declare_command!(RouteAdd);

/// `ip route del`
#[derive(Debug)]
pub(crate) struct RouteDel;

impl Command for RouteDel {
    const GRAMMAR: &'static str =
        "ip route del <prefix:ip4-prefix> [via <next-hop:ip4> [<interface:interface>]]";
    const HELP: &'static str = "Removes a route, or one of its paths";
    type Plugin = Ip4;

    fn run(ip4: &Arc<Ip4>, args: &Args<'_>, _: &mut Answer<'_>) -> Result<(), Error> {
        let prefix = prefix(args, "prefix")?;
        let done = if args.has("next-hop") {
            let path = route_path(args)?;
            ip4.change_routes(|fib| fib.remove_path(prefix, path))
        } else {
            ip4.change_routes(|fib| fib.remove_route(prefix))
        };
        done.map_err(|error| Error::new(error.to_string()))
    }
}

declare_command!(RouteDel);

/// `set ip neighbor`
#[derive(Debug)]
pub(crate) struct SetNeighbor;

impl Command for SetNeighbor {
    const GRAMMAR: &'static str = "set ip neighbor <interface:interface> <address:ip4> <mac:mac>";
    const HELP: &'static str = "Says which hardware address a neighbour has, whatever ARP says";
    type Plugin = Ip4;

    fn run(ip4: &Arc<Ip4>, args: &Args<'_>, _: &mut Answer<'_>) -> Result<(), Error> {
        let interface = need(args.interface("interface"), "interface")?;
        let address = need(args.ip4("address"), "address")?;
        let mac = MacAddress(need(args.mac("mac"), "mac")?);
        ip4.set_neighbor((interface, address), Some(mac))
    }
}

declare_command!(SetNeighbor);

/// `clear ip neighbor`
#[derive(Debug)]
pub(crate) struct ClearNeighbor;

impl Command for ClearNeighbor {
    const GRAMMAR: &'static str = "clear ip neighbor <interface:interface> <address:ip4>";
    const HELP: &'static str = "Forgets a neighbour";
    type Plugin = Ip4;

    fn run(ip4: &Arc<Ip4>, args: &Args<'_>, _: &mut Answer<'_>) -> Result<(), Error> {
        let interface = need(args.interface("interface"), "interface")?;
        ip4.set_neighbor((interface, need(args.ip4("address"), "address")?), None)
    }
}

declare_command!(ClearNeighbor);

/// `show ip fib`
#[derive(Debug)]
pub(crate) struct ShowFib;

impl Command for ShowFib {
    const GRAMMAR: &'static str = "show ip fib [<prefix:ip4-prefix>]";
    const HELP: &'static str = "Routes: all, or those inside a prefix";
    const ROLE: Role = Role::Read;
    type Plugin = Ip4;

    fn run(ip4: &Arc<Ip4>, args: &Args<'_>, answer: &mut Answer<'_>) -> Result<(), Error> {
        let within = match args.has("prefix") {
            true => prefix(args, "prefix")?,
            false => Ip4Prefix::DEFAULT,
        };
        let routes = ip4.router.lock().fib.routes();
        answer.table("", &["Prefix", "Source", "Paths"]);
        for route in routes.iter().filter(|route| within.covers(route.prefix)) {
            let paths: Vec<String> = route.paths.iter().map(|&path| ip4.show_path(path)).collect();
            answer.row([
                route.prefix.to_string().into(),
                route.source.to_string().into(),
                paths.join(", ").into(),
            ]);
        }
        Ok(())
    }
}

declare_command!(ShowFib);

/// `show ip neighbors`
#[derive(Debug)]
pub(crate) struct ShowNeighbors;

impl Command for ShowNeighbors {
    const GRAMMAR: &'static str = "show ip neighbors";
    const HELP: &'static str = "Neighbours and how well they are known";
    const ROLE: Role = Role::Read;
    type Plugin = Ip4;

    fn run(ip4: &Arc<Ip4>, _: &Args<'_>, answer: &mut Answer<'_>) -> Result<(), Error> {
        let now = std::time::Duration::from_nanos(ip4.host.now_ns());
        let neighbors = ip4.router.lock().neighbors.list();
        answer.table("", &["Interface", "Address", "State", "MAC", "Age", "Waiting"]);
        for neighbor in neighbors {
            answer.row([
                ip4.show_interface(neighbor.key.0).into(),
                neighbor.key.1.into(),
                format!("{:?}", neighbor.state).to_lowercase().into(),
                neighbor.mac.map(|mac| mac.to_string()).into(),
                now.saturating_sub(neighbor.since).as_secs_f64().into(),
                neighbor.waiting.into(),
            ]);
        }
        Ok(())
    }
}

declare_command!(ShowNeighbors);

/// `show interface addr`
#[derive(Debug)]
pub(crate) struct ShowAddresses;

impl Command for ShowAddresses {
    const GRAMMAR: &'static str = "show interface addr";
    const HELP: &'static str = "Addresses of the interfaces";
    const ROLE: Role = Role::Read;
    type Plugin = Ip4;

    fn run(ip4: &Arc<Ip4>, _: &Args<'_>, answer: &mut Answer<'_>) -> Result<(), Error> {
        let addresses = ip4.router.lock().fib.addresses().to_vec();
        answer.table("", &["Interface", "Address"]);
        for own in addresses {
            let address = format!("{}/{}", own.address, own.prefix.len());
            answer.row([ip4.show_interface(own.interface).into(), address.into()]);
        }
        Ok(())
    }
}

declare_command!(ShowAddresses);

impl Ip4 {
    fn show_interface(&self, index: InterfaceIndex) -> String {
        let found = self.host.interface(index);
        found.map_or_else(|| format!("#{index}"), |interface| interface.name)
    }

    fn show_path(&self, path: Path) -> String {
        match path {
            Path::Neighbor { next_hop, interface } => {
                format!("via {next_hop} {}", self.show_interface(interface))
            }
            Path::Attached { interface } => format!("attached {}", self.show_interface(interface)),
            other => other.to_string(),
        }
    }
}
