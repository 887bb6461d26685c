//! Commands.

use std::sync::Arc;

use plugin_api::{Answer, Args, Command, Error, Role, declare_command};

use crate::{AcmeDpi, class::Class};

/// `show acme-dpi`
#[derive(Debug)]
pub struct ShowAcmeDpi;

impl Command for ShowAcmeDpi {
    const GRAMMAR: &'static str = "show acme-dpi";
    const HELP: &'static str = "Shows packets by what they carry";
    const ROLE: Role = Role::Read;
    type Plugin = AcmeDpi;

    fn run(plugin: &Arc<AcmeDpi>, _: &Args<'_>, answer: &mut Answer<'_>) -> Result<(), Error> {
        let seen = plugin.totals.read();
        answer.table("", &["class", "packets", "bytes", "packets-per-second", "blocked"]);
        for class in Class::ALL {
            let [packets, bytes] = seen.of(class);
            answer.row([
                class.name().into(),
                packets.into(),
                bytes.into(),
                plugin.rates.per_second(class).into(),
                (plugin.settings.blocked == Some(class)).into(),
            ]);
        }
        Ok(())
    }
}

declare_command!(ShowAcmeDpi);
