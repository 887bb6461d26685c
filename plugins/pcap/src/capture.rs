//! Reads captures, pcap and pcapng, a record at a time. Here a record is cut out of the file by
//! its length, so that nothing more is read for it than it can be long; what is in it, the parser
//! of `pcap_parser` tells.
//!
//! ```text
//! pcap:   header 24 B │ record: seconds u32 │ fraction u32 │ length u32 │ original u32 │ bytes
//! pcapng: block: type u32 │ length u32 │ body, padded to 4 B │ length u32
//! ```

mod section;

use std::{
    io::{self, ErrorKind, Read},
    ops::Range,
    path::{Path, PathBuf},
};

use pcap_parser::{
    PcapHeader, SHB_MAGIC, parse_pcap_frame, parse_pcap_frame_be, parse_pcap_frame_modified,
    parse_pcap_header,
};

use self::section::{Meaning, Section};

/// Bytes of a pcap record's packet at most, as libpcap has it.
const LONGEST_PACKET: usize = 256 * 1024;
/// Bytes of a pcapng block that we look into at most; others are skipped, however long.
const LONGEST_BLOCK: usize = 1024 * 1024;

const HEADER: usize = 24;
const PCAP_MAGICS: [u32; 5] = [0xa1b2_c3d4, 0xd4c3_b2a1, 0xa1b2_3c4d, 0x4d3c_b2a1, 0xa1b2_cd34];

/// Why a capture cannot be read any further.
#[derive(Debug, thiserror::Error)]
#[error("{}: byte {offset}: {fault}", path.display())]
pub(crate) struct CaptureError {
    pub(crate) path: PathBuf,
    /// Where the record begins.
    pub(crate) offset: u64,
    pub(crate) fault: Fault,
}

/// What is wrong.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum Fault {
    #[error("this is neither a pcap nor a pcapng capture")]
    Format,
    #[error("the file ends within this record")]
    Cut,
    #[error("a record of {0} bytes cannot be")]
    Length(u64),
    #[error("the two lengths of this block differ")]
    Lengths,
    #[error("this block is malformed")]
    Block,
    #[error("version {0} of pcapng is unknown")]
    Version(u16),
    #[error("there is no interface {0} in this section")]
    Interface(u32),
    #[error("more than {0} interfaces in a section")]
    Interfaces(usize),
    #[error("cannot read: {0}")]
    Read(io::Error),
}

/// A packet of a capture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Record<'a> {
    /// Nanoseconds since 1970.
    pub(crate) at_ns: u64,
    /// What its first header is, by the numbers of the registry of link types.
    pub(crate) link_type: u16,
    pub(crate) bytes: &'a [u8],
}

/// What a capture is read into.
#[derive(Debug)]
pub(crate) struct Buffer(Box<[u8]>);

impl Default for Buffer {
    fn default() -> Self {
        Self(vec![0; LONGEST_BLOCK].into())
    }
}

/// A capture that is read from its beginning.
#[derive(Debug)]
pub(crate) struct Capture<R> {
    source: R,
    path: PathBuf,
    buffer: Box<[u8]>,
    /// What is read and not consumed.
    ahead: Range<usize>,
    /// Where in the file that begins.
    offset: u64,
    format: Format,
}

#[derive(Debug)]
enum Format {
    Pcap(Pcap),
    PcapNg(Section),
}

#[derive(Clone, Copy, Debug)]
struct Pcap {
    is_big_endian: bool,
    /// Eight more bytes in the header of a record.
    is_modified: bool,
    is_nanos: bool,
    link_type: u16,
}

/// Where in the buffer a packet is.
struct Found {
    at_ns: u64,
    link_type: u16,
    bytes: Range<usize>,
}

impl<R: Read> Capture<R> {
    /// Reads the header of the capture in `source`, which is the file at `path`.
    pub(crate) fn open(source: R, path: &Path, buffer: Buffer) -> Result<Self, CaptureError> {
        let mut capture = Self {
            source,
            path: path.to_owned(),
            buffer: buffer.0,
            ahead: 0..0,
            offset: 0,
            format: Format::PcapNg(Section::default()),
        };
        let magic = if capture.fill(4)? { word(capture.ahead(), false) } else { 0 };
        if magic == SHB_MAGIC {
            return Ok(capture);
        }
        if !PCAP_MAGICS.contains(&magic) {
            return Err(capture.error(0, Fault::Format));
        }
        if !capture.fill(HEADER)? {
            return Err(capture.error(0, Fault::Cut));
        }
        let Ok((_, header)) = parse_pcap_header(capture.ahead()) else {
            return Err(capture.error(0, Fault::Format));
        };
        capture.format = Format::Pcap(Pcap::of(&header));
        capture.consume(HEADER);
        Ok(capture)
    }

    /// The buffer, for another reading.
    pub(crate) fn into_buffer(self) -> Buffer {
        Buffer(self.buffer)
    }

    /// The next packet; `None` at the end of the file.
    pub(crate) fn next(&mut self) -> Result<Option<Record<'_>>, CaptureError> {
        while self.fill(1)? {
            let found = match self.format {
                Format::Pcap(pcap) => Some(self.next_record(pcap)?),
                Format::PcapNg(_) => self.next_block()?,
            };
            if let Some(Found { at_ns, link_type, bytes }) = found {
                return Ok(Some(Record { at_ns, link_type, bytes: &self.buffer[bytes] }));
            }
        }
        Ok(None)
    }

    /// The link type of the packets read first, as far as it is known.
    pub(crate) fn link_type(&self) -> Option<u16> {
        match &self.format {
            Format::Pcap(pcap) => Some(pcap.link_type),
            Format::PcapNg(section) => section.link_type(),
        }
    }

    fn next_record(&mut self, pcap: Pcap) -> Result<Found, CaptureError> {
        let at = self.offset;
        let header = if pcap.is_modified { 24 } else { 16 };
        if !self.fill(header)? {
            return Err(self.error(at, Fault::Cut));
        }
        let len = word(&self.ahead()[8..], pcap.is_big_endian) as usize;
        if len > LONGEST_PACKET {
            return Err(self.error(at, Fault::Length(len as u64)));
        }
        if !self.fill(header + len)? {
            return Err(self.error(at, Fault::Cut));
        }
        let parse = match pcap {
            Pcap { is_modified: true, .. } => parse_pcap_frame_modified,
            Pcap { is_big_endian: true, .. } => parse_pcap_frame_be,
            _ => parse_pcap_frame,
        };
        let Ok((_, record)) = parse(&self.ahead()[..header + len]) else {
            return Err(self.error(at, Fault::Block));
        };
        let unit = if pcap.is_nanos { 1 } else { 1_000 };
        let at_ns = u64::from(record.ts_sec) * 1_000_000_000 + u64::from(record.ts_usec) * unit;
        let first = self.ahead.start + header;
        self.consume(header + len);
        Ok(Found { at_ns, link_type: pcap.link_type, bytes: first..first + len })
    }

    /// Reads a block; `None` if it is no packet.
    fn next_block(&mut self) -> Result<Option<Found>, CaptureError> {
        let at = self.offset;
        if !self.fill(12)? {
            return Err(self.error(at, Fault::Cut));
        }
        let Format::PcapNg(section) = &self.format else { return Ok(None) };
        let Some(is_big_endian) = section.is_big_endian(self.ahead()) else {
            return Err(self.error(at, Fault::Block));
        };
        let is_wanted = Section::wants(word(self.ahead(), is_big_endian));
        let len = word(&self.ahead()[4..], is_big_endian) as usize;
        if len < 12 || !len.is_multiple_of(4) || is_wanted && len > LONGEST_BLOCK {
            return Err(self.error(at, Fault::Length(len as u64)));
        }
        if !is_wanted {
            return self.skip(len).map(|()| None);
        }
        if !self.fill(len)? {
            return Err(self.error(at, Fault::Cut));
        }
        if word(&self.ahead()[len - 4..], is_big_endian) as usize != len {
            return Err(self.error(at, Fault::Lengths));
        }
        let first = self.ahead.start;
        let Format::PcapNg(section) = &mut self.format else { return Ok(None) };
        let meaning = section.read(&self.buffer[first..first + len], is_big_endian);
        let meaning = meaning.map_err(|fault| self.error(at, fault))?;
        self.consume(len);
        Ok(meaning.map(|Meaning { at_ns, link_type, bytes }| Found {
            at_ns,
            link_type,
            bytes: first + bytes.start..first + bytes.end,
        }))
    }

    /// Passes over a record of `len` bytes.
    fn skip(&mut self, len: usize) -> Result<(), CaptureError> {
        let at = self.offset;
        let mut left = len;
        while left > 0 {
            if !self.fill(1)? {
                return Err(self.error(at, Fault::Cut));
            }
            let n = left.min(self.ahead.len());
            self.consume(n);
            left -= n;
        }
        Ok(())
    }

    fn ahead(&self) -> &[u8] {
        &self.buffer[self.ahead.clone()]
    }

    fn consume(&mut self, n: usize) {
        self.ahead.start += n;
        self.offset += n as u64;
    }

    /// Reads until there are `wanted` bytes; `false` if the file ends before.
    fn fill(&mut self, wanted: usize) -> Result<bool, CaptureError> {
        if self.ahead.start + wanted > self.buffer.len() {
            self.buffer.copy_within(self.ahead.clone(), 0);
            self.ahead = 0..self.ahead.len();
        }
        while self.ahead.len() < wanted {
            match self.source.read(&mut self.buffer[self.ahead.end..]) {
                Ok(0) => return Ok(false),
                Ok(n) => self.ahead.end += n,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(self.error(self.offset, Fault::Read(error))),
            }
        }
        Ok(true)
    }

    fn error(&self, offset: u64, fault: Fault) -> CaptureError {
        CaptureError { path: self.path.clone(), offset, fault }
    }
}

impl Pcap {
    fn of(header: &PcapHeader) -> Self {
        Self {
            is_big_endian: header.is_bigendian(),
            is_modified: header.is_modified_format(),
            is_nanos: header.is_nanosecond_precision(),
            // The upper half tells of checksums behind the packets.
            link_type: u16::try_from(header.network.0 & 0xffff).unwrap_or(u16::MAX),
        }
    }
}

/// The first word of `bytes`.
fn word(bytes: &[u8], is_big_endian: bool) -> u32 {
    let word = bytes.first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes));
    if is_big_endian { word.swap_bytes() } else { word }
}

#[cfg(test)]
pub(crate) mod tests;
