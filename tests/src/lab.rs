//! A host that runs: started, talked to, ended, and checked for what it left behind.

use std::{
    fs::{self, File, Permissions},
    io,
    os::unix::{fs::PermissionsExt, net::UnixStream},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
    rc::Rc,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::{answer::Answer, build::Build, netns::Netns, turn::Turn};

/// How long a host gets to come up, and to end.
const PATIENCE: Duration = Duration::from_secs(30);
/// Times that a log is looked at which grows on and on.
const SETTLING: usize = 20;
/// What a host says that ends with buffers missing.
const LEAK: &str = "buffers did not come back";

/// What a host is configured with where a test says nothing: it takes plugins out of a build
/// directory, of which nobody knows who may write to it.
const CONFIG: &str = "[host]\ntrust-writable-plugins = true\n";

/// How a host is to be started.
#[derive(Clone, Debug)]
pub struct Options {
    plugins: Vec<String>,
    workers: u32,
    config: String,
    script: String,
    namespace: Option<String>,
    socket: Option<PathBuf>,
    arguments: Vec<String>,
}

impl Options {
    /// Plugins to load at start, by name or path.
    #[must_use]
    pub fn plugins(mut self, plugins: &[&str]) -> Self {
        self.plugins.extend(plugins.iter().map(ToString::to_string));
        self
    }

    /// Threads besides main; 1 if nothing is said.
    #[must_use]
    pub fn workers(mut self, workers: u32) -> Self {
        self.workers = workers;
        self
    }

    /// The text of the configuration file, in the place of one that trusts all plugin files.
    #[must_use]
    pub fn config(mut self, toml: &str) -> Self {
        toml.clone_into(&mut self.config);
        self
    }

    /// Commands to run at start.
    #[must_use]
    pub fn script(mut self, commands: &str) -> Self {
        commands.clone_into(&mut self.script);
        self
    }

    /// Starts it inside a network namespace, as root.
    #[must_use]
    pub fn inside(mut self, namespace: &Netns) -> Self {
        self.namespace = Some(namespace.name().to_owned());
        self
    }

    /// Where the control socket goes, if not into the laboratory's own directory.
    #[must_use]
    pub fn socket(mut self, path: &str) -> Self {
        self.socket = Some(path.into());
        self
    }

    /// More arguments.
    #[must_use]
    pub fn arguments(mut self, arguments: &[&str]) -> Self {
        self.arguments.extend(arguments.iter().map(ToString::to_string));
        self
    }

    /// Starts the host, and waits until it takes commands.
    ///
    /// # Panics
    /// If it does not come up; the message has what it said.
    pub fn start(self) -> Lab {
        let mut lab = self.spawn();
        let up = lab.eventually(PATIENCE, |lab| {
            let ended = lab.host.try_wait().expect("it is our child").is_some();
            ended || lab.listens()
        });
        assert!(up && lab.listens(), "the host did not come up: {}", lab.log());
        lab
    }

    /// Starts the host without waiting for anything.
    ///
    /// # Panics
    /// If it cannot be executed.
    pub fn spawn(self) -> Lab {
        let turn = Turn::wait();
        let build = Build::here();
        let directory = tempfile::tempdir().expect("there is room for a temporary directory");
        let place = directory.path();
        fs::set_permissions(place, Permissions::from_mode(0o750)).expect("it is ours");
        let write = |name: &str, text: &str| {
            let path = place.join(name);
            fs::write(&path, text).expect("it is ours");
            path
        };
        let mut command = match &self.namespace {
            Some(namespace) => {
                // It replaces itself by the host, which so has the child's process id.
                let mut command = Command::new("ip");
                command.args(["netns", "exec", namespace]).arg(build.host());
                command
            }
            None => Command::new(build.host()),
        };
        let socket = self.socket.unwrap_or_else(|| place.join("cli.sock"));
        command.arg("--config").arg(write("gristmill.toml", &self.config));
        command.arg("--cli-socket").arg(&socket);
        command.args(["--workers", &self.workers.to_string()]);
        command.args(self.plugins.iter().flat_map(|plugin| ["--plugin", plugin.as_str()]));
        if !self.script.is_empty() {
            command.arg("--exec").arg(write("start.script", &self.script));
        }
        command.args(&self.arguments);
        let log = place.join("stderr");
        let stderr = File::create(&log).expect("it is ours");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(stderr).current_dir(place);
        let host = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        Lab { host, ended: false, socket, log, directory, _turn: turn }
    }
}

/// Why a command did not work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The client's exit code.
    pub code: i32,
    /// What it said on its standard error.
    pub message: String,
}

/// A running host, and a place for a test's files. Ends with the test, one way or another.
#[derive(Debug)]
pub struct Lab {
    host: Child,
    ended: bool,
    socket: PathBuf,
    log: PathBuf,
    directory: TempDir,
    _turn: Rc<Turn>,
}

impl Lab {
    /// A host with one worker and no plugin but those that are asked for.
    pub fn options() -> Options {
        Options {
            plugins: Vec::new(),
            workers: 1,
            config: CONFIG.to_owned(),
            script: String::new(),
            namespace: None,
            socket: None,
            arguments: Vec::new(),
        }
    }

    /// Runs a command.
    ///
    /// # Panics
    /// If it does not work.
    pub fn run(&self, command: &str) -> Answer {
        self.try_run(command).unwrap_or_else(|failure| {
            panic!("`{command}': exit code {}: {}\n{}", failure.code, failure.message, self.log())
        })
    }

    /// Runs a command that may fail.
    ///
    /// # Errors
    /// The client's exit code and what it said.
    ///
    /// # Panics
    /// If the client cannot be run.
    pub fn try_run(&self, command: &str) -> Result<Answer, Failure> {
        let output = self.output(&self.client(&["--json", command]));
        if output.status.success() {
            return Ok(Answer::parse(command, &text(&output.stdout)));
        }
        let code = output.status.code().expect("nobody kills the client");
        Err(Failure { code, message: text(&output.stderr).trim_end().to_owned() })
    }

    /// Runs a command that the host must refuse; gives its reason.
    ///
    /// # Panics
    /// If it works, or the reason is not one line.
    pub fn refused(&self, command: &str) -> String {
        match self.try_run(command) {
            Ok(answer) => panic!("`{command}' worked: {}", answer.json()),
            Err(Failure { code, message }) => {
                assert_eq!(code, 1, "`{command}': {message}\n{}", self.log());
                assert_eq!(message.lines().count(), 1, "`{command}': {message}");
                message
            }
        }
    }

    /// A call of the client, to be run as the test likes.
    pub fn client(&self, arguments: &[&str]) -> Vec<String> {
        let client = Build::here().client().display().to_string();
        let own = [client, "-s".to_owned(), self.socket.display().to_string()];
        own.into_iter().chain(arguments.iter().map(ToString::to_string)).collect()
    }

    /// What a call of the client gives.
    ///
    /// # Panics
    /// If it cannot be run.
    pub fn output(&self, words: &[String]) -> Output {
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).stdin(Stdio::null()).current_dir(self.directory.path());
        command.output().unwrap_or_else(|error| panic!("{words:?}: {error}"))
    }

    /// Whether somebody takes commands at the host's socket.
    pub fn listens(&self) -> bool {
        UnixStream::connect(&self.socket).is_ok()
    }

    /// What the host said on its standard error up to now. A work thread writes it, perhaps a moment
    /// after the command that it is about was answered: what is being written is waited for.
    pub fn log(&self) -> String {
        let read =
            || fs::read(&self.log).map_or_else(|error| error.to_string(), |bytes| text(&bytes));
        let mut log = read();
        for _ in 0..SETTLING {
            pause(Duration::from_millis(5));
            let before = std::mem::replace(&mut log, read());
            if before == log {
                break;
            }
        }
        log
    }

    /// A directory of the test's own, of mode 0750; gone when the laboratory is.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The host's control socket.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// The host's process id.
    pub fn pid(&self) -> u32 {
        self.host.id()
    }

    /// Memory mappings that the host has.
    ///
    /// # Panics
    /// If it has ended.
    pub fn mappings(&self) -> usize {
        let maps = fs::read_to_string(format!("/proc/{}/maps", self.pid()));
        maps.expect("the host runs").lines().count()
    }

    /// Buffers in use.
    ///
    /// # Panics
    /// If the host does not say.
    pub fn buffers_in_use(&self) -> u64 {
        self.run("show buffers").the("Where", "in use").count("Buffers")
    }

    /// Waits until `done`; false if it does not come true.
    pub fn eventually(
        &mut self,
        patience: Duration,
        mut done: impl FnMut(&mut Self) -> bool,
    ) -> bool {
        let began = now();
        loop {
            if done(self) {
                return true;
            }
            if now() - began > patience {
                return false;
            }
            pause(Duration::from_millis(2));
        }
    }

    /// Sends the host a signal.
    ///
    /// # Panics
    /// If it has ended.
    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.pid()).ok().and_then(Pid::from_raw).expect("a process id");
        kill_process(pid, signal).expect("the host runs");
    }

    /// Waits for the host to end by itself.
    ///
    /// # Panics
    /// If it does not.
    pub fn wait(&mut self) -> ExitStatus {
        let mut status = None;
        self.eventually(PATIENCE, |lab| {
            status = lab.host.try_wait().expect("it is our child");
            status.is_some()
        });
        self.ended = status.is_some();
        status.unwrap_or_else(|| panic!("the host does not end: {}", self.log()))
    }

    /// Ends the host by SIGTERM. This is how each test should end.
    ///
    /// # Panics
    /// If it does not end with exit code 0, or buffers are missing.
    pub fn finish(mut self) {
        self.end(Signal::TERM);
    }

    /// Ends the host by a signal.
    ///
    /// # Panics
    /// If it does not end with exit code 0, or buffers are missing.
    pub fn end(&mut self, signal: Signal) {
        self.signal(signal);
        let status = self.wait();
        let log = self.log();
        assert!(status.success(), "the host ended with {status}: {log}");
        assert!(!log.contains(LEAK), "the host lost buffers: {log}");
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        // Only a test that fails, or that forgot to finish, leaves its host behind.
        let killed = self.host.kill().and_then(|()| self.host.wait());
        if std::thread::panicking() {
            let _ = io::Write::write_all(&mut io::stderr(), self.log().as_bytes());
        } else {
            panic!("the test did not finish its host, {killed:?}: {}", self.log());
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "tests of a whole host wait for real time")]
fn now() -> Instant {
    Instant::now()
}

/// Lets real time pass.
#[expect(clippy::disallowed_methods, reason = "tests of a whole host wait for real time")]
pub fn pause(time: Duration) {
    std::thread::sleep(time);
}

/// Waits for something, half a minute at most; whether it came true.
pub fn until(mut done: impl FnMut() -> bool) -> bool {
    let began = now();
    loop {
        if done() {
            return true;
        }
        if now() - began > PATIENCE {
            return false;
        }
        pause(Duration::from_millis(10));
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
