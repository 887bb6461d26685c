//! Processes whose bodies are in a plugin: the fixture of the tests, built and loaded here.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use gristmill::{
    boot::{Running, boot},
    cli::{self, Answer, Caller},
    config::{Config, PluginChoice},
    control::Control,
    time::Nanos,
};

/// How often it is asked whether the plugin is done.
const LOOK: Nanos = Nanos(1_000_000);

/// The least nanoseconds of an event over several rounds: two processes signal each other.
pub(crate) fn ping_pong(rounds: usize, events: u64) -> f64 {
    let config = Config { workers: 0, trust_writable_plugins: true, ..Config::default() };
    let mut running = boot(config).expect("a host");
    running.load(&PluginChoice::Path(fixture())).expect("the fixture loads");
    let least = (0..rounds).map(|_| round(&mut running, events)).min().expect("one at least");
    running.end();
    least as f64 / events as f64
}

fn round(running: &mut Running, events: u64) -> u64 {
    command(&mut running.main.control, &format!("fixture crowd play {events}"));
    let mut took = 0;
    running.run(&mut |control, now| {
        took = command(control, "show fixture-crowd").trim().parse().expect("nanoseconds");
        (took == 0).then_some(Nanos(now.0 + LOOK.0))
    });
    took
}

fn command(control: &mut Control, text: &str) -> String {
    let mut answer = Answer::default();
    cli::run_script(control, "bench", text, &Caller::default(), &mut answer).expect("it works");
    answer.render()
}

/// The plugin, built into the directory that this program is in.
fn fixture() -> PathBuf {
    let bench = std::env::current_exe().expect("a process knows its executable");
    // target/PROFILE/deps/NAME
    let directory = bench.ancestors().nth(2).expect("a bench is in a build directory");
    let built = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--offline", "--release", "--package", "gristmill-tests"])
        .args(["--example", "fixture_crowd_plugin", "--target-dir"])
        .arg(directory.parent().expect("a profile has a directory around it"))
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")))
        .status()
        .expect("cargo runs");
    assert!(built.success(), "the fixture does not build");
    directory.join("examples/libfixture_crowd_plugin.so")
}
