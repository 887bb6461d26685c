//! Classes of packets. Nothing here knows of Gristmill but for the header views.

use std::str::FromStr;

use plugin_api::wire::{Ipv4, Malformed, Protocol, Tcp, Udp};

/// What a packet carries, as far as the packet alone tells: flows are not followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Names and addresses, port 53.
    Dns,
    /// Clear text, TCP port 80.
    Http,
    /// TCP port 443, or a handshake on any other.
    Tls,
    /// UDP port 443.
    Quic,
    /// UDP port 9: what Gristmill's `generator` sends.
    Discard,
    /// Anything else.
    Other,
}

impl Class {
    /// All of them; a class is its own index.
    pub const ALL: [Self; 6] =
        [Self::Dns, Self::Http, Self::Tls, Self::Quic, Self::Discard, Self::Other];

    /// Name in configuration and answers.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Dns => "dns",
            Self::Http => "http",
            Self::Tls => "tls",
            Self::Quic => "quic",
            Self::Discard => "discard",
            Self::Other => "other",
        }
    }

    /// The class of an IPv4 packet of `total_len` bytes that begins with `bytes`.
    ///
    /// # Errors
    /// [`Malformed`] if a header is not what it says.
    #[inline]
    pub fn of(bytes: &[u8], total_len: usize) -> Result<Self, Malformed> {
        let ip = Ipv4::parse_first(bytes, total_len)?;
        if ip.is_fragment() {
            return Ok(Self::Other);
        }
        Ok(match ip.protocol() {
            Protocol::UDP => {
                let udp = Udp::parse(ip.payload())?;
                match [udp.source_port(), udp.destination_port()] {
                    [53, _] | [_, 53] => Self::Dns,
                    [443, _] | [_, 443] => Self::Quic,
                    [_, 9] => Self::Discard,
                    _ => Self::Other,
                }
            }
            Protocol::TCP => {
                let tcp = Tcp::parse(ip.payload())?;
                match ([tcp.source_port(), tcp.destination_port()], tcp.payload()) {
                    ([443, _] | [_, 443], _) | (_, [0x16, 3, ..]) => Self::Tls,
                    ([80, _] | [_, 80], _) => Self::Http,
                    ([53, _] | [_, 53], _) => Self::Dns,
                    _ => Self::Other,
                }
            }
            _ => Self::Other,
        })
    }
}

impl FromStr for Class {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|class| class.name() == name).ok_or_else(|| {
            format!("no such class, there are {}", Self::ALL.map(Self::name).join(", "))
        })
    }
}

/// An IPv4 packet without addresses, for the tests of this crate.
#[cfg(test)]
pub(crate) fn ip4(protocol: Protocol, header: &[u8], payload: &[u8]) -> Vec<u8> {
    let total_len = u16::try_from(20 + header.len() + payload.len()).unwrap();
    let mut packet = vec![0; 20];
    packet[0] = 0x45;
    packet[2..4].copy_from_slice(&total_len.to_be_bytes());
    packet[8] = 64;
    packet[9] = protocol.0;
    [&packet, header, payload].concat()
}

/// A UDP packet to `port`.
#[cfg(test)]
pub(crate) fn udp(port: u16) -> Vec<u8> {
    let [high, low] = port.to_be_bytes();
    ip4(Protocol::UDP, &[0xc0, 0, high, low, 0, 12, 0, 0], b"data")
}

/// A TCP packet to `port`.
#[cfg(test)]
pub(crate) fn tcp(port: u16, payload: &[u8]) -> Vec<u8> {
    let mut header = [0; 20];
    header[0] = 0xc0;
    header[2..4].copy_from_slice(&port.to_be_bytes());
    header[12] = 0x50;
    ip4(Protocol::TCP, &header, payload)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class_of(packet: &[u8]) -> Result<Class, Malformed> {
        Class::of(packet, packet.len())
    }

    #[test]
    fn ports_tell_the_class_and_so_does_a_handshake_on_any_port() {
        for (packet, class) in [
            (udp(53), Class::Dns),
            (udp(443), Class::Quic),
            (udp(9), Class::Discard),
            (udp(1234), Class::Other),
            (tcp(80, b"GET / HTTP/1.1"), Class::Http),
            (tcp(443, b""), Class::Tls),
            (tcp(8443, &[0x16, 3, 1, 2, 0]), Class::Tls),
            (tcp(8443, &[0x16]), Class::Other),
            (ip4(Protocol::ICMP, &[8, 0, 0, 0], b""), Class::Other),
        ] {
            assert_eq!(class_of(&packet), Ok(class), "{packet:02x?}");
        }
    }

    #[test]
    fn a_fragment_is_not_taken_for_what_its_bytes_look_like() {
        let mut packet = udp(53);
        packet[7] = 1; // It begins at byte 8 of the whole.
        assert_eq!(class_of(&packet), Ok(Class::Other));
    }

    #[test]
    fn no_beginning_of_a_packet_is_a_panic() {
        for packet in [udp(53), tcp(443, &[0x16, 3, 1])] {
            for len in 0..packet.len() {
                assert!(class_of(&packet[..len]).is_err(), "{len} of {packet:02x?}");
            }
        }
    }

    #[test]
    fn a_class_is_read_by_its_name_and_is_its_own_index() {
        for (at, class) in Class::ALL.into_iter().enumerate() {
            assert_eq!(class.name().parse(), Ok(class));
            assert_eq!(class as usize, at);
        }
        let error = "ftp".parse::<Class>().unwrap_err();
        assert_eq!(error, "no such class, there are dns, http, tls, quic, discard, other");
    }
}
