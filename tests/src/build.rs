//! What the laboratory starts, built from the present sources by the cargo that runs the tests.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
    sync::LazyLock,
};

/// The top of the source tree.
pub const SOURCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// Executables and shared objects, all of one profile: that of this test.
#[derive(Clone, Debug)]
pub struct Build {
    directory: PathBuf,
}

impl Build {
    /// The one build of this process; cargo has nothing to do where all is up to date.
    ///
    /// # Panics
    /// If something does not build.
    pub fn here() -> &'static Self {
        static BUILD: LazyLock<Build> = LazyLock::new(Build::make);
        &BUILD
    }

    /// Builds host, client, plugins and fixtures.
    ///
    /// A plain `cargo test` builds them too, but for the client; a test of this package alone
    /// would find the host of yesterday.
    fn make() -> Self {
        let test = env::current_exe().expect("a process knows its executable");
        // target/PROFILE/deps/NAME
        let directory = test.ancestors().nth(2).expect("a test is in a build directory");
        let mut command = cargo_build(directory);
        command.args(["--package", "gristmill", "--package", "gristmill-millctl"]);
        command.args(["--package", "gristmill-*-so"]);
        command.args(["--package", "gristmill-tests", "--bins", "--lib", "--examples"]);
        command.current_dir(SOURCE);
        let status = command.status().expect("cargo runs, since it runs this test");
        assert!(status.success(), "{command:?}: {status}");
        Self { directory: directory.to_path_buf() }
    }

    /// Builds a package of another workspace beside all that, and gives the library of that name.
    ///
    /// # Panics
    /// If it does not build.
    pub fn of_workspace(&self, workspace: &Path, package: &str, library: &str) -> PathBuf {
        let mut command = cargo_build(&self.directory);
        command.args(["--locked", "--package", package]).current_dir(workspace);
        let status = command.status().expect("cargo runs, since it runs this test");
        assert!(status.success(), "{command:?} in {}: {status}", workspace.display());
        self.directory.join(format!("lib{library}.so"))
    }

    /// Where everything is.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The host.
    pub fn host(&self) -> PathBuf {
        self.directory.join("gristmill")
    }

    /// The client.
    pub fn client(&self) -> PathBuf {
        self.directory.join("millctl")
    }

    /// The shared object of a plugin of this project, by the plugin's name.
    pub fn plugin(&self, name: &str) -> PathBuf {
        self.directory.join(format!("lib{}_plugin.so", name.replace('-', "_")))
    }

    /// The shared object of a plugin to test with: the name of its file in `fixtures/`.
    pub fn fixture(&self, name: &str) -> PathBuf {
        self.directory.join(format!("examples/libfixture_{}_plugin.so", name.replace('-', "_")))
    }
}

/// The cargo that runs the tests, to build into a profile's directory.
fn cargo_build(directory: &Path) -> Command {
    let profile = match directory.file_name().and_then(|name| name.to_str()) {
        Some("debug") => "dev",
        Some(name) => name,
        None => panic!("{} is no profile's directory", directory.display()),
    };
    let target = directory.parent().expect("a profile has a directory around it");
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command
        .args(["build", "--quiet", "--offline", "--profile", profile, "--target-dir"])
        .arg(target);
    command
}
