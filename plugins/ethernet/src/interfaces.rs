//! What the packet path knows of each interface: one word, read and written whole.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use plugin_api::InterfaceIndex;

/// Interfaces there is room for.
const CAPACITY: usize = 4096;

/// What happens to the packets an interface receives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// There is no such interface, or it carries no Ethernet.
    Absent,
    /// They go to the node of their EtherType, if they are for this station.
    L3 {
        /// Address of the interface, in the low 48 bits; 0: it has none and takes everything.
        mac: u64,
    },
    /// They leave by another interface, untouched.
    CrossConnect {
        /// That interface.
        peer: InterfaceIndex,
    },
    /// They would leave by another interface, which is gone.
    Unconnected,
}

/// A [`Mode`] in a word: the kind in the top two bits, its value below.
mod word {
    pub(super) const ABSENT: u64 = 0;
    pub(super) const L3: u64 = 1;
    pub(super) const CROSS_CONNECT: u64 = 2;
    pub(super) const UNCONNECTED: u64 = 3;
    pub(super) const KIND_SHIFT: u32 = 62;
    pub(super) const VALUE: u64 = (1 << KIND_SHIFT) - 1;
}

impl Mode {
    /// Layer-3 mode of an interface with the address `mac`.
    pub fn l3(mac: [u8; 6]) -> Self {
        let [a, b, c, d, e, f] = mac;
        Self::L3 { mac: u64::from_be_bytes([0, 0, a, b, c, d, e, f]) }
    }

    fn to_word(self) -> u64 {
        let (kind, value) = match self {
            Self::Absent => (word::ABSENT, 0),
            Self::L3 { mac } => (word::L3, mac & word::VALUE),
            Self::CrossConnect { peer } => (word::CROSS_CONNECT, u64::from(peer.0)),
            Self::Unconnected => (word::UNCONNECTED, 0),
        };
        (kind << word::KIND_SHIFT) | value
    }

    #[inline(always)]
    fn from_word(word: u64) -> Self {
        let value = word & word::VALUE;
        match word >> word::KIND_SHIFT {
            word::L3 => Self::L3 { mac: value },
            #[expect(clippy::cast_possible_truncation, reason = "an index was put in")]
            word::CROSS_CONNECT => Self::CrossConnect { peer: InterfaceIndex(value as u32) },
            word::UNCONNECTED => Self::Unconnected,
            _ => Self::Absent,
        }
    }
}

/// The modes of all interfaces. Any thread reads; the main thread writes.
#[derive(Debug)]
pub struct Interfaces(Box<[AtomicU64]>);

impl Default for Interfaces {
    fn default() -> Self {
        Self::new()
    }
}

impl Interfaces {
    /// A table without interfaces.
    pub fn new() -> Self {
        Self((0..CAPACITY).map(|_| AtomicU64::new(Mode::Absent.to_word())).collect())
    }

    /// The mode of an interface; [`Mode::Absent`] beyond the table.
    #[inline(always)]
    pub fn mode(&self, index: InterfaceIndex) -> Mode {
        self.0
            .get(index.0 as usize)
            .map_or(Mode::Absent, |word| Mode::from_word(word.load(Relaxed)))
    }

    /// Sets the mode of an interface; `false` if it is beyond the table.
    pub fn set(&self, index: InterfaceIndex, mode: Mode) -> bool {
        let word = self.0.get(index.0 as usize);
        word.inspect(|word| word.store(mode.to_word(), Relaxed)).is_some()
    }

    /// Forgets an interface; what was connected to it is [`Mode::Unconnected`] from now on.
    pub fn remove(&self, index: InterfaceIndex) {
        self.set(index, Mode::Absent);
        let connected = Mode::CrossConnect { peer: index }.to_word();
        for word in self.0.iter().filter(|word| word.load(Relaxed) == connected) {
            word.store(Mode::Unconnected.to_word(), Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mode_survives_the_table() {
        let interfaces = Interfaces::new();
        let last = InterfaceIndex(4095);
        for mode in [
            Mode::l3([0xff; 6]),
            Mode::l3([0; 6]),
            Mode::CrossConnect { peer: InterfaceIndex(u32::MAX) },
            Mode::Unconnected,
            Mode::Absent,
        ] {
            assert!(interfaces.set(last, mode));
            assert_eq!(interfaces.mode(last), mode);
        }
    }

    #[test]
    fn an_index_beyond_the_table_is_absent_and_cannot_be_set() {
        let interfaces = Interfaces::new();
        assert!(!interfaces.set(InterfaceIndex(4096), Mode::l3([2; 6])));
        assert_eq!(interfaces.mode(InterfaceIndex(u32::MAX)), Mode::Absent);
    }

    #[test]
    fn a_removed_interface_leaves_its_peers_unconnected_and_others_alone() {
        let interfaces = Interfaces::new();
        let [gone, peer, other] = [1, 2, 3].map(InterfaceIndex);
        interfaces.set(gone, Mode::CrossConnect { peer });
        interfaces.set(peer, Mode::CrossConnect { peer: gone });
        interfaces.set(other, Mode::CrossConnect { peer });

        interfaces.remove(gone);

        assert_eq!(interfaces.mode(gone), Mode::Absent);
        assert_eq!(interfaces.mode(peer), Mode::Unconnected);
        assert_eq!(interfaces.mode(other), Mode::CrossConnect { peer });
    }
}
