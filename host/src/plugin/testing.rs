//! Files to test with: plugins in C, built by gcc, and plugins in Rust, built by cargo.

use std::{
    env,
    ffi::OsStr,
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::LazyLock,
};

use gristmill_abi::{ABI_MINOR, layout::DIGEST, root::ROOT_SYMBOL};
use tempfile::TempDir;

use super::inspect::{Ownership, Trust};

/// Build directories are writable by whom they like.
pub(super) const ANYONES: Trust = Trust {
    ownership: Ownership::Unchecked,
    allow_panic_abort: false,
    bytes_max: Trust::BYTES_MAX,
};

/// Says that a test cannot run here; where it must, it fails.
pub(super) fn skip(why: &str) {
    assert_ne!(env::var("CI").as_deref(), Ok("true"), "skipped, but CI=true: {why}");
    writeln!(io::stderr(), "SKIPPED: {why}").unwrap();
}

/// A plugin in C with a plugin record and a node record, as its author would write it.
fn c_source() -> String {
    format!(
        r#"
#include <stdint.h>
struct head {{ char magic[8]; uint16_t kind, reserved; uint32_t size; }};
struct plugin {{
    struct head head; uint16_t abi_major, abi_minor; uint32_t flags; uint64_t layout_digest;
    char name[64], version[32], sdk_version[32], description[128];
}};
struct named {{ struct head head; char name[64], detail[192]; }};
#define RECORD __attribute__((used, retain, section(".gristmill"), aligned(8))) const
#ifndef NO_RECORDS
RECORD struct plugin plugin = {{
    {{ "GRSTMIL1", 1, 0, sizeof(struct plugin) }}, 1, {ABI_MINOR}, 1, {DIGEST:#x}ULL,
    "in-c", "1.2.3-rc.1", "1.0.0", "A plugin in C" }};
RECORD struct named node = {{ {{ "GRSTMIL1", 2, 0, sizeof(struct named) }}, "in-c-node", "" }};
#endif
#ifdef TWO_PLUGINS
RECORD struct plugin second = {{
    {{ "GRSTMIL1", 1, 0, sizeof(struct plugin) }}, 1, {ABI_MINOR}, 1, {DIGEST:#x}ULL,
    "in-c-too", "1.2.3", "1.0.0", "Another" }};
#endif
#ifdef TEXT_RELOCATION
extern int elsewhere;
__asm__(".text\n.quad elsewhere\n.previous");
#endif
#ifdef UNDEFINED
extern int nowhere(void);
int (*in_c_undefined)(void) = nowhere;
#endif
#ifdef RWX
__asm__(".section .rwx,\"awx\",@progbits\n.quad 0\n.previous");
#endif
#ifndef NO_ROOT
const char {ROOT_SYMBOL}[4096] = {{ 1 }};
#endif
int in_c_zeroed[1000];
_Thread_local int in_c_own = 1;
int main(void) {{ return in_c_zeroed[0] + in_c_own; }}
"#
    )
}

/// Builds the plugin in C with further arguments for gcc; `None` (and a word) without gcc.
pub(super) fn in_c(directory: &TempDir, arguments: &[&str]) -> Option<PathBuf> {
    let source = directory.path().join("in-c.c");
    fs::write(&source, c_source()).unwrap();
    let object = directory.path().join("libin_c_plugin.so");
    let mut gcc = Command::new("gcc");
    gcc.arg(&source).arg("-o").arg(&object).args(arguments).current_dir(directory.path());
    match gcc.output() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            skip("gcc is not installed");
            None
        }
        result => {
            let output = result.unwrap();
            let text = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "gcc {arguments:?}: {text}");
            Some(object)
        }
    }
}

pub(super) const SHARED: &[&str] = &["-shared", "-fPIC"];

/// The plugin on the ABI alone.
pub(super) fn bare() -> &'static Path {
    static BARE: LazyLock<PathBuf> =
        LazyLock::new(|| built("gristmill-bare-plugin", "libbare_plugin.so"));
    &BARE
}

/// The bytes of [`bare`] with a fault of its list; each is a content of its own.
pub(super) fn bare_with(fault: u8) -> Vec<u8> {
    const MARK: &[u8] = b"gristmill-bare-fault";
    let mut bytes = fs::read(bare()).unwrap();
    let places: Vec<_> = bytes
        .windows(MARK.len())
        .enumerate()
        .filter(|(_, window)| *window == MARK)
        .map(|(at, _)| at)
        .collect();
    assert_eq!(places.len(), 1, "the mark is in the file once");
    bytes[places[0] + MARK.len() - 1] = fault;
    bytes
}

/// A plugin built with the SDK.
pub(super) fn null() -> &'static Path {
    static NULL: LazyLock<PathBuf> =
        LazyLock::new(|| built("gristmill-null-so", "libnull_plugin.so"));
    &NULL
}

/// Builds a package beside this test; cargo has nothing to do if it was built before.
fn built(package: &str, file: &str) -> PathBuf {
    let test = env::current_exe().unwrap();
    let profile = test.parent().and_then(Path::parent).unwrap();
    let name = match profile.file_name().and_then(|name| name.to_str()) {
        Some("debug") => "dev",
        Some(name) => name,
        None => panic!("{} is in no profile's directory", profile.display()),
    };
    let status = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--offline", "--package", package, "--profile", name])
        .arg("--manifest-path")
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cargo.toml"))
        .arg("--target-dir")
        .arg(profile.parent().unwrap())
        .status()
        .unwrap();
    assert!(status.success(), "cargo build -p {package}: {status}");
    profile.join(file)
}

/// Runs one test of this binary in a process of its own, with `variable` set; `prefix` is what
/// the command line begins with.
pub(super) fn alone(prefix: &[&str], test: &str, variable: &str, value: &Path) -> Output {
    let this = env::current_exe().unwrap();
    let arguments = [OsStr::new("--exact"), OsStr::new(test), OsStr::new("--nocapture")];
    let words: Vec<&OsStr> =
        prefix.iter().map(OsStr::new).chain([this.as_os_str()]).chain(arguments).collect();
    Command::new(words[0]).args(&words[1..]).env(variable, value).output().unwrap()
}

/// A generator of numbers for tests that names its seed in messages.
pub(super) struct Random(pub(super) u64);

impl Random {
    /// The next number below `end` (xorshift64*).
    pub(super) fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let number = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        usize::try_from(number).unwrap() % end
    }
}
