//! Commands: typed arguments in, typed cells out.

use std::{
    fs::{File, OpenOptions},
    io,
    net::Ipv4Addr,
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
    sync::Arc,
    time::Duration,
};

use gristmill_abi::{
    ErrorText, Head, List, Status, Str,
    command::{AnswerTable, ArgValue, CommandDecl, arg_kind, cell_kind, role},
    text::Opaque,
};

use crate::{
    Error, InterfaceIndex, Plugin,
    plugin::{borrow, contain, settle},
};

/// Who may run a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It changes nothing.
    Read,
    /// It changes something.
    Write,
}

/// One command of the plugin.
///
/// ```
/// use std::sync::Arc;
/// use plugin_api::{Answer, Args, Command, Role, declare_command};
/// # use plugin_api::{Config, Error, Host, Plugin};
/// # struct Acme;
/// # impl Plugin for Acme {
/// #     const NAME: &'static str = "acme";
/// #     fn create(_: Host, _: &Config<'_>) -> Result<Self, Error> { Ok(Self) }
/// # }
/// # plugin_api::declare_plugin!(Acme);
///
/// /// `show acme interface`
/// struct ShowAcmeInterface;
/// # impl Acme { fn host(&self) -> Host { plugin_api::testing::host() } }
///
/// impl Command for ShowAcmeInterface {
///     const GRAMMAR: &'static str = "show acme interface <interface:interface>";
///     const HELP: &'static str = "Shows what acme knows of an interface";
///     const ROLE: Role = Role::Read;
///     type Plugin = Acme;
///
///     fn run(acme: &Arc<Acme>, args: &Args<'_>, answer: &mut Answer<'_>) -> Result<(), Error> {
///         let index = args.interface("interface").ok_or("which interface?")?;
///         let interface = acme.host().interface(index).ok_or("it is gone")?;
///         answer.table("", &["name", "mtu"]);
///         answer.row([(&interface.name).into(), interface.mtu.into()]);
///         Ok(())
///     }
/// }
/// declare_command!(ShowAcmeInterface);
/// # fn main() {}
/// ```
pub trait Command: 'static {
    /// Path, arguments and usage in one: `create tap [id <id:u32>] [host-ns <namespace:word>]`.
    ///
    /// Leading words are the path; `<name:type>` is an argument, `[...]` is optional,
    /// `{name:a|b}` a choice. Types: word, string, bool, u8, u16, u32, u64, i64, f64, ip4,
    /// ip4-prefix, mac, path, interface, node, duration, size, rest.
    const GRAMMAR: &'static str;
    /// One sentence.
    const HELP: &'static str;
    /// Who may run it.
    const ROLE: Role = Role::Write;
    /// Whether it runs with the workers stopped.
    const NEEDS_BARRIER: bool = false;
    /// The plugin it belongs to.
    type Plugin: Plugin;

    /// Runs it.
    ///
    /// Context: main.
    ///
    /// # Errors
    /// A reason for the operator; then nothing was changed.
    fn run(
        plugin: &Arc<Self::Plugin>,
        args: &Args<'_>,
        answer: &mut Answer<'_>,
    ) -> Result<(), Error>;
}

/// Declares a [`Command`] of this plugin.
#[macro_export]
macro_rules! declare_command {
    ($command:ty) => {
        $crate::__declare! {
            plugin: <$command as $crate::Command>::Plugin,
            kind: COMMAND,
            name: $crate::cli::path(<$command as $crate::Command>::GRAMMAR),
            detail: <$command as $crate::Command>::GRAMMAR,
            body: $crate::abi::command::CommandDecl = $crate::private::command_decl::<$command>(),
        }
    };
}

/// The path of a grammar: its words up to the first argument, at most 63 bytes of them.
#[doc(hidden)]
pub const fn path(grammar: &'static str) -> &'static str {
    let bytes = grammar.as_bytes();
    let mut end = 0;
    let mut at = 0;
    while at <= bytes.len() && at < 64 {
        if at == bytes.len() || bytes[at] == b' ' {
            end = at;
        }
        if at < bytes.len() && matches!(bytes[at], b'<' | b'[' | b'{') {
            break;
        }
        at += 1;
    }
    let (path, _) = bytes.split_at(end);
    match core::str::from_utf8(path) {
        Ok(path) => path,
        Err(_) => panic!("a grammar is cut at a blank"),
    }
}

/// The arguments of a call, checked by the host against the grammar.
#[derive(Clone, Copy, Debug)]
pub struct Args<'a>(&'a [ArgValue<'a>]);

impl<'a> Args<'a> {
    fn find(&self, name: &str) -> Option<&'a ArgValue<'a>> {
        self.0.iter().find(|arg| arg.name.as_str() == name)
    }

    fn of_kind(&self, name: &str, kind: u32) -> Option<&'a ArgValue<'a>> {
        self.find(name).filter(|arg| arg.kind == kind)
    }

    /// Whether an optional argument or keyword was given.
    pub fn has(&self, name: &str) -> bool {
        self.find(name).is_some()
    }

    /// An argument as it was typed.
    pub fn text(&self, name: &str) -> Option<&'a str> {
        self.find(name).map(|arg| arg.text.as_str())
    }

    /// An unsigned number.
    pub fn u64(&self, name: &str) -> Option<u64> {
        self.of_kind(name, arg_kind::UNSIGNED).map(|arg| arg.number)
    }

    /// An unsigned number of at most 32 bits.
    pub fn u32(&self, name: &str) -> Option<u32> {
        self.u64(name).and_then(|number| u32::try_from(number).ok())
    }

    /// An unsigned number of at most 16 bits.
    pub fn u16(&self, name: &str) -> Option<u16> {
        self.u64(name).and_then(|number| u16::try_from(number).ok())
    }

    /// A floating-point number.
    pub fn f64(&self, name: &str) -> Option<f64> {
        self.of_kind(name, arg_kind::FLOAT).map(|arg| f64::from_bits(arg.number))
    }

    /// On or off.
    pub fn bool(&self, name: &str) -> Option<bool> {
        self.of_kind(name, arg_kind::BOOL).map(|arg| arg.number != 0)
    }

    /// An IPv4 address.
    pub fn ip4(&self, name: &str) -> Option<Ipv4Addr> {
        self.of_kind(name, arg_kind::IP4).map(ip4)
    }

    /// An IPv4 address and the length of its prefix.
    pub fn ip4_prefix(&self, name: &str) -> Option<(Ipv4Addr, u8)> {
        let arg = self.of_kind(name, arg_kind::IP4_PREFIX)?;
        Some((ip4(arg), u8::try_from(arg.extra).ok()?))
    }

    /// A MAC address.
    pub fn mac(&self, name: &str) -> Option<[u8; 6]> {
        let [_, _, mac @ ..] = self.of_kind(name, arg_kind::MAC)?.number.to_be_bytes();
        Some(mac)
    }

    /// An interface that exists.
    pub fn interface(&self, name: &str) -> Option<InterfaceIndex> {
        let arg = self.of_kind(name, arg_kind::INTERFACE)?;
        u32::try_from(arg.number).ok().map(InterfaceIndex)
    }

    /// A span of time.
    pub fn duration(&self, name: &str) -> Option<Duration> {
        self.of_kind(name, arg_kind::DURATION).map(|arg| Duration::from_nanos(arg.number))
    }

    /// A path.
    pub fn path(&self, name: &str) -> Option<&'a Path> {
        self.of_kind(name, arg_kind::PATH).map(|arg| Path::new(arg.text.as_str()))
    }

    /// The file of a path argument, open for reading: the caller's descriptor where one was
    /// passed, else opened by the host, which never waits for the far end of a pipe.
    ///
    /// # Errors
    /// What the system says of the file; that no descriptor was passed by a caller who has not
    /// the host's rights.
    pub fn file(&self, name: &str) -> Option<io::Result<File>> {
        let arg = self.of_kind(name, arg_kind::PATH)?;
        let passed = arg.number.checked_sub(1).and_then(|fd| i32::try_from(fd).ok());
        Some(match passed {
            // SAFETY: the host passes a descriptor that is open during the call.
            Some(fd) => unsafe { std::os::fd::BorrowedFd::borrow_raw(fd) }
                .try_clone_to_owned()
                .map(File::from),
            None if self.may_open(name) => OpenOptions::new()
                .read(true)
                .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
                .open(arg.text.as_str()),
            None => Err(io::Error::new(
                io::ErrorKind::PermissionDenied,
                "it is not there, or its caller may not read it",
            )),
        })
    }

    /// Whether the host may open or create the file of a path argument by its own rights, because
    /// the caller has them too.
    pub fn may_open(&self, name: &str) -> bool {
        self.of_kind(name, arg_kind::PATH).is_some_and(|arg| arg.extra != 0)
    }
}

fn ip4(arg: &ArgValue<'_>) -> Ipv4Addr {
    let [.., a, b, c, d] = arg.number.to_be_bytes();
    Ipv4Addr::new(a, b, c, d)
}

/// One cell of an answer's table.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell<'a> {
    /// Nothing.
    Nothing,
    /// Text.
    Text(&'a str),
    /// Text made for the purpose.
    Owned(String),
    /// A number.
    Unsigned(u64),
    /// A number.
    Signed(i64),
    /// A number, shown with two digits.
    Float(f64),
    /// Yes or no.
    Bool(bool),
}

macro_rules! cell_from {
    ($($from:ty => |$value:ident| $cell:expr;)*) => {
        $(impl<'a> From<$from> for Cell<'a> {
            fn from($value: $from) -> Self {
                $cell
            }
        })*
    };
}

cell_from! {
    &'a str => |text| Cell::Text(text);
    &'a String => |text| Cell::Text(text);
    String => |text| Cell::Owned(text);
    u8 => |number| Cell::Unsigned(number.into());
    u16 => |number| Cell::Unsigned(number.into());
    u32 => |number| Cell::Unsigned(number.into());
    u64 => |number| Cell::Unsigned(number);
    usize => |number| Cell::Unsigned(number as u64);
    i64 => |number| Cell::Signed(number);
    f64 => |number| Cell::Float(number);
    bool => |yes| Cell::Bool(yes);
    Ipv4Addr => |address| Cell::Owned(address.to_string());
}

impl<'a, T: Into<Cell<'a>>> From<Option<T>> for Cell<'a> {
    fn from(value: Option<T>) -> Self {
        value.map_or(Cell::Nothing, Into::into)
    }
}

/// Where a command's answer goes.
#[derive(Debug)]
pub struct Answer<'a> {
    table: &'a AnswerTable,
}

impl Answer<'_> {
    /// Adds a line of text.
    pub fn line(&mut self, text: &str) {
        // SAFETY: the host lent its table for the call.
        unsafe { (self.table.line)(self.table.context, text.into()) };
    }

    /// Begins a table with named columns; the rows that follow are its.
    pub fn table(&mut self, title: &str, columns: &[&str]) {
        let names: Vec<Str<'_>> = columns.iter().map(|&name| name.into()).collect();
        // SAFETY: the host lent its table for the call.
        unsafe { (self.table.columns)(self.table.context, title.into(), List::new(&names)) };
    }

    /// Adds a row: a cell for each column.
    pub fn row<'c>(&mut self, cells: impl IntoIterator<Item = Cell<'c>>) {
        for cell in cells {
            let (kind, number, text) = match &cell {
                Cell::Nothing => (cell_kind::NOTHING, 0, ""),
                Cell::Text(text) => (cell_kind::TEXT, 0, *text),
                Cell::Owned(text) => (cell_kind::TEXT, 0, text.as_str()),
                Cell::Unsigned(number) => (cell_kind::UNSIGNED, *number, ""),
                Cell::Signed(number) => {
                    (cell_kind::SIGNED, u64::from_ne_bytes(number.to_ne_bytes()), "")
                }
                Cell::Float(number) => (cell_kind::FLOAT, number.to_bits(), ""),
                Cell::Bool(yes) => (cell_kind::BOOL, u64::from(*yes), ""),
            };
            // SAFETY: the host lent its table for the call.
            unsafe { (self.table.cell)(self.table.context, kind, number, text.into()) };
        }
    }
}

pub(crate) const fn decl<C: Command>() -> CommandDecl {
    CommandDecl {
        head: Head::of::<CommandDecl>(),
        grammar: Str::new(C::GRAMMAR),
        help: Str::new(C::HELP),
        role: match C::ROLE {
            Role::Read => role::READ,
            Role::Write => role::WRITE,
        },
        needs_barrier: C::NEEDS_BARRIER as u32,
        run: run::<C>,
    }
}

unsafe extern "C" fn run<C: Command>(
    plugin: Opaque,
    args: List<'_, ArgValue<'_>>,
    answer: *const AnswerTable,
    error: *mut ErrorText,
) -> Status {
    // SAFETY: the host passes the state of the plugin that declared the command.
    let plugin = unsafe { borrow::<C::Plugin>(plugin) };
    // SAFETY: the host passes its table.
    let mut answer = Answer { table: unsafe { &*answer } };
    let outcome = contain(|| C::run(&plugin, &Args(args.as_slice()), &mut answer));
    // SAFETY: the host passes room for an error.
    settle(outcome, unsafe { &mut *error }).map_or_else(|status| status, |()| Status::OK)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_ends_before_the_first_argument() {
        assert_eq!(path("show ip fib [<prefix:ip4-prefix>]"), "show ip fib");
        assert_eq!(
            path("set interface state <interface:interface> {state:up|down}"),
            "set interface state"
        );
        assert_eq!(path("show version"), "show version");
    }

    #[test]
    fn a_typed_argument_is_not_read_as_another_type() {
        let arg = ArgValue {
            name: "via".into(),
            text: "10.0.0.1".into(),
            number: 0x0a00_0001,
            kind: arg_kind::IP4,
            extra: 0,
        };
        let args = [arg];
        let args = Args(&args);
        assert_eq!(args.ip4("via"), Some(Ipv4Addr::new(10, 0, 0, 1)));
        assert_eq!(args.u64("via"), None);
        assert_eq!(args.text("via"), Some("10.0.0.1"));
        assert!(!args.has("interface"));
    }
    fn path_arg(path: &str, number: u64, extra: u32) -> ArgValue<'_> {
        ArgValue { name: "input".into(), text: path.into(), number, kind: arg_kind::PATH, extra }
    }

    #[test]
    fn a_file_is_opened_by_the_hosts_rights_only_for_a_caller_who_has_them() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
        let theirs = [path_arg(path, 0, 0)];
        assert!(!Args(&theirs).may_open("input"));
        let refused = Args(&theirs).file("input").unwrap().unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::PermissionDenied);

        let ours = [path_arg(path, 0, 1)];
        assert!(Args(&ours).may_open("input"));
        assert!(!Args(&ours).may_open("output"));
        assert!(Args(&ours).file("input").unwrap().unwrap().metadata().unwrap().len() > 0);
    }

    #[test]
    fn a_passed_descriptor_is_taken_whatever_the_path_says() {
        let file = File::open(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")).unwrap();
        let number = std::os::fd::AsRawFd::as_raw_fd(&file).unsigned_abs() + 1;
        let args = [path_arg("/nowhere", number.into(), 0)];
        let opened = Args(&args).file("input").unwrap().unwrap();
        assert_eq!(opened.metadata().unwrap().len(), file.metadata().unwrap().len());
    }
}
