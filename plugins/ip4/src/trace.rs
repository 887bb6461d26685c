//! What `ip4-input`, `ip4-lookup` and `ip4-rewrite` leave of traced packets.

use std::{
    fmt::{self, Display},
    net::Ipv4Addr,
};

use plugin_api::{
    InterfaceIndex, Packet, trace_record,
    wire::{Ipv4, Protocol},
};

/// Bytes of an Ethernet header.
const HEADER: usize = 14;

trace_record! {
    /// A packet as it came.
    #[derive(Debug)]
    pub(crate) struct Came {
        protocol: u8,
        source: Ipv4Addr,
        destination: Ipv4Addr,
        ttl: u8,
        length: u16,
    }
}

impl Came {
    /// Of an IPv4 packet; none if it is no such.
    pub(crate) fn of(packet: &Packet<'_>) -> Option<Self> {
        Self::read(packet.data(), packet.total_len())
    }

    fn read(bytes: &[u8], available: usize) -> Option<Self> {
        let ip = Ipv4::parse_first(bytes, available).ok()?;
        let (source, destination) = (ip.source(), ip.destination());
        let (protocol, ttl, length) = (ip.protocol().0, ip.ttl(), ip.total_len());
        Some(Self { protocol, source, destination, ttl, length })
    }
}

impl Display for Came {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { protocol, source, destination, ttl, length } = self;
        match Protocol(*protocol) {
            Protocol::ICMP => f.write_str("ICMP")?,
            Protocol::TCP => f.write_str("TCP")?,
            Protocol::UDP => f.write_str("UDP")?,
            Protocol(number) => write!(f, "protocol {number}")?,
        }
        write!(f, ": {source} -> {destination}, ttl {ttl}, length {length}")
    }
}

trace_record! {
    /// A packet for which an adjacency was chosen.
    #[derive(Debug)]
    pub(crate) struct LookedUp { adjacency: u32, protocol: u8, source: Ipv4Addr, destination: Ipv4Addr, ttl: u8, length: u16 }
}

impl LookedUp {
    /// Of an IPv4 packet; none if it is no such.
    pub(crate) fn of(packet: &Packet<'_>) -> Option<Self> {
        let Came { protocol, source, destination, ttl, length } = Came::of(packet)?;
        let adjacency = packet.adjacency();
        Some(Self { adjacency, protocol, source, destination, ttl, length })
    }
}

impl Display for LookedUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let &Self { adjacency, protocol, source, destination, ttl, length } = self;
        let came = Came { protocol, source, destination, ttl, length };
        write!(f, "adjacency {adjacency}\n{came}")
    }
}

trace_record! {
    /// A packet with what was put in front of it.
    #[derive(Debug)]
    pub(crate) struct Rewritten {
        adjacency: u32,
        interface: Option<InterfaceIndex>,
        front: u8,
        header: [u8; HEADER],
        protocol: u8,
        source: Ipv4Addr,
        destination: Ipv4Addr,
        ttl: u8,
        length: u16,
    }
}

impl Rewritten {
    /// Of a packet that begins with `header`, unless it was not rewritten; none if it is no IPv4
    /// packet.
    pub(crate) fn of(packet: &Packet<'_>, header: &[u8]) -> Option<Self> {
        let data = packet.data();
        let inner = data.strip_prefix(header);
        let front = if inner.is_some() { header.len() } else { 0 };
        let available = packet.total_len() - front;
        let ip = inner.and_then(|inner| Came::read(inner, available));
        let (ip, front) = match ip {
            Some(ip) => (ip, front),
            None => (Came::read(data, packet.total_len())?, 0), // It goes elsewhere.
        };
        let Came { protocol, source, destination, ttl, length } = ip;
        let mut shown = [0; HEADER];
        let front = front.min(shown.len());
        shown[..front].copy_from_slice(&data[..front]);
        Some(Self {
            adjacency: packet.adjacency(),
            interface: packet.tx_interface().filter(|_| front > 0 || header.is_empty()),
            front: u8::try_from(front).unwrap_or(0),
            header: shown,
            protocol,
            source,
            destination,
            ttl,
            length,
        })
    }
}

impl Display for Rewritten {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let &Self { adjacency, protocol, source, destination, ttl, length, .. } = self;
        write!(f, "adjacency {adjacency}")?;
        if let Some(InterfaceIndex(interface)) = self.interface {
            write!(f, ", tx interface {interface}")?;
        }
        let front = &self.header[..usize::from(self.front).min(self.header.len())];
        if !front.is_empty() {
            write!(f, ", header ")?;
            front.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
        }
        write!(f, "\n{}", Came { protocol, source, destination, ttl, length })
    }
}
