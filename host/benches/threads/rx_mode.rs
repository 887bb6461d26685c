//! A host with a TAP that hardly anything comes to, in each mode of its receive queue: how soon it
//! answers a ping, beside the kernel, and what it uses while nothing comes.
//!
//! ```text
//!  namespace                        host, or the other namespace
//!  10.0.1.2 ── TAP, or veth pair ── 10.0.1.1
//! ```
//! The host is the program itself, in a process of its own. Needs root, `ip` and `ping`.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use tempfile::TempDir;

use crate::{ROUNDS, figures::Figures, report};

const MODES: [&str; 3] = ["polling", "interrupt", "adaptive"];
/// Pings of a round, each 10 ms after the other.
const PINGS: u32 = 50;
/// Tries until the host answers.
const TRIES: u32 = 50;
/// Before it is watched: it comes to rest, and neighbours have asked whether the other is still there.
const RESTS: Duration = Duration::from_secs(8);
/// How long it is watched.
const WATCHED: Duration = Duration::from_secs(5);
/// Answers are to take so many microseconds more than the kernel's.
const GOAL_US: f64 = 100.0;
/// Hundredths of a core that a thread is to use at most, and that the peer uses.
const GOAL_PERCENT: f64 = 0.2;
const VPP_PERCENT: f64 = 2.6;

pub(crate) fn run() {
    if let Some(missing) = missing() {
        println!("# rx-mode: not measured, {missing}");
        return;
    }
    build_plugins();
    let (near, far) = (Namespace::new("near"), Namespace::new("far"));
    let (near_name, far_name) = (&near.0, &far.0);
    ip(&format!("-n {near_name} link add near type veth peer name far netns {far_name}"));
    for (namespace, link, address) in [(&near, "near", "10.0.1.2"), (&far, "far", "10.0.1.1")] {
        let name = &namespace.0;
        ip(&format!("-n {name} addr add {address}/24 dev {link}"));
        ip(&format!("-n {name} link set {link} up"));
    }
    for mode in MODES {
        let namespace = Namespace::new(mode);
        let host = Host::start(mode, &namespace);
        answers(mode, &namespace, &near);
        idleness(mode, host.process.id());
    }
}

/// What cannot be done without.
fn missing() -> Option<&'static str> {
    let works = |program: &str| {
        let mut command = Command::new(program);
        command.arg("-V").stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    };
    if !rustix::process::geteuid().is_root() {
        return Some("for it takes root");
    }
    if !Path::new("/dev/net/tun").exists() {
        return Some("for there is no /dev/net/tun");
    }
    [("ip", "for there is no `ip`"), ("ping", "for there is no `ping`")]
        .into_iter()
        .find_map(|(tool, why)| (!works(tool)).then_some(why))
}

/// The plugins, into the directory where the host looks for them: its own.
fn build_plugins() {
    let host = Path::new(env!("CARGO_BIN_EXE_gristmill"));
    // target/PROFILE/gristmill
    let directory = host.parent().expect("a program is in a directory");
    let profile = match directory.file_name().and_then(|name| name.to_str()) {
        Some("debug") | None => "dev",
        Some(name) => name,
    };
    let built = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--offline", "--profile", profile, "--target-dir"])
        .arg(directory.parent().expect("a profile has a directory around it"))
        .args(["ethernet", "ip4", "tap"].map(|plugin| format!("--package=gristmill-{plugin}-so")))
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")))
        .status()
        .expect("cargo runs");
    assert!(built.success(), "the plugins do not build");
}

/// A network namespace; gone when it is dropped.
struct Namespace(String);

impl Namespace {
    fn new(purpose: &str) -> Self {
        let made = Self(format!("gm-bench-{purpose}-{}", std::process::id()));
        ip(&format!("netns add {}", made.0));
        made
    }

    /// Microseconds until the host, or the kernel, has answered each of so many pings; those that
    /// were answered.
    fn ping(&self, count: u32) -> Vec<f64> {
        let line = format!("netns exec {} ping -n -i 0.01 -W 1 -c {count} 10.0.1.1", self.0);
        let told = Command::new("ip").args(line.split(' ')).output().expect("ping runs");
        let told = String::from_utf8_lossy(&told.stdout).into_owned();
        let time = |line: &str| line.split_once("time=")?.1.split(' ').next()?.parse::<f64>().ok();
        told.lines().filter_map(time).map(|milliseconds| milliseconds * 1e3).collect()
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        ip(&format!("netns del {}", self.0));
    }
}

fn ip(line: &str) {
    let done = Command::new("ip").args(line.split(' ')).status().expect("there is `ip`");
    assert!(done.success() || std::thread::panicking(), "ip {line}: {done}");
}

/// A host that is killed when it is dropped.
struct Host {
    process: Child,
    _files: TempDir,
}

impl Host {
    /// With one worker and a TAP into `namespace`, whose queue has `mode`; it answers.
    fn start(mode: &str, namespace: &Namespace) -> Self {
        let directory = tempfile::tempdir().expect("there is a place for files");
        let place = directory.path();
        fs::set_permissions(place, fs::Permissions::from_mode(0o750)).expect("it is ours");
        let (config, script) = (place.join("gristmill.toml"), place.join("start"));
        let trusting = "[host]\ntrust-writable-plugins = true\n[log]\nlevel = \"error\"\n";
        fs::write(&config, trusting).expect("it is ours");
        let commands = format!(
            "create tap id 0 host-if-name near host-ns {} host-ip4-addr 10.0.1.2/24\n\
             set interface ip address tap0 10.0.1.1/24\n\
             set interface state tap0 up\n\
             set interface rx-mode tap0 {mode}\n",
            namespace.0
        );
        fs::write(&script, commands).expect("it is ours");
        let mut command = Command::new(env!("CARGO_BIN_EXE_gristmill"));
        command.arg("--config").arg(config).arg("--exec").arg(script);
        command.arg("--cli-socket").arg(place.join("cli.sock")).args(["--workers", "1"]);
        command.args(["ethernet", "ip4", "tap"].map(|plugin| format!("--plugin={plugin}")));
        let host = command.stdin(Stdio::null()).spawn().expect("cargo has built it");
        let mut host = Self { process: host, _files: directory };
        for _ in 0..TRIES {
            let ended = host.process.try_wait().expect("it is our child");
            assert!(ended.is_none(), "the host did not start");
            if namespace_has_link(namespace) && !namespace.ping(1).is_empty() {
                return host;
            }
            pause(Duration::from_millis(100));
        }
        panic!("the host does not answer");
    }
}

fn namespace_has_link(namespace: &Namespace) -> bool {
    let mut command = Command::new("ip");
    command.args(["-n", &namespace.0, "link", "show", "dev", "near"]);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

impl Drop for Host {
    fn drop(&mut self) {
        let ended = self.process.kill().and_then(|()| self.process.wait());
        assert!(ended.is_ok() || std::thread::panicking(), "{ended:?}");
    }
}

/// Pings to the host and, in turn with them, to the kernel.
fn answers(mode: &str, to_host: &Namespace, to_kernel: &Namespace) {
    let mut all = [Figures::default(), Figures::default()];
    let mut least = [f64::INFINITY; 2];
    for _ in 0..ROUNDS {
        for (at, namespace) in [to_host, to_kernel].into_iter().enumerate() {
            let mut round = Figures::default();
            for microseconds in namespace.ping(PINGS) {
                #[expect(clippy::cast_possible_truncation, reason = "whole nanoseconds")]
                #[expect(clippy::cast_sign_loss, reason = "time goes on")]
                let nanoseconds = (microseconds * 1e3) as u64;
                round.add(nanoseconds);
                all[at].add(nanoseconds);
            }
            least[at] = least[at].min(round.at(0.5));
        }
    }
    let [host, kernel] = &all;
    println!("# rx-mode {mode}: ping, us p50 / p99 / max: host {host}, kernel {kernel}");
    let [host_least, kernel_least] = least;
    report(&format!("ping-us/{mode}-p50"), "kernel-veth", host_least, kernel_least);
    report(&format!("ping-us/{mode}-p50-more"), "goal", host_least - kernel_least, GOAL_US);
    let [host, kernel] = all.map(|figures| figures.at(0.99));
    report(&format!("ping-us/{mode}-p99"), "kernel-veth", host, kernel);
}

/// What each thread uses while nothing comes.
fn idleness(mode: &str, pid: u32) {
    pause(RESTS);
    let before = used(pid);
    pause(WATCHED);
    let after = used(pid);
    let mut most = 0.0_f64;
    for ((name, before), (_, after)) in before.iter().zip(&after) {
        let percent = (after - before) as f64 / WATCHED.as_nanos() as f64 * 100.0;
        println!("# rx-mode {mode}: thread {name} uses {percent:.3} % of a core");
        most = most.max(percent);
    }
    report(&format!("idle-percent/{mode}"), "goal", most, GOAL_PERCENT);
    report(&format!("idle-percent/{mode}"), "vpp-recorded", most, VPP_PERCENT);
}

/// Nanoseconds that each thread has run, by name; in the order of their ids.
fn used(pid: u32) -> Vec<(String, u64)> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("it runs");
    let mut tasks: Vec<_> = tasks.map(|task| task.expect("it runs").path()).collect();
    tasks.sort();
    let thread = |task: &std::path::PathBuf| {
        let read = |file: &str| fs::read_to_string(task.join(file)).expect("it runs");
        let ran = read("schedstat").split(' ').next().and_then(|ran| ran.parse().ok());
        (read("comm").trim().to_owned(), ran.expect("the kernel counts nanoseconds"))
    };
    tasks.iter().map(thread).collect()
}

fn pause(time: Duration) {
    #[expect(clippy::disallowed_methods, reason = "nothing is to happen")]
    std::thread::sleep(time);
}
