//! The boundary in C: the header says what the sources say, and the example that is written with it
//! works in the host.
#![expect(clippy::unwrap_used, reason = "a test may panic where it cannot go on")]

use std::{
    env,
    fmt::Write,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use cbindgen::{Builder, Config, DocumentationStyle, ItemType, Language, Style};
use gristmill_tests::{Lab, SOURCE, Traffic, lab::until, need_tool, traffic};
use plugin_api::abi::{ABI_MAJOR, ABI_MINOR, layout};

const HEADER: &str = "plugin-api/include/gristmill.h";
const EXAMPLE: &str = "plugin-api/examples/c";
/// Bytes of a packet of the stream.
const SIZE: u64 = 128;

const PREAMBLE: &str = "\
/* The boundary between the Gristmill host and its plugins, in C; plugin-api/examples/c uses it.
 *
 * Made from plugin-api/abi/src, which says more; a test holds both against each other. What may change
 * is said in plugin-api/CHANGELOG.md. Every structure that begins with a head is only appended to: set
 * its struct_size to the sizeof, and read no field beyond the struct_size of one that you are given. */
#ifndef GRISTMILL_H
#define GRISTMILL_H

#include <stddef.h>
#include <stdint.h>

struct GristmillTraceText; /* Below. */

/* Shared with other threads as soon as it is not 1. */
typedef uint16_t GristmillAtomicU16;

#define GRISTMILL_ALIGNED(n) __attribute__((aligned(n)))
/* A record in the file, which the linker must keep. */
#define GRISTMILL_RECORD __attribute__((used, retain, section(\".gristmill\"))) static const
/* The head of a structure of that type. */
#define GRISTMILL_HEAD(type) { sizeof(type), GRISTMILL_ABI_MAJOR, GRISTMILL_ABI_MINOR }
/* The head of a record of that type and kind. */
#define GRISTMILL_RECORD_HEAD(type, kind) { GRISTMILL_DESCRIPTOR_MAGIC, kind, 0, sizeof(type) }
/* A text literal. */
#define GRISTMILL_STR(text) { (const uint8_t *)(text), sizeof(text) - 1 }
/* An array. */
#define GRISTMILL_LIST(array) { (array), sizeof(array) / sizeof((array)[0]) }
";

/// What was agreed on, as the ABI's own test has written it down.
fn agreed() -> String {
    let place = format!("{SOURCE}/plugin-api/abi/agreed/{ABI_MAJOR}.{ABI_MINOR}.txt");
    fs::read_to_string(place).unwrap()
}

/// The constants, each named after its place in the sources.
fn constants() -> String {
    let mut text = format!(
        "\n#define GRISTMILL_ABI_MAJOR {ABI_MAJOR}\n#define GRISTMILL_ABI_MINOR {ABI_MINOR}\n\
         #define GRISTMILL_LAYOUT_DIGEST {:#018x}ULL\n",
        layout::DIGEST
    );
    for line in agreed().lines() {
        let Some((name, value)) =
            line.strip_prefix("const ").and_then(|rest| rest.split_once(" = "))
        else {
            continue;
        };
        if name.starts_with("Status::") {
            continue; // They come with their type.
        }
        let name = name.replace("::", "_").to_uppercase();
        let value = match value.strip_prefix("Status(").and_then(|rest| rest.strip_suffix(')')) {
            Some(status) => status.to_owned(),
            None if value.starts_with('[') => value.replace('[', "{ ").replace(']', " }"),
            None if value.starts_with('"') => value.to_owned(),
            None => format!("{value}u"),
        };
        writeln!(text, "#define GRISTMILL_{name} {value}").unwrap();
    }
    text
}

fn config() -> Config {
    let mut config = Config {
        language: Language::C,
        style: Style::Both,
        documentation_style: DocumentationStyle::C99,
        usize_is_size_t: true,
        no_includes: true,
        line_length: 100,
        documentation: true,
        ..Config::default()
    };
    config.export.prefix = Some("Gristmill".to_owned());
    config.export.item_types = vec![ItemType::Structs, ItemType::Typedefs, ItemType::OpaqueItems];
    config.export.exclude = vec!["V1".to_owned()];
    config.layout.aligned_n = Some("GRISTMILL_ALIGNED".to_owned());
    for line in agreed().lines() {
        let named = ["grows ", "fixed "].iter().find_map(|form| line.strip_prefix(form));
        let name = named.and_then(|rest| rest.split_once(':')).map(|(name, _)| name);
        config.export.include.extend(name.filter(|name| *name != "V1").map(str::to_owned));
    }
    config
}

/// Functions that have a name of their own and may be missing: what they return, and their arguments.
const OPTIONAL: [(&str, &str, &str); 2] = [
    ("FileFn", "GristmillStatus", "void *data"),
    (
        "FormatTraceFn",
        "GristmillStatus",
        "const uint8_t *record, uint32_t len, const struct GristmillTraceText *text",
    ),
];

/// A line in C; `None` if it is of no use. An `Option` of a function under a name of its own is not
/// known to be a pointer.
fn plain(line: &str) -> Option<String> {
    for (name, result, arguments) in OPTIONAL {
        let option = format!("struct GristmillOption_{name}");
        if line == format!("typedef {option} GristmillOption_{name};") {
            return None;
        }
        if let Some(field) = line.trim().strip_prefix(&option) {
            let field = field.trim().trim_end_matches(';');
            return Some(format!("  {result} (*{field})({arguments});"));
        }
    }
    Some(line.to_owned())
}

/// The header as the sources have it now.
fn header() -> String {
    let mut builder = Builder::new().with_config(config());
    let files = fs::read_dir(format!("{SOURCE}/plugin-api/abi/src")).unwrap();
    let mut paths: Vec<_> = files.map(|file| file.unwrap().path()).collect();
    paths.sort();
    for path in paths {
        let module = path.file_stem().unwrap().to_str().unwrap();
        if path.is_file() && !["layout", "grow"].contains(&module) {
            builder = builder.with_src(path);
        }
    }
    let mut types = Vec::new();
    builder.generate().unwrap().write(&mut types);
    let types = String::from_utf8(types).unwrap();
    let mut types: Vec<String> = types.lines().filter_map(plain).collect();
    types.dedup_by(|line, before| line.is_empty() && before.is_empty());
    let types = types.join("\n");
    format!("{PREAMBLE}{}\n{types}\n#endif\n", constants())
}

#[test]
fn the_header_is_what_the_sources_say() {
    let place = Path::new(SOURCE).join(HEADER);
    let made = header();
    if env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&place, &made).unwrap();
    }
    let written = fs::read_to_string(&place).unwrap_or_default();
    let differs = written.lines().zip(made.lines()).find(|(one, other)| one != other);
    assert!(written == made, "run this with UPDATE_GOLDEN=1: {HEADER} differs: {differs:?}");
}

#[test]
fn the_structures_of_the_header_have_the_layouts_of_the_sources() {
    if !need_tool("gcc") {
        return;
    }
    let mut source = "#include \"gristmill.h\"\n".to_owned();
    let mut say = |what: String, number: usize| {
        writeln!(source, "_Static_assert({what} == {number}, \"{what}\");").unwrap();
    };
    // Generic, of functions that only Rust has, or no structure in C.
    let others = ["List", "V1", "Status"];
    for layout in layout::LAYOUTS.iter().filter(|layout| !others.contains(&layout.name)) {
        let name = format!("Gristmill{}", layout.name);
        say(format!("sizeof({name})"), layout.size(ABI_MINOR).unwrap());
        say(format!("_Alignof({name})"), layout.align);
        for field in layout.fields.iter().filter(|field| field.size > 0) {
            let of_cpp = ["class", "delete"].contains(&field.name); // cbindgen minds C++, too.
            let member = format!("{}{}", field.name, if of_cpp { "_" } else { "" });
            say(format!("offsetof({name}, {member})"), field.at);
        }
    }
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("layouts.c");
    fs::write(&file, source).unwrap();
    let mut gcc = Command::new("gcc");
    gcc.args([
        "-std=c11",
        "-Wall",
        "-Wextra",
        "-Werror",
        "-fsyntax-only",
        "-I",
        "plugin-api/include",
    ]);
    let output = gcc.arg(&file).current_dir(SOURCE).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Compiles the example with all that gcc has to say against it.
fn compiled(lab: &Lab) -> PathBuf {
    let plugin = lab.directory().join("libpacket_count_plugin.so");
    let mut gcc = Command::new("gcc");
    gcc.args(["-std=c11", "-Wall", "-Wextra", "-Werror", "-O2", "-shared", "-fPIC"]);
    gcc.args(["-Wl,--gc-sections", "-I", "plugin-api/include", "-o"]).arg(&plugin);
    gcc.arg(format!("{EXAMPLE}/packet_count.c")).current_dir(SOURCE);
    let output = gcc.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    plugin
}

#[test]
fn the_example_in_c_counts_packets_and_passes_them_on() {
    if !need_tool("gcc") {
        return;
    }
    let lab = Lab::options().plugins(&traffic::PLUGINS).start();
    let plugin = compiled(&lab);
    let traffic = Traffic::start(&lab, &format!("size {SIZE} rate 20000"));
    lab.run(&format!("plugin load {}", plugin.display()));
    assert!(lab.log().contains("packet-count: counts from now on"), "{}", lab.log());

    assert!(until(|| lab.run("show packet-count").count(0, "packets") > 500));
    traffic.flows();
    assert!(traffic.stop_whole() > 500, "every packet is passed on, and once");
    let shown = lab.run("show packet-count");
    let [packets, bytes] = ["packets", "bytes"].map(|column| shown.count(0, column));
    assert_eq!(bytes, packets * SIZE);
    let counter = lab.run("show node packet-count").json().to_string();
    assert!(counter.contains(&format!("{packets}")), "its own counter is there: {counter}");
    assert_eq!(lab.run("show plugins").the("Plugin", "packet-count").text("Version"), "1.0.0");
    let again = lab.refused(&format!("plugin load {}", plugin.display()));
    assert!(again.contains("plugin packet-count 1.0.0 is loaded already"), "{again}");

    lab.run("plugin unload packet-count");
    lab.run(&format!("plugin load {}", plugin.display()));
    assert_eq!(lab.run("show packet-count").count(0, "packets"), 0, "the same code, a new state");
    lab.finish();
}

#[test]
fn a_plugin_in_c_whose_entry_is_not_one_is_refused() {
    if !need_tool("gcc") {
        return;
    }
    let lab = Lab::options().plugins(&traffic::PLUGINS).start();
    let whole = fs::read_to_string(format!("{SOURCE}/{EXAMPLE}/packet_count.c")).unwrap();
    for (from, to, reason) in [
        ("gristmill_plugin_entry =", "another_name =", "exports no root module"),
        (".head = GRISTMILL_HEAD(GristmillEntry),", ".head = { 8, 1, 0 },", "has 8 bytes of Entry"),
        (
            ".head = GRISTMILL_HEAD(GristmillEntry),",
            ".head = { 24, 2, 0 },",
            "has a Entry of ABI 2",
        ),
        (
            ".initialize = initialize,",
            ".initialize = NULL,",
            "\"gristmill_plugin_entry\" has no function",
        ),
        (
            "return GristmillStatus_OK; /* initialized */",
            "return GristmillStatus_FAILED;",
            "refused the host's table",
        ),
    ] {
        let changed = whole.replacen(from, to, 1);
        assert_ne!(changed, whole, "the example has no {from:?}");
        let source = lab.directory().join("changed.c");
        fs::write(&source, changed).unwrap();
        let plugin = lab.directory().join("changed.so");
        let mut gcc = Command::new("gcc");
        gcc.args(["-std=c11", "-w", "-shared", "-fPIC", "-I", "plugin-api/include", "-o"]);
        let status = gcc.arg(&plugin).arg(&source).current_dir(SOURCE).status().unwrap();
        assert!(status.success(), "{to}");
        let refused = lab.refused(&format!("plugin load {}", plugin.display()));
        assert!(refused.contains(reason), "{to}: {refused}");
    }
    lab.finish();
}
