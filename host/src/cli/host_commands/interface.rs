//! `show interface`, `set interface state`.

use std::sync::atomic::Ordering::Relaxed;

use super::{reads, writes};
use crate::{
    cli::{Answer, Call, Cell, Column, CommandError, Table},
    control::Control,
    device::Interface,
};

inventory::submit! {
    reads("show interface [<interface:interface>]", "interfaces and what moved over them", show)
}

inventory::submit! {
    writes(
        "set interface state <interface:interface> {state:up|down}",
        "take an interface up or down",
        set_state,
    )
}

fn show(
    control: &mut Control,
    call: &mut Call<'_>,
    answer: &mut Answer,
) -> Result<(), CommandError> {
    let wanted = call.args.u32("interface");
    let text = ["Name", "Class", "State", "MAC"].map(Column::text);
    let numbers = ["Idx", "MTU", "rx-packets", "rx-bytes", "tx-packets", "tx-bytes", "tx-drops"];
    let [name, class, state, mac] = text;
    let mut columns = vec![name];
    let [index, mtu, counters @ ..] = numbers.map(Column::number);
    columns.extend([index, class, state, mtu, mac]);
    columns.extend(counters);
    let mut table = Table::new(columns);
    let interfaces = control.host.interfaces.read();
    for interface in interfaces.iter().filter(|own| wanted.is_none_or(|index| index == own.index)) {
        table.row(row(interface));
    }
    answer.table(table);
    Ok(())
}

fn row(interface: &Interface) -> Vec<Cell> {
    let state = match (interface.admin_up.load(Relaxed), interface.link_up.load(Relaxed)) {
        (false, _) => "down",
        (true, true) => "up",
        (true, false) => "no-link",
    };
    let [a, b, c, d, e, f] = interface.mac;
    let mac = format!("{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}");
    vec![
        Cell::Text(interface.name.clone()),
        Cell::Unsigned(interface.index.into()),
        Cell::Text(interface.class.clone()),
        Cell::Text(state.to_owned()),
        Cell::Unsigned(interface.mtu.into()),
        if interface.is_l3 { Cell::Nothing } else { Cell::Text(mac) },
        Cell::Unsigned(interface.sum(|thread| &thread.rx_packets)),
        Cell::Unsigned(interface.sum(|thread| &thread.rx_bytes)),
        Cell::Unsigned(interface.sum(|thread| &thread.tx_packets)),
        Cell::Unsigned(interface.sum(|thread| &thread.tx_bytes)),
        Cell::Unsigned(interface.sum(|thread| &thread.tx_drops)),
    ]
}

fn set_state(
    control: &mut Control,
    call: &mut Call<'_>,
    _: &mut Answer,
) -> Result<(), CommandError> {
    let index = call.args.require("interface")?.u32().unwrap_or(u32::MAX);
    let up = call.args.text("state") == Some("up");
    control.host.set_admin(index, up).map_err(CommandError::failed)
}
