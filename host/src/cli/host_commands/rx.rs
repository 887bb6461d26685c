//! `show interface rx-placement`, `set interface rx-placement`, `set interface rx-mode`.

use super::{reads, writes};
use crate::{
    cli::{Answer, Call, Cell, Column, CommandError, Table},
    control::Control,
    device::{Interface, InterfaceError, RxChange, RxMode},
};

inventory::submit! {
    reads(
        "show interface rx-placement [<interface:interface>]",
        "receive queues: their threads, modes, and whether they are polled at present",
        show,
    )
}

inventory::submit! {
    writes(
        "set interface rx-placement <interface:interface> [queue <queue:u32>] [worker <worker:u32>] [main]",
        "place a receive queue, or all of an interface, on a worker or on main",
        set_placement,
    )
}

inventory::submit! {
    writes(
        "set interface rx-mode <interface:interface> [queue <queue:u32>] {mode:polling|interrupt|adaptive}",
        "poll a receive queue, or all of an interface, wait for its descriptor, or what suits the load",
        set_mode,
    )
}

fn show(
    control: &mut Control,
    call: &mut Call<'_>,
    answer: &mut Answer,
) -> Result<(), CommandError> {
    let wanted = call.args.u32("interface");
    let [name, node, mode, state] = ["Interface", "Node", "Mode", "State"].map(Column::text);
    let [queue, thread, switches] = ["Queue", "Thread", "Switches"].map(Column::number);
    let mut table = Table::new(vec![name, queue, thread, node, mode, state, switches]);
    let interfaces = control.host.interfaces.read();
    for interface in interfaces.iter().filter(|own| wanted.is_none_or(|index| index == own.index)) {
        rows(interface, &mut table);
    }
    answer.table(table);
    Ok(())
}

fn rows(interface: &Interface, table: &mut Table) {
    let queues = interface.rx_queues.lock();
    for ((number, queue), status) in (0_u64..).zip(&*queues).zip(&interface.rx_status) {
        let is_up = interface.admin_up.load(std::sync::atomic::Ordering::Relaxed);
        let state = match (is_up, status.is_polled()) {
            (false, _) => "disabled",
            (true, true) => "polling",
            (true, false) => "interrupt",
        };
        table.row(vec![
            Cell::Text(interface.name.clone()),
            Cell::Unsigned(number),
            Cell::Unsigned(queue.thread.into()),
            Cell::Text(interface.input_name()),
            Cell::Text(queue.mode.to_string()),
            Cell::Text(state.to_owned()),
            Cell::Unsigned(status.switches.get()),
        ]);
    }
}

fn set_placement(
    control: &mut Control,
    call: &mut Call<'_>,
    _: &mut Answer,
) -> Result<(), CommandError> {
    let thread = match (call.args.u32("worker"), call.args.flag("main")) {
        (Some(worker), false) if worker > 0 => worker,
        (None, true) => 0,
        _ => return Err(CommandError::failed(Whereto)),
    };
    change(control, call, |change| change.thread = Some(thread))
}

/// It is not said where a queue is to be placed.
#[derive(Debug, thiserror::Error)]
#[error("say where: `worker' and its number, from 1, or `main'")]
struct Whereto;

fn set_mode(
    control: &mut Control,
    call: &mut Call<'_>,
    _: &mut Answer,
) -> Result<(), CommandError> {
    let mode = call.args.text("mode").and_then(RxMode::named);
    change(control, call, |change| change.mode = mode)
}

/// Changes the queue that is named, or all.
fn change(
    control: &Control,
    call: &Call<'_>,
    set: impl Fn(&mut RxChange),
) -> Result<(), CommandError> {
    let index = call.args.require("interface")?.u32().unwrap_or(u32::MAX);
    let interface = control.host.interface(index).map_err(CommandError::failed)?;
    let queues = match call.args.u32("queue") {
        Some(queue) => queue..queue.saturating_add(1),
        None if interface.rx_status.is_empty() => {
            let nothing = InterfaceError::NoRxQueue(interface.name.clone());
            return Err(CommandError::failed(nothing));
        }
        None => 0..u32::try_from(interface.rx_status.len()).unwrap_or(u32::MAX),
    };
    let changes: Vec<RxChange> = queues
        .map(|queue| {
            let (thread, by_hand, mode) = (None, true, None);
            let mut change = RxChange { interface: index, queue, thread, by_hand, mode };
            set(&mut change);
            change
        })
        .collect();
    control.host.set_rx_queues(&changes).map_err(CommandError::failed)
}
