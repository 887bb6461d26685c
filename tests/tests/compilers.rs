//! Plugins built by other compilers than the host's, an older and a newer one, loaded into traffic.
#![expect(clippy::unwrap_used, reason = "a test may panic where it cannot go on")]

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    thread,
};

use gristmill_tests::{Build, Lab, SOURCE, Traffic, lab::until, tools::skip, traffic};

/// The compilers that are there: those of `GRISTMILL_OTHER_RUST`, directories with `bin/rustc` in them
/// and a `:` between, else those that `.ci/compilers` has unpacked.
fn compilers() -> Vec<PathBuf> {
    let named = env::var_os("GRISTMILL_OTHER_RUST").unwrap_or_default();
    let mut places: Vec<PathBuf> = env::split_paths(&named).filter(|at| at.is_absolute()).collect();
    if places.is_empty() {
        let unpacked = fs::read_dir(format!("{SOURCE}/target/compilers/toolchains"));
        places = unpacked.into_iter().flatten().map(|entry| entry.unwrap().path()).collect();
    }
    places.retain(|place| place.join("bin/rustc").is_file());
    places.sort();
    places
}

/// What a compiler calls itself, such as `rustc 1.85.0 (…)`.
fn version(rustc: &Path) -> String {
    let output = Command::new(rustc).arg("--version").output().unwrap();
    assert!(output.status.success(), "{}: {output:?}", rustc.display());
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// Builds the plugin by a compiler, into a directory for that.
fn build(rustc: &Path, version: &str) -> PathBuf {
    let number = version.split(' ').nth(1).unwrap();
    let target = Build::here().directory().parent().unwrap().join("compilers").join(number);
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["build", "--quiet", "--offline", "--locked", "--target-dir"]).arg(&target);
    command.current_dir(format!("{SOURCE}/tests/compilers"));
    // The cargo that runs this test says which compiler it uses itself.
    command.env("RUSTC", rustc).env_remove("RUSTUP_TOOLCHAIN").env_remove("RUSTFLAGS");
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "by {version}: {text}");
    let plugin = target.join("debug/libother_compiler_plugin.so");
    let bytes = fs::read(&plugin).unwrap();
    let producer = format!("rustc version {number} ");
    let built_by = bytes.windows(producer.len()).any(|window| window == producer.as_bytes());
    assert!(built_by, "{} was not built by {version}", plugin.display());
    plugin
}

#[test]
fn plugins_of_an_older_and_of_a_newer_compiler_work_in_the_host() {
    let compilers = compilers();
    if compilers.len() < 2 {
        return skip(
            "it needs an older and a newer compiler: run .ci/compilers target/compilers/toolchains",
        );
    }
    let own = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let own = version(Path::new(&own));
    let built: Vec<(String, PathBuf)> = thread::scope(|scope| {
        let build = |place: &PathBuf| {
            let rustc = place.join("bin/rustc");
            let version = version(&rustc);
            let plugin = build(&rustc, &version);
            (version, plugin)
        };
        let builds: Vec<_> =
            compilers.iter().map(|place| scope.spawn(move || build(place))).collect();
        builds.into_iter().map(|build| build.join().unwrap()).collect()
    });

    let lab = Lab::options().plugins(&traffic::PLUGINS).start();
    let traffic = Traffic::flat_out(&lab);
    for (version, plugin) in built {
        assert_ne!(version, own, "the host's own compiler shows nothing");
        lab.run(&format!("plugin load {}", plugin.display()));
        let counted = until(|| lab.run("show fixture-tally").count(0, "packets") > 1000);
        assert!(counted, "{version}: {}", lab.log());
        traffic.flows();
        lab.run("plugin unload fixture-tally");
        traffic.flows();
    }
    assert!(traffic.stop_whole() > 2000);
    lab.finish();
}
