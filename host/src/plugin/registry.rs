//! The owned-resource registry: every kind of thing a plugin can register, how it is listed and
//! how it is taken away. A later kind of thing gets a line here.

use crate::{
    control::Control,
    deferred::work,
    device::InterfaceError,
    engine::Caller,
    graph::{Owner, PlanError},
    host::current_thread,
};

/// A kind of thing that has an owner.
pub struct ResourceKind {
    /// What it is called, in the plural.
    pub name: &'static str,
    /// Names of those of an owner.
    pub list: fn(&Control, Owner) -> Vec<String>,
    /// Takes those of an owner away. Main, outside of nodes.
    pub revoke: fn(&mut Control, Owner) -> Result<(), String>,
}

/// All kinds, in the order in which they are taken away: first what the operator and other
/// plugins can reach, then what packets reach, then what both stood on.
pub const KINDS: &[ResourceKind] = &[
    ResourceKind {
        name: "commands",
        list: |control, owner| {
            let commands = control.commands.commands().iter();
            let own = commands.filter(|command| command.owner.id == owner.0 && owner.0 != 0);
            own.map(|command| command.path().join(" ")).collect()
        },
        revoke: |control, owner| {
            control.commands.remove_owner(owner.0);
            Ok(())
        },
    },
    ResourceKind {
        name: "notices",
        list: |_, _| Vec::new(), // Every plugin gets them.
        revoke: |control, owner| {
            control.host.listeners.lock().remove_owner(owner);
            Ok(())
        },
    },
    ResourceKind {
        name: "pending timers",
        list: |control, owner| control.host.timers.pending(|timer| timer.owner == owner),
        revoke: |control, owner| {
            let current = current_thread();
            let deleted = control.host.timers.delete_all(current, |timer| timer.owner == owner);
            deleted.map(|_| ()).map_err(|error| error.to_string())
        },
    },
    ResourceKind {
        name: "softirqs",
        list: |control, owner| {
            let open = control.host.softirqs.open_ones().into_iter();
            open.filter(|softirq| softirq.owner == owner).map(|softirq| softirq.name).collect()
        },
        revoke: |control, owner| {
            let open = control.host.softirqs.open_ones().into_iter();
            let mut own = open.filter(|softirq| softirq.owner == owner);
            let close = |number| control.host.close_softirq(number, owner);
            own.try_for_each(|softirq| close(softirq.number)).map_err(|error| error.to_string())
        },
    },
    ResourceKind {
        name: "tasklets",
        list: |control, owner| {
            let own = control.host.tasklets.of(owner).into_iter();
            own.map(|tasklet| tasklet.spec.name.clone()).collect()
        },
        revoke: |control, owner| {
            control.host.revoke_tasklets(owner).map_err(|error| error.to_string())
        },
    },
    ResourceKind {
        name: "calls after a grace period",
        list: |control, owner| match control.host.grace.of(owner) {
            0 => Vec::new(),
            waiting => vec![format!("{waiting} waiting")],
        },
        // By main, which frees what its owner had only after what is taken away with it.
        revoke: |_, _| Ok(()),
    },
    ResourceKind {
        name: "calls to main",
        list: |control, owner| match control.host.rpc.pending(owner) {
            0 => Vec::new(),
            pending => vec![format!("{pending} pending")],
        },
        revoke: |control, owner| {
            control.host.forget_caller(owner);
            Ok(())
        },
    },
    // After the timers, which queue what is delayed, and the calls to main, which items may wait for;
    // before the processes, which get their results, and the nodes, which find the queues closed.
    ResourceKind {
        name: "work queues",
        list: |control, owner| control.host.work.of(owner),
        revoke: |control, owner| {
            let stuck = control.host.work.revoke(owner, work::PATIENCE);
            let text = || format!("{} still runs after {:?}", stuck.join(", "), work::PATIENCE);
            if stuck.is_empty() { Ok(()) } else { Err(text()) }
        },
    },
    ResourceKind {
        name: "processes",
        list: |control, owner| control.host.processes.of(owner),
        revoke: |control, owner| {
            let host = control.host;
            let parked = host.processes.revoke(owner, |notice| host.tell_of_process(notice));
            let text = || format!("{} waited on though they were to end", parked.join(", "));
            if parked.is_empty() { Ok(()) } else { Err(text()) }
        },
    },
    ResourceKind {
        name: "descriptors",
        list: |control, owner| {
            let watched = control.host.watched_files();
            let own = watched.into_iter().filter(|(_, file)| file.owner == owner);
            own.map(|(_, file)| file.name).collect()
        },
        revoke: |control, owner| {
            control.host.all_files().iter().for_each(|(_, files)| {
                files.remove_owner(owner);
            });
            Ok(())
        },
    },
    ResourceKind {
        name: "interfaces",
        list: |control, owner| {
            let interfaces = control.host.interfaces.read();
            let own = interfaces.iter().filter(|interface| interface.owner == owner);
            own.map(|interface| interface.name.clone()).collect()
        },
        revoke: |control, owner| {
            let own: Vec<u32> = {
                let interfaces = control.host.interfaces.read();
                let own = interfaces.iter().filter(|interface| interface.owner == owner);
                own.map(|interface| interface.index).collect()
            };
            if own.is_empty() {
                return Ok(());
            }
            // All of them in one stop.
            let host = control.host;
            let delete = |index| host.delete_interface(index, owner);
            let deleted =
                host.batch(Caller::of(owner, "interface"), || own.into_iter().try_for_each(delete));
            deleted.map(|_| ()).map_err(|error: InterfaceError| error.to_string())
        },
    },
    ResourceKind {
        name: "services",
        list: |control, owner| control.host.services.lock().of(owner),
        revoke: |control, owner| {
            control.host.services.lock().remove_owner(owner);
            Ok(())
        },
    },
    ResourceKind {
        name: "nodes",
        list: |control, owner| {
            let (plan, _) = control.host.running_graph();
            let own = plan.nodes().filter(|(_, node)| node.owner == owner);
            own.map(|(_, node)| node.name.to_string()).collect()
        },
        revoke: |control, owner| {
            // Features and arcs go with them, in one splice.
            let removed = control.host.change_graph(Caller::of(owner, "unload"), |plan| {
                plan.remove_owner(owner);
                Ok::<_, PlanError>(())
            });
            removed.map_err(|error| error.to_string())
        },
    },
    ResourceKind {
        name: "arcs",
        list: |control, owner| {
            let (plan, _) = control.host.running_graph();
            let own = plan.arcs.iter().filter(|(_, arc)| arc.owner == owner);
            own.map(|(name, _)| name.clone()).collect()
        },
        revoke: |_, _| Ok(()), // Gone with the nodes.
    },
    ResourceKind {
        name: "features",
        list: |control, owner| {
            let (plan, _) = control.host.running_graph();
            let features = plan
                .arcs
                .iter()
                .flat_map(|(name, arc)| arc.features.iter().map(move |feature| (name, feature)));
            let own = features.filter(|(_, feature)| feature.owner == owner);
            own.map(|(arc, feature)| format!("{} on {arc}", feature.node)).collect()
        },
        revoke: |_, _| Ok(()), // Gone with the nodes.
    },
    ResourceKind {
        name: "device classes",
        list: |control, owner| control.host.classes.lock().of(owner),
        revoke: |control, owner| {
            control.host.classes.lock().remove_owner(owner);
            Ok(())
        },
    },
    ResourceKind {
        name: "buffer slots",
        list: |control, owner| control.host.slots.lock().of(owner),
        revoke: |control, owner| {
            control.host.slots.lock().remove_owner(owner);
            Ok(())
        },
    },
];
