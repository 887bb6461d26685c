use std::{collections::BTreeSet, env, fmt::Write, fs, path::PathBuf};

use super::*;
use crate::{
    command, declaration, deferred, descriptor, device, file, frame, host, process, root, work,
};

/// A constant, with the minor version that brought it.
type Constant = (u16, &'static str, String);

/// Lists constants of the boundary by the minor version that brought them.
macro_rules! constants {
    ($($minor:literal: $($part:ident)::+ $(, $($more:ident)::+)*;)+) => {
        vec![$(constants!(@one $minor, $($part)::+) $(, constants!(@one $minor, $($more)::+))*),+]
    };
    (@one $minor:literal, $($part:ident)::+) => {
        ($minor, concat!($("::", stringify!($part)),+), format!("{:?}", $($part)::+))
    };
}

fn constants() -> Vec<Constant> {
    constants! {
        0: buffer::LINE, buffer::LINE_SHIFT, buffer::HEADER, buffer::HEADROOM, buffer::DATA,
            buffer::STRIDE, buffer::SLOTS_AT, buffer::SLOTS, buffer::FLAG_NEXT,
            buffer::FLAG_IP4_CHECKSUM_OK, buffer::FLAG_LOCALLY_ORIGINATED, buffer::NO_INTERFACE,
            command::role::READ, command::role::WRITE, command::arg_kind::FLAG, command::arg_kind::TEXT,
            command::arg_kind::UNSIGNED, command::arg_kind::SIGNED, command::arg_kind::FLOAT,
            command::arg_kind::BOOL, command::arg_kind::IP4, command::arg_kind::IP4_PREFIX,
            command::arg_kind::MAC, command::arg_kind::INTERFACE, command::arg_kind::DURATION,
            command::arg_kind::PATH, command::cell_kind::NOTHING, command::cell_kind::TEXT,
            command::cell_kind::UNSIGNED, command::cell_kind::SIGNED, command::cell_kind::FLOAT,
            command::cell_kind::BOOL, declaration::kind::PLUGIN, declaration::kind::NODE,
            declaration::kind::ARC, declaration::kind::FEATURE, declaration::kind::DEVICE_CLASS,
            declaration::kind::COMMAND, declaration::kind::OFFER, declaration::kind::REQUIRE,
            declaration::notice::INTERFACE_ADDED, declaration::notice::INTERFACE_REMOVED,
            declaration::notice::INTERFACE_STATE, declaration::notice::THREAD_ADDED,
            declaration::notice::THREAD_REMOVED, declaration::node_type::INTERNAL,
            declaration::node_type::INPUT, declaration::node_type::PRE_INPUT,
            declaration::node_type::SCHED, declaration::node_flag::MAY_SLEEP,
            declaration::node_flag::ON_INTERRUPT, declaration::next_kind::NODE,
            declaration::next_kind::DROP, declaration::next_kind::OPTIONAL,
            declaration::next_kind::FEATURE, descriptor::SECTION, descriptor::MAGIC,
            descriptor::kind::PLUGIN, descriptor::kind::NODE, descriptor::kind::ARC,
            descriptor::kind::FEATURE, descriptor::kind::DEVICE_CLASS, descriptor::kind::COMMAND,
            descriptor::kind::OFFER, descriptor::kind::REQUIRE, descriptor::FLAG_PANIC_UNWIND,
            device::TX_PANICKED, device::INTERFACE_L3, file::FILE_READ, file::FILE_WRITE,
            file::FILE_EDGE, frame::FRAME_SIZE, frame::TAKEN, frame::PANICKED, frame::MAX_NEXTS,
            frame::PER_PACKET, frame::ENTRY_PANICKED, frame::RX_LINK_UP, frame::RX_LINK_DOWN,
            frame::RX_LAST_POLL, host::log_level::ERROR, host::log_level::WARN, host::log_level::NOTICE,
            host::log_level::DEBUG, host::ALL_INTERFACES, host::TIMER_DEFERRABLE, host::TIMER_PINNED,
            host::CALL_ARGUMENTS, host::CALL_ALIGN, host::CALL_RUN, host::CALL_CANCELLED,
            host::CALL_LATE, host::CALL_AT_BARRIER, host::CALL_WAIT_FOR_ROOM, host::CALL_WAIT_FOR_REPLY,
            host::CALL_FULL, host::CALL_CLOSED, host::CALL_MUST_NOT_WAIT, host::ALL_THREADS,
            process::EVENTS, process::RESTART_NEVER, process::RESTART_ON_FAILURE, process::WAIT_EVENT,
            deferred::SOFTIRQS, deferred::softirq::HI, deferred::softirq::TIMER,
            deferred::softirq::NET_TX, deferred::softirq::NET_RX, deferred::softirq::BLOCK,
            deferred::softirq::IRQ_POLL, deferred::softirq::TASKLET, deferred::softirq::SCHED,
            deferred::softirq::HRTIMER, deferred::softirq::RCU, deferred::softirq::FIRST_FREE,
            deferred::SOFTIRQ_ANY, deferred::THIS_THREAD, deferred::TASKLET_HI,
            deferred::TASKLET_ALREADY, deferred::TASKLET_KILLED, work::WORK_UNBOUND,
            work::WORK_ORDERED, work::WORK_BOUND, work::WORK_ANY_THREAD, work::WORK_PENDING,
            work::WORK_CLOSED, work::WORK_DRAINING,
            process::WAIT_CLOCK, process::WAIT_END, root::ROOT_SYMBOL, root::ENTRY_SYMBOL, Status::OK, Status::FAILED,
            Status::PANICKED, Status::MISSING, Status::CANCELLED;
    }
}

/// A type as it is written down: without paths and lifetimes.
fn short(type_name: &str) -> String {
    let type_name = type_name.replace("<'_>", "").replace("'_, ", "").replace("<'static>", "");
    let is_name = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
    let mut short = String::new();
    let mut rest = type_name.as_str();
    while let Some(first) = rest.chars().next() {
        let end = rest.find(|c| is_name(c) != is_name(first)).unwrap_or(rest.len());
        let (word, more) = rest.split_at(end);
        short.push_str(if is_name(first) { word.rsplit("::").next().unwrap() } else { word });
        rest = more;
    }
    short
}

/// All that was agreed on as of a minor version.
fn agreed(minor: u16) -> String {
    let mut text = format!(
        "# What crosses the boundary as of ABI {ABI_MAJOR}.{minor}; see plugin-api/CHANGELOG.md.\n\
         digest {:#018x}\n",
        digest(minor)
    );
    for (_, name, value) in constants().iter().filter(|(since, ..)| *since <= minor) {
        writeln!(text, "const {} = {value}", name.trim_start_matches("::")).unwrap();
    }
    for layout in LAYOUTS {
        let Some(size) = layout.size(minor) else { continue };
        let form = if layout.grows { "grows" } else { "fixed" };
        writeln!(text, "{form} {}: size {size}, align {}", layout.name, layout.align).unwrap();
        let fields = layout.fields.iter().filter(|field| field.since <= minor);
        for field in fields.filter(|field| !is_reserved(field.name)) {
            let Field { name, at, type_name, .. } = field;
            writeln!(text, "    {at} {name}: {}", short(type_name())).unwrap();
        }
    }
    text
}

/// Where it is written down.
fn place(minor: u16) -> PathBuf {
    format!("{}/agreed/{ABI_MAJOR}.{minor}.txt", env!("CARGO_MANIFEST_DIR")).into()
}

/// A change here is a change of the ABI: it is made on purpose, with a line in the change log.
#[test]
fn what_crosses_the_boundary_is_what_was_agreed_on_for_each_minor_version() {
    for minor in 0..=ABI_MINOR {
        let (place, built) = (place(minor), agreed(minor));
        if env::var_os("UPDATE_GOLDEN").is_some() {
            fs::write(&place, &built).unwrap();
        }
        let written = fs::read_to_string(&place).unwrap_or_default();
        let built_lines: BTreeSet<_> = built.lines().collect();
        let lines: BTreeSet<_> = written.lines().collect();
        let gone: Vec<_> = lines.difference(&built_lines).collect();
        let new: Vec<_> = built_lines.difference(&lines).collect();
        assert!(
            written == built,
            "ABI {ABI_MAJOR}.{minor} is not what {} says.\nGone: {gone:#?}\nNew: {new:#?}\n\
             What a released version has stays as it is: undo what moved, went or changed its type. \
             What is new is appended under the next minor version: raise ABI_MINOR, list it in \
             layout.rs (and its constants in layout/tests.rs) under that number, write a line \
             \"**ABI**, minor\" into plugin-api/CHANGELOG.md, then run this test with UPDATE_GOLDEN=1, \
             which must write one new file and change no other. If nobody has built against \
             {ABI_MAJOR}.{minor} yet, UPDATE_GOLDEN=1 writes it anew.",
            place.display(),
        );
    }
}

#[test]
fn the_change_log_has_a_line_for_each_minor_version() {
    let log = concat!(env!("CARGO_MANIFEST_DIR"), "/../CHANGELOG.md");
    let log = fs::read_to_string(log).unwrap();
    for minor in 0..=ABI_MINOR {
        let line = format!("ABI {ABI_MAJOR}.{minor}, digest `{:#018x}`", digest(minor));
        assert!(log.contains(&line), "plugin-api/CHANGELOG.md has no \"{line}\"");
    }
}

#[test]
fn only_what_says_its_size_grows_and_only_at_its_end() {
    for Layout { name, grows, sizes, fields, .. } in LAYOUTS {
        assert!(
            sizes.is_sorted_by(|one, next| one.0 < next.0 && one.1 <= next.1),
            "{name}: {sizes:?}"
        );
        assert!(
            sizes.iter().all(|(minor, _)| (0..=ABI_MINOR).contains(minor)),
            "{name}: raise ABI_MINOR: {sizes:?}"
        );
        assert_eq!(fields[0].at, 0, "{name}");
        assert!(!grows || fields[0].name == "head", "{name} has no head to say its size");
        assert!(*grows || sizes.len() == 1, "{name} has one size for ever: {sizes:?}");
        for Field { name: field, since, at, size, .. } in fields.iter() {
            let before = sizes.iter().rev().find(|(minor, _)| minor < since);
            let is_behind = before.is_none_or(|(_, size)| at >= size);
            let end = fields.iter().filter(|other| other.at < *at);
            let overlaps = end.filter(|other| other.at + other.size > *at).count();
            assert_eq!(overlaps, 0, "{name}.{field} lies on another field");
            let was_reserved = before.is_some_and(|(_, size_before)| at + size <= *size_before);
            assert!(
                is_behind || was_reserved,
                "{name}.{field} is neither behind the rest nor reserved"
            );
        }
    }
}

/// Names that the sources define with these words before them, up to the first other character.
fn defined(before: &[&str]) -> BTreeSet<(String, String)> {
    let mut names = BTreeSet::new();
    for file in fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/src")).unwrap() {
        let path = file.unwrap().path();
        let module = path.file_stem().unwrap().to_str().unwrap().to_owned();
        if path.is_dir() || ["grow", "layout"].contains(&module.as_str()) {
            continue; // They are about the boundary, and not of it.
        }
        let text = fs::read_to_string(&path).unwrap();
        let text = text.split("#[cfg(test)]").next().unwrap();
        for line in text.lines().map(str::trim) {
            let Some(rest) = before.iter().find_map(|before| line.strip_prefix(before)) else {
                continue;
            };
            let name = rest.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap();
            names.insert((module.clone(), name.to_owned()));
        }
    }
    assert!(names.len() > 20, "{names:?}");
    names
}

#[test]
fn every_type_of_the_boundary_is_listed() {
    let listed: BTreeSet<_> = LAYOUTS.iter().map(|layout| layout.name).collect();
    assert_eq!(listed.len(), LAYOUTS.len(), "each once");
    let types = defined(&["pub struct ", "pub union ", "pub enum "]);
    let missing: Vec<_> =
        types.iter().filter(|(_, name)| !listed.contains(name.as_str())).collect();
    assert!(
        missing.is_empty(),
        "not in the list of layouts, with what each minor version has: {missing:?}"
    );
}

#[test]
fn every_constant_of_the_boundary_is_listed() {
    let constants = constants();
    let listed = |module: &str, name: &str| {
        let (end, begin) = (format!("::{name}"), format!("::{module}::"));
        constants.iter().any(|(_, path, _)| {
            path.ends_with(&end) && (path.starts_with(&begin) || path.starts_with("::Status"))
        })
    };
    let not_values = ["ABI_MAJOR", "ABI_MINOR", "EMPTY", "fn"];
    let missing: Vec<_> = defined(&["pub const "])
        .into_iter()
        .filter(|(module, name)| !not_values.contains(&name.as_str()) && !listed(module, name))
        .collect();
    assert!(
        missing.is_empty(),
        "not in the list of constants, with its minor version: {missing:?}"
    );
}

#[test]
fn what_is_appended_later_leaves_the_earlier_digest_alone() {
    const fn field(name: &'static str, since: u16, at: usize) -> Field {
        Field { name, since, at, size: 8, type_name: || "u64" }
    }
    const HEAD: Field = field("head", 0, 0);
    const CALL: Field = field("call", 0, 8);
    const NOW: &[Field] = &[HEAD, CALL, field("reserved", 0, 16)];
    const LATER: &[Field] = &[HEAD, CALL, field("named", 1, 16), field("more", 1, 24)];
    const MOVED: &[Field] = &[HEAD, field("call", 0, 16)];
    let of = |sizes, fields, minor| {
        let layout = Layout { name: "Toy", grows: true, align: 8, sizes, fields };
        fold_layout(FNV_OFFSET, &layout, minor)
    };
    let now = of(&[(0, 24)], NOW, 0);
    assert_eq!(of(&[(0, 24), (1, 32)], LATER, 0), now, "a plugin of 1.0 fits");
    assert_ne!(of(&[(0, 24), (1, 32)], LATER, 1), now);
    assert_ne!(of(&[(0, 24)], MOVED, 0), now);
    assert_ne!(of(&[(0, 24)], &[HEAD], 0), now);
    assert_eq!(of(&[(1, 24)], NOW, 0), FNV_OFFSET, "a type that 1.1 brings is not in 1.0");
}
