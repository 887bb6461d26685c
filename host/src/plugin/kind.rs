//! The kinds of things a plugin brings, under their two names.

use std::fmt;

use gristmill_abi::{declaration, descriptor};

/// A kind of record in the file, and of declaration in its code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// The plugin itself.
    Plugin,
    /// A node.
    Node,
    /// A feature arc.
    Arc,
    /// A feature on an arc.
    Feature,
    /// A class of devices.
    DeviceClass,
    /// A command.
    Command,
    /// A service for others.
    Offer,
    /// A service of others.
    Require,
}

impl Kind {
    const ALL: [(Self, u16, &'static str); 8] = [
        (Self::Plugin, descriptor::kind::PLUGIN, declaration::kind::PLUGIN),
        (Self::Node, descriptor::kind::NODE, declaration::kind::NODE),
        (Self::Arc, descriptor::kind::ARC, declaration::kind::ARC),
        (Self::Feature, descriptor::kind::FEATURE, declaration::kind::FEATURE),
        (Self::DeviceClass, descriptor::kind::DEVICE_CLASS, declaration::kind::DEVICE_CLASS),
        (Self::Command, descriptor::kind::COMMAND, declaration::kind::COMMAND),
        (Self::Offer, descriptor::kind::OFFER, declaration::kind::OFFER),
        (Self::Require, descriptor::kind::REQUIRE, declaration::kind::REQUIRE),
    ];

    /// The kind a record's number stands for.
    pub(super) fn of_record(number: u16) -> Option<Self> {
        Self::ALL.iter().find(|(_, record, _)| *record == number).map(|(kind, ..)| *kind)
    }

    /// The kind a declaration's name stands for.
    pub(super) fn of_declaration(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(.., declared)| *declared == name).map(|(kind, ..)| *kind)
    }

    /// Its name in declarations and in messages.
    pub const fn name(self) -> &'static str {
        Self::ALL[self as usize].2
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::Kind;

    #[test]
    fn every_kind_is_found_by_its_number_and_by_its_name() {
        for (kind, number, name) in Kind::ALL {
            assert_eq!(Kind::of_record(number), Some(kind));
            assert_eq!(Kind::of_declaration(name), Some(kind));
            assert_eq!(kind.name(), name);
        }
        assert_eq!(Kind::of_record(0), None);
        assert_eq!(Kind::of_declaration("nodes"), None);
    }
}
