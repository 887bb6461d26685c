//! The commands.

use std::sync::Arc;

use plugin_api::{Answer, Args, Command, Error, Role, declare_command, wire::FlowSense};

use crate::{Choice, WorkerHandoffs};

/// `set interface handoff`
#[derive(Debug)]
pub(crate) struct SetInterfaceHandoff;

impl Command for SetInterfaceHandoff {
    const GRAMMAR: &'static str = "set interface handoff <interface:interface> [workers <workers:word>] [symmetrical] [disable]";
    const HELP: &'static str = "Spreads the packets that an interface receives over workers (1-3,5; \
        all of them if none are named), each flow to one; symmetrical: both its directions";
    type Plugin = WorkerHandoffs;

    fn run(plugin: &Arc<WorkerHandoffs>, args: &Args<'_>, _: &mut Answer<'_>) -> Result<(), Error> {
        let index = args.interface("interface").ok_or("which interface?")?;
        let (workers, symmetrical) = (args.text("workers"), args.has("symmetrical"));
        if args.has("disable") {
            if workers.is_some() || symmetrical {
                return Err("disable goes without workers and symmetrical".into());
            }
            return plugin.set(index, None);
        }
        let info = plugin.host().interface(index);
        if let Some(info) = info.filter(|info| info.is_l3) {
            let text = format!("{} carries packets without an Ethernet header", info.name);
            return Err(text.into());
        }
        let threads = workers.map(|list| plugin.parse_threads(list)).transpose()?;
        let sense = if symmetrical { FlowSense::Symmetrical } else { FlowSense::Directed };
        plugin.set(index, Some(Choice { threads, sense }))
    }
}

declare_command!(SetInterfaceHandoff);

/// `show interface handoff`
#[derive(Debug)]
pub(crate) struct ShowInterfaceHandoff;

impl Command for ShowInterfaceHandoff {
    const GRAMMAR: &'static str = "show interface handoff";
    const HELP: &'static str = "Shows which interfaces spread their packets over which workers";
    const ROLE: Role = Role::Read;
    type Plugin = WorkerHandoffs;

    fn run(
        plugin: &Arc<WorkerHandoffs>,
        _: &Args<'_>,
        answer: &mut Answer<'_>,
    ) -> Result<(), Error> {
        answer.table("", &["interface", "workers", "present", "symmetrical"]);
        let host = plugin.host();
        for index in host.interface_indices() {
            let Some(choice) = plugin.choice(index) else { continue };
            let name = host.interface(index).map_or_else(|| index.to_string(), |info| info.name);
            let workers =
                choice.threads.map_or_else(|| "all".to_owned(), |threads| threads.to_string());
            let symmetrical = choice.sense == FlowSense::Symmetrical;
            answer.row([
                name.into(),
                workers.into(),
                plugin.present(choice).to_string().into(),
                symmetrical.into(),
            ]);
        }
        Ok(())
    }
}

declare_command!(ShowInterfaceHandoff);
