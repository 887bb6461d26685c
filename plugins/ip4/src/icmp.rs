//! What this host says by ICMP: errors about packets, and echo replies.

use std::{net::Ipv4Addr, time::Duration};

use plugin_api::wire::{
    Icmp4, Ipv4, Ipv4Mut, Malformed, Protocol, icmp4,
    ipv4::{self, Header},
};

pub use plugin_api::wire::icmp4::{Kind, Unreachable};

/// Bytes in front of the packet an error is about.
pub const ERROR_HEADERS: usize = ipv4::HEADER + icmp4::HEADER;
/// Bytes of the packet that an error may quote: all in all 576 (RFC 1812 §4.3.2.3).
pub const QUOTE_MAX: usize = 576 - ERROR_HEADERS;
/// Internetwork control, for errors (RFC 1812 §4.3.2.5).
const ERROR_TOS: u8 = 0xc0;
const TTL: u8 = 64;

/// Whether an error may be told about `packet` (RFC 1122 §3.2.2): not about another error, a
/// later fragment, or what was not sent from one host to one host.
///
/// `link_unicast` says that the frame it came in was for this host alone.
pub fn may_report(packet: &Ipv4<'_>, link_unicast: bool) -> bool {
    let is_error = || {
        packet.protocol() == Protocol::ICMP
            && Icmp4::parse(packet.payload()).map_or(true, |message| message.kind().is_error())
    };
    link_unicast
        && packet.fragment_offset() == 0
        && is_one_host(packet.source())
        && !packet.destination().is_multicast()
        && !packet.destination().is_broadcast()
        && !is_error()
}

/// Whether an address can be that of a single host elsewhere.
pub fn is_one_host(address: Ipv4Addr) -> bool {
    let [first, ..] = address.octets();
    first != 0 && first != 127 && first < 224
}

/// Writes the headers of an error into the first [`ERROR_HEADERS`] of `bytes`, in front of the
/// packet it is about, cut to [`QUOTE_MAX`] bytes by the caller.
///
/// # Errors
/// [`Malformed`] if `bytes` has no packet behind the headers; nothing is written.
pub fn write_error(bytes: &mut [u8], kind: Kind, source: Ipv4Addr) -> Result<(), Malformed> {
    let (headers, quote) = bytes.split_at_mut_checked(ERROR_HEADERS).ok_or(Malformed::Short)?;
    // A packet that was cut is still the packet.
    let to = Ipv4::parse_first(quote, usize::MAX)?.source();
    let (ip, icmp) = headers.split_first_chunk_mut().ok_or(Malformed::Short)?;
    let icmp = icmp.first_chunk_mut().ok_or(Malformed::Short)?;
    let header = Header::new(Protocol::ICMP, source, to, icmp4::HEADER + quote.len());
    Header { tos: ERROR_TOS, ttl: TTL, ..header }.emit(ip)?;
    icmp4::emit(icmp, kind, 0, 0, quote);
    Ok(())
}

/// Why a packet to this host is no echo request to be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotAnswered {
    /// Something is wrong with a header.
    #[error("malformed: {0}")]
    Malformed(Malformed),
    /// A fragment, another protocol, or another message.
    #[error("not an echo request")]
    OtherMessage,
    /// The sender is no single host.
    #[error("not from a single host")]
    NotOneHost,
    /// The ICMP checksum is wrong.
    #[error("wrong ICMP checksum")]
    Checksum,
}

/// Makes the echo request in `bytes` the reply to it, in place; `available` are the bytes of the
/// whole packet, if `bytes` is the first buffer of a chain.
///
/// The checksum of a chained request is patched but not checked.
///
/// # Errors
/// [`NotAnswered`]; nothing has changed.
pub fn echo_reply(bytes: &mut [u8], available: usize) -> Result<(), NotAnswered> {
    let is_whole = bytes.len() >= available;
    let mut ip = Ipv4Mut::parse_first(bytes, available).map_err(NotAnswered::Malformed)?;
    let view = ip.view();
    if view.protocol() != Protocol::ICMP || view.is_fragment() {
        return Err(NotAnswered::OtherMessage);
    }
    if !is_one_host(view.source()) {
        return Err(NotAnswered::NotOneHost);
    }
    let message = Icmp4::parse(view.payload()).map_err(NotAnswered::Malformed)?;
    if message.kind() != Kind::EchoRequest {
        return Err(NotAnswered::OtherMessage);
    }
    if is_whole && !message.checksum_ok() {
        return Err(NotAnswered::Checksum);
    }
    icmp4::echo_reply(ip.payload_mut());
    ip.swap_addresses();
    ip.set_ttl(TTL);
    Ok(())
}

/// A token bucket: so many at once, then so many a second.
#[derive(Clone, Copy, Debug)]
pub struct RateLimit {
    burst: u32,
    /// Time in which a token grows.
    interval: Duration,
    tokens: u32,
    /// When the last token had grown.
    grown: Duration,
}

impl RateLimit {
    /// A full bucket of `burst` tokens, `per_second` of which grow back each second.
    pub const fn new(per_second: u32, burst: u32) -> Self {
        let per_second = if per_second == 0 { 1 } else { per_second };
        let interval = Duration::from_nanos(1_000_000_000 / per_second as u64);
        Self { burst, interval, tokens: burst, grown: Duration::ZERO }
    }

    /// Takes a token at time `now`, since whenever; `false` if there is none.
    pub fn allow(&mut self, now: Duration) -> bool {
        let since = now.saturating_sub(self.grown);
        let interval = self.interval.as_nanos().max(1);
        let grown = since.as_nanos() / interval;
        match u32::try_from(grown).ok().and_then(|grown| self.tokens.checked_add(grown)) {
            Some(tokens) if tokens < self.burst => {
                self.tokens = tokens;
                self.grown +=
                    self.interval.saturating_mul(u32::try_from(grown).unwrap_or(u32::MAX));
            }
            _ => {
                self.tokens = self.burst;
                self.grown = now.max(self.grown);
            }
        }
        let allowed = self.tokens > 0;
        self.tokens -= u32::from(allowed);
        allowed
    }
}

#[cfg(test)]
mod tests {
    use plugin_api::wire::{Checksum, checksum};

    use super::*;

    const HOST: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
    const OWN: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);

    fn packet(protocol: Protocol, payload: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; ipv4::HEADER];
        let header = Header { ttl: 1, ..Header::new(protocol, HOST, OWN, payload.len()) };
        header.emit(bytes.first_chunk_mut().unwrap()).unwrap();
        bytes.extend_from_slice(payload);
        bytes
    }

    fn icmp(kind: Kind, payload: &[u8]) -> Vec<u8> {
        let mut message = vec![0; icmp4::HEADER];
        icmp4::emit(message.first_chunk_mut().unwrap(), kind, 7, 9, payload);
        message.extend_from_slice(payload);
        packet(Protocol::ICMP, &message)
    }

    #[test]
    fn an_echo_request_comes_back_with_its_payload_and_right_checksums() {
        let mut bytes = icmp(Kind::EchoRequest, b"how are you");
        let len = bytes.len();
        echo_reply(&mut bytes, len).unwrap();
        let ip = Ipv4::parse(&bytes).unwrap();
        assert_eq!((ip.source(), ip.destination(), ip.ttl()), (OWN, HOST, 64));
        assert!(ip.checksum_ok());
        let message = Icmp4::parse(ip.payload()).unwrap();
        assert_eq!(
            (message.kind(), message.identifier(), message.sequence()),
            (Kind::EchoReply, 7, 9)
        );
        assert_eq!(message.payload(), b"how are you");
        assert!(message.checksum_ok());
    }

    #[test]
    fn what_is_no_sound_echo_request_stays_as_it_is() {
        let refused = |bytes: &[u8]| {
            let mut changed = bytes.to_vec();
            let error = echo_reply(&mut changed, bytes.len()).unwrap_err();
            assert_eq!(changed, bytes);
            error
        };
        assert_eq!(refused(&icmp(Kind::EchoReply, b"")), NotAnswered::OtherMessage);
        assert_eq!(refused(&packet(Protocol::UDP, &[8, 0, 0, 0])), NotAnswered::OtherMessage);
        assert_eq!(
            refused(&packet(Protocol::ICMP, &[8, 0])),
            NotAnswered::Malformed(Malformed::Short)
        );
        let mut wrong = icmp(Kind::EchoRequest, b"");
        wrong[22] ^= 1;
        assert_eq!(refused(&wrong), NotAnswered::Checksum);
        let mut from_all = icmp(Kind::EchoRequest, b"");
        from_all[12..16].fill(255);
        assert_eq!(refused(&from_all), NotAnswered::NotOneHost);
    }

    #[test]
    fn an_error_quotes_the_packet_and_goes_to_its_sender() {
        let kinds =
            [Kind::TtlExceeded, Kind::Unreachable(Unreachable::FragmentationNeeded { mtu: 1400 })];
        for kind in kinds {
            let about = packet(Protocol::UDP, &[1, 2, 3, 4, 5, 6, 7, 8]);
            let mut bytes = vec![0xaa; ERROR_HEADERS];
            bytes.extend_from_slice(&about);
            write_error(&mut bytes, kind, OWN).unwrap();
            let ip = Ipv4::parse(&bytes).unwrap();
            assert_eq!((ip.source(), ip.destination(), ip.protocol()), (OWN, HOST, Protocol::ICMP));
            assert!(ip.checksum_ok());
            let message = Icmp4::parse(ip.payload()).unwrap();
            assert_eq!((message.kind(), message.payload()), (kind, &about[..]));
            assert_eq!(Checksum::new().with(ip.payload()).finish(), 0);
            assert_eq!(checksum::checksum(ip.payload()), 0);
        }
    }

    #[test]
    fn an_error_about_nothing_is_not_written() {
        let mut bytes = [7; ERROR_HEADERS + 19];
        assert_eq!(write_error(&mut bytes, Kind::TtlExceeded, OWN), Err(Malformed::Short));
        assert_eq!(bytes, [7; ERROR_HEADERS + 19]);
        assert_eq!(write_error(&mut bytes[..5], Kind::TtlExceeded, OWN), Err(Malformed::Short));
    }

    #[test]
    fn no_error_is_told_about_errors_later_fragments_and_groups() {
        let reported = |bytes: &[u8]| may_report(&Ipv4::parse(bytes).unwrap(), true);
        let plain = packet(Protocol::UDP, &[0; 8]);
        assert!(reported(&plain));
        assert!(!may_report(&Ipv4::parse(&plain).unwrap(), false));
        assert!(reported(&icmp(Kind::EchoRequest, b"")));
        assert!(!reported(&icmp(Kind::TtlExceeded, b"")));
        assert!(!reported(&packet(Protocol::ICMP, &[8])), "what cannot be told may be an error");
        let with = |at: usize, value: u8| {
            let mut bytes = plain.clone();
            bytes[at] = value;
            bytes
        };
        assert!(!reported(&with(7, 1)), "a later fragment");
        assert!(reported(&with(6, 0x20)), "the first fragment");
        assert!(!reported(&with(12, 224)), "from a group");
        assert!(!reported(&with(12, 0)), "from nobody");
        assert!(!reported(&with(16, 239)), "to a group");
    }

    #[test]
    fn a_rate_limit_gives_its_burst_then_its_rate() {
        let mut limit = RateLimit::new(10, 3);
        let mut allowed = |millis: u64| limit.allow(Duration::from_millis(millis));
        assert_eq!([0, 0, 0, 0].map(&mut allowed), [true, true, true, false]);
        assert_eq!([99, 100, 150, 200, 250].map(&mut allowed), [false, true, false, true, false]);
        assert_eq!([5_000; 5].map(&mut allowed), [true, true, true, false, false]);
    }
}
