//! `resolve`: the addresses of a host name, as the system's resolver has them.

use std::{
    io,
    net::{IpAddr, ToSocketAddrs},
};

use crate::{
    cli::{Answer, Call, Cell, Column, CommandError, Lender, Role, Table, WaitingBuiltin},
    control::Control,
};

inventory::submit! {
    WaitingBuiltin {
        grammar: "resolve <name:word>",
        help: "the addresses of a host name, as the system's resolver has them",
        role: Role::Read,
        run: resolve,
    }
}

/// Why a name has no addresses.
#[derive(Debug, thiserror::Error)]
enum ResolveError {
    #[error("the resolver has no address of {name:?}")]
    Failed { name: String, source: io::Error },
    #[error("the resolver knows {0:?}, but no address of it")]
    None(String),
}

fn resolve(
    lender: &mut Lender<'_, Control>,
    call: &mut Call<'_>,
    answer: &mut Answer,
) -> Result<(), CommandError> {
    let name = call.args.require("name")?.text.clone();
    let host = lender.lend(|control| control.host);
    // It may ask servers, and wait for seconds until they answer.
    let asked = host.blocking_until_ended("resolve", move || addresses(name));
    let found = asked.map_err(CommandError::failed)?.map_err(CommandError::failed)?;
    let mut table = Table::new(["Address", "Family"].map(Column::text));
    for address in found {
        let family = if address.is_ipv4() { "ip4" } else { "ip6" };
        table.row([Cell::display(address), Cell::Text(family.to_owned())]);
    }
    answer.table(table);
    Ok(())
}

/// In the resolver's order, none twice.
fn addresses(name: String) -> Result<Vec<IpAddr>, ResolveError> {
    let found = match (name.as_str(), 0).to_socket_addrs() {
        Ok(found) => found,
        Err(source) => return Err(ResolveError::Failed { name, source }),
    };
    let mut addresses = Vec::new();
    for address in found.map(|found| found.ip()) {
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    if addresses.is_empty() { Err(ResolveError::None(name)) } else { Ok(addresses) }
}

#[cfg(test)]
mod tests {
    use std::{error::Error as _, net::Ipv4Addr};

    use super::*;

    #[test]
    fn a_name_has_its_addresses_and_an_address_is_its_own() {
        let found = addresses("localhost".into()).unwrap();
        assert!(found.iter().all(IpAddr::is_loopback), "{found:?}");
        let address = Ipv4Addr::new(127, 0, 0, 7);
        assert_eq!(addresses("127.0.0.7".into()).unwrap(), [IpAddr::V4(address)]);
    }

    #[test]
    fn what_is_no_name_is_refused_and_the_resolver_says_why() {
        // Neither is asked of a server: a zero byte, and a label that is too long.
        for name in ["x\0y".to_owned(), "a".repeat(70)] {
            let error = addresses(name.clone()).unwrap_err();
            assert!(error.to_string().contains(&format!("{name:?}")), "{error}");
            assert!(error.source().is_some(), "{error}");
        }
    }
}
