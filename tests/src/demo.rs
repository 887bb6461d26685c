//! The demonstration, run as somebody would who has just built it.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Output},
};

use serde_json::Value;
use tempfile::TempDir;

use crate::{build::Build, turn::Turn};

/// What the demonstration needs beside the host.
const PLUGINS: [&str; 4] = ["ethernet", "ip4", "generator", "mirror-count"];
/// The user and group that may do nothing.
const NOBODY: &str = "65534";

/// Who runs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum User {
    /// Who runs the test.
    Same,
    /// Somebody without any privilege; needs root and `setpriv`.
    Nobody,
}

/// Runs `gristmill demo` with further arguments, in copies of the host and its plugins that
/// everybody may read, wherever the build directory is.
///
/// # Panics
/// If it cannot be run.
pub fn run(user: User, arguments: &[&str]) -> Output {
    let _turn = Turn::wait();
    let place = copies();
    let config = place.path().join("gristmill.toml");
    // A temporary directory is everybody's to write into.
    fs::write(&config, "[host]\ntrust-writable-plugins = true\n").expect("it is ours");
    let host = place.path().join("gristmill");
    let mut command = match user {
        User::Same => Command::new(&host),
        User::Nobody => {
            let mut command = Command::new("setpriv");
            command.args(["--reuid", NOBODY, "--regid", NOBODY, "--clear-groups"]);
            command.args(["--inh-caps=-all", "--no-new-privs"]).arg(&host);
            command
        }
    };
    command.arg("demo").arg("--config").arg(config).args(arguments);
    command.env("HOME", "/nonexistent").current_dir("/");
    command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"))
}

/// The one JSON object that a demonstration that went well prints as its last line.
///
/// # Panics
/// If it did not go well, or the last line is something else.
pub fn summary(output: &Output) -> Value {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (said, complained) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{}: {complained}{said}", output.status);
    assert!(said.ends_with('\n'), "the last line is whole: {said}");
    let last = said.lines().next_back().unwrap_or("");
    serde_json::from_str(last).unwrap_or_else(|error| panic!("{error}: {last}"))
}

fn copies() -> TempDir {
    let place = tempfile::tempdir().expect("there is room for a temporary directory");
    let build = Build::here();
    let plugins = PLUGINS.map(|name| build.plugin(name));
    for file in [build.host()].iter().chain(&plugins) {
        let name = file.file_name().expect("files have names");
        copy(file, &place.path().join(name));
    }
    fs::set_permissions(place.path(), Permissions::from_mode(0o755)).expect("it is ours");
    place
}

fn copy(from: &Path, to: &Path) {
    fs::copy(from, to).unwrap_or_else(|error| panic!("{}: {error}", from.display()));
    fs::set_permissions(to, Permissions::from_mode(0o755)).expect("it is ours");
}
