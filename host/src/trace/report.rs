//! From hops to what people read.
#![expect(unsafe_code, reason = "has the plugins that left records write them")]

use std::{collections::BTreeMap, ffi::c_void, fmt::Write as _};

use gristmill_abi::{
    Head, Status, Str,
    trace::{FormatTraceFn, TraceText},
};

use super::{
    capture::Session,
    hop::{Form, Hop, Outcome},
    names::{Known, Names},
};
use crate::{
    graph::{Plan, PlanNext, plan::ERROR_DROP},
    process::Hold,
    time::Nanos,
};

/// Text of one record at most.
const TEXT_MAX: usize = 4096;

/// One traced packet.
#[derive(Clone, Debug)]
pub struct PacketTrace {
    /// Its hops in order, with the thread of each.
    pub hops: Vec<(u32, Hop)>,
    /// Hops that there was no room for.
    pub missing: usize,
}

impl PacketTrace {
    /// The thread on which it was traced first.
    pub fn thread(&self) -> u32 {
        self.hops.first().map_or(0, |&(thread, _)| thread)
    }
}

/// The packets that were traced, in the order in which they were chosen; of each the hops on all
/// threads, in order.
pub fn packets(session: &Session) -> Vec<PacketTrace> {
    let mut packets = Vec::new();
    for capture in &session.captures {
        let mut by_mark = BTreeMap::<u32, Vec<(u32, Hop)>>::new();
        for (thread, log) in capture.logs() {
            for hop in log.read_all() {
                by_mark.entry(hop.mark).or_default().push((thread, hop));
            }
        }
        packets.extend(by_mark.into_iter().map(|(mark, mut hops)| {
            hops.sort_by_key(|(_, hop)| hop.number);
            let missing = (capture.hops(mark) as usize).saturating_sub(hops.len());
            PacketTrace { hops, missing }
        }));
    }
    packets
}

/// A packet's hops for people: for each a line with time and node, and lines with what is known of it.
///
/// Context: main. Runs plugins' code.
pub fn describe(
    trace: &PacketTrace,
    names: &Names,
    plan: &Plan,
    interface: &dyn Fn(u32) -> String,
) -> Vec<String> {
    let mut lines = Vec::new();
    let mut why = None;
    for (at, (thread, hop)) in trace.hops.iter().enumerate() {
        let known = names.of(hop.node, hop.serial);
        let name = known.map_or("(unknown)", |known| &known.name);
        let elsewhere =
            if *thread == trace.thread() { String::new() } else { format!(" (thread {thread})") };
        lines.push(format!("{}: {name}{elsewhere}", time_of_day(hop.at)));
        let mut line = |text: &str| lines.push(format!("  {text}"));
        let came_from = (hop.rx_interface != u32::MAX).then(|| interface(hop.rx_interface));
        if name == ERROR_DROP {
            line(&format!("rx: {}", came_from.as_deref().unwrap_or("none")));
            line(&why.take().unwrap_or_else(|| "dropped".to_owned()));
        } else if let (0, Some(from), true) = (at, &came_from, hop.form != Form::Received) {
            line(&format!("rx: {from}"));
        }
        if hop.outcome == Outcome::Open {
            line("still in the node");
            continue;
        }
        let current = plan.node(hop.node).filter(|node| node.serial == hop.serial);
        let format = current.and_then(|node| node.format_trace);
        record_lines(hop, format, came_from.as_deref()).iter().for_each(|text| line(text));
        if let Some(text) = outcome_line(hop, known, name) {
            line(&text);
        }
        why = drop_reason(hop, known).map(|reason| format!("{name}: {reason}"));
    }
    if trace.missing > 0 {
        lines.push(format!("trace truncated: {} more hops", trace.missing));
    }
    lines
}

/// Hours, minutes, seconds and microseconds since the host started.
fn time_of_day(at: Nanos) -> String {
    let micros = at.0 / 1_000;
    let (seconds, micros) = (micros / 1_000_000, micros % 1_000_000);
    let (hours, minutes) = (seconds / 3_600, seconds / 60 % 60);
    format!("{hours:02}:{minutes:02}:{:02}:{micros:06}", seconds % 60)
}

fn record_lines(hop: &Hop, format: Option<FormatTraceFn>, from: Option<&str>) -> Vec<String> {
    if hop.form == Form::Own {
        return own_lines(hop.record.bytes(), format);
    }
    let (len, queue, data) = hop.record.packet();
    let queue = queue.map_or_else(String::new, |queue| format!(" queue {queue}"));
    let first = match hop.form {
        Form::Received => format!("rx: {}{queue}, {len} bytes", from.unwrap_or("none")),
        Form::Sent => format!("tx:{queue}, {len} bytes"),
        Form::Bytes | Form::Own => format!("{len} bytes"),
    };
    let mut lines = vec![first];
    lines.extend(hex(data));
    lines
}

/// A node's own record: as its plugin writes it, if it is there and able to.
fn own_lines(record: &[u8], format: Option<FormatTraceFn>) -> Vec<String> {
    let Some(format) = format else { return hex(record) };
    let (text, status) = format_record(format, record);
    let mut lines: Vec<String> = text.lines().map(printable).collect();
    match status {
        Status::OK => return lines,
        Status::PANICKED => lines.push("(the node's formatter panicked)".to_owned()),
        _ => lines.push("(the node's formatter cannot read its record)".to_owned()),
    }
    lines.extend(hex(record));
    lines
}

fn printable(line: &str) -> String {
    line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

fn format_record(format: FormatTraceFn, record: &[u8]) -> (String, Status) {
    unsafe extern "C" fn write(context: *mut c_void, text: Str<'_>) {
        // SAFETY: `format_record` lends its text for the call.
        let to = unsafe { &mut *context.cast::<String>() };
        for c in text.as_str().chars() {
            if to.len() >= TEXT_MAX {
                return;
            }
            to.push(c);
        }
    }
    let _hold = Hold::new(); // The plugin must not wait.
    let mut text = String::new();
    let head = Head::of::<TraceText>();
    let sink = TraceText { head, context: (&raw mut text).cast(), write };
    let len = u32::try_from(record.len()).unwrap_or(0);
    // SAFETY: record and sink are good for the call, and the plugin is loaded, for its node is in the
    // graph; the function catches its own panics.
    let status = unsafe { format(record.as_ptr(), len, &raw const sink) };
    (text, status)
}

fn hex(bytes: &[u8]) -> Vec<String> {
    let line = |bytes: &[u8]| {
        let mut line = String::new();
        for (at, byte) in bytes.iter().enumerate() {
            let gap = if at > 0 && at % 4 == 0 { " " } else { "" };
            let _ = write!(line, "{gap}{byte:02x}");
        }
        line
    };
    bytes.chunks(16).map(line).collect()
}

/// Why a packet went to `error-drop`, if it did.
fn drop_reason(hop: &Hop, known: Option<&Known>) -> Option<String> {
    let next = match hop.outcome {
        Outcome::Undecided => return Some("undecided".to_owned()),
        Outcome::BadNext => return Some("bad-next".to_owned()),
        Outcome::Next(next) | Outcome::HandedTo { next, .. } => next,
        _ => return None,
    };
    match known?.nexts.get(usize::from(next))? {
        PlanNext::Drop { reason, .. } => Some(reason.clone()),
        PlanNext::Node(name) => Some(format!("node-gone ({name})")),
        PlanNext::Optional(name) => Some(format!("next-not-loaded ({name})")),
        PlanNext::Feature => Some("not-on-an-arc".to_owned()),
    }
}

/// What became of the packet, where the next hop does not tell.
fn outcome_line(hop: &Hop, known: Option<&Known>, name: &str) -> Option<String> {
    match hop.outcome {
        Outcome::Taken if hop.form == Form::Sent => Some("sent".to_owned()),
        Outcome::Taken if name == ERROR_DROP => None,
        Outcome::Taken => Some("kept by the node".to_owned()),
        Outcome::HandedTo { thread, .. } => Some(format!("handed to thread {thread}")),
        Outcome::Congested { thread } => {
            Some(format!("drop: handoff-congestion of thread {thread}"))
        }
        Outcome::Undecided => Some("drop: undecided".to_owned()),
        Outcome::BadNext => Some("drop: bad-next".to_owned()),
        Outcome::Next(next) => match known?.nexts.get(usize::from(next))? {
            PlanNext::Drop { reason, .. } => Some(format!("drop: {reason}")),
            _ => None,
        },
        Outcome::Open => None,
    }
}

#[cfg(test)]
mod tests;
