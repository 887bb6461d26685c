//! A plugin's own section of the host's configuration.

use core::{cell::RefCell, fmt::Display, ops::RangeInclusive, str::FromStr, time::Duration};

use gristmill_abi::{declaration::ConfigEntry, log::ConfigService};

use crate::{Error, Host};

/// The settings under `[plugin.NAME]`, already split into keys and values.
///
/// A key that the plugin never asks for is an error, so that a misspelt one does not go unnoticed.
/// Errors name key, value and line. Types that can be read from text, such as numbers,
/// `std::net::Ipv4Addr`, [`MacAddress`](crate::wire::MacAddress) and
/// [`Ip4Prefix`](crate::wire::Ip4Prefix), are for [`parse`](Self::parse):
///
/// ```
/// # use plugin_api::{Config, Error};
/// # fn read(config: &Config<'_>) -> Result<(), Error> {
/// let server: Option<std::net::Ipv4Addr> = config.parse("server")?; // server = "10.0.0.1"
/// let flows = config.within("flows-max", 1..=1_000_000)?.unwrap_or(65_536); // flows-max = 1000
/// let idle = config.duration("idle")?; // idle = "15s"
/// let memory = config.size("memory")?; // memory = "64M"
/// let is_strict = config.flag("strict")?.unwrap_or(false); // strict = true
/// let ports: Vec<u16> = config.list("ports")?.unwrap_or_default(); // ports = [53, 853]
/// if memory.is_some_and(|memory| memory < flows * 64) {
///     return Err(config.error("memory", "64 bytes for each flow are needed"));
/// }
/// # Ok(())
/// # }
/// # read(&Config::default()).unwrap();
/// ```
#[derive(Debug, Default)]
pub struct Config<'a> {
    host: Option<Host>,
    entries: &'a [ConfigEntry<'a>],
    /// Keys that were asked for, set or not.
    asked: RefCell<Vec<String>>,
}

impl<'a> Config<'a> {
    pub(crate) fn new(host: Host, entries: &'a [ConfigEntry<'a>]) -> Self {
        Self { host: Some(host), entries, asked: RefCell::default() }
    }

    /// The text of `key`, if it is set.
    pub fn text(&self, key: &str) -> Option<&'a str> {
        self.asked.borrow_mut().push(key.to_owned());
        self.find(key)
    }

    fn find(&self, key: &str) -> Option<&'a str> {
        let entry = self.entries.iter().find(|entry| entry.key.as_str() == key)?;
        Some(entry.value.as_str())
    }

    /// The value of `key`, if it is set.
    ///
    /// # Errors
    /// If it is set to something that is not a `T`.
    pub fn parse<T: FromStr<Err: Display>>(&self, key: &str) -> Result<Option<T>, Error> {
        self.read(key, |text| text.parse::<T>().map_err(|error| error.to_string()))
    }

    /// The value of `key`, if it is set, which must be one of `range`.
    ///
    /// # Errors
    /// If it is not.
    pub fn within<T: FromStr<Err: Display> + PartialOrd + Display>(
        &self,
        key: &str,
        range: RangeInclusive<T>,
    ) -> Result<Option<T>, Error> {
        self.read(key, |text| {
            let value = text.parse::<T>().map_err(|error| error.to_string())?;
            let outside = || format!("must be {} to {}", range.start(), range.end());
            range.contains(&value).then_some(value).ok_or_else(outside)
        })
    }

    /// Whether `key` is true, if it is set: `true` or `false`, `on` or `off`, `yes` or `no`.
    ///
    /// # Errors
    /// If it is none of these.
    pub fn flag(&self, key: &str) -> Result<Option<bool>, Error> {
        self.read(key, |text| match text {
            "true" | "on" | "yes" => Ok(true),
            "false" | "off" | "no" => Ok(false),
            _ => Err("write true or false".to_owned()),
        })
    }

    /// The time that `key` says, if it is set: a whole number and a unit, `500us`, `20ms`, `15s`,
    /// `5m`, `2h` or `1d`.
    ///
    /// # Errors
    /// If it is not that.
    pub fn duration(&self, key: &str) -> Result<Option<Duration>, Error> {
        const UNITS: [(&str, u64); 7] = [
            ("ns", 1),
            ("us", 1_000),
            ("ms", 1_000_000),
            ("s", 1_000_000_000),
            ("m", 60_000_000_000),
            ("h", 3_600_000_000_000),
            ("d", 86_400_000_000_000),
        ];
        self.read(key, |text| {
            let wrong = "write a number and a unit, such as 500us, 20ms, 15s, 5m, 2h or 1d";
            scaled(text, &UNITS).map(Duration::from_nanos).map_err(|why| why.text(wrong))
        })
    }

    /// The bytes that `key` says, if it is set: a whole number, alone or with `k`, `M`, `G` or `T`
    /// for powers of 1024.
    ///
    /// # Errors
    /// If it is not that.
    pub fn size(&self, key: &str) -> Result<Option<u64>, Error> {
        const UNITS: [(&str, u64); 6] = [
            ("", 1),
            ("k", 1 << 10),
            ("K", 1 << 10),
            ("M", 1 << 20),
            ("G", 1 << 30),
            ("T", 1 << 40),
        ];
        self.read(key, |text| {
            let wrong = "write a number of bytes, such as 4096, 64k, 2M or 1G";
            scaled(text, &UNITS).map_err(|why| why.text(wrong))
        })
    }

    /// The elements of the list `key`, if it is set and not empty; a single value is a list of one.
    ///
    /// # Errors
    /// If an element is not a `T`.
    pub fn list<T: FromStr<Err: Display>>(&self, key: &str) -> Result<Option<Vec<T>>, Error> {
        if let Some(one) = self.parse(key)? {
            return Ok(Some(vec![one]));
        }
        let mut list = Vec::new();
        for at in 0.. {
            let element = format!("{key}.{at}");
            if self.find(&element).is_none() {
                break;
            }
            list.extend(self.parse(&element)?);
        }
        Ok((!list.is_empty()).then_some(list))
    }

    /// An error about the value of `key`: for what the plugin checks itself.
    pub fn error(&self, key: &str, reason: impl Display) -> Error {
        let place = self.place(key);
        match self.find(key) {
            Some(text) => Error::new(format!("{key} = {text:?}{place}: {reason}")),
            None => Error::new(format!("{key} is not set: {reason}")),
        }
    }

    fn read<T>(
        &self,
        key: &str,
        read: impl FnOnce(&str) -> Result<T, String>,
    ) -> Result<Option<T>, Error> {
        let Some(text) = self.text(key) else { return Ok(None) };
        read(text).map(Some).map_err(|reason| self.error(key, reason))
    }

    /// Where a key stands, if the host knows.
    fn place(&self, key: &str) -> String {
        let line = self.host.and_then(|host| {
            let (service, context) = host.builtin::<ConfigService>("config", "^1").ok()?;
            // SAFETY: main thread; the key is good for the call.
            Some(unsafe { (service.line)(context, host.plugin, key.into()) })
        });
        match line {
            None | Some(0) => String::new(),
            Some(line) => format!(" (line {line})"),
        }
    }

    /// What is said of a key that nobody asked for, if there is one.
    pub(crate) fn unknown(&self) -> Option<String> {
        let asked = self.asked.borrow();
        let is_known = |key: &&str| asked.iter().any(|asked| asked == key);
        let unknown =
            self.entries.iter().map(|entry| entry.key.as_str()).find(|key| !is_known(key))?;
        let mut known: Vec<&str> = asked.iter().map(String::as_str).collect();
        known.sort_unstable();
        known.dedup();
        let near = known.iter().map(|known| (distance(known, unknown), known)).min();
        let hint = match near {
            None => "the plugin has none".to_owned(),
            Some((distance, near)) if distance <= near.len().div_ceil(3) => {
                format!("did you mean {near:?}?")
            }
            Some(_) => format!("known are {}", known.join(", ")),
        };
        Some(format!("unknown setting {unknown:?}{}: {hint}", self.place(unknown)))
    }
}

/// Why a text is no number with a unit.
#[derive(Clone, Copy, Debug)]
enum Wrong {
    Form,
    TooLarge,
}

impl Wrong {
    fn text(self, form: &str) -> String {
        match self {
            Self::Form => form.to_owned(),
            Self::TooLarge => "too large".to_owned(),
        }
    }
}

/// A whole number times its unit.
fn scaled(text: &str, units: &[(&str, u64)]) -> Result<u64, Wrong> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let unit = unit.trim_start();
    let (_, scale) = units.iter().find(|(name, _)| *name == unit).ok_or(Wrong::Form)?;
    if number.is_empty() {
        return Err(Wrong::Form);
    }
    let number: u64 = number.parse().map_err(|_| Wrong::TooLarge)?;
    number.checked_mul(*scale).ok_or(Wrong::TooLarge)
}

/// How many characters are to be changed, added or left out to make one of the other.
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (at, c) in one.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], at + 1);
        for (to, other) in other.iter().enumerate() {
            let cost = diagonal + usize::from(c != *other);
            diagonal = row[to + 1];
            row[to + 1] = cost.min(diagonal + 1).min(row[to] + 1);
        }
    }
    row[other.len()]
}

#[cfg(test)]
mod tests;
