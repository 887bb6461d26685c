//! Feeds the plugin inspector damaged shared objects.
//!
//! The input is a list of edits to the plugin that `GRISTMILL_FUZZ_PLUGIN` names; if none is named,
//! or the input begins like an ELF file, it is the file itself. Blind bytes hardly ever get past
//! the magic.
#![no_main]

use std::{path::Path, sync::LazyLock};

use gristmill::plugin::{Ownership, Trust, inspect_bytes};
use libfuzzer_sys::fuzz_target;

/// A plugin to damage: `GRISTMILL_FUZZ_PLUGIN`, if it is set.
static PLUGIN: LazyLock<Option<Vec<u8>>> = LazyLock::new(|| {
    let path = std::env::var_os("GRISTMILL_FUZZ_PLUGIN")?;
    Some(std::fs::read(&path).expect("GRISTMILL_FUZZ_PLUGIN can be read"))
});

/// Bytes of one edit: where, and what.
const EDIT: usize = 5;

fuzz_target!(|data: &[u8]| {
    let options = Trust {
        ownership: Ownership::Unchecked,
        allow_panic_abort: true,
        bytes_max: Trust::BYTES_MAX,
    };
    let bytes = match &*PLUGIN {
        Some(plugin) if !data.starts_with(b"\x7fELF") => edited(plugin, data),
        _ => data.to_vec(),
    };
    if let Err(error) = inspect_bytes(Path::new("fuzz.so"), bytes, &options) {
        let text = error.to_string();
        assert!(text.starts_with("fuzz.so: ") && !text.contains(char::is_control), "{text:?}");
    }
});

fn edited(plugin: &[u8], edits: &[u8]) -> Vec<u8> {
    let mut bytes = plugin.to_vec();
    for edit in edits.chunks_exact(EDIT) {
        let at = u32::from_le_bytes([edit[0], edit[1], edit[2], edit[3]]) as usize;
        let length = bytes.len();
        bytes[at % length] = edit[4];
    }
    // A last odd byte cuts the file, in 256ths.
    if let [cut] = edits.chunks_exact(EDIT).remainder() {
        bytes.truncate(plugin.len() * usize::from(*cut) / 256);
    }
    bytes
}
