//! A capture file, record by record: pcap with micro- or nanoseconds, and pcapng.

use std::{fs::File, path::PathBuf};

use pcap_parser::{
    Block, PcapBlockOwned, PcapError, create_reader,
    traits::{PcapNGPacketBlock, PcapReaderIterator},
};

/// Bytes that are read ahead; also the longest record there may be. Twice what any tool writes.
const BUFFER: usize = 512 << 10;

/// What packets begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layer {
    /// An Ethernet header.
    Ethernet,
    /// An IP header.
    Ip,
}

impl Layer {
    /// That of a link type (`LINKTYPE_*`), if it is one of the two.
    fn of(link_type: i32) -> Option<Self> {
        // The upper bits tell of a frame check sequence.
        match link_type & 0xffff {
            1 => Some(Self::Ethernet),
            12 | 101 | 228 | 229 => Some(Self::Ip),
            _ => None,
        }
    }
}

/// Why a capture cannot be read, or no further.
#[derive(Debug, thiserror::Error)]
#[error("{}: at offset {offset}: {what}", path.display())]
pub(crate) struct CaptureError {
    path: PathBuf,
    offset: usize,
    what: Fault,
}

/// What is wrong with a capture.
#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error("the file is empty")]
    Empty,
    #[error("neither pcap nor pcapng")]
    Unknown,
    #[error("the file ends inside a record")]
    CutOff,
    #[error("a record of more than {BUFFER} bytes")]
    TooLong,
    #[error("a malformed record")]
    Malformed,
    #[error("a packet of interface {0}, which was not described")]
    Undescribed(u32),
    #[error("link type {0} is neither Ethernet nor raw IP")]
    LinkType(i32),
    #[error("no interface is described")]
    NoInterface,
    #[error("the file cannot be read")]
    Read,
}

impl From<PcapError<&[u8]>> for Fault {
    fn from(error: PcapError<&[u8]>) -> Self {
        match error {
            PcapError::Eof => Self::Empty,
            PcapError::HeaderNotRecognized => Self::Unknown,
            PcapError::Incomplete(_) | PcapError::UnexpectedEof => Self::CutOff,
            PcapError::BufferTooSmall => Self::TooLong,
            PcapError::ReadError => Self::Read,
            PcapError::NomError(..) | PcapError::OwnedNomError(..) => Self::Malformed,
        }
    }
}

/// A packet that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    /// When it was captured, in nanoseconds; only differences mean something.
    pub(crate) time_ns: u64,
    /// Bytes that were captured of it.
    pub(crate) len: usize,
}

/// A capture that is being read.
pub(crate) struct Capture {
    path: PathBuf,
    reader: Box<dyn PcapReaderIterator + Send>,
    sections: Sections,
}

impl Capture {
    /// Reads as far as the first packet.
    pub(crate) fn open(path: PathBuf, file: File) -> Result<Self, CaptureError> {
        let reader = match create_reader(BUFFER, file) {
            Ok(reader) => reader,
            Err(error) => return Err(CaptureError { path, offset: 0, what: error.into() }),
        };
        let mut capture = Self { path, reader, sections: Sections::default() };
        while capture.sections.layer.is_none() {
            if let Step::End = capture.step(None)? {
                return Err(capture.fault(Fault::NoInterface));
            }
        }
        Ok(capture)
    }

    /// What its packets begin with.
    pub(crate) fn layer(&self) -> Layer {
        self.sections.layer.unwrap_or(Layer::Ethernet)
    }

    /// Packets left out so far, because they begin with something else than the first ones.
    pub(crate) fn left_out(&self) -> u64 {
        self.sections.left_out
    }

    /// Appends the next packet to `bytes`; `None` at the end of the file.
    pub(crate) fn read(&mut self, bytes: &mut Vec<u8>) -> Result<Option<Record>, CaptureError> {
        loop {
            match self.step(Some(bytes))? {
                Step::Packet(record) => return Ok(Some(record)),
                Step::Other => {}
                Step::End => return Ok(None),
            }
        }
    }

    /// Takes one block; without a place for packets, none is expected.
    fn step(&mut self, bytes: Option<&mut Vec<u8>>) -> Result<Step, CaptureError> {
        let fault = match self.reader.next() {
            Ok((size, block)) => match self.sections.take(&block, bytes) {
                Ok(step) => {
                    self.reader.consume(size);
                    return Ok(step);
                }
                Err(fault) => fault,
            },
            Err(PcapError::Eof) => return Ok(Step::End),
            Err(PcapError::Incomplete(_)) => match self.reader.refill() {
                Ok(()) => return Ok(Step::Other),
                Err(error) => error.into(),
            },
            Err(error) => error.into(),
        };
        Err(self.fault(fault))
    }

    fn fault(&self, what: Fault) -> CaptureError {
        CaptureError { path: self.path.clone(), offset: self.reader.consumed(), what }
    }
}

/// What a block was.
enum Step {
    Packet(Record),
    Other,
    End,
}

/// What was said of the interfaces that were captured on.
#[derive(Debug, Default)]
struct Sections {
    /// That of the first interface.
    layer: Option<Layer>,
    interfaces: Vec<Described>,
    last_ns: u64,
    left_out: u64,
}

/// A described interface.
#[derive(Clone, Copy, Debug)]
struct Described {
    layer: Option<Layer>,
    /// Units of its time stamps in a second.
    units: u128,
    /// Bytes captured of a packet at most; 0: all.
    snaplen: usize,
}

impl Sections {
    fn take(
        &mut self,
        block: &PcapBlockOwned<'_>,
        bytes: Option<&mut Vec<u8>>,
    ) -> Result<Step, Fault> {
        let (interface, time, packet) = match block {
            PcapBlockOwned::LegacyHeader(header) => {
                let units = if header.is_nanosecond_precision() { 9 } else { 6 };
                self.describe(header.network.0, units, 0)?;
                return Ok(Step::Other);
            }
            PcapBlockOwned::Legacy(packet) => {
                let units = self.interface(0)?.units;
                let time = u128::from(packet.ts_sec) * units + u128::from(packet.ts_usec);
                (0, Some(time), packet.data)
            }
            PcapBlockOwned::NG(Block::SectionHeader(_)) => {
                self.interfaces.clear();
                return Ok(Step::Other);
            }
            PcapBlockOwned::NG(Block::InterfaceDescription(described)) => {
                let snaplen = described.snaplen as usize;
                self.describe(described.linktype.0, described.if_tsresol, snaplen)?;
                return Ok(Step::Other);
            }
            PcapBlockOwned::NG(Block::EnhancedPacket(packet)) => {
                let time = u128::from(packet.ts_high) << 32 | u128::from(packet.ts_low);
                (packet.if_id, Some(time), packet.packet_data())
            }
            PcapBlockOwned::NG(Block::SimplePacket(packet)) => {
                let data = packet.packet_data();
                let snaplen = self.interface(0)?.snaplen;
                let len = if snaplen == 0 { data.len() } else { data.len().min(snaplen) };
                (0, None, &data[..len])
            }
            PcapBlockOwned::NG(_) => return Ok(Step::Other),
        };
        let described = self.interface(interface)?;
        if described.layer != self.layer {
            self.left_out += 1;
            return Ok(Step::Other);
        }
        if let Some(time) = time {
            let nanoseconds = time.saturating_mul(1_000_000_000) / described.units;
            self.last_ns = u64::try_from(nanoseconds).unwrap_or(u64::MAX);
        }
        let Some(bytes) = bytes else { return Err(Fault::NoInterface) };
        bytes.extend_from_slice(packet);
        Ok(Step::Packet(Record { time_ns: self.last_ns, len: packet.len() }))
    }

    fn interface(&self, number: u32) -> Result<Described, Fault> {
        let found = self.interfaces.get(number as usize).copied();
        found.ok_or(Fault::Undescribed(number))
    }

    /// `resolution`: as in pcapng, a power of 10, or with the highest bit set one of 2.
    fn describe(&mut self, link_type: i32, resolution: u8, snaplen: usize) -> Result<(), Fault> {
        let layer = Layer::of(link_type);
        if self.layer.is_none() {
            self.layer = Some(layer.ok_or(Fault::LinkType(link_type))?);
        }
        let power = u32::from(resolution & 0x7f);
        let base: u128 = if resolution & 0x80 == 0 { 10 } else { 2 };
        self.interfaces.push(Described { layer, units: base.saturating_pow(power), snaplen });
        Ok(())
    }
}

#[cfg(test)]
pub(crate) mod tests;
