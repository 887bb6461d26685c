//! `set punt tap`.

use super::writes;

inventory::submit! {
    writes(
        "set punt tap <interface:interface>",
        "hand packets that are the operating system's to it through a TAP",
        |control, call, _| {
            control.host.punt.set(call.args.u32("interface"));
            Ok(())
        },
    )
}

inventory::submit! {
    writes("clear punt", "drop packets that are the operating system's", |control, _, _| {
        control.host.punt.set(None);
        Ok(())
    })
}
