//! What a third party does with `sdk-template`, to the letter of its README: copies it out, tests
//! it, builds it, loads it into traffic, takes it out again.
#![expect(clippy::unwrap_used, reason = "a test may panic where it cannot go on")]

use std::{
    env, fs,
    os::unix::fs::symlink,
    path::Path,
    process::{Command, Output},
    time::Duration,
};

use gristmill_tests::{Build, Lab, SOURCE, Traffic, lab::pause};
use tempfile::TempDir;

/// The commands of the README, in order. The host is the laboratory's.
const TEST: &str = "cargo test --release";
const BUILD: &str = "cargo build --release";
const HOST: &str = "gristmill demo --seconds 300 --cli-socket ./cli.sock";
const LOAD: &str = "millctl -s ./cli.sock plugin load ./target/release/libacme_dpi_plugin.so";
const SHOW: &str = "millctl -s ./cli.sock show acme-dpi";
const SHOW_NODE: &str = "millctl -s ./cli.sock show node acme-dpi-classify";
const UNLOAD: &str = "millctl -s ./cli.sock plugin unload acme-dpi";

/// The path dependency, as it stands in the template for lack of a published SDK.
const SDK_IN_TREE: &str = "path = \"../plugin-api\"";

/// The way of the demonstration's packets.
const ROUTE: &str = "\
create generator id 0
create generator id 1
set interface state generator0 up
set interface state generator1 up
set interface ip address generator0 10.0.0.1/24
set interface ip address generator1 10.1.0.1/24
set ip neighbor generator1 10.1.0.2 02:67:65:6e:ff:02
ip route add 20.0.0.0/8 via 10.1.0.2 generator1
";
const STREAM: &str = "source 10.0.0.2 destination 20.0.0.1 destinations 256 size 64";

/// The plugin's rates come soon, so that the test need not wait for them.
const CONFIG: &str = "[host]\ntrust-writable-plugins = true\n[plugin.acme-dpi]\ninterval-ms = 20\n";

/// A copy of the template outside of the tree.
struct Template(TempDir);

impl Template {
    fn copied_out() -> Self {
        let template = Self(tempfile::tempdir().unwrap());
        let (source, copy) = (Path::new(SOURCE).canonicalize().unwrap(), template.path());
        copy_tree(&source.join("sdk-template"), copy);
        let manifest = copy.join("Cargo.toml");
        let text = fs::read_to_string(&manifest).unwrap();
        assert_eq!(text.matches(SDK_IN_TREE).count(), 1, "{text}");
        let sdk = format!("path = \"{}\"", source.join("plugin-api").display());
        fs::write(&manifest, text.replace(SDK_IN_TREE, &sdk)).unwrap();
        // What there is without a network: the versions that this tree is built with.
        fs::copy(source.join("Cargo.lock"), copy.join("Cargo.lock")).unwrap();
        // The same target directory for each copy, so that only the template is built anew; to
        // cargo each copy is another package, and the one before is of no more use.
        let target = Build::here().directory().parent().unwrap().join("sdk-template");
        fs::create_dir_all(&target).unwrap();
        symlink(target, copy.join("target")).unwrap();
        template.works("cargo clean --release --package acme-dpi");
        template
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn cargo(&self, command: &str) -> Output {
        let (cargo, arguments) = command.split_once(' ').unwrap();
        assert_eq!(cargo, "cargo");
        let cargo = env::var_os("CARGO").unwrap_or_else(|| cargo.into());
        let mut command = Command::new(cargo);
        command.args(arguments.split(' ')).env("CARGO_NET_OFFLINE", "true");
        command.env_remove("CARGO_TARGET_DIR").current_dir(self.path()).output().unwrap()
    }

    /// What cargo says.
    fn works(&self, command: &str) -> String {
        let output = self.cargo(command);
        let text = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
        assert!(output.status.success(), "{command}: {}", text.concat());
        text.concat()
    }

    /// Runs the client here, where the README has its reader run it.
    fn millctl(&self, lab: &Lab, command: &str) -> String {
        let (millctl, words) = command.split_once(' ').unwrap();
        assert_eq!(millctl, "millctl");
        let mut client = Command::new(Build::here().client());
        let output = client.args(words.split(' ')).current_dir(self.path()).output().unwrap();
        let text = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
        assert!(output.status.success(), "{command}: {}\n{}", text.concat(), lab.log());
        text.concat()
    }
}

/// Copies all files but those that a build in the tree leaves behind.
fn copy_tree(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let (name, to) = (entry.file_name(), to.join(entry.file_name()));
        if name == "target" || name == "Cargo.lock" {
            continue;
        }
        if entry.file_type().unwrap().is_dir() {
            fs::create_dir(&to).unwrap();
            copy_tree(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

/// Lines of a README that are commands to be typed.
fn commands(readme: &Path) -> Vec<String> {
    let text = fs::read_to_string(readme).unwrap();
    text.lines().filter_map(|line| line.strip_prefix("    ")).map(str::to_owned).collect()
}

/// Packets the plugin counted of the generator's class, and their rate.
fn discard(lab: &Lab) -> [u64; 2] {
    let answer = lab.run("show acme-dpi");
    let row = answer.the("class", "discard");
    ["packets", "packets-per-second"].map(|column| row.count(column))
}

fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    for _ in 0..1000 {
        if done() {
            return;
        }
        pause(Duration::from_millis(10));
    }
    panic!("{what}");
}

/// Loads it into traffic, sees it count, takes it out; no packet is missing.
fn counts_under_traffic(template: &Template) {
    let plugins = ["ethernet", "ip4", "generator"];
    let socket = template.path().join("cli.sock").display().to_string();
    let options = Lab::options().plugins(&plugins).config(CONFIG).script(ROUTE);
    let lab = options.socket(&socket).start();
    let nodes = lab.run("show graph");
    let traffic = Traffic::start(&lab, STREAM);

    template.millctl(&lab, LOAD);

    wait_until("it counts no packet", || discard(&lab)[0] > 0);
    let [before, _] = discard(&lab);
    wait_until("it counts no more packets", || discard(&lab)[0] > before);
    wait_until("its timer takes no rate", || discard(&lab)[1] > 0);
    assert_eq!(lab.run("show acme-dpi").the("class", "dns").count("packets"), 0);
    let shown = template.millctl(&lab, SHOW);
    assert!(shown.contains("discard"), "{shown}");
    let node = template.millctl(&lab, SHOW_NODE);
    assert!(node.contains("malformed"), "its counter is there: {node}");

    template.millctl(&lab, UNLOAD);

    lab.refused("show acme-dpi");
    assert_eq!(lab.run("show graph"), nodes, "what was there before is there after");
    traffic.flows();
    assert!(traffic.stop_whole() > before);
    lab.finish();
}

/// The README says why the template denies `unsafe` and does not forbid it.
fn forbid_is_refused(template: &Template) {
    let lib = template.path().join("src/lib.rs");
    let text = fs::read_to_string(&lib).unwrap();
    assert!(text.contains("#![deny(unsafe_code)]"), "{text}");
    fs::write(&lib, text.replace("#![deny(unsafe_code)]", "#![forbid(unsafe_code)]")).unwrap();
    let output = template.cargo(BUILD);
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && text.contains("error[E0453]"), "{text}");
}

#[test]
fn a_third_party_gets_from_the_copy_to_a_running_node_by_the_readme() {
    let template = Template::copied_out();
    let readme = commands(&template.path().join("README.md"));
    assert_eq!(readme, [TEST, BUILD, HOST, LOAD, SHOW, SHOW_NODE, UNLOAD]);
    let tested = template.works(TEST);
    assert!(tested.contains("test result: ok. 1"), "more than nine tests ran: {tested}");
    template.works(BUILD);
    assert!(template.path().join("target/release/libacme_dpi_plugin.so").is_file());
    counts_under_traffic(&template);
    forbid_is_refused(&template);
}
