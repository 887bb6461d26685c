//! ICMP for IPv4 (RFC 792).

use super::{Malformed, be16, checksum, put16};

/// Bytes of the header: type, code, checksum, four that depend on the type.
pub const HEADER: usize = 8;

/// What a message says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// Answer to an echo request.
    EchoReply,
    /// Wants its payload back.
    EchoRequest,
    /// The packet did not arrive.
    Unreachable(Unreachable),
    /// The packet ran out of hops.
    TtlExceeded,
    /// A fragment was missing for too long.
    ReassemblyTimeExceeded,
    /// Another type and code.
    Other(u8, u8),
}

/// Why a packet did not arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Unreachable {
    /// No route.
    Network,
    /// The host does not answer.
    Host,
    /// The host does not know the protocol.
    Protocol,
    /// Nobody listens at the port.
    Port,
    /// Too large for the next link, which takes `mtu` bytes, and not to be fragmented (RFC 1191).
    FragmentationNeeded {
        /// Unit: bytes; 0 from routers that do not tell.
        mtu: u16,
    },
    /// Forbidden by the operator.
    AdminProhibited,
    /// Another code.
    Other(u8),
}

impl Unreachable {
    const fn code(self) -> u8 {
        match self {
            Self::Network => 0,
            Self::Host => 1,
            Self::Protocol => 2,
            Self::Port => 3,
            Self::FragmentationNeeded { .. } => 4,
            Self::AdminProhibited => 13,
            Self::Other(code) => code,
        }
    }
}

impl Kind {
    /// Type and code on the wire.
    pub const fn type_and_code(self) -> (u8, u8) {
        match self {
            Self::EchoReply => (0, 0),
            Self::EchoRequest => (8, 0),
            Self::Unreachable(why) => (3, why.code()),
            Self::TtlExceeded => (11, 0),
            Self::ReassemblyTimeExceeded => (11, 1),
            Self::Other(kind, code) => (kind, code),
        }
    }

    /// Tells of an error; no error is ever told about these (RFC 1122 §3.2.2).
    pub const fn is_error(self) -> bool {
        matches!(self.type_and_code().0, 3 | 4 | 5 | 11 | 12)
    }
}

/// A view of an ICMP message.
#[derive(Clone, Copy, Debug)]
pub struct Icmp4<'a> {
    header: &'a [u8; HEADER],
    rest: &'a [u8],
}

impl<'a> Icmp4<'a> {
    /// Checks the length; the checksum is [checked](Self::checksum_ok) apart.
    ///
    /// # Errors
    /// [`Malformed::Short`] if there are fewer than 8 bytes.
    #[inline]
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let (header, rest) = bytes.split_first_chunk().ok_or(Malformed::Short)?;
        Ok(Self { header, rest })
    }

    /// What it says.
    #[inline]
    pub const fn kind(&self) -> Kind {
        match (self.header[0], self.header[1]) {
            (0, 0) => Kind::EchoReply,
            (8, 0) => Kind::EchoRequest,
            (3, code) => Kind::Unreachable(match code {
                0 => Unreachable::Network,
                1 => Unreachable::Host,
                2 => Unreachable::Protocol,
                3 => Unreachable::Port,
                4 => Unreachable::FragmentationNeeded { mtu: be16(self.header, 6) },
                13 => Unreachable::AdminProhibited,
                other => Unreachable::Other(other),
            }),
            (11, 0) => Kind::TtlExceeded,
            (11, 1) => Kind::ReassemblyTimeExceeded,
            (kind, code) => Kind::Other(kind, code),
        }
    }

    /// Checksum of the message.
    #[inline]
    pub const fn checksum(&self) -> u16 {
        be16(self.header, 2)
    }

    /// Whether the checksum of a message that is wholly here is right.
    #[inline]
    pub fn checksum_ok(&self) -> bool {
        checksum::Checksum::new().with(self.header).with(self.rest).finish() == 0
    }

    /// Of an echo: which sender.
    #[inline]
    pub const fn identifier(&self) -> u16 {
        be16(self.header, 4)
    }

    /// Of an echo: which request.
    #[inline]
    pub const fn sequence(&self) -> u16 {
        be16(self.header, 6)
    }

    /// Echoed data; of an error, the header of the packet it is about and what follows.
    #[inline]
    pub const fn payload(&self) -> &'a [u8] {
        self.rest
    }
}

/// Makes an echo request the reply to it and patches the checksum; `false` (and nothing changed)
/// if `message` is none.
#[inline]
pub fn echo_reply(message: &mut [u8]) -> bool {
    match message.first_chunk_mut::<HEADER>() {
        Some(header) if header[0] == 8 && header[1] == 0 => {
            header[0] = 0;
            put16(header, 2, checksum::update(be16(header, 2), 0x0800, 0));
            true
        }
        _ => false,
    }
}

/// Writes the header of a message, with the checksum over it and `payload`.
///
/// `identifier` and `sequence` count in echoes only; the MTU of
/// [`Unreachable::FragmentationNeeded`] is written from `kind`.
pub fn emit(header: &mut [u8; HEADER], kind: Kind, identifier: u16, sequence: u16, payload: &[u8]) {
    let rest = match kind {
        Kind::EchoReply | Kind::EchoRequest => [identifier, sequence],
        Kind::Unreachable(Unreachable::FragmentationNeeded { mtu }) => [0, mtu],
        _ => [0, 0],
    };
    (header[0], header[1]) = kind.type_and_code();
    put16(header, 2, 0);
    put16(header, 4, rest[0]);
    put16(header, 6, rest[1]);
    let sum = checksum::Checksum::new().with(header).with(payload).finish();
    put16(header, 2, sum);
}
