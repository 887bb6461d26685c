//! Network namespaces for tests of devices that the kernel has a part in.

use std::{
    env,
    process::{self, Command, Output},
    sync::atomic::{AtomicU32, Ordering},
};

/// A network namespace of its own, gone when it is dropped.
#[derive(Debug)]
pub struct Namespace {
    name: String,
}

impl Namespace {
    /// Makes one; its loopback interface is up. Without `ip` or the right to use it: says so and
    /// gives `None`, for the test to be skipped.
    ///
    /// # Panics
    /// If there can be none and `CI` is `true`.
    pub fn new() -> Option<Self> {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let name = format!("gristmill-{}-{number}", process::id());
        let made = Command::new("ip").args(["netns", "add", &name]).output();
        let reason = match made {
            Ok(output) if output.status.success() => {
                let namespace = Self { name };
                namespace.ip("link set lo up");
                return Some(namespace);
            }
            Ok(output) => format!("not allowed: {}", String::from_utf8_lossy(&output.stderr)),
            Err(error) => format!("no ip ({error}): install iproute2"),
        };
        assert!(env::var("CI").as_deref() != Ok("true"), "network namespaces: {reason}");
        #[expect(clippy::print_stderr, reason = "a skipped test says why")]
        {
            eprintln!("skipped, network namespaces: {reason}");
        }
        None
    }

    /// Its name, as `ip netns` has it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its path.
    pub fn path(&self) -> String {
        format!("/run/netns/{}", self.name)
    }

    /// Runs `ip` in it; `args` are separated by blanks. What it prints.
    ///
    /// # Panics
    /// If it fails.
    pub fn ip(&self, args: &str) -> String {
        let output = Command::new("ip")
            .args(["-n", &self.name])
            .args(args.split_whitespace())
            .output()
            .expect("ip ran before");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "ip {args}: {errors}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// A command that runs in it.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name, program]);
        command
    }

    /// Runs a command in it to its end.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn run(&self, program: &str, args: &[&str]) -> Output {
        self.command(program).args(args).output().expect("ip ran before")
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // A test that fails leaves no time for more than trying.
        let _ = Command::new("ip").args(["netns", "del", &self.name]).output();
    }
}
