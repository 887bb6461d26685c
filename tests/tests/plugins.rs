//! Every bad plugin in the book, loaded into a host whose packets flow: one line says which file
//! and why, nothing changes, and no packet is missing.
#![expect(clippy::unwrap_used, reason = "a test may panic where it cannot go on")]

use std::{
    env,
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use gristmill_tests::{Build, Lab, Traffic, tools::skip, traffic};
use tempfile::TempDir;

/// A host with packets on their way, to load something bad into.
struct Field {
    lab: Lab,
}

impl Field {
    fn new() -> Self {
        Self { lab: Lab::options().plugins(&traffic::PLUGINS).start() }
    }

    /// Loads `file`, which is refused for a reason that contains `cause`; the host is as it was.
    fn refuses(&self, file: &Path, cause: &str) {
        let traffic = Traffic::flat_out(&self.lab);
        let before = state(&self.lab);
        let reason = self.lab.refused(&format!("plugin load {}", file.display()));
        assert!(reason.contains(file.to_str().unwrap()), "the file is not named: {reason}");
        assert!(reason.contains(cause), "not because of {cause:?}: {reason}");
        traffic.flows();
        assert_eq!(state(&self.lab), before, "after {reason}");
        assert!(traffic.stop_whole() > 0);
    }

    /// A copy of a plugin, in a directory of this test's own, with its bytes changed.
    fn changed(&self, plugin: &str, change: impl FnOnce(&mut Vec<u8>)) -> PathBuf {
        let mut bytes = fs::read(Build::here().plugin(plugin)).unwrap();
        change(&mut bytes);
        self.file("libchanged_plugin.so", &bytes)
    }

    /// A file in a directory of this test's own.
    fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.lab.directory().join(name);
        fs::write(&path, bytes).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        path
    }

    fn finish(self) {
        self.lab.finish();
    }
}

/// All that a plugin could have changed, without what packets count.
fn state(lab: &Lab) -> Vec<String> {
    let mut state = Vec::new();
    for command in ["show plugins", "show graph", "show features", "show mode", "?"] {
        state.push(lab.run(command).json().to_string());
    }
    for row in lab.run("show node").rows() {
        let [name, kind, plugin] = ["Name", "Kind", "Plugin"].map(|column| row.text(column));
        state.push(format!("{name} {kind} {plugin}"));
    }
    for row in lab.run("show interface").rows() {
        state.push(format!("{} {} {}", row.text("Name"), row.count("Idx"), row.text("State")));
    }
    state
}

fn refused_fixture(name: &str, cause: &str) {
    let field = Field::new();
    field.refuses(&Build::here().fixture(name), cause);
    field.finish();
}

/// Where the plugin's own record begins in a plugin's file.
fn plugin_record(bytes: &[u8]) -> usize {
    const HEAD: &[u8] = b"GRSTMIL1\x01\0"; // The magic and the kind, number 1.
    let mut places = bytes.windows(HEAD.len()).enumerate().filter(|(_, bytes)| *bytes == HEAD);
    let (place, _) = places.next().expect("a plugin has a record");
    assert!(places.next().is_none(), "there is one record");
    place
}

#[test]
fn a_file_that_is_not_there() {
    let field = Field::new();
    let nowhere = field.lab.directory().join("libnowhere_plugin.so");
    field.refuses(&nowhere, "No such file or directory");
    field.finish();
}

#[test]
fn a_name_that_no_file_has() {
    let field = Field::new();
    let before = state(&field.lab);
    let reason = field.lab.refused("plugin load nowhere");
    assert!(reason.contains("no plugin nowhere: looked for libnowhere_plugin.so in"), "{reason}");
    assert!(reason.contains(Build::here().directory().to_str().unwrap()), "{reason}");
    assert_eq!(state(&field.lab), before);
    field.finish();
}

#[test]
fn files_that_are_no_shared_object() {
    let field = Field::new();
    field.refuses(&field.file("empty.so", b""), "is empty");
    field
        .refuses(&field.file("text.so", b"To whom it may concern:\n".repeat(99).as_slice()), "ELF");
    field.refuses(field.lab.directory(), "is not a regular file");
    let program = fs::read(Build::here().client()).unwrap();
    field.refuses(&field.file("program.so", &program), "is an executable, not a plugin");
    field.finish();
}

#[test]
fn a_file_that_was_cut_off_anywhere() {
    let field = Field::new();
    let whole = fs::read(Build::here().plugin("null")).unwrap();
    for cut in [4, 63, whole.len() / 10, whole.len() / 2, whole.len() - 1] {
        let file = field.file(&format!("cut-at-{cut}.so"), &whole[..cut]);
        field.refuses(&file, &format!("the file at {cut}: copy it again"));
    }
    field.finish();
}

#[test]
fn a_plugin_with_other_layouts_of_the_abi() {
    let field = Field::new();
    let file = field.changed("null", |bytes| {
        let record = plugin_record(bytes);
        bytes[record + 24] ^= 1; // The first byte of the digest.
    });
    field.refuses(&file, "was built with ABI layouts 0x");
    field.finish();
}

#[test]
fn plugins_of_another_abi() {
    let field = Field::new();
    let major = field.changed("null", |bytes| {
        let record = plugin_record(bytes);
        bytes[record + 16] = 2;
    });
    field.refuses(&major, "speaks plugin ABI 2, this host 1");
    let minor = field.changed("null", |bytes| {
        let record = plugin_record(bytes);
        bytes[record + 18] = 200;
    });
    field.refuses(&minor, "needs plugin ABI 1.200, this host has 1.");
    field.finish();
}

#[test]
fn a_plugin_whose_panics_would_end_the_host() {
    let field = Field::new();
    let file = field.changed("null", |bytes| {
        let record = plugin_record(bytes);
        bytes[record + 20] &= !1;
    });
    field.refuses(&file, "was built with panic=abort");
    field.finish();
}

/// A directory where nobody else may write, with copies of plugins; none if there is no such place.
fn private_directory() -> Option<TempDir> {
    let home = env::var_os("HOME").unwrap_or_else(|| "/root".into());
    let private = tempfile::tempdir_in(&home).unwrap();
    for place in private.path().ancestors() {
        let mode = fs::metadata(place).unwrap().permissions().mode();
        if mode & 0o022 != 0 {
            skip(&format!("others may write to {}", place.display()));
            return None;
        }
    }
    for plugin in traffic::PLUGINS.into_iter().chain(["null"]) {
        let from = Build::here().plugin(plugin);
        let to = private.path().join(from.file_name().unwrap());
        fs::copy(&from, &to).unwrap();
        fs::set_permissions(&to, Permissions::from_mode(0o644)).unwrap();
    }
    Some(private)
}

/// A field whose host looks at who may write to plugins.
fn careful_field(private: &TempDir) -> Field {
    let files = traffic::PLUGINS
        .map(|name| private.path().join(format!("lib{name}_plugin.so")).display().to_string());
    let files = files.each_ref().map(String::as_str);
    Field { lab: Lab::options().config("").plugins(&files).start() }
}

#[test]
fn a_file_that_others_may_write() {
    let Some(private) = private_directory() else { return };
    let field = careful_field(&private);
    let file = private.path().join("libnull_plugin.so");
    for mode in [0o666, 0o664] {
        fs::set_permissions(&file, Permissions::from_mode(mode)).unwrap();
        field.refuses(&file, "is writable by others: chmod go-w");
    }
    fs::set_permissions(&file, Permissions::from_mode(0o644)).unwrap();
    field.lab.run(&format!("plugin load {}", file.display()));
    field.finish();
}

#[test]
fn a_file_in_a_directory_where_others_may_put_another() {
    let Some(private) = private_directory() else { return };
    let field = careful_field(&private);
    let open = private.path().join("open");
    fs::create_dir(&open).unwrap();
    for mode in [0o777, 0o1777] {
        fs::set_permissions(&open, Permissions::from_mode(mode)).unwrap();
        let file = open.join("libnull_plugin.so");
        fs::copy(private.path().join("libnull_plugin.so"), &file).unwrap();
        field.refuses(&file, "is writable by others");
    }
    field.finish();
}

#[test]
fn a_plugin_that_is_loaded_already() {
    let field = Field::new();
    field.refuses(&Build::here().plugin("generator"), "plugin generator 0.1.0 is loaded already");
    field.finish();
}

#[test]
fn a_shared_object_without_declarations() {
    refused_fixture("no-declarations", "section .gristmill");
}

#[test]
fn a_node_name_that_is_taken() {
    refused_fixture("taken-node", "the node name \"ethernet-input\" is taken");
}

#[test]
fn a_command_that_is_taken() {
    refused_fixture("taken-command", "show version");
}

#[test]
fn a_next_node_that_is_not_there() {
    refused_fixture(
        "unknown-next",
        "node \"fixture-unknown-next\" has a next \"fixture-nowhere\", \
         and there is no node of that name",
    );
}

#[test]
fn a_service_that_nobody_offers() {
    refused_fixture("missing-service", "ip4-fib");
}

#[test]
fn a_plugin_that_cannot_be_created() {
    refused_fixture("failing-create", "cannot be created: it does not like it here");
}

#[test]
fn a_plugin_that_panics_when_it_is_created() {
    refused_fixture("panicking-create", "cannot be created: ");
}

#[test]
fn a_node_that_cannot_be_made_for_a_thread() {
    refused_fixture(
        "failing-node",
        "node \"fixture-failing-node\" cannot be made for thread 1: it does not like it here",
    );
}

#[test]
fn a_plugin_that_cannot_start() {
    refused_fixture("failing-start", "cannot start: it does not like it here");
}

#[test]
fn a_setting_that_will_not_do_is_named_with_its_line_and_one_nobody_knows_with_its_like() {
    let config = |section: &str| {
        format!("[host]\ntrust-writable-plugins = true\n[plugin.flows]\n{section}\n")
    };
    for (section, reason) in [
        ("idle = 3\nflows-max = 'many'", "flows-max = \"many\" (line 5): invalid digit"),
        ("idel = 3", "unknown setting \"idel\" (line 4): did you mean \"idle\"?"),
    ] {
        let lab = Lab::options().plugins(&["ethernet", "ip4"]).config(&config(section)).start();
        let refused = lab.refused("plugin load flows");
        assert!(refused.contains(reason), "{refused}");
        lab.finish();
    }
}

#[test]
fn what_is_logged_of_a_class_is_said_while_the_host_runs() {
    let lab = Lab::options().plugins(&["null"]).start();
    let rows = |lab: &Lab| {
        let classes = lab.run("show logging classes");
        let row = classes.find("Class", "plugin").map(|row| {
            let counts = (row.count("Lines"), row.count("Suppressed"));
            (row.text("Level").to_owned(), row.count("Rate"), counts)
        });
        row.expect("a plugin was loaded")
    };
    assert_eq!(rows(&lab), ("notice".to_owned(), 50, (1, 0)));
    lab.run("set logging class plugin level error");
    lab.run("plugin unload null");
    assert_eq!(rows(&lab), ("error".to_owned(), 50, (1, 0)), "that was a notice");
    lab.run("set logging class plugin level notice rate 1");
    for _ in 0..2 {
        lab.run("plugin load null");
        lab.run("plugin unload null");
    }
    let (level, rate, (lines, suppressed)) = rows(&lab);
    assert_eq!((level.as_str(), rate), ("notice", 1));
    assert!(lines < 5 && suppressed > 0, "{lines} {suppressed}");
    let loud = lab.try_run("set logging class plugin level loud").unwrap_err();
    assert!(loud.message.contains("loud"), "{loud:?}");
    lab.run("set logging class plugin level default");
    assert_eq!(rows(&lab).1, 50);
    lab.finish();
}
