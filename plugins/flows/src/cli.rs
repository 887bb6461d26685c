//! The commands.

use std::{cmp::Reverse, sync::Arc};

use plugin_api::{
    Answer, Args, Cell, Command, Error, Role, ThreadIndex, declare_command, wire::Protocol,
};

use crate::{
    Flows,
    config::Timeouts,
    shown::{Flow, Reason},
};

/// Rows shown if nothing else is asked for.
const LIMIT: u32 = 100;
/// What flows and reports have in common.
const FLOW: [&str; 7] =
    ["source", "destination", "protocol", "source-port", "destination-port", "packets", "bytes"];

/// `show flows`
#[derive(Debug)]
pub struct ShowFlows;

impl Command for ShowFlows {
    const GRAMMAR: &'static str = "show flows [summary] [{state:active|ended}] [limit <limit:u32>]";
    const HELP: &'static str = "Shows the flows with the most bytes, those that were reported last \
        (ended), or how many there were (summary)";
    const ROLE: Role = Role::Read;
    type Plugin = Flows;

    fn run(flows: &Arc<Flows>, args: &Args<'_>, answer: &mut Answer<'_>) -> Result<(), Error> {
        let limit = args.u32("limit").unwrap_or(LIMIT) as usize;
        match (args.has("summary"), args.text("state")) {
            (true, None) => summary(flows, answer),
            (true, Some(_)) => return Err("a summary is of all flows: leave out the state".into()),
            (false, Some("ended")) => ended(flows, limit, answer),
            (false, _) => active(flows, limit, answer),
        }
        Ok(())
    }
}

declare_command!(ShowFlows);

fn summary(flows: &Flows, answer: &mut Answer<'_>) {
    let settings = flows.settings();
    let [idle, active] = settings.timeouts.seconds();
    answer.line(&format!("time-outs: idle {idle} s, active {active} s"));
    let counts =
        ["thread", "flows", "flows-max", "started", "ended-idle", "ended-active", "not-tracked"];
    answer.table("", &counts);
    for (ThreadIndex(thread), shown, missed) in flows.shown() {
        let totals = &shown.totals;
        answer.row([
            thread.into(),
            totals.flows.get().into(),
            settings.flows_max.into(),
            totals.started.get().into(),
            totals.idle.get().into(),
            totals.active.get().into(),
            (totals.not_tracked.get() + missed).into(),
        ]);
    }
}

fn active(flows: &Flows, limit: usize, answer: &mut Answer<'_>) {
    let shown = flows.shown();
    let now_ns = flows.host().now_ns();
    let all = shown.iter().flat_map(|(thread, shown, _)| {
        shown
            .flows()
            .map(|(flow, ends_ns)| (Reverse((flow.bytes, flow.key)), *thread, flow, ends_ns))
    });
    let mut all: Vec<_> = all.collect();
    all.sort_unstable_by_key(|&(order, ..)| order);
    begin(answer, &["first-seen-ago-s", "last-seen-ago-s", "thread", "expires-in-s"]);
    for (_, ThreadIndex(thread), flow, ends_ns) in all.iter().take(limit) {
        let first = (flow.packets > 0).then(|| seconds(now_ns, flow.first_ns));
        let rest: [Cell<'_>; 4] = [
            first.into(),
            seconds(now_ns, flow.last_ns).into(),
            (*thread).into(),
            seconds(*ends_ns, now_ns).into(),
        ];
        answer.row(cells(flow).into_iter().chain(rest));
    }
    tell_rest(all.len(), limit, answer);
}

fn ended(flows: &Flows, limit: usize, answer: &mut Answer<'_>) {
    let shown = flows.shown();
    let now_ns = flows.host().now_ns();
    let all = shown.iter().flat_map(|(thread, shown, _)| {
        shown.ended().map(|(flow, reason, at_ns)| (Reverse(at_ns), *thread, flow, reason))
    });
    let mut all: Vec<_> = all.collect();
    all.sort_by_key(|&(order, ..)| order); // Stable: of one turn, too, the newest is first.
    begin(answer, &["duration-s", "last-seen-ago-s", "thread", "ended-ago-s", "reason"]);
    for (Reverse(at_ns), ThreadIndex(thread), flow, reason) in all.iter().take(limit) {
        let rest: [Cell<'_>; 5] = [
            seconds(flow.last_ns, flow.first_ns).into(),
            seconds(now_ns, flow.last_ns).into(),
            (*thread).into(),
            seconds(now_ns, *at_ns).into(),
            match reason {
                Reason::Idle => "idle".into(),
                Reason::Active => "active".into(),
            },
        ];
        answer.row(cells(flow).into_iter().chain(rest));
    }
    tell_rest(all.len(), limit, answer);
}

fn begin(answer: &mut Answer<'_>, more: &[&str]) {
    answer.table("", &[&FLOW, more].concat());
}

fn tell_rest(all: usize, limit: usize, answer: &mut Answer<'_>) {
    if let Some(rest @ 1..) = all.checked_sub(limit) {
        answer.line(&format!("{rest} more: say limit {all}"));
    }
}

fn cells(flow: &Flow) -> [Cell<'static>; 7] {
    let [source_port, destination_port] = flow.key.ports();
    [
        flow.key.source().into(),
        flow.key.destination().into(),
        protocol(flow.key.protocol()),
        source_port.into(),
        destination_port.into(),
        flow.packets.into(),
        flow.bytes.into(),
    ]
}

fn protocol(protocol: Protocol) -> Cell<'static> {
    match protocol {
        Protocol::ICMP => "icmp".into(),
        Protocol::TCP => "tcp".into(),
        Protocol::UDP => "udp".into(),
        Protocol(number) => number.to_string().into(),
    }
}

/// Seconds from one time to a later one.
#[expect(clippy::cast_precision_loss, reason = "to be read by people")]
fn seconds(later_ns: u64, earlier_ns: u64) -> f64 {
    later_ns.saturating_sub(earlier_ns) as f64 / 1e9
}

/// `set flows timeout`
#[derive(Debug)]
pub struct SetFlowsTimeout;

impl Command for SetFlowsTimeout {
    const GRAMMAR: &'static str = "set flows timeout [idle <idle:u32>] [active <active:u32>]";
    const HELP: &'static str =
        "Sets the seconds after which flows end, each from its next packet or report on";
    type Plugin = Flows;

    fn run(flows: &Arc<Flows>, args: &Args<'_>, _: &mut Answer<'_>) -> Result<(), Error> {
        let (idle, active) = (args.u32("idle"), args.u32("active"));
        if idle.or(active).is_none() {
            return Err("say idle, active or both, each with its seconds".into());
        }
        let [old_idle, old_active] = flows.timeouts().seconds();
        let (idle, active) = (idle.unwrap_or(old_idle), active.unwrap_or(old_active));
        flows.set_timeouts(Timeouts::of_seconds(idle, active)?);
        Ok(())
    }
}

declare_command!(SetFlowsTimeout);

/// `clear flows`
#[derive(Debug)]
pub struct ClearFlows;

impl Command for ClearFlows {
    const GRAMMAR: &'static str = "clear flows";
    const HELP: &'static str =
        "Forgets all flows and counts; they begin anew with their next packets";
    type Plugin = Flows;

    fn run(flows: &Arc<Flows>, _: &Args<'_>, _: &mut Answer<'_>) -> Result<(), Error> {
        flows.clear();
        Ok(())
    }
}

declare_command!(ClearFlows);
