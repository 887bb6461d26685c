//! `show version`.

use super::reads;

inventory::submit! {
    reads("show version", "the host's version and ABI", |_, _, answer| {
        answer.line(format!(
            "gristmill v{} (ABI {}.{})",
            env!("CARGO_PKG_VERSION"),
            gristmill_abi::ABI_MAJOR,
            gristmill_abi::ABI_MINOR,
        ));
        Ok(())
    })
}
