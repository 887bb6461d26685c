//! What a test needs of the machine. Where it is not there the test is skipped, and says so; where
//! `CI` is `true` it fails.

use std::{
    env,
    io::{self, Write},
};

/// Tools and the Debian packages they come in, where the names differ.
const PACKAGES: [(&str, &str); 8] = [
    ("ethtool", "ethtool"),
    ("ip", "iproute2"),
    ("nc", "netcat-openbsd"),
    ("nsenter", "util-linux"),
    ("ping", "iputils-ping"),
    ("setpriv", "util-linux"),
    ("tcpdump", "tcpdump"),
    ("traceroute", "traceroute"),
];

/// Whether a tool can be run.
///
/// # Panics
/// If it cannot, and `CI` is `true`.
pub fn need_tool(tool: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    // Debian's users do not have the directories of the superuser's tools in their path.
    let usual = ["/usr/sbin", "/sbin"].map(Into::into);
    let found = env::split_paths(&path).chain(usual).any(|place| place.join(tool).is_file());
    if !found {
        let known = PACKAGES.iter().find(|(name, _)| *name == tool);
        let package = known.map_or(tool, |(_, package)| package);
        skip(&format!("it needs `{tool}': apt-get install {package}"));
    }
    found
}

/// Whether this process may make network namespaces and interfaces.
///
/// # Panics
/// If it may not, and `CI` is `true`.
pub fn need_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        skip("it makes network interfaces: run it as root");
    }
    root
}

/// Says that this test is skipped, and why.
///
/// # Panics
/// If `CI` is `true`.
pub fn skip(why: &str) {
    assert_ne!(env::var("CI").as_deref(), Ok("true"), "this test cannot be skipped in CI: {why}");
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    let _ = writeln!(io::stderr(), "SKIPPED {test}: {why}"); // Nobody listens, then.
}
