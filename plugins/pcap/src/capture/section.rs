//! A section of a pcapng file: its byte order and its interfaces.

use std::ops::Range;

use pcap_parser::{
    Block, EPB_MAGIC, IDB_MAGIC, InterfaceDescriptionBlock, OptionCode, SHB_MAGIC, SPB_MAGIC,
    parse_block_be, parse_block_le, traits::PcapNGPacketBlock as _,
};

use super::{Fault, word};

/// Interfaces of a section at most; nobody has so many.
const INTERFACES: usize = 4096;
/// What the first word of a section's body is in its byte order.
const BYTE_ORDER: u32 = 0x1a2b_3c4d;

/// The section that is being read; before the first it is empty.
#[derive(Debug, Default)]
pub(crate) struct Section {
    is_big_endian: bool,
    interfaces: Vec<Interface>,
    /// The time of the packet before, for those that have none.
    last_ns: u64,
}

/// An interface that was captured on.
#[derive(Clone, Copy, Debug)]
struct Interface {
    link_type: u16,
    /// Bytes of a packet that were kept at most; 0: all.
    snap_len: u32,
    /// What a unit of time is: a negative power of 10, or of 2 if the highest bit is set.
    resolution: u8,
    offset_s: i64,
}

/// A packet in a block.
#[derive(Debug)]
pub(crate) struct Meaning {
    pub(crate) at_ns: u64,
    pub(crate) link_type: u16,
    /// Where in the block it is.
    pub(crate) bytes: Range<usize>,
}

impl Section {
    /// Whether a block of that type matters.
    pub(crate) fn wants(block_type: u32) -> bool {
        matches!(block_type, SHB_MAGIC | IDB_MAGIC | EPB_MAGIC | SPB_MAGIC)
    }

    /// The byte order of the block whose first 12 bytes are given: its own if it begins another
    /// section, `None` if that is neither.
    pub(crate) fn is_big_endian(&self, block: &[u8]) -> Option<bool> {
        if word(block, false) != SHB_MAGIC {
            return Some(self.is_big_endian);
        }
        [false, true].into_iter().find(|&big| word(&block[8..], big) == BYTE_ORDER)
    }

    /// The link type of its first interface.
    pub(crate) fn link_type(&self) -> Option<u16> {
        self.interfaces.first().map(|interface| interface.link_type)
    }

    /// Takes note of a whole block, and finds the packet in it.
    pub(crate) fn read(
        &mut self,
        block: &[u8],
        is_big_endian: bool,
    ) -> Result<Option<Meaning>, Fault> {
        let parse = if is_big_endian { parse_block_be } else { parse_block_le };
        // An incomplete block is malformed too: all of it is here.
        let (_, block) = parse(block).map_err(|_| Fault::Block)?;
        match block {
            Block::SectionHeader(header) if header.major_version != 1 => {
                Err(Fault::Version(header.major_version))
            }
            Block::SectionHeader(_) => {
                *self = Self { is_big_endian, ..Self::default() };
                Ok(None)
            }
            Block::InterfaceDescription(_) if self.interfaces.len() == INTERFACES => {
                Err(Fault::Interfaces(INTERFACES))
            }
            Block::InterfaceDescription(description) => {
                self.interfaces.push(Interface::of(&description, is_big_endian));
                Ok(None)
            }
            Block::EnhancedPacket(packet) => {
                let interface = self.interface(packet.if_id)?;
                let ticks = u64::from(packet.ts_high) << 32 | u64::from(packet.ts_low);
                self.last_ns = interface.nanos(ticks);
                Ok(Some(self.meaning(interface, 28, packet.packet_data().len())))
            }
            Block::SimplePacket(packet) => {
                let interface = self.interface(0)?;
                let snap_len = match interface.snap_len {
                    0 => usize::MAX,
                    len => len as usize,
                };
                let len = packet.packet_data().len().min(snap_len);
                Ok(Some(self.meaning(interface, 12, len)))
            }
            _ => Ok(None),
        }
    }

    fn interface(&self, id: u32) -> Result<Interface, Fault> {
        self.interfaces.get(id as usize).copied().ok_or(Fault::Interface(id))
    }

    fn meaning(&self, interface: Interface, first: usize, len: usize) -> Meaning {
        let link_type = interface.link_type;
        Meaning { at_ns: self.last_ns, link_type, bytes: first..first + len }
    }
}

impl Interface {
    fn of(description: &InterfaceDescriptionBlock<'_>, is_big_endian: bool) -> Self {
        // The parser takes it for little-endian in every section.
        let offset =
            description.options.iter().find(|option| option.code == OptionCode::IfTsoffset);
        let offset = offset.and_then(|option| option.value().first_chunk().copied());
        let from_bytes = if is_big_endian { i64::from_be_bytes } else { i64::from_le_bytes };
        Self {
            link_type: u16::try_from(description.linktype.0).unwrap_or(u16::MAX),
            snap_len: description.snaplen,
            resolution: description.if_tsresol,
            offset_s: offset.map_or(0, from_bytes),
        }
    }

    /// A number of units as nanoseconds since 1970; the nearest that fit.
    fn nanos(self, ticks: u64) -> u64 {
        let nanos = u128::from(ticks) * 1_000_000_000;
        let power = u32::from(self.resolution & 0x7f);
        let nanos = match self.resolution & 0x80 {
            0 => 10_u128.checked_pow(power).map_or(0, |unit| nanos / unit),
            _ => nanos >> power,
        };
        let nanos = i128::try_from(nanos).unwrap_or(i128::MAX);
        let offset = i128::from(self.offset_s) * 1_000_000_000;
        let nanos = nanos.saturating_add(offset).clamp(0, u64::MAX.into());
        u64::try_from(nanos).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_resolution_and_offset_gives_a_time() {
        let nanos = |resolution, offset_s, ticks| {
            Interface { link_type: 1, snap_len: 0, resolution, offset_s }.nanos(ticks)
        };
        assert_eq!(nanos(6, 0, 1_500_001), 1_500_001_000);
        assert_eq!(nanos(9, 0, 7), 7);
        assert_eq!(nanos(12, 2, 7_999), 2_000_000_007);
        assert_eq!(nanos(0x80 | 10, 0, 512), 500_000_000);
        assert_eq!(nanos(0, -3, 5), 2_000_000_000);
        for resolution in 0..=u8::MAX {
            for offset_s in [i64::MIN, 0, i64::MAX] {
                nanos(resolution, offset_s, u64::MAX);
            }
        }
    }
}
