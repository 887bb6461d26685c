//! The control socket, end to end: a server in this process, the real `millctl` as its client.
#![expect(clippy::unwrap_used, reason = "a test may panic where it cannot go on")]
#![expect(clippy::print_stderr, reason = "who runs the tests is told what was skipped")]

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::io::{self, BufRead, BufReader, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;
use std::thread::JoinHandle;

use gristmill::cli::{
    Access, Builtin, CommandError, Context, Names, Options, Registry, Role, Server, Table, Watch,
    basics,
};
use gristmill::cli::{Cell, Column};
use plugin_api::Interest;
use rustix::event::{PollFd, PollFlags};

/// A user and a group without rights.
const NOBODY: u32 = 65534;
/// A group that nobody is in but who is put there.
const GROUP: u32 = 60123;

/// A context with one number to set and to show.
struct Toy {
    commands: Registry<Self>,
    number: u64,
    watched: BTreeMap<RawFd, (OwnedFd, Interest, u64)>,
}

const COMMANDS: [Builtin<Toy>; 3] = [
    Builtin {
        grammar: "show number",
        help: "the number",
        role: Role::Read,
        needs_barrier: false,
        run: |toy, _, answer| {
            let mut table = Table::new([Column::number("Number")]);
            table.row([Cell::Unsigned(toy.number)]);
            answer.table(table);
            Ok(())
        },
    },
    Builtin {
        grammar: "set number <number:u64>",
        help: "set the number",
        role: Role::Write,
        needs_barrier: true,
        run: |toy, call, _| {
            toy.number = call.args.number("number").unwrap_or_default();
            Ok(())
        },
    },
    Builtin {
        grammar: "show file <file:path>",
        help: "a file's first line",
        role: Role::Read,
        needs_barrier: false,
        run: |_, call, answer| {
            let mut line = String::new();
            let file = call.open("file")?;
            BufReader::new(file).read_line(&mut line).map_err(CommandError::failed)?;
            answer.line(line);
            Ok(())
        },
    },
];

impl Names for Toy {
    fn interface_index(&self, _: &str) -> Option<u32> {
        None
    }

    fn node_index(&self, _: &str) -> Option<u32> {
        None
    }
}

impl Context for Toy {
    fn commands(&self) -> &Registry<Self> {
        &self.commands
    }

    fn at_barrier(
        &mut self,
        run: &mut dyn FnMut(&mut Self) -> Result<(), CommandError>,
    ) -> Result<(), CommandError> {
        run(self)
    }
}

impl Watch for Toy {
    fn watch(&mut self, fd: BorrowedFd<'_>, interest: Interest, token: u64) -> io::Result<()> {
        self.watched.insert(fd.as_raw_fd(), (fd.try_clone_to_owned()?, interest, token));
        Ok(())
    }

    fn rewatch(&mut self, fd: BorrowedFd<'_>, interest: Interest, token: u64) -> io::Result<()> {
        self.watch(fd, interest, token)
    }

    fn unwatch(&mut self, fd: BorrowedFd<'_>) -> io::Result<()> {
        self.watched.remove(&fd.as_raw_fd());
        Ok(())
    }
}

/// A host that has nothing but its control socket.
struct Host {
    socket: PathBuf,
    directory: tempfile::TempDir,
    /// Closed to end the thread.
    alive: Option<io::PipeWriter>,
    thread: Option<JoinHandle<()>>,
}

impl Host {
    fn start(group: Option<u32>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        // The way to the socket is open to all, so that the socket itself has to say no.
        fs::set_permissions(directory.path(), Permissions::from_mode(0o755)).unwrap();
        let socket = directory.path().join("mill/cli.sock");
        let mut commands = Registry::default();
        commands.add_builtins(&COMMANDS).unwrap();
        commands.add_builtins(&basics()).unwrap();
        let mut toy = Toy { commands, number: 7, watched: BTreeMap::new() };
        let options = Options {
            path: Some(socket.clone()),
            access: Access { group },
            token: 1,
            ..Options::default()
        };
        let mut server = Server::open(&options, &mut toy).unwrap();
        let (ended, alive) = io::pipe().unwrap();
        let thread = std::thread::spawn(move || {
            while turn(&mut server, &mut toy, &ended) {}
            server.close(&mut toy);
        });
        Self { socket, directory, alive: Some(alive), thread: Some(thread) }
    }

    /// A call of the client.
    fn millctl(&self, words: &[&str]) -> Command {
        let mut command = Command::new(millctl());
        command.arg("-s").arg(&self.socket).args(words).stdin(Stdio::null());
        command
    }

    fn run(&self, words: &[&str]) -> (i32, String, String) {
        told(&self.millctl(words).output().unwrap())
    }

    /// Runs the client with lines to read.
    fn run_lines(&self, lines: &str) -> (i32, String, String) {
        let mut command = self.millctl(&[]);
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
        told(&child.wait_with_output().unwrap())
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.alive = None;
        self.thread.take().unwrap().join().unwrap();
    }
}

/// One round of a poller; false at the end.
fn turn(server: &mut Server, toy: &mut Toy, ended: &io::PipeReader) -> bool {
    let flags = |interest: Interest| {
        let mut flags = PollFlags::empty();
        flags.set(PollFlags::IN, interest.read);
        flags.set(PollFlags::OUT, interest.write);
        flags
    };
    let mut tokens: Vec<u64> = toy.watched.values().map(|(_, _, token)| *token).collect();
    let watched = toy.watched.values();
    let mut polled: Vec<_> = watched
        .map(|(fd, interest, _)| PollFd::from_borrowed_fd(fd.as_fd(), flags(*interest)))
        .collect();
    polled.push(PollFd::from_borrowed_fd(ended.as_fd(), PollFlags::IN));
    rustix::event::poll(&mut polled, None).unwrap();
    let mut ready = polled.iter().map(|poll| !poll.revents().is_empty());
    tokens.retain(|_| ready.next().unwrap());
    let ended = ready.next().unwrap();
    drop(ready);
    drop(polled);
    tokens.into_iter().for_each(|token| server.ready(token, toy));
    !ended
}

/// The exit status, the standard output and the standard error.
fn told(output: &Output) -> (i32, String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

/// The client's executable: built once, and copied to where every user may run it.
fn millctl() -> &'static Path {
    static BUILT: OnceLock<(tempfile::TempDir, PathBuf)> = OnceLock::new();
    let build = || {
        let test = std::env::current_exe().unwrap();
        let profile = test.ancestors().nth(2).unwrap();
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut command = Command::new(cargo);
        command.args(["build", "--quiet", "-p", "gristmill-millctl"]);
        command.arg("--target-dir").arg(profile.parent().unwrap());
        if profile.ends_with("release") {
            command.arg("--release");
        }
        command.current_dir(env!("CARGO_MANIFEST_DIR"));
        assert!(command.status().unwrap().success(), "the client does not build");
        let directory = tempfile::tempdir().unwrap();
        fs::set_permissions(directory.path(), Permissions::from_mode(0o755)).unwrap();
        let path = directory.path().join("millctl");
        fs::copy(profile.join("millctl"), &path).unwrap();
        (directory, path)
    };
    &BUILT.get_or_init(build).1
}

/// Whether this process may become another user; says that the test is skipped if not.
fn is_superuser() -> bool {
    let superuser = rustix::process::geteuid().is_root();
    if !superuser {
        assert!(std::env::var_os("CI").is_none(), "this test must run as root in CI");
        eprintln!("skipped: run it as root, it becomes another user");
    }
    superuser
}

#[test]
fn the_exit_status_tells_success_failure_and_no_host() {
    let host = Host::start(None);
    assert_eq!(host.run(&["show", "number"]), (0, "Number\n     7\n".into(), String::new()));
    assert_eq!(
        host.run(&["set", "num", "18446744073709551615"]),
        (0, String::new(), String::new())
    );
    let json = concat!(
        r#"{"tables":[{"title":null,"columns":[{"name":"Number","unit":null}],"#,
        r#""rows":[{"Number":18446744073709551615}]}],"text":[]}"#,
        "\n"
    );
    assert_eq!(host.run(&["--json", "show number"]), (0, json.into(), String::new()));
    let (status, output, error) = host.run(&["set", "number", "-1"]);
    assert_eq!((status, output.as_str()), (1, ""));
    assert_eq!(
        error,
        "set number: number: -1 is out of range, 0 to 18446744073709551615\n\
         usage: set number <number:u64>\n"
    );
    assert_eq!(host.run(&["nonsense"]), (1, String::new(), "unknown input `nonsense'\n".into()));

    let nowhere = host.directory.path().join("none.sock");
    let output = Command::new(millctl()).arg("-s").arg(&nowhere).arg("x").output().unwrap();
    let (status, _, error) = told(&output);
    assert_eq!(status, 2);
    assert!(error.contains(nowhere.to_str().unwrap()), "{error}");
    assert_eq!(host.run(&["--nonsense"]).0, 1);
}

#[test]
fn the_client_tells_what_it_is_without_a_host() {
    for (option, begin) in [("--version", "millctl "), ("--help", "Talks to"), ("-V", "millctl ")] {
        let (status, output, _) = told(&Command::new(millctl()).arg(option).output().unwrap());
        assert_eq!((status, output.starts_with(begin)), (0, true), "{option}: {output}");
    }
}

#[test]
fn lines_run_one_by_one_up_to_quit_or_the_first_that_fails() {
    let host = Host::start(None);
    let (status, output, _) =
        host.run_lines("set number 1\n# no\nshow number\nquit\nset number 2\n");
    assert_eq!((status, output.as_str()), (0, "Number\n     1\n"));
    let (status, _, error) = host.run_lines("set number 3\n\nset numb\nset number 4\n");
    assert_eq!(status, 1);
    assert!(error.starts_with("line 3: set number: <number:u64> is missing\n"), "{error}");
    assert_eq!(host.run(&["show", "number"]).1, "Number\n     3\n");
}

#[test]
fn the_host_is_found_below_the_runtime_directory() {
    let directory = tempfile::tempdir().unwrap();
    let (status, _, error) = told(
        &Command::new(millctl())
            .env("XDG_RUNTIME_DIR", directory.path())
            .arg("show")
            .output()
            .unwrap(),
    );
    // A host of the system may run here; then it answers that `show` is not a command.
    if status == 2 {
        let place = directory.path().join("gristmill/cli.sock");
        assert!(error.contains(place.to_str().unwrap()), "{error}");
        assert!(error.contains("/run/gristmill/cli.sock"), "{error}");
    }
}

#[test]
fn a_script_runs_to_its_first_error_and_files_are_named_as_the_client_sees_them() {
    let host = Host::start(None);
    fs::write(host.directory.path().join("setup"), "set number 5\nset number x\n").unwrap();
    let mut command = host.millctl(&["exec", "setup"]);
    let (status, _, error) = told(&command.current_dir(host.directory.path()).output().unwrap());
    assert_eq!(status, 1);
    assert!(error.starts_with("setup:2: set number: number: `x' is not a whole"), "{error}");
    assert_eq!(host.run(&["show", "number"]).1, "Number\n     5\n");
}

#[test]
fn strangers_are_turned_away_and_members_of_the_group_are_not() {
    if !is_superuser() {
        return;
    }
    let host = Host::start(Some(GROUP));
    let as_nobody = |group| {
        let mut command = host.millctl(&["show", "number"]);
        told(&command.uid(NOBODY).gid(group).output().unwrap())
    };
    let (status, _, error) = as_nobody(NOBODY);
    assert_eq!(status, 2, "the file's mode keeps strangers out: {error}");
    assert_eq!(as_nobody(GROUP).0, 0);

    // Were the modes wide open, the host would still look at who it is.
    fs::set_permissions(host.socket.parent().unwrap(), Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(&host.socket, Permissions::from_mode(0o777)).unwrap();
    let (status, output, error) = as_nobody(NOBODY);
    assert_eq!((status, output.as_str()), (1, ""));
    assert_eq!(error, format!("user {NOBODY} may not give commands to this host\n"));

    let mut setpriv = Command::new("setpriv");
    setpriv.args([format!("--reuid={NOBODY}"), format!("--regid={NOBODY}")]);
    setpriv.args([format!("--groups={},{GROUP}", GROUP + 1)]).arg(millctl());
    let (status, _, error) =
        told(&setpriv.arg("-s").arg(&host.socket).args(["show", "number"]).output().unwrap());
    assert_eq!(status, 0, "a supplementary group counts: {error}");
}

#[test]
fn a_member_of_the_group_reads_files_with_its_own_rights_only() {
    if !is_superuser() {
        return;
    }
    let host = Host::start(Some(GROUP));
    let readable = host.directory.path().join("readable");
    let secret = host.directory.path().join("secret");
    for (path, mode) in [(&readable, 0o644), (&secret, 0o600)] {
        fs::write(path, "line\n").unwrap();
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }
    let show = |path: &Path| {
        let mut command = host.millctl(&["show", "file", path.to_str().unwrap()]);
        told(&command.uid(NOBODY).gid(GROUP).output().unwrap())
    };
    assert_eq!(show(&readable), (0, "line\n".into(), String::new()));
    let (status, output, error) = show(&secret);
    assert_eq!((status, output.as_str()), (1, ""));
    assert!(error.ends_with("it is not there, or its caller may not read it\n"), "{error}");

    // Nor can a script borrow the host's rights.
    let script = host.directory.path().join("script");
    fs::write(&script, format!("show file {}\n", secret.display())).unwrap();
    let mut command = host.millctl(&["exec", script.to_str().unwrap()]);
    let (status, output, _) = told(&command.uid(NOBODY).gid(GROUP).output().unwrap());
    assert_eq!((status, output.as_str()), (1, ""));
}
