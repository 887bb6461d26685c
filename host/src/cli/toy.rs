//! A context with two interfaces, for tests.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader};
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};

use plugin_api::Interest;

use super::{
    Builtin, Cell, Column, CommandError, Context, Names, Registry, Role, Table, Watch, basics,
};

/// The context.
pub(super) struct Toy {
    pub(super) commands: Registry<Self>,
    pub(super) up: [bool; 2],
    pub(super) barriers: usize,
    /// What is watched: the descriptor's token and interest.
    pub(super) watched: BTreeMap<RawFd, (u64, Interest)>,
}

inventory::collect!(Builtin<Toy>);

inventory::submit! {
    Builtin::<Toy> {
        grammar: "show interface",
        help: "the interfaces",
        role: Role::Read,
        needs_barrier: false,
        run: |toy, _, answer| {
            let mut table = Table::new([Column::text("Name"), Column::text("Up")]);
            for (index, up) in toy.up.iter().enumerate() {
                table.row([Cell::Text(format!("tap{index}")), Cell::Boolean(*up)]);
            }
            answer.table(table);
            Ok(())
        },
    }
}

inventory::submit! {
    Builtin::<Toy> {
        grammar: "set interface state <interface> {state:up|down}",
        help: "switch an interface",
        role: Role::Write,
        needs_barrier: true,
        run: |toy, call, _| {
            let index = call.args.u32("interface").unwrap_or_default() as usize;
            toy.up[index] = call.args.text("state") == Some("up");
            Ok(())
        },
    }
}

inventory::submit! {
    Builtin::<Toy> {
        grammar: "show file <file:path>",
        help: "the first line of a file",
        role: Role::Read,
        needs_barrier: false,
        run: |_, call, answer| {
            let mut line = String::new();
            let file = call.open("file")?;
            BufReader::new(file).read_line(&mut line).map_err(CommandError::failed)?;
            answer.line(line);
            Ok(())
        },
    }
}

inventory::submit! {
    Builtin::<Toy> {
        grammar: "fail <why:rest>",
        help: "nothing",
        role: Role::Read,
        needs_barrier: false,
        run: |_, call, _| {
            let why = call.args.text("why").unwrap_or_default();
            Err(CommandError::failed(format!("cannot: {why}")))
        },
    }
}

inventory::submit! {
    Builtin::<Toy> {
        grammar: "flood <lines:u32>",
        help: "many lines",
        role: Role::Read,
        needs_barrier: false,
        run: |_, call, answer| {
            for _ in 0..call.args.number("lines").unwrap_or_default() {
                answer.line("x".repeat(1000));
            }
            Ok(())
        },
    }
}

impl Toy {
    pub(super) fn new() -> Self {
        let mut commands = Registry::default();
        commands.add_builtins(inventory::iter::<Builtin<Toy>>).unwrap();
        commands.add_builtins(&basics()).unwrap();
        Self { commands, up: [false; 2], barriers: 0, watched: BTreeMap::new() }
    }
}

impl Names for Toy {
    fn interface_index(&self, name: &str) -> Option<u32> {
        ["tap0", "tap1"].into_iter().zip(0..).find(|(known, _)| *known == name).map(|(_, at)| at)
    }

    fn node_index(&self, name: &str) -> Option<u32> {
        (name == "ip4-lookup").then_some(1)
    }
}

impl Context for Toy {
    fn commands(&self) -> &Registry<Self> {
        &self.commands
    }

    fn at_barrier(
        &mut self,
        run: &mut dyn FnMut(&mut Self) -> Result<(), CommandError>,
    ) -> Result<(), CommandError> {
        self.barriers += 1;
        run(self)
    }
}

impl Watch for Toy {
    fn watch(&mut self, fd: BorrowedFd<'_>, interest: Interest, token: u64) -> io::Result<()> {
        assert!(self.watched.insert(fd.as_raw_fd(), (token, interest)).is_none(), "watched twice");
        Ok(())
    }

    fn rewatch(&mut self, fd: BorrowedFd<'_>, interest: Interest, token: u64) -> io::Result<()> {
        assert!(self.watched.insert(fd.as_raw_fd(), (token, interest)).is_some(), "not watched");
        Ok(())
    }

    fn unwatch(&mut self, fd: BorrowedFd<'_>) -> io::Result<()> {
        assert!(self.watched.remove(&fd.as_raw_fd()).is_some(), "not watched");
        Ok(())
    }
}
