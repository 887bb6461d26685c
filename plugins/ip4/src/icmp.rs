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
mod tests;
