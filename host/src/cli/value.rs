//! Words as values.

use std::net::Ipv4Addr;

use super::args::ArgKind;

/// What names mean to the host.
pub trait Names {
    /// The index of the interface called `name`.
    fn interface_index(&self, name: &str) -> Option<u32>;
    /// The index of the node called `name`.
    fn node_index(&self, name: &str) -> Option<u32>;
}

/// Why a word is not the value it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ValueError {
    /// Not of the form.
    #[error("`{word}' is not {wanted}")]
    Form {
        /// The word.
        word: String,
        /// What it should be.
        wanted: &'static str,
    },
    /// A number that is too small or too large.
    #[error("{word} is out of range, {least} to {most}")]
    Range {
        /// The word.
        word: String,
        /// The smallest allowed.
        least: String,
        /// The largest allowed.
        most: String,
    },
    /// No interface has this name.
    #[error("unknown interface `{0}'")]
    Interface(String),
    /// No node has this name.
    #[error("unknown node `{0}'")]
    Node(String),
    /// The word has a character that no terminal should be sent.
    #[error("{0:?} contains a control character")]
    Control(String),
}

/// Reads a word; the number and the extra number that [`ArgKind`] describes.
pub(super) fn read(kind: ArgKind, word: &str, names: &dyn Names) -> Result<(u64, u32), ValueError> {
    if word.chars().any(char::is_control) {
        return Err(ValueError::Control(word.to_owned()));
    }
    let form = |wanted| ValueError::Form { word: word.to_owned(), wanted };
    let number = match kind {
        ArgKind::Flag | ArgKind::Choice | ArgKind::String | ArgKind::Rest => 0,
        ArgKind::Word if word.is_empty() || word.contains(char::is_whitespace) => {
            return Err(form("a word without blanks"));
        }
        ArgKind::Path if word.is_empty() => return Err(form("a file name")),
        ArgKind::Word | ArgKind::Path => 0,
        ArgKind::Bool => boolean(word).ok_or_else(|| form("on, off, enable or disable"))?,
        ArgKind::U8 => unsigned(word, u8::MAX.into())?,
        ArgKind::U16 => unsigned(word, u16::MAX.into())?,
        ArgKind::U32 => unsigned(word, u32::MAX.into())?,
        ArgKind::U64 => unsigned(word, u64::MAX)?,
        ArgKind::I64 => signed(word)?.cast_unsigned(),
        ArgKind::F64 => {
            let number = word.parse().ok().filter(|number: &f64| number.is_finite());
            number.ok_or_else(|| form("a number"))?.to_bits()
        }
        ArgKind::Ip4 => address(word).ok_or_else(|| form("an IPv4 address"))?,
        ArgKind::Ip4Prefix => return prefix(word),
        ArgKind::Mac => {
            mac(word).ok_or_else(|| form("a MAC address, such as 02:00:00:00:00:01"))?
        }
        ArgKind::Interface => {
            let index = names.interface_index(word);
            index.ok_or_else(|| ValueError::Interface(word.to_owned()))?.into()
        }
        ArgKind::Node => {
            let index = names.node_index(word);
            index.ok_or_else(|| ValueError::Node(word.to_owned()))?.into()
        }
        ArgKind::Duration => scaled(word, &DURATIONS, "a duration, such as 250ms, 1.5s or 2min")?,
        ArgKind::Size => scaled(word, &SIZES, "a size in bytes, such as 2048, 64k or 1g")?,
    };
    Ok((number, 0))
}

fn boolean(word: &str) -> Option<u64> {
    match word {
        "on" | "enable" => Some(1),
        "off" | "disable" => Some(0),
        _ => None,
    }
}

/// Decimal, or hexadecimal after `0x`.
fn unsigned(word: &str, most: u64) -> Result<u64, ValueError> {
    let (digits, radix) = word.strip_prefix("0x").map_or((word, 10), |digits| (digits, 16));
    let negative = digits.strip_prefix('-').filter(|_| radix == 10);
    let magnitude = negative.unwrap_or(digits);
    if magnitude.is_empty() || !magnitude.chars().all(|digit| digit.is_digit(radix)) {
        return Err(ValueError::Form { word: word.to_owned(), wanted: "a whole number" });
    }
    let number = u64::from_str_radix(magnitude, radix).ok();
    let number = number.filter(|&number| number <= most && (negative.is_none() || number == 0));
    number.ok_or_else(|| ValueError::Range {
        word: word.to_owned(),
        least: "0".to_owned(),
        most: most.to_string(),
    })
}

fn signed(word: &str) -> Result<i64, ValueError> {
    let digits = word.strip_prefix('-').unwrap_or(word);
    if digits.is_empty() || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return Err(ValueError::Form { word: word.to_owned(), wanted: "a whole number" });
    }
    word.parse().map_err(|_| ValueError::Range {
        word: word.to_owned(),
        least: i64::MIN.to_string(),
        most: i64::MAX.to_string(),
    })
}

fn address(word: &str) -> Option<u64> {
    word.parse::<Ipv4Addr>().ok().map(|address| address.to_bits().into())
}

fn prefix(word: &str) -> Result<(u64, u32), ValueError> {
    let form = || ValueError::Form {
        word: word.to_owned(),
        wanted: "an IPv4 prefix, such as 10.0.0.0/24",
    };
    let (before, length) = word.split_once('/').ok_or_else(form)?;
    let number = address(before).ok_or_else(form)?;
    if length.is_empty() || !length.bytes().all(|digit| digit.is_ascii_digit()) {
        return Err(form());
    }
    let length = length.parse().ok().filter(|&length: &u32| length <= 32);
    let length = length.ok_or_else(|| ValueError::Range {
        word: word.to_owned(),
        least: "/0".to_owned(),
        most: "/32".to_owned(),
    })?;
    Ok((number, length))
}

/// `02:00:00:00:00:01`, or `0200.0000.0001` as other routers print it.
fn mac(word: &str) -> Option<u64> {
    let (separator, digits) = if word.contains(':') { (':', 2) } else { ('.', 4) };
    let parts: Vec<&str> = word.split(separator).collect();
    let whole = parts.len() * digits == 12
        && parts.iter().all(|part| {
            (part.len() == digits || (separator == ':' && part.len() == 1))
                && part.bytes().all(|digit| digit.is_ascii_hexdigit())
        });
    let part = |number: u64, part: &&str| {
        Some((number << (4 * digits)) | u64::from_str_radix(part, 16).ok()?)
    };
    if whole { parts.iter().try_fold(0, part) } else { None }
}

/// Units of time, in nanoseconds; a bare number is seconds.
const DURATIONS: [(&str, u64); 7] = [
    ("ns", 1),
    ("us", 1_000),
    ("ms", 1_000_000),
    ("", 1_000_000_000),
    ("s", 1_000_000_000),
    ("min", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

/// Units of memory, in bytes.
const SIZES: [(&str, u64); 9] = [
    ("", 1),
    ("k", 1 << 10),
    ("kib", 1 << 10),
    ("m", 1 << 20),
    ("mib", 1 << 20),
    ("g", 1 << 30),
    ("gib", 1 << 30),
    ("t", 1 << 40),
    ("tib", 1 << 40),
];

/// Reads digits, perhaps a fraction, and a unit; exactly, whatever a float could hold.
fn scaled(word: &str, units: &[(&str, u64)], wanted: &'static str) -> Result<u64, ValueError> {
    let form = || ValueError::Form { word: word.to_owned(), wanted };
    let end = word.find(|found: char| !found.is_ascii_digit() && found != '.');
    let (number, unit) = word.split_at(end.unwrap_or(word.len()));
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let unit = unit.to_ascii_lowercase();
    let scale = units.iter().find(|(name, _)| *name == unit).map(|&(_, scale)| u128::from(scale));
    let scale = scale.filter(|_| !whole.is_empty() && !fraction.is_empty()).ok_or_else(form)?;
    if fraction.len() > 18 || fraction.contains('.') {
        return Err(form());
    }
    let places = 10_u128.pow(u32::try_from(fraction.len()).unwrap_or(0));
    let part = fraction.parse::<u128>().map_err(|_| form())? * scale;
    let whole = whole.parse::<u64>().ok().map(|whole| u128::from(whole) * scale);
    let total = whole.and_then(|whole| u64::try_from(whole + part / places).ok());
    if !part.is_multiple_of(places) {
        return Err(form());
    }
    total.ok_or_else(|| ValueError::Range {
        word: word.to_owned(),
        least: "0".to_owned(),
        most: format!("{}{}", u64::MAX, units[0].0),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Nobody;

    impl Names for Nobody {
        fn interface_index(&self, name: &str) -> Option<u32> {
            (name == "tap0").then_some(7)
        }
        fn node_index(&self, name: &str) -> Option<u32> {
            (name == "ip4-lookup").then_some(9)
        }
    }

    fn number(kind: ArgKind, word: &str) -> Option<u64> {
        read(kind, word, &Nobody).ok().map(|(number, _)| number)
    }

    #[test]
    fn integers_are_exact_up_to_their_limits_and_not_beyond() {
        assert_eq!(number(ArgKind::U8, "255"), Some(255));
        assert_eq!(number(ArgKind::U8, "0xff"), Some(255));
        assert_eq!(number(ArgKind::U64, "18446744073709551615"), Some(u64::MAX));
        assert_eq!(number(ArgKind::I64, "-9223372036854775808"), Some(1 << 63));
        for (kind, word) in [
            (ArgKind::U8, "256"),
            (ArgKind::U16, "65536"),
            (ArgKind::U32, "-1"),
            (ArgKind::U64, "18446744073709551616"),
            (ArgKind::I64, "9223372036854775808"),
        ] {
            assert!(matches!(read(kind, word, &Nobody), Err(ValueError::Range { .. })), "{word}");
        }
        for word in ["", "+1", "1 ", "0x", "0x-1", "x", "-", "1e3", "١"] {
            let error = read(ArgKind::U64, word, &Nobody);
            assert!(matches!(error, Err(ValueError::Form { .. })), "{word}");
        }
    }

    #[test]
    fn addresses_prefixes_and_macs_take_their_usual_forms_only() {
        assert_eq!(number(ArgKind::Ip4, "10.0.0.1"), Some(0x0a00_0001));
        assert_eq!(read(ArgKind::Ip4Prefix, "10.0.0.0/8", &Nobody), Ok((0x0a00_0000, 8)));
        assert_eq!(number(ArgKind::Mac, "02:00:00:0:0a:ff"), Some(0x0200_0000_0aff));
        assert_eq!(number(ArgKind::Mac, "0200.0000.0aff"), Some(0x0200_0000_0aff));
        for word in ["10.0.0", "10.0.0.256", "10.0.0.0/", "10.0.0.0/33", "10.0.0.0/+8", "/8", ""] {
            assert_eq!(number(ArgKind::Ip4Prefix, word), None, "{word}");
        }
        for word in
            ["", "02:00:00:00:00", "02:00:00:00:00:0g", "2.0.1", "020000000001", "+2:1:1:1:1:1"]
        {
            assert_eq!(number(ArgKind::Mac, word), None, "{word}");
        }
    }

    #[test]
    fn durations_and_sizes_are_exact() {
        assert_eq!(number(ArgKind::Duration, "1.5s"), Some(1_500_000_000));
        assert_eq!(number(ArgKind::Duration, "2"), Some(2_000_000_000));
        assert_eq!(number(ArgKind::Duration, "250ms"), Some(250_000_000));
        assert_eq!(number(ArgKind::Size, "64k"), Some(65_536));
        assert_eq!(number(ArgKind::Size, "0.5GiB"), Some(1 << 29));
        assert_eq!(number(ArgKind::Size, "18446744073709551615"), Some(u64::MAX));
        for word in ["", "k", ".", "1.", ".5", "1..2", "1.2.3", "-1", "0.3", "16777216t", "1kb"] {
            assert_eq!(number(ArgKind::Size, word), None, "{word}");
        }
        assert_eq!(number(ArgKind::Duration, "99999999999h"), None);
    }

    #[test]
    fn names_are_looked_up_and_text_has_no_control_characters() {
        assert_eq!(number(ArgKind::Interface, "tap0"), Some(7));
        assert_eq!(number(ArgKind::Node, "ip4-lookup"), Some(9));
        let error = read(ArgKind::Interface, "foo", &Nobody).unwrap_err();
        assert_eq!(error.to_string(), "unknown interface `foo'");
        assert_eq!(number(ArgKind::Word, "a b"), None);
        assert_eq!(number(ArgKind::String, "a b"), Some(0));
        assert_eq!(number(ArgKind::String, "\u{1b}[2J"), None);
        assert_eq!(number(ArgKind::Path, "a\0b"), None);
        assert_eq!(number(ArgKind::F64, "inf"), None);
        assert_eq!(number(ArgKind::F64, "0.5"), Some(0.5_f64.to_bits()));
        assert_eq!(number(ArgKind::Bool, "enable"), Some(1));
        assert_eq!(number(ArgKind::Bool, "maybe"), None);
    }
}
