use gristmill_abi::{
    ABI_MINOR,
    descriptor::{MAGIC, PluginRecord},
    layout::DIGEST,
};

use super::{record::RECORDS_MAX, *};

/// The bytes of a plugin record, as `plugin-api` would leave them.
fn plugin(name: &str) -> Vec<u8> {
    let mut bytes = head(1, 288);
    bytes.extend(1_u16.to_ne_bytes());
    bytes.extend(ABI_MINOR.to_ne_bytes());
    bytes.extend(1_u32.to_ne_bytes());
    bytes.extend(DIGEST.to_ne_bytes());
    for (text, size) in [(name, 64), ("1.2.3", 32), ("1.0.0", 32), ("A test", 128)] {
        bytes.extend(padded(text, size));
    }
    assert_eq!(bytes.len(), size_of::<PluginRecord>());
    bytes
}

fn named(kind: u16, name: &str, detail: &str) -> Vec<u8> {
    let bytes = [head(kind, 272), padded(name, 64), padded(detail, 192)].concat();
    assert_eq!(bytes.len(), size_of::<NameRecord>());
    bytes
}

fn head(kind: u16, size: u32) -> Vec<u8> {
    [&MAGIC[..], &kind.to_ne_bytes(), &[0; 2], &size.to_ne_bytes()].concat()
}

fn padded(text: &str, size: usize) -> Vec<u8> {
    let mut bytes = text.as_bytes()[..text.len().min(size - 1)].to_vec();
    bytes.resize(size, 0);
    bytes
}

fn fault(section: &[u8]) -> String {
    match read(section).unwrap_err() {
        Fault::Record(fault) => fault.to_string(),
        Fault::Abi(fault) => format!("{fault:?}"),
    }
}

fn fault_of(record: Vec<u8>) -> String {
    fault(&[plugin("p"), record].concat())
}

#[test]
fn every_kind_of_record_is_read_into_its_list() {
    let section = [
        named(2, "p-node", ""),
        vec![0; 24], // as a linker may leave
        named(3, "p-arc", "p-end"),
        plugin("p"),
        named(4, "p-node", "ip4-unicast"),
        named(5, "p-class", ""),
        named(6, "show p", "show p [<name:text>]"),
        named(7, "p-table", "1.4.0"),
        named(8, "interface", ">=1.2, <2"),
        vec![0; 3],
    ]
    .concat();
    let description = read(&section).unwrap();
    assert_eq!(description.name, "p");
    assert_eq!(description.version, Version::new(1, 2, 3));
    assert_eq!(description.sdk_version, Version::new(1, 0, 0));
    assert_eq!(description.nodes, ["p-node"]);
    assert_eq!(description.arcs[0], ArcRecord { name: "p-arc".into(), end: "p-end".into() });
    assert_eq!(description.features[0].arc, "ip4-unicast");
    assert_eq!(description.device_classes, ["p-class"]);
    assert_eq!(description.commands[0].path, "show p");
    assert_eq!(description.offers[0].version, Version::new(1, 4, 0));
    assert!(description.requirements[0].range.matches(&Version::new(1, 3, 0)));
    assert_eq!(description.records().count(), 7);
}

#[test]
fn a_section_without_a_plugin_record_is_refused() {
    assert_eq!(fault(&[]), "has no plugin record: it needs `export_plugin!`");
    assert_eq!(fault(&[0; 64]), "has no plugin record: it needs `export_plugin!`");
    assert_eq!(fault(&named(2, "p-node", "")), "has no plugin record: it needs `export_plugin!`");
}

#[test]
fn names_that_are_none_are_refused() {
    assert_eq!(
        fault(&plugin("Upper")),
        "has the plugin name \"Upper\": names are lower-case words joined by hyphens"
    );
    assert!(fault_of(named(2, "", "")).starts_with("has the node name \"\""));
    assert!(fault_of(named(3, "p-arc", "p end")).starts_with("has the node name \"p end\""));
    assert!(fault_of(named(4, "p-node", "")).starts_with("has the arc name \"\""));
    assert!(fault_of(named(6, "show  p", "")).starts_with("has the command name \"show  p\""));
}

#[test]
fn versions_and_ranges_that_are_none_are_refused() {
    let error = fault_of(named(7, "p-table", "1.4"));
    assert!(error.starts_with("has a service's version \"1.4\": "), "{error}");
    let error = fault_of(named(8, "interface", "newest"));
    assert!(error.starts_with("has a requirement's range \"newest\": "), "{error}");
    let mut section = plugin("p");
    section[96..101].copy_from_slice(b"1.2.x");
    assert!(fault(&section).starts_with("has the version \"1.2.x\": "));
}

#[test]
fn text_that_is_not_plain_or_not_padded_is_refused() {
    let text = "has a node record whose name is not zero-padded plain text: rebuild it";
    let changed = |at: usize, value: &[u8]| {
        let mut record = named(2, "p-node", "");
        record[at..at + value.len()].copy_from_slice(value);
        fault_of(record)
    };
    assert_eq!(changed(16 + 63, b"x"), text, "hidden after the end");
    assert_eq!(changed(16, &[b'a'; 64]), text, "no end");
    assert_eq!(changed(16, b"\xff"), text, "not UTF-8");
    assert_eq!(changed(16, b"\x1b[2J"), text, "control characters");
}

#[test]
fn a_detail_that_was_cut_within_a_character_loses_that_character() {
    let grammar = format!("show p{}", " é".repeat(100));
    let mut record = named(6, "show p", "");
    record[80..80 + 191].copy_from_slice(&grammar.as_bytes()[..191]);
    let description = read(&[plugin("p"), record].concat()).unwrap();
    let found = &description.commands[0].grammar;
    assert!(grammar.starts_with(found.as_str()) && found.len() >= 190, "{}", found.len());
}

#[test]
fn unknown_kinds_and_duplicates_are_refused() {
    assert_eq!(
        fault_of(named(9, "p-gizmo", "")),
        "has a record of kind 9, \"p-gizmo\", which this host does not know: update the host"
    );
    assert_eq!(
        fault(&[plugin("p"), named(2, "p-a", ""), named(2, "p-a", "")].concat()),
        "has two node records \"p-a\": rename one"
    );
    let same_name = [plugin("p"), named(2, "p-a", ""), named(4, "p-a", "arc")].concat();
    assert!(read(&same_name).is_ok(), "a node may be a feature");
}

#[test]
fn a_newer_abi_is_named_before_the_kinds_it_brought() {
    let mut newer = plugin("p");
    newer[18..20].copy_from_slice(&(ABI_MINOR + 1).to_ne_bytes());
    let records = [
        named(9, "p-gizmo", ""),
        newer,
        named(2, "p-node", ""),
        named(8, "timer", "^1"),
        named(8, "timer", "^1.7"),
        named(8, "gizmo", "^1"),
    ];
    let Fault::Abi(AbiFault::Minor { found, lacking }) = read(&records.concat()).unwrap_err()
    else {
        panic!("the version comes first");
    };
    assert_eq!(found, ABI_MINOR + 1);
    assert_eq!(
        lacking,
        [
            "it has a record of kind 9, \"p-gizmo\"",
            "it requires \"timer\" ^1.7, which is no service of this host's own",
            "it requires \"gizmo\" ^1, which is no service of this host's own",
        ]
    );
}

#[test]
fn sizes_that_cannot_be_are_refused() {
    for size in [0, 8, 15, 24, 271, 280, u32::MAX] {
        let mut record = named(2, "p-node", "");
        record[12..16].copy_from_slice(&size.to_ne_bytes());
        let error = fault_of(record);
        assert!(error.contains("bytes at byte 288 of section .gristmill"), "{size}: {error}");
    }
    let mut longer = named(2, "p-node", "");
    longer[12..16].copy_from_slice(&280_u32.to_ne_bytes());
    longer.extend([7; 8]);
    assert!(read(&[plugin("p"), longer].concat()).is_ok(), "a later form may be longer");
    assert!(fault(&plugin("p")[..200]).contains("288 bytes at byte 0"));
}

#[test]
fn what_is_between_records_must_be_zero() {
    let error = fault(&[plugin("p"), vec![0, 0, 0, 0, 0, 0, 0, 1]].concat());
    assert_eq!(error, "has no record at byte 288 of section .gristmill: rebuild it");
    let error = fault(&[plugin("p"), vec![1]].concat());
    assert_eq!(error, "has no record at byte 288 of section .gristmill: rebuild it");
}

#[test]
fn more_records_than_any_plugin_has_are_refused() {
    let mut section = plugin("p");
    for index in 0..RECORDS_MAX {
        section.extend(named(2, &format!("n{index}"), ""));
    }
    assert_eq!(fault(&section), "has more than 4096 records");
}
