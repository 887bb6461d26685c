//! Network namespaces: a network of its own for each side of a host.

use std::{
    io::{self, Write},
    process::{Command, Output, Stdio},
    sync::atomic::{AtomicU32, Ordering},
};

use serde_json::Value;

/// Silence: neither router solicitations nor multicast reports among a test's packets.
const NO_IP6: &str = "for each in all default; do \
    echo 1 > /proc/sys/net/ipv6/conf/$each/disable_ipv6 2>/dev/null || true; done";

/// A network namespace with a name, with its loopback up and without IPv6. Gone when dropped, with
/// all interfaces in it.
///
/// Needs root and `ip`: see [`need_root`](crate::need_root), [`need_tool`](crate::need_tool).
#[derive(Debug)]
pub struct Netns {
    name: String,
}

impl Netns {
    /// Makes one; `purpose` is a part of its name.
    ///
    /// # Panics
    /// If it cannot.
    pub fn new(purpose: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("gm-{purpose}-{}-{count}", std::process::id());
        told(Command::new("ip").args(["netns", "add", &name]));
        let made = Self { name };
        told(made.command("sh").args(["-c", NO_IP6]));
        made.ip("link set lo up");
        made
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A program to run inside.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name, program]).stdin(Stdio::null());
        command
    }

    /// Runs a program inside and gives what it printed; words are separated by blanks.
    ///
    /// # Panics
    /// If it fails.
    pub fn run(&self, line: &str) -> String {
        told(&mut self.words(line))
    }

    /// Runs a program inside that may fail.
    ///
    /// # Panics
    /// If it cannot be executed.
    pub fn try_run(&self, line: &str) -> Output {
        let mut command = self.words(line);
        command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"))
    }

    fn words(&self, line: &str) -> Command {
        let mut words = line.split_whitespace();
        let mut command = self.command(words.next().expect("a program"));
        command.args(words);
        command
    }

    /// Runs `ip` inside, such as `addr add 10.0.0.1/24 dev left`.
    ///
    /// # Panics
    /// If it fails.
    pub fn ip(&self, line: &str) -> String {
        self.run(&format!("ip {line}"))
    }

    /// Joins two namespaces by a pair of virtual interfaces, one in each, and takes both up.
    ///
    /// # Panics
    /// If it cannot.
    pub fn join(&self, own: &str, other: &Self, others: &str) {
        let other_name = other.name();
        self.ip(&format!("link add {own} type veth peer name {others} netns {other_name}"));
        self.ip(&format!("link set {own} up"));
        other.ip(&format!("link set {others} up"));
    }

    /// What the kernel counted on an interface, such as `/rx/dropped` or `/tx/packets`.
    ///
    /// # Panics
    /// If there is no such counter.
    pub fn counter(&self, interface: &str, pointer: &str) -> u64 {
        let links = self.ip(&format!("-s -j link show dev {interface}"));
        let links: Value = serde_json::from_str(&links).expect("ip speaks JSON");
        let found = links.pointer(&format!("/0/stats64{pointer}")).and_then(Value::as_u64);
        found.unwrap_or_else(|| panic!("{interface} has no counter {pointer}: {links}"))
    }

    /// Packets that the kernel dropped on an interface, both ways.
    ///
    /// # Panics
    /// If there is no such interface.
    pub fn dropped(&self, interface: &str) -> u64 {
        self.counter(interface, "/rx/dropped") + self.counter(interface, "/tx/dropped")
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        let deleted = Command::new("ip").args(["netns", "del", &self.name]).status();
        if !deleted.is_ok_and(|status| status.success()) {
            let _ = writeln!(io::stderr(), "the namespace {} stays behind", self.name);
        }
    }
}

/// What a command that must work printed.
fn told(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(
        output.status.success(),
        "{command:?}: {}: {}{}",
        output.status,
        text(&output.stdout),
        text(&output.stderr)
    );
    text(&output.stdout)
}
