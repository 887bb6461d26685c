use std::{fmt, net::Ipv4Addr};

use super::*;
use crate::{
    testing::host,
    wire::{Ip4Prefix, MacAddress},
};

fn entries<'a>(settings: &[(&'a str, &'a str)]) -> Vec<ConfigEntry<'a>> {
    let entry =
        |&(key, value): &(&'a str, &'a str)| ConfigEntry { key: key.into(), value: value.into() };
    settings.iter().map(entry).collect()
}

fn reason<T: fmt::Debug>(result: Result<T, Error>) -> String {
    result.unwrap_err().to_string()
}

#[test]
fn a_key_nobody_asked_for_is_named_with_the_one_that_may_be_meant() {
    let unknown = |settings: &[(&str, &str)], asked: &[&str]| {
        let entries = entries(settings);
        let config = Config::new(host(), &entries);
        asked.iter().for_each(|key| {
            config.text(key);
        });
        config.unknown()
    };
    let both = [("ring", "1"), ("rign", "2")];
    let text = "unknown setting \"rign\" (line 7): did you mean \"ring\"?";
    assert_eq!(unknown(&both, &["ring", "idle"]).unwrap(), text);
    let text = "unknown setting \"colour\" (line 7): known are idle, ring";
    assert_eq!(unknown(&[("colour", "2")], &["ring", "idle", "ring"]).unwrap(), text);
    let text = "unknown setting \"x\" (line 7): the plugin has none";
    assert_eq!(unknown(&[("x", "2")], &[]).unwrap(), text);
    assert_eq!(unknown(&both, &["ring", "rign"]), None);
}

#[test]
fn a_wrong_value_is_shown_with_its_key_and_its_line() {
    let entries = entries(&[("ring", "1x"), ("max", "70000"), ("on", "maybe"), ("odd", "3")]);
    let config = Config::new(host(), &entries);
    let text = "ring = \"1x\" (line 7): invalid digit found in string";
    assert_eq!(reason(config.parse::<u32>("ring")), text);
    assert_eq!(
        reason(config.within("max", 1..=60_000)),
        "max = \"70000\" (line 7): must be 1 to 60000"
    );
    assert_eq!(reason(config.flag("on")), "on = \"maybe\" (line 7): write true or false");
    assert_eq!(
        config.error("odd", "must be even").to_string(),
        "odd = \"3\" (line 7): must be even"
    );
    assert_eq!(config.error("absent", "say one").to_string(), "absent is not set: say one");
    assert_eq!(config.parse::<u32>("absent"), Ok(None));
    assert_eq!(config.within("odd", 0..=3), Ok(Some(3)));
}

#[test]
fn times_and_sizes_have_units() {
    let times = [("0ns", 0), ("500us", 500_000), ("20 ms", 20_000_000), ("5m", 300_000_000_000)];
    for (text, nanos) in times {
        let entries = entries(&[("idle", text)]);
        let found = Config::new(host(), &entries).duration("idle").unwrap().unwrap();
        assert_eq!(found, Duration::from_nanos(nanos), "{text}");
    }
    let sizes =
        [("4096", 4096), ("64k", 65_536), ("64K", 65_536), ("2M", 2 << 20), ("1G", 1 << 30)];
    for (text, bytes) in sizes {
        let entries = entries(&[("memory", text)]);
        assert_eq!(Config::new(host(), &entries).size("memory"), Ok(Some(bytes)), "{text}");
    }
    for (text, why) in [
        ("15", "unit"),
        ("", "unit"),
        ("s", "unit"),
        ("1.5s", "unit"),
        ("-1s", "unit"),
        ("99999999d", "too large"),
        ("99999999999999999999s", "too large"),
    ] {
        let entries = entries(&[("idle", text)]);
        let found = reason(Config::new(host(), &entries).duration("idle"));
        assert!(found.contains(why) && found.starts_with("idle = "), "{text}: {found}");
    }
    let entries = entries(&[("memory", "5 apples")]);
    assert!(reason(Config::new(host(), &entries).size("memory")).contains("such as 4096, 64k"));
}

#[test]
fn lists_flags_and_addresses_are_read() {
    let entries = entries(&[
        ("ports.0", "53"),
        ("ports.1", "853"),
        ("one", "9"),
        ("strict", "off"),
        ("server", "10.0.0.1"),
        ("net", "10.0.0.0/8"),
        ("mac", "02:00:00:00:00:01"),
        ("bad.0", "1"),
        ("bad.1", "x"),
    ]);
    let config = Config::new(host(), &entries);
    assert_eq!(config.list("ports"), Ok(Some(vec![53_u16, 853])));
    assert_eq!(config.list("one"), Ok(Some(vec![9_u16])));
    assert_eq!(config.list::<u16>("none"), Ok(None));
    assert_eq!(config.flag("strict"), Ok(Some(false)));
    assert_eq!(config.parse("server"), Ok(Some(Ipv4Addr::new(10, 0, 0, 1))));
    assert_eq!(config.parse::<Ip4Prefix>("net").unwrap().unwrap().to_string(), "10.0.0.0/8");
    assert_eq!(config.parse("mac"), Ok(Some(MacAddress([2, 0, 0, 0, 0, 1]))));
    assert!(reason(config.list::<u16>("bad")).starts_with("bad.1 = \"x\""));
    assert_eq!(config.unknown(), None);
}

#[test]
fn the_distance_of_words_is_what_is_to_be_typed_again() {
    for (one, other, expected) in [
        ("", "", 0),
        ("ring", "ring", 0),
        ("rign", "ring", 2),
        ("", "abc", 3),
        ("kitten", "sitting", 3),
    ] {
        assert_eq!((distance(one, other), distance(other, one)), (expected, expected));
    }
}
