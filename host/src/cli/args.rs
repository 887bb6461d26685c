//! Arguments: what a word must be, and what it was.

use std::net::Ipv4Addr;

use super::command::CommandError;
use super::value;

pub use super::value::{Names, ValueError};

/// What an argument is. The numbers are part of the plugin ABI.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u32)]
#[non_exhaustive]
pub enum ArgKind {
    /// A keyword that was given; the text is the keyword.
    Flag = 0,
    /// One of several words; the number is its place among them.
    Choice = 1,
    /// One word without blanks.
    Word = 2,
    /// Any text, empty and with blanks too.
    String = 3,
    /// `on`, `off`, `enable`, `disable`; the number is 1 or 0.
    Bool = 4,
    /// 8 bits.
    U8 = 5,
    /// 16 bits.
    U16 = 6,
    /// 32 bits.
    U32 = 7,
    /// 64 bits.
    U64 = 8,
    /// The number is its two's complement.
    I64 = 9,
    /// Finite; the number is its bits.
    F64 = 10,
    /// The number is the address in host byte order.
    Ip4 = 11,
    /// As [`Self::Ip4`]; `extra` is the length.
    Ip4Prefix = 12,
    /// The number's lower 48 bits, the first byte highest.
    Mac = 13,
    /// A file's name.
    Path = 14,
    /// An interface's name; the number is its index.
    Interface = 15,
    /// A node's name; the number is its index.
    Node = 16,
    /// Nanoseconds.
    Duration = 17,
    /// Bytes.
    Size = 18,
    /// All remaining words, joined by one blank.
    Rest = 19,
}

/// The kinds that a declaration can name.
const DECLARED: [(&str, ArgKind); 18] = [
    ("word", ArgKind::Word),
    ("string", ArgKind::String),
    ("bool", ArgKind::Bool),
    ("u8", ArgKind::U8),
    ("u16", ArgKind::U16),
    ("u32", ArgKind::U32),
    ("u64", ArgKind::U64),
    ("i64", ArgKind::I64),
    ("f64", ArgKind::F64),
    ("ip4", ArgKind::Ip4),
    ("ip4-prefix", ArgKind::Ip4Prefix),
    ("mac", ArgKind::Mac),
    ("path", ArgKind::Path),
    ("interface", ArgKind::Interface),
    ("node", ArgKind::Node),
    ("duration", ArgKind::Duration),
    ("size", ArgKind::Size),
    ("rest", ArgKind::Rest),
];

impl ArgKind {
    /// The kind that declarations call `name`.
    pub fn declared(name: &str) -> Option<Self> {
        DECLARED.iter().find(|(declared, _)| *declared == name).map(|&(_, kind)| kind)
    }

    /// What declarations call it.
    pub fn name(self) -> &'static str {
        let declared = DECLARED.iter().find(|&&(_, kind)| kind == self);
        declared.map_or(if self == Self::Flag { "flag" } else { "choice" }, |&(name, _)| name)
    }
}

/// One argument, flat enough to cross the plugin boundary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArgValue {
    /// The name in the declaration.
    pub name: String,
    /// What it is, and so what `number` and `extra` mean.
    pub kind: ArgKind,
    /// The word as it was given.
    pub text: String,
    /// See [`ArgKind`]; 0 where nothing is said there.
    pub number: u64,
    /// The length of a prefix, else 0.
    pub extra: u32,
    /// The word's place in the command line.
    pub word: u32,
}

impl ArgValue {
    /// Reads `text` as a value of `kind`.
    ///
    /// # Errors
    /// [`ValueError`] if it is none.
    pub fn read(
        name: &str,
        kind: ArgKind,
        text: &str,
        names: &dyn Names,
    ) -> Result<Self, ValueError> {
        let (number, extra) = value::read(kind, text, names)?;
        Ok(Self { name: name.to_owned(), kind, text: text.to_owned(), number, extra, word: 0 })
    }

    /// An IPv4 address, alone or of a prefix.
    pub fn ip4(&self) -> Option<Ipv4Addr> {
        let address = matches!(self.kind, ArgKind::Ip4 | ArgKind::Ip4Prefix);
        address.then(|| u32::try_from(self.number).ok().map(Ipv4Addr::from_bits)).flatten()
    }

    /// An IPv4 prefix; the address keeps its host bits.
    pub fn ip4_prefix(&self) -> Option<(Ipv4Addr, u8)> {
        let prefix = self.kind == ArgKind::Ip4Prefix;
        self.ip4().filter(|_| prefix).zip(u8::try_from(self.extra).ok())
    }

    /// A MAC address.
    pub fn mac(&self) -> Option<[u8; 6]> {
        let [_, _, mac @ ..] = self.number.to_be_bytes();
        (self.kind == ArgKind::Mac).then_some(mac)
    }

    /// A floating-point number.
    pub fn f64(&self) -> Option<f64> {
        (self.kind == ArgKind::F64).then(|| f64::from_bits(self.number))
    }

    /// A signed integer.
    pub fn i64(&self) -> Option<i64> {
        (self.kind == ArgKind::I64).then(|| self.number.cast_signed())
    }

    /// A number that fits 32 bits: an unsigned integer, an index, the place in a choice.
    pub fn u32(&self) -> Option<u32> {
        u32::try_from(self.number).ok()
    }
}

/// A command's arguments.
///
/// The grammar decides which there are: what a declaration does not make optional is there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Args(pub Vec<ArgValue>);

impl Args {
    /// The argument `name`, if it was given.
    pub fn find(&self, name: &str) -> Option<&ArgValue> {
        self.0.iter().find(|value| value.name == name)
    }

    /// The argument `name`.
    ///
    /// # Errors
    /// [`CommandError::Failed`] if it was not given; for what the declaration requires that
    /// would be a mistake in the command.
    pub fn require(&self, name: &str) -> Result<&ArgValue, CommandError> {
        self.find(name).ok_or_else(|| CommandError::failed(format!("{name} is missing")))
    }

    /// Whether the flag `name` was given.
    pub fn flag(&self, name: &str) -> bool {
        self.find(name).is_some_and(|value| value.kind == ArgKind::Flag)
    }

    /// The text of `name`.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.find(name).map(|value| value.text.as_str())
    }

    /// The number of `name`; what it means is its kind's business, see [`ArgKind`].
    pub fn number(&self, name: &str) -> Option<u64> {
        self.find(name).map(|value| value.number)
    }

    /// The number of `name`, as far as it fits 32 bits: an index, say.
    pub fn u32(&self, name: &str) -> Option<u32> {
        self.find(name).and_then(ArgValue::u32)
    }

    /// The address `name`.
    pub fn ip4(&self, name: &str) -> Option<Ipv4Addr> {
        self.find(name).and_then(ArgValue::ip4)
    }

    /// The prefix `name`.
    pub fn ip4_prefix(&self, name: &str) -> Option<(Ipv4Addr, u8)> {
        self.find(name).and_then(ArgValue::ip4_prefix)
    }

    /// The MAC address `name`.
    pub fn mac(&self, name: &str) -> Option<[u8; 6]> {
        self.find(name).and_then(ArgValue::mac)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_of_the_kinds_stay_what_plugins_were_built_with() {
        let numbers: Vec<u32> = DECLARED.iter().map(|&(_, kind)| kind as u32).collect();
        assert_eq!(numbers, (2..20).collect::<Vec<_>>());
        assert_eq!((ArgKind::Flag as u32, ArgKind::Choice as u32), (0, 1));
    }

    #[test]
    fn a_value_is_only_what_its_kind_says() {
        let value = ArgValue {
            name: "prefix".into(),
            kind: ArgKind::Ip4Prefix,
            text: "10.1.2.3/24".into(),
            number: 0x0a01_0203,
            extra: 24,
            word: 0,
        };
        assert_eq!(value.ip4_prefix(), Some((Ipv4Addr::new(10, 1, 2, 3), 24)));
        assert_eq!(value.ip4(), Some(Ipv4Addr::new(10, 1, 2, 3)));
        assert_eq!((value.mac(), value.f64(), value.i64()), (None, None, None));
        let args = Args(vec![value]);
        assert!(!args.flag("prefix"));
        assert!(args.require("mac").unwrap_err().report().contains("mac"));
    }
}
