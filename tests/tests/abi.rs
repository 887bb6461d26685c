//! Plugins of every declared version of the ABI, loaded into the host of today; and one of a version
//! that this host does not know yet.
#![expect(clippy::unwrap_used, reason = "a test may panic where it cannot go on")]

use std::{fs, path::PathBuf};

use gristmill_tests::{Build, Lab, SOURCE, Traffic, lab::until, traffic};

/// Bytes of a packet of the stream.
const SIZE: u64 = 128;

/// Builds the plugin of each version that was declared: its version, and the shared object.
fn snapshots() -> Vec<(String, PathBuf)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(format!("{SOURCE}/tests/abi")).unwrap() {
        let path = entry.unwrap().path();
        if !path.is_dir() {
            continue;
        }
        let version = path.file_name().unwrap().to_str().unwrap().to_owned();
        let library = format!("snapshot_{}_plugin", version.replace(['.', '-'], "_"));
        let built = Build::here().of_workspace(&path, "snapshot-plugin", &library);
        found.push((version, built));
    }
    found.sort();
    found
}

#[test]
fn a_plugin_of_every_declared_version_works_in_the_host_of_today() {
    let snapshots = snapshots();
    assert!(!snapshots.is_empty(), "no version was declared");
    for (version, plugin) in snapshots {
        let config = "[host]\ntrust-writable-plugins = true\n[plugin.snapshot]\nstep = 2\n";
        let lab = Lab::options().plugins(&traffic::PLUGINS).config(config).start();
        let traffic = Traffic::start(&lab, &format!("size {SIZE} rate 20000"));
        lab.run(&format!("plugin load {}", plugin.display()));
        assert!(lab.log().contains("a plugin as of 1.0"), "{version}: {}", lab.log());

        let came = until(|| {
            let shown = lab.run("show snapshot");
            shown.count(0, "packets") > 1000 && shown.count(0, "fired") == 1
        });
        assert!(came, "{version}: {}", lab.run("show snapshot").json());
        traffic.flows();
        assert!(traffic.stop_whole() > 500, "{version}");

        let shown = lab.run("show snapshot");
        let [packets, bytes] = ["packets", "bytes"].map(|column| shown.count(0, column));
        assert_eq!(bytes * 2, packets * SIZE, "{version}: its setting has it count twice");
        assert_eq!(lab.run("show snapshot 3").count(0, "packets"), packets * 3, "{version}");
        let counter = lab.run("show node snapshot-count").json().to_string();
        assert!(counter.contains(&format!("{}", packets / 2)), "{version}: {counter}");

        lab.run("plugin unload snapshot");
        lab.refused("show snapshot");
        lab.finish();
    }
}

#[test]
fn a_plugin_of_a_later_minor_version_is_refused_by_the_name_of_what_is_lacking() {
    let (_, plugin) = snapshots().pop().unwrap();
    let mut bytes = fs::read(plugin).unwrap();
    let places = |head: &[u8], bytes: &[u8]| -> Vec<usize> {
        let windows = bytes.windows(head.len()).enumerate();
        windows.filter(|(_, window)| *window == head).map(|(at, _)| at).collect()
    };
    let [record] = places(b"GRSTMIL1\x01\0", &bytes)[..] else { panic!("one plugin record") };
    bytes[record + 18..record + 20].copy_from_slice(&7_u16.to_ne_bytes());
    // What it requires is a service that is to come, and its arc is of a kind that is.
    let [require] = places(b"GRSTMIL1\x08\0", &bytes)[..] else { panic!("one requirement") };
    bytes[require + 16..require + 22].copy_from_slice(b"later\0");
    let [arc] = places(b"GRSTMIL1\x03\0", &bytes)[..] else { panic!("one arc") };
    bytes[arc + 8] = 99;

    let lab = Lab::options().plugins(&traffic::PLUGINS).start();
    let file = lab.directory().join("later.so");
    fs::write(&file, bytes).unwrap();
    let reason = lab.refused(&format!("plugin load {}", file.display()));
    for named in [
        "needs plugin ABI 1.7, this host has 1.",
        " to 1.7 (",
        "it has a record of kind 99, \"snapshot-arc\"",
        "it requires \"later\" ^1, which is no service of this host's own",
        "update the host, or rebuild the plugin against plugin-api 1.",
    ] {
        assert!(reason.contains(named), "{named:?} is not said: {reason}");
    }
    lab.finish();
}
