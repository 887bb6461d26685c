//! Has the files of the host, as this package compiles them, take their atomics from loom; a flag
//! for the compiler would reach every dependency too.

use std::io::Write;

fn main() -> std::io::Result<()> {
    writeln!(std::io::stdout(), "cargo::rerun-if-changed=build.rs\ncargo::rustc-cfg=loom")
}
